"""HTTP as values: the headers that registries speak through, and the proxy for an address."""

from __future__ import annotations

import functools
import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from datetime import timezone
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - HTTP's word for a word
_GAP = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_TOKEN})(?=[\s,]|$)")
# Some servers leave out the quotes, even around a URL.
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r';\s*rel\s*=\s*"?[^";]*\bnext\b', re.IGNORECASE)


class Challenge(Struct, frozen=True, kw_only=True):
    """One way in which a server lets us prove who we are; ``scheme`` is in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(values: Iterable[str]) -> list[Challenge]:
    """All challenges of the WWW-Authenticate headers, which may each hold several."""
    found: list[Challenge] = []
    for value in values:
        found += _challenges(value)
    return found


def _challenges(text: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while True:
        gap = _GAP.match(text, position)
        position = gap.end() if gap else position
        if found and (match := _PARAMETER.match(text, position)):
            name, quoted, plain = match.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1].setdefault(name.lower(), value)
        elif match := _SCHEME.match(text, position):
            found.append((match[1].lower(), {}))
        else:
            return [Challenge(scheme=scheme, parameters=given) for scheme, given in found]
        position = match.end()


def next_page(link: str, url: str) -> str | None:
    """The address of the page that follows the one at ``url``; None on the last one."""
    for target, parameters in _LINK.findall(link):
        if _NEXT.search(parameters):
            return str(urljoin(url, target))
    return None


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds to wait, from either form: a number, or a date; None where it says nothing."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str, now: float) -> float:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 14 ms, and hardly ever said so

    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp() - now


def media_type(text: str | None) -> str:
    """A Content-Type without its parameters."""
    return (text or "").partition(";")[0].strip().lower()


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
