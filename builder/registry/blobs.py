"""Blobs: read with their digest verified, uploaded, or mounted from another repository."""

from __future__ import annotations

import io
from contextlib import suppress
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urlencode, urljoin

from msgspec.structs import replace

from builder.core.reference import Reference
from builder.core.registry_content import Content, Descriptor, Verifier, algorithm
from builder.core.registry_faults import (
    DigestMismatchError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    QuotaError,
    RegistryError,
    TlsError,
    UnreachableError,
)
from builder.http.client import DOCUMENT, STREAM, Response
from builder.registry.session import Call, Repository, Session, is_whole, refuse_downgrade

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# A registry on object storage puts the parts of an upload together before it answers.
_UPLOAD = replace(STREAM, most=DOCUMENT.most, read_seconds=300.0)
# A config or a document; what is larger is read as a stream.
_MOST_IN_MEMORY = 256 << 20
_BLOCK = 1 << 17
# What another way into the repository would not change.
_FINAL = (UnreachableError, TlsError, QuotaError)


class Stored(Enum):
    """How a blob came to be in a repository."""

    EXISTED = "it was there"
    MOUNTED = "mounted from another repository"
    UPLOADED = "uploaded"


class BlobReader(io.RawIOBase):
    """The bytes of a blob as they come; its last read raises if they were not the right ones.

    Who stops before the end has read bytes that nobody verified.
    """

    def __init__(self, response: Response, digest: str, name: str) -> None:
        super().__init__()
        self._response = response
        self._verifier = Verifier(digest, name)
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._ended:
            return 0
        view = memoryview(buffer).cast("B")
        block = self._response.read(len(view))
        if block:
            self._verifier.feed(block)
            view[: len(block)] = block
        elif len(view):
            self._ended = True
            self._verifier.finish()
        return len(block)

    def close(self) -> None:
        self._response.close()
        super().close()


