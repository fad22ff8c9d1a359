"""Addresses on the loopback, and what answers there."""

from __future__ import annotations

import errno
import ipaddress
from enum import Enum
from http import HTTPStatus

from builder.core.errors import UsageError
from builder.core.registry_faults import BrokenTransferError, RegistryError
from builder.core.settings.config import DEFAULT_ADDRESS
from builder.http.client import HttpClient, Request
from builder.http.handle import Limits
from builder.http.trust import Trust

_PATIENCE = Limits(most=1 << 20, read_seconds=5.0, total_seconds=5.0)
_PORTS = range(1, 65536)


class Answer(Enum):
    REGISTRY = "a registry"
    SOMETHING_ELSE = "something that is no registry"
    NOTHING = "nothing"


def split(address: str) -> tuple[str, int]:
    """Host and port of a loopback address.

    Raises:
        UsageError: for anything else: without credentials it must not be open to the network.

    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        number = int(port)
    except ValueError:
        loopback, number = False, 0
    if not loopback or number not in _PORTS:
        raise UsageError(
            f'"{address}" is no loopback address with a port',
            hint=f"the embedded registry asks for no password, so it listens on this machine only, "
            f"for example at {DEFAULT_ADDRESS}",
        )
    return host, number


def ask(address: str) -> Answer:
    """What answers at the address, by what it says to the registry protocol's first question."""
    request = Request(
        method="GET", url=f"http://{address}/v2/", what=f"use {address}", limits=_PATIENCE
    )
    client = HttpClient(Trust(), {})
    try:
        reply = client.read(request)
    except RegistryError as error:
        cause = error.__cause__
        refused = isinstance(cause, BrokenTransferError) and cause.number == errno.ECONNREFUSED
        return Answer.NOTHING if refused else Answer.SOMETHING_ELSE
    finally:
        client.close()
    names_itself = reply.header("Docker-Distribution-Api-Version") is not None
    speaks_json = "json" in (reply.header("Content-Type") or "")
    asks_who = reply.header("WWW-Authenticate") is not None
    is_registry = (reply.status == HTTPStatus.OK and (names_itself or speaks_json)) or (
        reply.status == HTTPStatus.UNAUTHORIZED and (names_itself or asks_who)
    )
    return Answer.REGISTRY if is_registry else Answer.SOMETHING_ELSE
