"""Which proxy the environment names for a host, as Go's programs (docker among them) read it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from builder.http.trust import is_loopback

_PORTS = {"http": 80, "https": 443}


def proxy_for(scheme: str, authority: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's address; None for a direct connection, as it always is to the loopback."""
    if is_loopback(authority):
        return None
    proxy = _variable(f"{scheme}_proxy", environ)
    if not proxy or _is_exempt(scheme, authority, _variable("no_proxy", environ)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name.upper()) or environ.get(name) or ""


def _is_exempt(scheme: str, authority: str, exempt: str) -> bool:
    parts = urlsplit(f"//{authority}")
    host, port = parts.hostname or "", parts.port or _PORTS[scheme]
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
    if colon and digits.isdecimal() and ":" not in name:
        if int(digits) != port:
            return False
        entry = name
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        below = entry.removeprefix("*").removeprefix(".")
        return host.endswith(f".{below}") or host == entry
