"""The Docker Engine of a host that is deployed to: all that is asked of its API.

What is sent goes by the engine's API and is in no command's words, which whoever may list processes
can read; so a join token or a login is told to nobody but the engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from builder.core.engine.endpoint import of_place
from builder.core.errors import DeployError, EngineUnavailableError, OcbuildError
from builder.core.reference import Reference
from builder.docker.client import Client
from builder.docker.endpoint import find_endpoint

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
