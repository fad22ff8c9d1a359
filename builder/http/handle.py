"""One easy handle of libcurl, driven step by step: its owner pulls, and nothing runs behind him.

A handle belongs to one thread at a time, as libcurl wants it (libcurl-thread(3)); the connections,
the names and the TLS sessions that it has seen stay with it for the next request. It follows no
redirect, reads no environment and asks no netrc: who may see what is decided above.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import urlsplit

import pycurl
from msgspec import Struct

from builder.core import registry_faults as faults
from builder.core.errors import InterruptedRunError
from builder.core.registry_faults import BrokenTransferError

CONNECT_SECONDS = 10.0
# Bytes that have to pass within the seconds that are waited for them; a shorter reply has to be
# complete by then.
_LEAST = 1 << 10
_BLOCK = 1 << 17
_LONGEST_LINE = 100
_TICK = 0.5
_BLANK = (b"\r\n", b"\n")
_ABORT = -1  # any number but that of the bytes
_ABORT_READ: int = pycurl.READFUNC_ABORT
_SUPPRESS_CONNECT_HEADERS = 265  # by its number: pycurl has no name for it

# What holds for every request.
_ALWAYS: tuple[tuple[int, Any], ...] = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.NOPROGRESS, 1),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.PATH_AS_IS, 1),
    (pycurl.NOPROXY, ""),
    (_SUPPRESS_CONNECT_HEADERS, 1),
    (pycurl.CONNECTTIMEOUT_MS, int(CONNECT_SECONDS * 1000)),
    # Many requests over few connections: HTTP/2 gains nothing here, and uploads lose by it.
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    # What speaks no HTTP is to be quoted, and is seen as a body without a head only with this.
    (pycurl.HTTP09_ALLOWED, 1),
    (pycurl.BUFFERSIZE, _BLOCK),
    (pycurl.UPLOAD_BUFFERSIZE, _BLOCK),
)


class TooLongError(Exception):
    """More has come than was asked for."""


class Upload(Struct, frozen=True, kw_only=True):
    """A body to send: ``source`` has at least ``size`` bytes."""

    source: IO[bytes]
    size: int


class Limits(Struct, frozen=True, kw_only=True):
    """What a transfer may take: ``most`` bytes of a body, unpacked where it is packed.

    ``read_seconds`` is how long nothing may come, ``total_seconds`` for the whole.
    """

    most: float = math.inf
    read_seconds: float = 60.0
    total_seconds: float = math.inf


class ShortSourceError(Exception):
    """The source of a body has ``missing`` bytes fewer than it should."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing} bytes are missing")
        self.missing = missing


