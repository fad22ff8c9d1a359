"""Small files from archives over HTTP, each kept and asked for again only if it has changed."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin

from msgspec import Struct
from msgspec.structs import replace

from builder.core.codec import MalformedError, decode, encode
from builder.core.errors import OcbuildError
from builder.core.registry_faults import RegistryError
from builder.core.schedule import RetryPolicy
from builder.core.web import retry_after
from builder.http.client import DOCUMENT, HttpClient, Request, Response
from builder.http.trust import Trust
from builder.system.files import replace_file
from builder.system.resources import Clock

# The largest index of Debian has 60 MB, and a fifth of that packed.
MOST_BYTES = 1 << 29
RETRIES, PAUSE_SECONDS, LONGEST_SECONDS = 3, 0.5, 60.0
PASSING = (429, 500, 502, 503, 504)
_LIMITS = replace(DOCUMENT, most=MOST_BYTES, total_seconds=3600.0)
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class ArchiveError(OcbuildError):
    """An archive could not be asked; the message is one line about it."""

    exit_code = 4


class MissingFileError(ArchiveError):
    """The archive says that there is no such file."""


class _StoredFile(Struct, frozen=True):
    """A file as this machine keeps it; ``body`` is in base64."""

    url: str
    body: str
    etag: str | None = None
    modified: str | None = None


class Downloads:
    """Small files by their addresses, each kept and asked for again only if it has changed.

    ``folder`` keeps what may be asked for conditionally. May be used by many threads at once.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], clock: Clock) -> None:
        self._folder = folder
        # What is read is believed for its signature, and not for the way on which it came.
        self._client = HttpClient(replace(Trust.of(environ), plain_to_anybody=True), environ)
        self._clock = clock

    def fresh(self, url: str) -> bytes:
        """The file as it is now; its bytes are only sent if they differ from what is kept.

        Raises:
            MissingFileError: there is none.
            ArchiveError: the archive cannot be asked.

        """
        stored = self._stored(url)
        headers = {}
        if stored is not None:
            if stored.etag:
                headers["If-None-Match"] = stored.etag
            if stored.modified:
                headers["If-Modified-Since"] = stored.modified
        response = self._get(url, headers)
        if response.status == HTTPStatus.NOT_MODIFIED and stored is not None:
            return base64.b64decode(stored.body)
        self._store(url, response)
        return response.body

    def once(self, url: str) -> bytes:
        """The file as it is now, which the caller keeps in a form of its own."""
        return self._get(url, {}).body

    def _get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Ask, and ask again after faults that pass; raises as ``fresh`` does."""
        policy = RetryPolicy(retries=RETRIES, first=PAUSE_SECONDS, longest=LONGEST_SECONDS)
        attempt = 0
        while True:
            attempt += 1
            wait = policy.delay(attempt, self._clock.random())
            try:
                response = self._follow(url, headers)
            except RegistryError as error:
                if not error.transient or attempt > policy.retries:
                    raise ArchiveError(
                        error.message, hint=error.hint, transient=error.transient
                    ) from error
            else:
                if response.status not in PASSING or attempt > policy.retries:
                    return _accepted(response, url)
                asked = retry_after(response.header("Retry-After"), self._clock.now())
                wait = max(wait, min(asked or 0.0, LONGEST_SECONDS))
            self._clock.wait(threading.Event(), wait)

    def _follow(self, url: str, headers: Mapping[str, str]) -> Response:
        place = url
        for _ in range(_MOST_REDIRECTS):
            response = self._client.read(
                Request(
                    method="GET",
                    url=place,
                    what=f"read {url}",
                    headers=headers,
                    limits=_LIMITS,
                    raw=True,  # an index that is packed is to come as it is
                )
            )
            location = response.header("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            new = urljoin(place, location)
            if place.startswith("https:") and not new.startswith("https:"):
                raise ArchiveError(f"cannot read {url}: it leads to {new}, without TLS")
            place = new
        raise ArchiveError(f"cannot read {url}: it redirects in a circle")

    def _path(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()}.json"

    def _stored(self, url: str) -> _StoredFile | None:
        with suppress(OSError, MalformedError):
            data = self._path(url).read_bytes()
            stored = decode(data, _StoredFile, what="a kept file", most=MOST_BYTES)
            if stored.url == url:
                return stored
        return None

    def _store(self, url: str, response: Response) -> None:
        etag, modified = response.header("ETag"), response.header("Last-Modified")
        if not etag and not modified:
            return
        body = base64.b64encode(response.body).decode("ascii")
        record = _StoredFile(url=url, body=body, etag=etag, modified=modified)
        with suppress(OSError):
            # Only an accelerator: without it the file is read once more.
            replace_file(self._path(url), encode(record).decode("ascii"))


def _accepted(response: Response, url: str) -> Response:
    if response.status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
        return response
    if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise MissingFileError(f"cannot read {url}: there is none")
    raise ArchiveError(
        f"cannot read {url}: the answer is {response.status} {response.reason}".rstrip(),
        transient=response.status in PASSING,
    )
