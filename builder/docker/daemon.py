"""The Docker Engine that makes images: what is in it, what it builds, pulls and pushes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from builder.core.engine.answers import Endpoint, EngineInfo, LocalImage, Pushed
from builder.core.engine.messages import Transfer, pull_failure, push_failure
from builder.core.engine.request import config_proxies
from builder.core.errors import (
    BuildError,
    InterruptedRunError,
    OcbuildError,
    PublishError,
)
from builder.core.keys import RUN
from builder.core.reference import HUB, Reference
from builder.core.retention import KeptImage
from builder.docker.client import Client, Explain
from builder.docker.settings import (
    DockerLogins,
    docker_config,
    find_endpoint,
    registry_auth,
    registry_config,
)

# The engine is silent while a registry puts a large layer together.
_SILENCE_SECONDS = 900
Amounts = Callable[[int, int], None]


class Daemon:
    """One Docker Engine; may be used by many threads at once."""

    def __init__(self, client: Client, config: Mapping[str, Any], logins: DockerLogins) -> None:
        self._client = client
        self._config = config
        self._logins = logins

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> Daemon:
        """The engine that the docker command would use in this environment.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        config = docker_config(environ)
        client = Client(find_endpoint(environ), environ, headers=config.get("HttpHeaders"))
        client.knock()
        return cls(client, config, DockerLogins(environ))

    def close(self) -> None:
        self._client.close()

    @property
    def endpoint(self) -> Endpoint:
        return self._client.endpoint

    @cached_property
    def config_proxies(self) -> Mapping[str, str]:
        """The build args that the docker command adds by itself for this engine."""
        return config_proxies(self._config, self.endpoint.url)

    def info(self) -> EngineInfo:
        """What the engine says of itself, which is asked once.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        return self._info

    @cached_property
    def _info(self) -> EngineInfo:
        return self._client.info()

    def disk_free(self) -> int | None:
        """Free bytes where the engine keeps images; None if it is not on this machine."""
        if self.endpoint.socket is None:
            return None
        with suppress(OSError):
            status = os.statvfs(self.info().root)
            return status.f_bavail * status.f_frsize
        return None

    def inspect(self, reference: str) -> LocalImage | None:
        """The image that the engine has under this name, id or digest."""
        with self._client.errors(f"cannot look at {reference}"):
            try:
                found = self._client.api.inspect_image(reference)
            except self._client.not_found:
                return None
        return LocalImage.of(found)

    def read_files(
        self, image: str, paths: Sequence[str], *, run_id: str = ""
    ) -> Mapping[str, bytes]:
        """The regular files at and below ``paths`` of an image; nothing of it is run."""
        from builder.docker.container import read_files  # noqa: PLC0415 - 85 ms, the SDK

        with self._client.errors(f"cannot read files of {image}"):
            return read_files(self._client, image, paths, run_id=run_id)

    def tag(self, reference: str, target: str) -> None:
        """Give an image another name, which is taken from whatever image had it."""
        name = Reference.parse(target)
        with self._client.errors(f"cannot tag {reference} as {target}"):
            self._client.api.tag(reference, name.repository, name.tag or "latest")

    def untag(self, reference: str) -> None:
        """Take a name away; the image goes with its last name. No such name is no error."""
        with (
            self._client.errors(f"cannot remove the tag {reference}"),
            suppress(self._client.not_found),
        ):
            self._client.api.remove_image(reference, noprune=True)

    def import_rootfs(
        self, source: Path | IO[bytes], reference: str, changes: Sequence[str] = ()
    ) -> str:
        """Make an image of a tar archive; its id. ``changes`` are instructions of a Dockerfile."""
        if isinstance(source, Path):
            with source.open("rb") as stream:
                return self.import_rootfs(stream, reference, changes)
        name = Reference.parse(reference)
        where = {"fromSrc": "-", "repo": name.repository, "tag": name.tag or "latest"}
        doing = f"cannot import {reference}"
        return self._take_in(doing, "/images/create", {**where, "changes": list(changes)}, source)

    def load(self, archive: IO[bytes]) -> None:
        """Take images in that an archive like one of ``docker save`` holds."""
        self._take_in("cannot load an image", "/images/load", {"quiet": "1"}, archive)

    def _take_in(self, doing: str, path: str, params: Mapping[str, Any], body: IO[bytes]) -> str:
        status = ""
        with self._client.post(
            doing, path, params=params, body=body, raises=BuildError
        ) as received:
            for message in received:
                if "error" in message:
                    raise BuildError(f"{doing}: {message['error']}")
                status = message.get("status", status)
        return status

    def kept(self, label: str) -> tuple[KeptImage, ...]:
        """The images with this label and a tag."""
        with self._client.errors("cannot list the engine's images"):
            # The SDK has no parameter for shared sizes.
            filters = f'{{"label": ["{label}"], "dangling": ["false"]}}'
            images = self._client.get("/images/json", {"filters": filters, "shared-size": 1})
            used = {each["ImageID"] for each in self._client.api.containers(all=True)}
        return tuple(KeptImage.of(image, used) for image in images)

    def remove(self, tag: str) -> bool:
        """Take a tag away, and with its last one the image; False if a container holds it."""
        with self._client.errors(f"cannot remove {tag}"):
            try:
                self._client.api.remove_image(tag)
            except self._client.not_found:
                return True
            except self._client.refused as error:
                # It came into use meanwhile.
                if error.status_code == HTTPStatus.CONFLICT:
                    return False
                raise
        return True

    # -- registries --

    def remote_digest(self, reference: str) -> str | None:
        """The digest that a registry has for the reference; None if it has none.

        Raises:
            PushFailedError: if the registry cannot be asked; ``fault`` and ``transient`` say why.

        """
        doing = f"cannot ask for {reference}"
        explain = _explain(push_failure, doing, reference)
        with self._client.errors(doing, PublishError, explain):
            headers = self._auth(Reference.parse(reference))
            try:
                image = self._client.get(f"/distribution/{reference}/json", {}, headers)
            except self._client.not_found:
                return None
        digest: str = image["Descriptor"]["digest"]
        return digest

    def pull(
        self,
        reference: str,
        progress: Amounts | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        """Fetch an image.

        Raises:
            PullFailedError: with its ``fault``.

        """
        name = Reference.parse(reference)
        doing = f"cannot pull {reference}"
        explain = _explain(pull_failure, doing, reference)
        self._transfer(
            doing,
            "/images/create",
            params={"fromImage": name.repository, "tag": name.digest or name.tag or "latest"},
            name=name,
            raises=BuildError,
            explain=explain,
            progress=progress,
            cancel=cancel,
        )

    def push(
        self, reference: str, progress: Amounts, cancel: threading.Event | None = None
    ) -> Pushed:
        """Send an image to its registry; ``progress`` gets the bytes done and the bytes in all.

        Raises:
            PushFailedError: with its ``fault``.

        """
        name = Reference.parse(reference)
        doing = f"cannot push {reference}"
        explain = _explain(push_failure, doing, reference)
        transfer = self._transfer(
            doing,
            f"/images/{name.repository}/push",
            params={"tag": name.tag or "latest"},
            name=name,
            raises=PublishError,
            explain=explain,
            progress=progress,
            cancel=cancel,
        )
        if transfer.digest is None:
            raise explain("the engine gave no digest")
        return Pushed(digest=transfer.digest, uploaded=transfer.current)

    def _transfer(
        self,
        doing: str,
        path: str,
        *,
        params: Mapping[str, str],
        name: Reference,
        raises: type[OcbuildError],
        explain: Explain,
        progress: Amounts | None,
        cancel: threading.Event | None,
    ) -> Transfer:
        transfer = Transfer()
        told = None
        with self._client.post(
            doing,
            path,
            params=params,
            headers=self._auth(name),
            cancel=cancel,
            raises=raises,
            explain=explain,
            silence=_SILENCE_SECONDS,
        ) as received:
            for message in received:
                transfer.feed(message)
                amounts = (transfer.current, transfer.total)
                if progress is not None and amounts != told:
                    told = amounts
                    progress(*amounts)
        if transfer.error is not None:
            if cancel is not None and cancel.is_set():
                raise InterruptedRunError(f"{doing}: interrupted")
            raise explain(transfer.error)
        return transfer

    def _auth(self, name: Reference) -> dict[str, str]:
        registry = name.registry or HUB
        return {"X-Registry-Auth": registry_auth(self._logins.login(registry), registry)}

    # -- builds and tests --

    @contextmanager
    def build(
        self,
        params: Mapping[str, Any],
        body: IO[bytes],
        *,
        cancel: threading.Event,
        timeout: float | None,
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Send a context to ``POST /build``; gives the messages as they come.

        Raises:
            InterruptedRunError: once ``cancel`` is set.
            TimeoutError: after ``timeout`` seconds.

        """
        with self._client.post(
            "cannot build",
            "/build",
            params=params,
            headers={"X-Registry-Config": registry_config(self._logins.all())},
            body=body,
            cancel=cancel,
            timeout=timeout,
        ) as received:
            yield received

    def run_test(
        self,
        image: str,
        command: str,
        *,
        timeout: float | None,
        sink: Callable[[str], None],
        cancel: threading.Event,
        run_id: str = "",
    ) -> int:
        """Run ``/bin/sh -c command`` in a fresh container without network; its exit code.

        The container is removed in every case.

        Raises:
            BuildError: if it cannot be run or does not end in time.
            InterruptedRunError: once ``cancel`` is set.

        """
        from builder.docker.container import run_in_container  # noqa: PLC0415 - 85 ms, the SDK

        with self._client.errors(f"cannot test {image}"):
            return run_in_container(
                self._client,
                image,
                command,
                timeout=timeout,
                sink=sink,
                cancel=cancel,
                run_id=run_id,
            )

    def remove_leftovers(self, run_id: str) -> int:
        """Remove the containers that a run left behind; how many there were."""
        if not self._client.is_open:
            return 0
        with self._client.errors(f"cannot remove the containers of run {run_id}"):
            found = self._client.api.containers(all=True, filters={"label": f"{RUN}={run_id}"})
            for container in found:
                with suppress(self._client.not_found):
                    self._client.api.remove_container(container["Id"], force=True, v=True)
        return len(found)


def _explain(
    failure: Callable[[str, str, Reference], OcbuildError], doing: str, reference: str
) -> Explain:
    return lambda text: failure(text, doing, Reference.parse(reference))
