"""Carries requests of the docker SDK over the streams of a program that leads to an engine.

The SDK's own way by ssh needs paramiko even where it starts ssh, says nothing of why ssh failed,
and leaves its processes behind.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPException
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from builder.core.engine.faults import NoAnswerError
from builder.system.process import Dialled, dial


class DialAdapter(HTTPAdapter):
    """Sends each request of a session by way of the program ``argv``; it is kept for the next."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], *, most: int) -> None:
        super().__init__()
        self._pool = _DialledPool(argv, environ, most=most)

    def get_connection_with_tls_context(self, *_arguments: Any, **_named: Any) -> Any:
        return self._pool

    def get_connection(self, *_arguments: Any, **_named: Any) -> Any:
        return self._pool

    def request_url(self, request: Any, _proxies: Any) -> str:
        path: str = request.path_url
        return path

    def close(self) -> None:
        self._pool.close()
        super().close()


class _DialledPool(HTTPConnectionPool):
    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], *, most: int) -> None:
        super().__init__("localhost", maxsize=most)
        self._argv = tuple(argv)
        self._environ = environ

    def _new_conn(self) -> Any:
        self.num_connections += 1
        return _DialledConnection(self._argv, self._environ)


class _DialledConnection(HTTPConnection):
    """One program; it ends with the connection, or with our process."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        super().__init__("localhost")
        self._argv = argv
        self._environ = environ
        self._dialled: Dialled | None = None
        self._hang_up: Any = None
        self._is_answering = False

    def connect(self) -> None:
        programs = ExitStack()
        self._dialled = programs.enter_context(dial(self._argv, env=self._environ))
        self._hang_up = weakref.finalize(self, programs.close)
        self.sock = self._dialled.socket
        # urllib3 sets it before each request; a test of its value says what it is by then.
        self.sock.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)

    def getresponse(self) -> Any:
        self._is_answering = True
        try:
            return super().getresponse()
        except (OSError, HTTPException) as error:
            said = self._dialled.complaint() if self._dialled is not None else ""
            if said:
                raise NoAnswerError(said) from error
            raise
        finally:
            self._is_answering = False

    def close(self) -> None:
        super().close()
        # An answer that ends with the connection has still to be read when http.client closes it.
        if self._hang_up is not None and not self._is_answering:
            self._hang_up()
