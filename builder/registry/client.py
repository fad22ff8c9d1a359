"""The registry client: manifests and tags, and, by way of its parts, blobs and copies."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urlsplit

from msgspec.structs import replace

from builder.core.codec import MalformedError, convert, decode
from builder.core.reference import Reference
from builder.core.registry_content import MANIFESTS, Content, Descriptor, Manifest, algorithm
from builder.core.registry_faults import (
    BlobsMissingError,
    DigestMismatchError,
    NotFoundError,
    ProtocolError,
)
from builder.core.schedule import RetryPolicy
from builder.core.web import media_type, next_page
from builder.docker.settings import DockerLogins
from builder.http.client import HttpClient, Response, Traffic
from builder.http.trust import Trust
from builder.registry.auth import Logins
from builder.registry.blobs import Blobs
from builder.registry.session import Call, Repository, Session
from builder.system.process import in_threads
from builder.system.resources import Clock

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_RETRY = RetryPolicy(retries=4, first=0.5, longest=20.0)
_ACCEPT = {"Accept": ", ".join(MANIFESTS)}
_PAGE = 1000
# Ten million names; who has more of them sends them for ever.
_MOST_PAGES = 10_000
# Blobs of one image at a time; who copies many images does so in threads of his own.
_AT_ONCE = 4
_ANY = Reference(path="any")


class Registry:
    """All registries that references name; for many threads, and a context manager, too.

    Nothing is kept in memory but connections, tokens and what the registries want to be told:
    each answer is what the registry says now.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.blobs = Blobs(session)

    @classmethod
    def connect(
        cls,
        environ: Mapping[str, str],
        *,
        clock: Clock,
        retry: RetryPolicy = DEFAULT_RETRY,
        plain_http: frozenset[str] = frozenset(),
        ca: Path | None = None,
        trust: Trust | None = None,
        logins: Logins | None = None,
        connections: int = 32,
        cancel: threading.Event | None = None,
    ) -> Self:
        """A client that asks nobody yet.

        ``plain_http`` and ``ca`` (a file) add to what this machine trusts; ``trust`` replaces it,
        and ``logins`` what docker's config says. ``cancel`` ends requests and waits.
        """
        client = HttpClient(
            trust or Trust.of(environ, plain_http=plain_http, ca=ca),
            environ,
            connections=connections,
            cancel=cancel,
        )
        session = Session(
            client,
            logins or DockerLogins(environ).login,
            clock=clock,
            retry=retry,
            cancel=cancel or threading.Event(),
        )
        return cls(session)

    @property
    def traffic(self) -> Traffic:
        return self._session.traffic

    def check(self, host: str) -> None:
        """Make sure that a registry answers and accepts our login, if it wants one.

        Raises:
            RegistryError: it does not.

        """
        host = Repository.of(replace(_ANY, registry=host)).host
        try:
            self._session.send(Call(method="GET", host=host, target="", what=f"use {host}"))
        except NotFoundError as error:
            raise ProtocolError(f"{host} answers, but it is no registry") from error

    # --- manifests ----------------------------------------------------------------------------

    def head(self, reference: Reference) -> Descriptor | None:
        """What a tag or digest names; None if the registry says that there is no such thing.

        A 403 is an error here, although Artifactory may say it of what does not exist: who asks
        decides by the answer, so "I do not tell" must not look like "no".
        """
        try:
            response = self._ask("HEAD", reference, "look up")
        except NotFoundError:
            return None
        digest = response.header("Docker-Content-Digest")
        size = response.header("Content-Length") or ""
        kind = media_type(response.header("Content-Type"))
        if digest is None or not size.isdecimal() or kind not in MANIFESTS:
            return self.manifest(reference).descriptor
        algorithm(digest, str(reference))
        if reference.digest and digest != reference.digest:
            raise DigestMismatchError(f"{reference}: the registry names {digest}")
        return Descriptor(media_type=kind, digest=digest, size=int(size))

    def manifest(self, reference: Reference) -> Manifest:
        """The manifest or index that a tag or digest names, byte for byte and verified.

        Raises:
            NotFoundError: there is none.
            DigestMismatchError: it is not what its digest says.

        """
        response = self._ask("GET", reference, "read")
        return Manifest.of(
            response.body,
            media_type(response.header("Content-Type")),
            digest=reference.digest or response.header("Docker-Content-Digest") or "",
            name=f"cannot read {reference}: what came",
        )

    def put(self, reference: Reference, manifest: Manifest) -> Descriptor:
        """Have the manifest under the reference's digest or else its tag; it is read back.

        Raises:
            BlobsMissingError: the repository lacks blobs of it.
            DigestMismatchError: the registry made something else of it.

        """
        place = Repository.of(reference)
        name = reference.digest or reference.tag or manifest.digest
        if reference.digest and reference.digest != manifest.digest:
            raise DigestMismatchError(f"cannot push {reference}: it is {manifest.digest}")
        response = self._session.send(
            Call(
                method="PUT",
                host=place.host,
                target=f"{place.path}/manifests/{name}",
                what=f"push {reference}",
                scopes=frozenset({place.scope("pull", "push")}),
                accepted=frozenset({HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.NO_CONTENT}),
                headers={"Content-Type": manifest.media_type},
                body=Content.of(manifest.body),
            )
        )
        stored = response.header("Docker-Content-Digest") or self._stored(reference, manifest)
        if stored != manifest.digest:
            raise DigestMismatchError(
                f"{reference}: pushed {manifest.digest}, but the registry has {stored}"
            )
        return manifest.descriptor

    def retag(self, source: Reference, tag: str) -> Descriptor:
        """Give what ``source`` names another tag in the same repository."""
        return self.put(source.with_tag(tag), self.manifest(source))

    def delete(self, reference: Reference) -> None:
        """Delete a manifest by its digest, and with it all tags that name it.

        Raises:
            NotFoundError: there is none.
            RefusedError: the registry allows no deletion.

        """
        place = Repository.of(reference)
        algorithm(reference.digest, f"cannot delete {reference}")
        self._session.send(
            Call(
                method="DELETE",
                host=place.host,
                target=f"{place.path}/manifests/{reference.digest}",
                what=f"delete {reference}",
                scopes=frozenset({place.scope("delete")}),
                accepted=frozenset({HTTPStatus.ACCEPTED, HTTPStatus.OK, HTTPStatus.NO_CONTENT}),
            )
        )

    def put_artifact(self, reference: Reference, manifest: Manifest, empty: Content) -> None:
        """Have an artifact under a name; its empty config is brought only if nobody has before.

        Raises:
            RegistryError: it cannot be stored.

        """
        try:
            self.put(reference, manifest)
        except BlobsMissingError:
            self.blobs.put(reference, empty)
            self.put(reference, manifest)

    # --- copies -------------------------------------------------------------------------------

    def copy(self, source: Reference, target: Reference) -> Descriptor:
        """Have under ``target`` what ``source`` names: blobs first, then manifests, then the tag.

        Bytes go from registry to registry through this process, and only those that the target
        lacks; within one registry none do.
        """
        manifest = self.manifest(source)
        named = target if target.tag or target.digest else target.at(manifest.digest)
        found = self.head(named)
        if found is not None and found.digest == manifest.digest:
            return manifest.descriptor
        self._copy_parts(source, target, manifest)
        return self.put(named, manifest)

    def _copy_parts(self, source: Reference, target: Reference, manifest: Manifest) -> None:
        """Have all that the manifest names in the repository of ``target``."""
        if Repository.of(source) == Repository.of(target):
            return
        # A registry takes a manifest only after all that it names.
        if self.head(target.at(manifest.digest)) is not None:
            return
        for child in manifest.manifests:
            part = self.manifest(source.at(child.digest))
            self._copy_parts(source, target, part)
            self.put(target.at(child.digest), part)
        in_threads(
            lambda blob: self._copy_blob(source, target, blob), manifest.blobs, at_once=_AT_ONCE
        )

    def _copy_blob(self, source: Reference, target: Reference, blob: Descriptor) -> None:
        def reader() -> IO[bytes]:
            return cast("IO[bytes]", self.blobs.open(source, blob.digest, size=blob.size))

        content = Content(digest=blob.digest, size=blob.size, open=reader)
        same = Repository.of(source).host == Repository.of(target).host
        self.blobs.put(target, content, mount_from=source if same else None)

    # --- lists --------------------------------------------------------------------------------

    def tags(self, repository: Reference) -> Iterator[str]:
        """All tags of a repository, page by page, in the order of the registry.

        Raises:
            NotFoundError: the registry does not know the repository.

        """
        place = Repository.of(repository)
        yield from self._pages(
            place.host,
            f"{place.path}/tags/list",
            "tags",
            f"list the tags of {place}",
            place.scope("pull"),
        )

    def catalog(self, host: str) -> Iterator[str]:
        """The paths of all repositories of a registry, page by page."""
        host = Repository.of(replace(_ANY, registry=host)).host
        yield from self._pages(
            host, "_catalog", "repositories", f"list {host}", "registry:catalog:*"
        )

    # --- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections that are kept."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, reference: Reference, verb: str) -> Response:
        place = Repository.of(reference)
        name = reference.digest or reference.tag or "latest"
        return self._session.send(
            Call(
                method=method,
                host=place.host,
                target=f"{place.path}/manifests/{name}",
                what=f"{verb} {reference}",
                scopes=frozenset({place.scope("pull")}),
                headers=_ACCEPT,
            )
        )

    def _stored(self, reference: Reference, manifest: Manifest) -> str:
        """What the registry has now, for one that did not say so by itself."""
        named = reference if reference.tag or reference.digest else reference.at(manifest.digest)
        found = self.head(named)
        return "nothing" if found is None else found.digest

    def _pages(self, host: str, path: str, key: str, what: str, scope: str) -> Iterator[str]:
        target: str | None = f"{path}?{urlencode({'n': _PAGE})}"
        seen: set[str] = set()
        while target is not None:
            if len(seen) == _MOST_PAGES:
                raise ProtocolError(f"cannot {what}: there are more than {_MOST_PAGES} pages")
            seen.add(target)
            response = self._session.send(
                Call(method="GET", host=host, target=target, what=what, scopes=frozenset({scope}))
            )
            try:
                names = decode(response.body, dict[str, Any], what="the reply")[key]
                # Some registries say null for "none".
                yield from convert([] if names is None else names, list[str], what="the reply")
            except (MalformedError, KeyError) as error:
                raise ProtocolError(f"cannot {what}: the reply is no list of {key}") from error
            target = next_page(response.header("Link") or "", response.url)
            if target in seen or (target and urlsplit(target)[:2] != urlsplit(response.url)[:2]):
                raise ProtocolError(f"cannot {what}: the next page is said to be {target}")
