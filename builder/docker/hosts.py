"""Finds the Docker Engine that is meant, and asks the ones of hosts that are deployed to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from builder.core.codec import MalformedError, convert
from builder.core.engine.answers import (
    DEFAULT_CONTEXT,
    DEFAULT_URL,
    ContextMeta,
    Endpoint,
    chosen_context,
    context_folder,
    of_context,
    of_host,
    of_place,
)
from builder.core.errors import DeployError, EngineUnavailableError, OcbuildError
from builder.core.reference import Reference
from builder.docker.client import Client


def find_endpoint(environ: Mapping[str, str]) -> Endpoint:
    """DOCKER_HOST, else DOCKER_CONTEXT, else the current context, else the default socket.

    Raises:
        EngineUnavailableError: if the context is not there or cannot be read.

    """
    if url := environ.get("DOCKER_HOST", "").strip():
        return of_host(url, environ, config_dir(environ))
    current = None if environ.get("DOCKER_CONTEXT") else docker_config(environ)
    name = chosen_context(environ, str((current or {}).get("currentContext") or ""))
    if name is None:
        return Endpoint(url=DEFAULT_URL, env={"DOCKER_CONTEXT": DEFAULT_CONTEXT})
    folder = config_dir(environ) / "contexts"
    file = folder / "meta" / context_folder(name) / "meta.json"
    meta = _read_json(file)
    if meta is None:
        raise EngineUnavailableError(
            f'there is no docker context "{name}"',
            hint="`docker context ls` shows those that exist; "
            "DOCKER_CONTEXT or `docker context use` chooses one",
        )
    certificates = folder / "tls" / context_folder(name) / "docker"
    try:
        shaped = convert(meta, ContextMeta, what=str(file))
    except MalformedError as error:
        raise EngineUnavailableError(str(error)) from error
    return of_context(name, shaped, certificates if certificates.is_dir() else None)


def config_dir(environ: Mapping[str, str]) -> Path:
    """Where the docker command keeps config.json and its contexts."""
    if chosen := environ.get("DOCKER_CONFIG"):
        return Path(chosen)
    return Path(environ.get("HOME") or Path.home()) / ".docker"


def docker_config(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The content of the docker command's config.json; empty where there is none.

    Raises:
        EngineUnavailableError: if it cannot be read.

    """
    return _read_json(config_dir(environ) / "config.json") or {}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineUnavailableError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise EngineUnavailableError(
            f"{path} is no JSON: {error}", hint="mend or remove it; the docker command reads it too"
        ) from error
    if not isinstance(content, dict):
        raise EngineUnavailableError(f"{path} holds no JSON object")
    return content


# How long the engine may be silent; in a pull, while it unpacks a large layer.
_SILENCE_SECONDS = 120
_LONG_SILENCE_SECONDS = 900


class HostEngine:
    """One host's engine, for many threads at once; errors are DeployErrors.

    ``place`` is "local", the name of a docker context, or an address.
    """

    def __init__(self, name: str, place: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self._place = place
        self._environ = environ

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def get(self, path: str, doing: str) -> Any:
        """The JSON at a path of the API; ``doing`` follows "cannot" in messages.

        Raises:
            DeployError: the engine says no, or cannot be asked.

        """
        with self._asking(doing) as client:
            return client.get(path, {})

    def post(self, path: str, doing: str, body: Mapping[str, Any]) -> Any:
        """Send JSON to a path of the API; ``body`` is in no message of ours.

        Raises:
            DeployError: the engine says no, or cannot be asked.

        """
        with self._asking(doing) as client:
            return client.send(path, body)

    @contextmanager
    def pull(
        self,
        reference: Reference,
        auth: str,
        *,
        cancel: threading.Event,
        explain: Callable[[str], OcbuildError],
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Fetch an image, and tell by messages how far it is; ``auth`` is an X-Registry-Auth.

        Raises:
            InterruptedRunError: once ``cancel`` is set.
            DeployError: the engine breaks off; what ``explain`` makes of it where it says why.

        """
        with (
            self._asking(f"pull {reference} on") as client,
            client.post(
                f'cannot pull {reference} on host "{self.name}"',
                "/images/create",
                params={"fromImage": reference.repository, "tag": reference.digest},
                headers={"X-Registry-Auth": auth},
                explain=explain,
                cancel=cancel,
                silence=_LONG_SILENCE_SECONDS,
            ) as messages,
        ):
            yield messages

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Client]:
        text = f'cannot {doing} host "{self.name}"'
        try:
            with self._client.errors(text):
                yield self._client
        except EngineUnavailableError as error:
            raise DeployError(f"{text}: {error.message}", hint=error.hint) from error

    @cached_property
    def _client(self) -> Client:
        environ = of_place(self._place, self._environ)
        endpoint = find_endpoint(environ)
        return Client(endpoint, environ, raises=DeployError, silence=_SILENCE_SECONDS)
