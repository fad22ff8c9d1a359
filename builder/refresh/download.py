"""Small files from archives over HTTP, each kept and asked for again only if it has changed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder import __version__
from builder.core.errors import OcbuildError
from builder.http.connection import BadAddressError
from builder.http.proxies import proxy_for
from builder.http.trust import Trust
from builder.registry.faults import translated
from builder.system.files import replace_file

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
RETRIES, PAUSE = 3, 0.5
PASSING = (429, 500, 502, 503, 504)


class ArchiveError(OcbuildError):
    """An archive could not be asked; the message is one line about it."""

    exit_code = 4


class Missing(ArchiveError):  # noqa: N818 - an answer rather than a failure
    """The archive says that there is no such file."""


class Downloads:
    """Gets files by their addresses, through the proxies that the environment names.

    ``folder`` keeps what may be asked for conditionally. May be used by many threads at once.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._pools: dict[tuple[str, str], PoolManager] = {}

    def fresh(self, url: str) -> bytes:
        """The file as it is now; its bytes are only sent if they differ from what is kept.

        Raises:
            Missing: there is none.
            ArchiveError: the archive cannot be asked.

        """
        kept = self._kept(url)
        headers = {}
        if kept:
            headers = {
                name: str(kept[field])
                for name, field in (("If-None-Match", "etag"), ("If-Modified-Since", "modified"))
                if kept.get(field)
            }
        response = self._get(url, headers)
        if response.status == HTTPStatus.NOT_MODIFIED and kept:
            return base64.b64decode(kept["body"])
        self._keep(url, response)
        return response.data

    def once(self, url: str) -> bytes:
        """The file as it is now, which the caller keeps in a form of its own."""
        return self._get(url, {}).data

    def _get(self, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        from urllib3 import Retry, Timeout  # noqa: PLC0415 - 70 ms
        from urllib3.exceptions import HTTPError, LocationValueError  # noqa: PLC0415 - 70 ms

        what = f"read {url}"
        try:
            response = self._pool(url).request(
                "GET",
                url,
                headers={"User-Agent": f"ocbuild/{__version__}", **headers},
                timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=Retry(
                    RETRIES,
                    backoff_factor=PAUSE,
                    backoff_jitter=PAUSE,
                    status_forcelist=PASSING,
                    raise_on_status=False,
                ),
                decode_content=False,
            )
        except HTTPError as error:
            plain = BadAddressError(str(error)) if isinstance(error, LocationValueError) else error
            told = translated(plain, what, urlsplit(url).netloc)
            raise ArchiveError(told.message, hint=told.hint, transient=told.transient) from error
        if response.status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
            return response
        if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise Missing(f"cannot {what}: there is none")
        raise ArchiveError(
            f"cannot {what}: the answer is {response.status} {response.reason or ''}".rstrip(),
            transient=response.status in PASSING,
        )

    def _pool(self, url: str) -> PoolManager:
        from urllib3 import PoolManager, ProxyManager  # noqa: PLC0415 - 70 ms

        parts = urlsplit(url)
        place = (parts.scheme, parts.netloc)
        if place not in self._pools:
            options: dict[str, Any] = {"maxsize": 8}
            if parts.scheme == "https":
                options["ssl_context"] = Trust.of(self._environ).context(parts.netloc)
            proxy = proxy_for(parts.scheme, parts.netloc, self._environ)
            self._pools[place] = ProxyManager(proxy, **options) if proxy else PoolManager(**options)
        return self._pools[place]

    def _path(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()}.json"

    def _kept(self, url: str) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            kept: dict[str, Any] = json.loads(self._path(url).read_text(encoding="utf-8"))
            if kept.get("url") == url and isinstance(kept.get("body"), str):
                return kept
        return {}

    def _keep(self, url: str, response: BaseHTTPResponse) -> None:
        etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        if not etag and not modified:
            return
        body = base64.b64encode(response.data).decode("ascii")
        record = {"url": url, "etag": etag, "modified": modified, "body": body}
        with suppress(OSError):
            # Only an accelerator: without it the file is read once more.
            replace_file(self._path(url), json.dumps(record))