class Handle:
    """For one transfer at a time: ``begin``, ``await_head``, ``read`` to the end, ``end``.

    ``cancel`` ends what is under way.
    """

    def __init__(self, cancel: threading.Event | None = None) -> None:
        self._cancel = cancel
        self._curl = pycurl.Curl()
        self._multi = pycurl.CurlMulti()
        self._running = False

    def begin(
        self,
        url: str,
        options: Iterable[tuple[int, Any]],
        *,
        upload: Upload | None = None,
        limits: Limits,
    ) -> None:
        """Start a transfer.

        Raises:
            BrokenTransferError: an option cannot be: the address has characters that none may have.

        """
        self.status = 0
        self.reason = ""
        self.headers: dict[str, list[str]] = {}
        self.sent = self.received = 0
        self.has_head = False
        self._blocks: deque[bytes] = deque()
        self._lines: list[bytes] = []
        self._upload = upload
        self._raised: BaseException | None = None
        self._waited, self._counted = 0.0, 0
        self._limits = limits
        self._ends = time.monotonic() + limits.total_seconds
        self._tunnels = url.startswith("https:")
        curl = self._curl
        try:
            curl.setopt(pycurl.URL, url)
            for option, value in (*_ALWAYS, *options):
                curl.setopt(option, value)
        except (pycurl.error, ValueError) as error:
            curl.reset()
            raise BrokenTransferError(faults.MALFORMED_URL, str(error.args[-1])) from error
        curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, self._take_body)
        if upload is not None:
            curl.setopt(pycurl.READFUNCTION, self._give)
        self._multi.add_handle(curl)
        self._running = True

    @property
    def ended(self) -> bool:
        return not self._running

    def await_head(self) -> None:
        """Go on until the head is complete; raises as ``read`` does."""
        while not self.has_head and self._running:
            self._step()
        if not self.has_head:
            self._raise_failure()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes of the body; none at its end.

        Raises:
            BrokenTransferError: the transfer broke, or took too long.
            TooLongError: the body is longer than asked for.
            ShortSourceError: the body to send is shorter than promised.

        """
        while not self._blocks and self._running:
            self._step()
        if not self._blocks:
            self._raise_failure()
            return b""
        if not size:
            return b""
        block = self._blocks.popleft()
        if len(block) > size:
            self._blocks.appendleft(block[size:])
            block = block[:size]
        return block

    def read_all(self) -> bytes:
        """All that is left of the body; raises as ``read`` does."""
        while self._running:
            self._step()
        self._raise_failure()
        return b"".join(self._blocks)

    def end(self) -> None:
        """Give up what is still to come, and the connection with it."""
        if self._running:
            self._running = False
            self._multi.remove_handle(self._curl)
        # Nothing of the request stays: neither its secrets nor what its callbacks hold.
        self._curl.reset()
        self._upload = self._raised = None

    def close(self) -> None:
        """Close all connections."""
        self.end()
        self._multi.close()
        self._curl.close()

    # --- what drives it -----------------------------------------------------------------------

    def _step(self) -> None:
        """Let libcurl do what it can, and wait for the server where it can do nothing."""
        had_head, before = self.has_head, len(self._blocks)
        while True:
            _, running = self._multi.perform()
            if not had_head:
                self._read_head()
            if self._raised is not None or not running:
                self._finish()
                return
            passed = self.received + self.sent
            if passed - self._counted >= _LEAST:
                self._waited, self._counted = 0.0, passed
            now = time.monotonic()
            if self._waited >= self._limits.read_seconds or now >= self._ends:
                raise BrokenTransferError(faults.TIMED_OUT, "nothing came in time")
            if len(self._blocks) > before or self.has_head != had_head:
                return
            if self._cancel is not None and self._cancel.is_set():
                raise InterruptedRunError("stopped in the middle of a request")
            self._multi.select(self._patience(now))
            self._waited += time.monotonic() - now

    def _patience(self, now: float) -> float:
        """How long to wait at most before libcurl or a limit has to be looked at again."""
        own = self._multi.timeout()
        seconds = min(_TICK, self._limits.read_seconds - self._waited, self._ends - now)
        return max(0.0, min(seconds, own / 1000) if own >= 0 else seconds)

    def _finish(self) -> None:
        _, _, failed = self._multi.info_read()
        self._multi.remove_handle(self._curl)
        self._running = False
        if self._raised is not None:
            return
        if failed:
            _, code, text = failed[0]
            self._raised = self._failure(code, text)
        elif not self.has_head:
            self._raised = self._failure(faults.NO_ANSWER, "")

    def _raise_failure(self) -> None:
        """Raise what ended the transfer, once what came before it was read."""
        if self._raised is not None:
            raise self._raised

    def _failure(self, code: int, text: str) -> BrokenTransferError | None:
        if code in (faults.SEND_FAILED, faults.NO_REWIND) and self.has_head:
            return None  # it did not want the body, and has said why
        number = self._curl.getinfo(pycurl.OS_ERRNO)
        if code == faults.NO_NAME:
            number = _name_fault(self._curl.getinfo(pycurl.EFFECTIVE_URL))
        proxied = self._is_of_the_proxy(code)
        return BrokenTransferError(code, text, number=number, proxied=proxied)

    def _is_of_the_proxy(self, code: int) -> bool:
        if code in (faults.NO_PROXY_NAME, faults.PROXY_FAILED):
            return True
        curl = self._curl
        if not curl.getinfo(pycurl.USED_PROXY):
            return False
        if code == faults.NO_CONNECTION:
            return True
        # Behind a tunnel that stands it is the server's fault.
        is_new = curl.getinfo(pycurl.NUM_CONNECTS) > 0
        return self._tunnels and is_new and curl.getinfo(pycurl.HTTP_CONNECTCODE) != HTTPStatus.OK

    def _read_head(self) -> bool:
        """Whether the head is complete now; what only says that a reply is to come is passed over.

        libcurl itself takes no more than 300 KiB and 5000 lines of it, and no longer line than 100.
        """
        if not self._lines or self._lines[-1] not in _BLANK:
            return False
        lines = self._lines.copy()
        self._lines.clear()
        for line in lines:
            text = line.decode("latin-1")
            name, colon, value = text.partition(":")
            if text.startswith("HTTP/"):
                _, _, said = text.rstrip().partition(" ")
                code, _, self.reason = said.partition(" ")
                self.status = int(code) if code.isdecimal() else 0
                self.headers = {}
            elif colon:
                self.headers.setdefault(name.strip().lower(), []).append(value.strip())
        self.has_head = self.status >= HTTPStatus.OK
        return self.has_head

    # --- called by libcurl, and never to raise ------------------------------------------------

    def _take_body(self, block: bytes) -> int | None:
        if not self.has_head and not self._read_head():
            line = block[:_LONGEST_LINE].partition(b"\n")[0].decode("latin-1").strip()
            text = f"it does not speak HTTP, but says {line!r}"
            return self._give_up(BrokenTransferError(faults.ODD_REPLY, text))
        self.received += len(block)
        if self.received > self._limits.most:
            return self._give_up(TooLongError())
        self._blocks.append(block)
        return None

    def _give(self, size: int) -> bytes | int:
        upload = self._upload
        assert upload is not None  # noqa: S101 - libcurl asks only who has one
        left = upload.size - self.sent
        try:
            block: bytes = upload.source.read(min(size, left)) if left else b""
        except BaseException as error:  # noqa: BLE001 - it is raised again by who waits
            self._raised = error
            return _ABORT_READ
        if left and not block:
            self._raised = ShortSourceError(left)
            return _ABORT_READ
        self.sent += len(block)
        return block

    def _give_up(self, error: Exception) -> int:
        self._raised = error
        return _ABORT


def _name_fault(url: str) -> int:
    """Why a name cannot be resolved, as an EAI: libcurl tells only that it cannot."""
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except socket.gaierror as error:
        return error.errno or 0
    except (OSError, ValueError):
        pass
    return socket.EAI_AGAIN
