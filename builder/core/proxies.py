"""Which proxy the environment names for a host, as Go's programs (docker among them) read it.

The rules are those of https://pkg.go.dev/golang.org/x/net/http/httpproxy.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@functools.lru_cache(maxsize=256)
def is_loopback(authority: str) -> bool:
    """Whether host[:port] is this machine itself, without asking DNS."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(scheme: str, authority: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's address; None for a direct connection, as it always is to the loopback."""
    if is_loopback(authority):
        return None
    proxy = _variable(f"{scheme}_proxy", environ)
    if not proxy or _is_exempt(scheme, authority, _variable("no_proxy", environ)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        # To a CGI program HTTP_PROXY is what a client has sent as the header "Proxy".
        return environ.get(name) or ""
    return environ.get(name.upper()) or environ.get(name) or ""


def _is_exempt(scheme: str, authority: str, exempt: str) -> bool:
    if not exempt:
        return False
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    except ValueError:
        return False  # it is refused by whoever connects
    return any(_covers(entry.strip().lower(), host, port) for entry in exempt.split(","))


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY is about the host.

    It is ``*``, an address, a network, or a name with all below it; the latter without the name
    itself if it starts with a dot. A port may follow.
    """
    if not entry:
        return False
    if entry == "*":
        return True
    name, colon, digits = entry.rpartition(":")
    is_v6 = ":" in name
    if colon and digits.isdecimal() and (not is_v6 or name.endswith("]")):
        if int(digits) != port:
            return False
        entry = name
    entry = entry.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        below = entry.removeprefix("*").removeprefix(".")
        return bool(below) and (host.endswith(f".{below}") or host == entry)
