"""The HTTP headers that registries speak through, read as values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import timezone
from urllib.parse import urljoin

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
