"""The registry client: manifests and tags, and, by way of its parts, blobs and copies."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from msgspec.structs import replace

from builder.core.backoff import RetryPolicy
from builder.core.reference import Reference
from builder.docker.logins import DockerLogins
from builder.http.headers import media_type, next_page
from builder.http.transport import Traffic, Transport
from builder.http.trust import Trust
from builder.registry.auth import Logins
from builder.registry.blobs import Blobs
from builder.registry.content import MANIFESTS, Content, Descriptor, Manifest, algorithm
from builder.registry.faults import (
    DigestMismatchError,
    NotFoundError,
    ProtocolError,
)
from builder.registry.session import Reply, Repository, Request, Session
from builder.system.clock import Clock

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_RETRY = RetryPolicy(retries=4, first=0.5, longest=20.0)
_ACCEPT = {"Accept": ", ".join(MANIFESTS)}
_PAGE = 1000
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
        and ``logins`` what docker's config says. ``cancel`` ends the waits between retries.
        """
        transport = Transport(
            trust or Trust.of(environ, plain_http=plain_http, ca=ca),
            environ,
            connections=connections,
        )
        session = Session(
            transport,
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
            self._session.send(Request(method="GET", host=host, target="", what=f"use {host}"))
        except NotFoundError as error:
            raise ProtocolError(f"{host} answers, but it is no registry") from error

    # --- manifests ----------------------------------------------------------------------------

    def head(self, reference: Reference) -> Descriptor | None:
        """What a tag or digest names; None if the registry says that there is no such thing.

        A 403 is an error here, although Artifactory may say it of what does not exist: who asks
        decides by the answer, so "I do not tell" must not look like "no".
        """
        try:
            reply = self._ask("HEAD", reference, "look up")
        except NotFoundError:
            return None
        digest = reply.headers.get("Docker-Content-Digest")
        size = reply.headers.get("Content-Length", "")
        kind = media_type(reply.headers.get("Content-Type"))
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
        reply = self._ask("GET", reference, "read")
        return Manifest.of(
            reply.body,
            media_type(reply.headers.get("Content-Type")),
            digest=reference.digest or reply.headers.get("Docker-Content-Digest", ""),
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
        reply = self._session.send(
            Request(
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
        stored = reply.headers.get("Docker-Content-Digest") or self._stored(reference, manifest)
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
            Request(
                method="DELETE",
                host=place.host,
                target=f"{place.path}/manifests/{reference.digest}",
                what=f"delete {reference}",
                scopes=frozenset({place.scope("delete")}),
                accepted=frozenset({HTTPStatus.ACCEPTED, HTTPStatus.OK, HTTPStatus.NO_CONTENT}),
            )
        )

    def copy(self, source: Reference, target: Reference) -> Descriptor:
        """Have under ``target`` what ``source`` names, with all that belongs to it.

        Bytes go from registry to registry through this process, and only those that the target
        lacks; within one registry none do.
        """
        from builder.registry.copying import copy_image  # noqa: PLC0415 - it knows us

        return copy_image(self, source, target)

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

    def _ask(self, method: str, reference: Reference, verb: str) -> Reply:
        place = Repository.of(reference)
        name = reference.digest or reference.tag or "latest"
        return self._session.send(
            Request(
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
        seen = set()
        while target is not None:
            seen.add(target)
            reply = self._session.send(
                Request(
                    method="GET", host=host, target=target, what=what, scopes=frozenset({scope})
                )
            )
            yield from _names(reply, key, what)
            target = next_page(reply.headers.get("Link", ""), reply.url)
            if target in seen or (target and urlsplit(target)[:2] != urlsplit(reply.url)[:2]):
                raise ProtocolError(f"cannot {what}: the next page is said to be {target}")


def _names(reply: Reply, key: str, what: str) -> list[str]:
    try:
        content: Any = json.loads(reply.body)
        # Some registries say null for "none".
        return [str(name) for name in content[key] or ()]
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"cannot {what}: the reply is no list of {key}") from error