class Blobs:
    """The blobs of all repositories; of a reference only the repository counts here."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def exists(self, repository: Reference, digest: str) -> bool:
        """Whether the repository has the blob, as far as the registry tells us.

        A 403 counts as no: Artifactory says it of what does not exist, and where it is meant the
        upload that follows is refused with the reason, which a HEAD cannot carry.
        """
        place = Repository.of(repository)
        call = Call(
            method="HEAD",
            host=place.host,
            target=_path(place, digest),
            what=f"look for the blob {digest} in {place}",
            scopes=frozenset({place.scope("pull", "push")}),
        )
        try:
            self._session.send(call)
        except (NotFoundError, ForbiddenError):
            return False
        return True

    def open(self, repository: Reference, digest: str, *, size: int | None = None) -> BlobReader:
        """The bytes of a blob as a stream, no more than ``size`` of them; to be closed."""
        place = Repository.of(repository)
        return self._session.persist(lambda: self._open_once(place, digest, size))

    def read(self, repository: Reference, blob: Descriptor) -> bytes:
        """All bytes of a small blob, such as a config.

        Raises:
            DigestMismatchError: they are not what the descriptor says.
            ProtocolError: they are too many to be held in memory.

        """
        place = Repository.of(repository)
        if blob.size > _MOST_IN_MEMORY:
            raise ProtocolError(
                f"cannot read the blob {blob.digest} of {place}: it is said to have {blob.size}"
                f" bytes, and what is read at once has {_MOST_IN_MEMORY} at most"
            )

        def once() -> bytes:
            with self._open_once(place, blob.digest, blob.size) as reader:
                # Up to the end, for it brings the verdict.
                data = b"".join(iter(lambda: reader.read(_BLOCK) or b"", b""))
            if len(data) != blob.size:
                raise DigestMismatchError(
                    f"the blob {blob.digest} of {place} has {len(data)} bytes, not {blob.size}"
                )
            return data

        return self._session.persist(once)

    def put(
        self,
        repository: Reference,
        content: Content,
        *,
        mount_from: Reference | None = None,
        look: bool = True,
    ) -> Stored:
        """Have the blob in the repository.

        With ``mount_from``, a repository of the same registry that is thought to have it, no byte
        is sent if that is true. Else, unless ``look`` is False, it is asked for first.
        """
        place = Repository.of(repository)
        source = None if mount_from is None else Repository.of(mount_from)
        if source is not None and source.host != place.host:
            raise ValueError(f"nothing can be mounted from {source.host} at {place.host}")
        if source is None and look and self.exists(repository, content.digest):
            return Stored.EXISTED
        return self._session.persist(lambda: self._put_once(place, content, source))

    def mount(self, repository: Reference, digest: str, source: Reference) -> bool:
        """Whether the blob could be mounted from ``source``, a repository of the same registry."""
        place = Repository.of(repository)
        location = self._session.persist(
            lambda: self._mount_or_start(place, digest, Repository.of(source))
        )
        if location is None:
            return True
        self._abandon(place, location)
        return False

    def try_to_write(self, repository: Reference) -> None:
        """Make sure that we may: an upload is begun and given up.

        Raises:
            RegistryError: we may not.

        """
        place = Repository.of(repository)
        self._abandon(place, self._session.persist(lambda: self._start(place)))

    # --- one attempt of each ------------------------------------------------------------------

    def _open_once(self, place: Repository, digest: str, size: int | None) -> BlobReader:
        what = f"read the blob {digest} of {place}"
        call = Call(
            method="GET",
            host=place.host,
            target=_path(place, digest),
            what=what,
            scopes=frozenset({place.scope("pull")}),
            # One byte more, for whoever sends another blob is to be told of that.
            limits=STREAM if size is None else replace(STREAM, most=size + 1),
            raw=True,
        )
        name = f"cannot {what}: what came"
        return BlobReader(self._session.open_once(call), digest, name)

    def _put_once(self, place: Repository, content: Content, source: Repository | None) -> Stored:
        if source is None:
            location: str | None = self._start(place)
        else:
            location = self._mount_or_start(place, content.digest, source)
        if location is None:
            return Stored.MOUNTED
        self._finish(place, location, content)
        return Stored.UPLOADED

    def _mount_or_start(self, place: Repository, digest: str, source: Repository) -> str | None:
        """None if the blob is mounted, else where it may be uploaded to."""
        algorithm(digest, "the blob to mount")
        query = urlencode({"mount": digest, "from": source.path})
        what = f"mount the blob {digest} of {source} in {place}"
        scopes = frozenset({place.scope("pull", "push"), source.scope("pull")})
        try:
            response = self._post(place, f"?{query}", what, scopes)
        except RegistryError as error:
            # Registries refuse a mount in many ways; the upload then shows what is really wrong.
            if error.transient or isinstance(error, _FINAL):
                raise
            return self._start(place)
        if response.status == HTTPStatus.CREATED:
            _read_back(response, digest, what)
            return None
        return _location(response, what)

    def _start(self, place: Repository) -> str:
        what = f"start an upload to {place}"
        response = self._post(place, "", what, frozenset({place.scope("pull", "push")}))
        return _location(response, what)

    def _post(self, place: Repository, query: str, what: str, scopes: frozenset[str]) -> Response:
        return self._session.send_once(
            Call(
                method="POST",
                host=place.host,
                target=f"{place.path}/blobs/uploads/{query}",
                what=what,
                scopes=scopes,
                accepted=frozenset({HTTPStatus.CREATED, HTTPStatus.ACCEPTED}),
            )
        )

    def _finish(self, place: Repository, location: str, content: Content) -> None:
        what = f"upload the blob {content.digest} to {place}"
        # The query is the state of the upload: it must go back as it came.
        joint = "&" if "?" in location else "?"
        response = self._session.send_once(
            Call(
                method="PUT",
                host=place.host,
                target=location + joint + urlencode({"digest": content.digest}),
                what=what,
                scopes=frozenset({place.scope("pull", "push")}),
                accepted=frozenset({HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}),
                headers={"Content-Type": "application/octet-stream"},
                body=content,
                limits=_UPLOAD,
            )
        )
        _read_back(response, content.digest, what)

    def _abandon(self, place: Repository, location: str) -> None:
        # Nothing depends on it: registries drop uploads that nobody ends.
        with suppress(RegistryError):
            self._session.send_once(
                Call(
                    method="DELETE",
                    host=place.host,
                    target=location,
                    what=f"end an upload to {place}",
                    scopes=frozenset({place.scope("pull", "push")}),
                    accepted=frozenset({HTTPStatus.NO_CONTENT}),
                )
            )


def _path(place: Repository, digest: str) -> str:
    algorithm(digest, "the blob to read")
    return f"{place.path}/blobs/{digest}"


def _location(response: Response, what: str) -> str:
    location = response.header("Location")
    if not location:
        raise ProtocolError(f"cannot {what}: the registry does not say where to upload")
    location = urldefrag(location).url if "#" in location else location
    url = location if is_whole(location) else urljoin(response.url, location)
    refuse_downgrade(response.url, url, what)
    return url


def _read_back(response: Response, digest: str, what: str) -> None:
    """The registry took the blob under the digest that it was told, or says under which one."""
    stored = response.header("Docker-Content-Digest") or digest
    if stored != digest:
        raise DigestMismatchError(f"cannot {what}: the registry stored {stored}")
