"""What build.lock says: its text, what it can pin of what was resolved, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from builder.core.bases import IMAGE_SCHEME, Pin, Resolution, ResolvedBase
from builder.core.errors import ConfigError, InputError, Location, OcbuildError
from builder.core.settings.config import Config
from builder.core.text import quoted_key

VERSION = 1
_HEAD = """\
# The external bases of this tree, by digest. Written by `ocbuild … --lock`; belongs into git.
# To move a base, remove its line and run with --lock again.
version = 1

[bases]
"""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REMEDY = "run with --lock, and commit build.lock"

Pins = Mapping[str, Pin]


def as_text(pins: Pins) -> str:
    """The file; equal pins give equal bytes."""
    lines = [
        f'{quoted_key(text)} = {{ {pin.kind} = "{pin.digest}" }}\n'
        for text, pin in sorted(pins.items())
    ]
    return _HEAD + "".join(lines)


def pins_in(
    document: Mapping[str, Any], name: str, line_of: Callable[[str], int | None]
) -> dict[str, Pin]:
    """The pins of a file that was written by ``as_text``, and of which ``name`` is for messages.

    ``line_of`` tells the line on which the entry of a base stands.

    Raises:
        ConfigError: it is no such file.

    """
    if document.get("version") != VERSION:
        raise broken(name, f"its version is {document.get('version')!r}, not {VERSION}")
    entries = document.get("bases", {})
    if not isinstance(entries, dict):
        raise broken(name, "[bases] is no table")
    pins = {base: _pin_in(entry) for base, entry in entries.items()}
    for base, pin in pins.items():
        if pin is None:
            raise ConfigError(
                f'the entry of "{base}" is neither {{ registry = "sha256:…" }}'
                " nor { engine = … }",
                where=Location(name, line_of(base)),
                hint="remove it; --lock adds it",
            )
    return {base: pin for base, pin in pins.items() if pin is not None}


def _pin_in(entry: object) -> Pin | None:
    if isinstance(entry, dict) and len(entry) == 1:
        ((kind, digest),) = entry.items()
        if isinstance(digest, str) and _DIGEST.fullmatch(digest) and kind in ("registry", "engine"):
            return Pin(digest=digest, local=kind == "engine")
    return None


def broken(name: str, fact: str) -> ConfigError:
    return ConfigError(fact, where=Location(name), hint="remove the file; --lock writes it anew")


def unlocked(pins: Pins, texts: Iterable[str], config: Config, name: str) -> Iterator[InputError]:
    """An error for every base that the lock does not pin."""
    for text in sorted(set(texts)):
        redirect = config.contexts.get(text, IMAGE_SCHEME)
        if redirect.startswith(IMAGE_SCHEME):
            if text not in pins:
                fact = f"the base {text} is not locked"
                yield ConfigError(fact, where=Location(name), hint=_REMEDY)
        elif "://" in redirect or redirect.startswith("git@"):
            yield ConfigError(
                f"{text} stands for {redirect} in [contexts], which no lock can pin",
                where=config.locate("contexts", text),
            )


def lost(pins: Pins, resolution: Resolution, name: str) -> Iterator[InputError]:
    """An error for every base of one engine that this one lacks.

    A pull that failed is a fault of the day, and no matter of the lock.
    """
    for text, base in resolution.items():
        if isinstance(base, OcbuildError) and text in pins and pins[text].local:
            yield ConfigError(base.message, where=Location(name), hint=base.hint)


def unlockable(resolution: Resolution, name: str) -> Iterator[InputError]:
    """An error for everything that no entry can be written for: not resolved, or an address."""
    for text, base in resolution.items():
        is_folder = isinstance(base, ResolvedBase) and base.digest.startswith("folder:")
        if _pin_of(base) is None and not is_folder:
            reason = getattr(base, "message", "it is an address, which no lock can pin")
            fact = f"the base {text} cannot be locked: {reason}"
            yield ConfigError(fact, where=Location(name))


def moved(pins: Pins, resolution: Resolution, tree: Iterable[str]) -> dict[str, Pin]:
    """The pins after a run: what was resolved is added, what the ``tree`` lost goes."""
    names = set(tree)
    new = {text: _pin_of(base) for text, base in resolution.items()}
    kept = {text: pin for text, pin in pins.items() if text in names}
    return {**kept, **{text: pin for text, pin in new.items() if pin is not None}}


def _pin_of(base: object) -> Pin | None:
    if not isinstance(base, ResolvedBase) or not base.reference:
        return None
    return Pin(digest=base.digest, local="@" not in base.reference)
