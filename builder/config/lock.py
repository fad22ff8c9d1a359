"""build.lock: the external bases of a tree by digest, so that everybody builds on the same ones.

It lies beside build.toml and belongs into git. What it can pin differs, and each entry says so:

``registry``  a manifest's digest: pulled by it, from wherever build.toml says, on every machine.
``engine``    the id of an image that no registry knows, such as one that was bootstrapped: good on
              machines whose engine has that very image, and an error on others.

Folders in [contexts] are part of the tree and are not locked; an address is not lockable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import tomli
from msgspec import Struct, field

from builder.config.load import Config
from builder.config.toml_lines import line_of
from builder.core.bases import IMAGE_SCHEME, Pin, Resolution, ResolvedBase
from builder.core.errors import ConfigError, InputError, Location, OcbuildError, raise_all
from builder.core.options import BuildOptions
from builder.core.text import quoted_key
from builder.system.atomic import replace_file

VERSION = 1
_HEAD = """\
# The external bases of this tree, by digest. Written by `ocbuild … --lock`; belongs into git.
# To move a base, remove its line and run with --lock again.
version = 1

[bases]
"""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REMEDY = "run with --lock, and commit build.lock"


class Lock(Struct, frozen=True, kw_only=True):
    """What a run has to do with build.lock: the pins to build on, and whether to write it."""

    path: Path
    pins: Mapping[str, Pin] = field(default_factory=dict)
    write: bool = False
    strict: bool = False

    @classmethod
    def open(cls, config: Config, options: BuildOptions) -> Lock:
        """What the file says; without one, nothing is pinned.

        Raises:
            ConfigError: it cannot be read or understood.

        """
        path = config.lock_path
        return cls(path=path, pins=_read(path), write=options.lock, strict=options.locked)

    def check(self, texts: Iterable[str], config: Config) -> None:
        """Raise, with --locked, for every base that is not in the lock; one line for each."""
        if self.strict:
            raise_all([*self._unlocked(sorted(set(texts)), config)])

    def record(self, resolution: Resolution, tree: Iterable[str]) -> bool:
        """Write, with --lock, what was resolved; entries of bases that the ``tree`` lost go.

        Returns whether the lock is another one now.

        Raises:
            InputError: with --locked, for every base that this machine would have to make anew.
            ConfigError: a base cannot be locked, or the file cannot be written.

        """
        if self.strict:
            raise_all([*self._lost(resolution)])
        if not self.write:
            return False
        raise_all([_unlockable(text, found, self.path) for text, found in _open(resolution)])
        pins = {text: pin for text, pin in self.pins.items() if text in set(tree)}
        for text, found in resolution.items():
            pin = _pin(found)
            if pin is not None:
                pins[text] = pin
        if pins == self.pins and self.path.exists():
            return False
        try:
            replace_file(self.path, as_text(pins))
        except OSError as error:
            raise ConfigError(
                f"cannot be written: {error.strerror}", where=Location(str(self.path))
            ) from error
        return True

    def _lost(self, resolution: Resolution) -> Iterable[InputError]:
        """What no registry has. A pull that failed is a fault of the day, and no matter of this."""
        for text, found in resolution.items():
            if isinstance(found, OcbuildError) and text in self.pins and self.pins[text].local:
                yield ConfigError(found.message, where=Location(self.path.name), hint=found.hint)

    def _unlocked(self, texts: Iterable[str], config: Config) -> Iterable[InputError]:
        for text in texts:
            redirect = config.contexts.get(text, IMAGE_SCHEME)
            if redirect.startswith(IMAGE_SCHEME):
                if text not in self.pins:
                    fact = f"the base {text} is not locked"
                    yield ConfigError(fact, where=Location(self.path.name), hint=_REMEDY)
            elif "://" in redirect or redirect.startswith("git@"):
                yield ConfigError(
                    f"{text} stands for {redirect} in [contexts], which no lock can pin",
                    where=config.locate("contexts", text),
                )


def as_text(pins: Mapping[str, Pin]) -> str:
    """The file; equal pins give equal bytes."""
    lines = [
        f'{quoted_key(text)} = {{ {pin.kind} = "{pin.digest}" }}\n'
        for text, pin in sorted(pins.items())
    ]
    return _HEAD + "".join(lines)


def from_text(text: str, name: str) -> dict[str, Pin]:
    """Read what ``as_text`` wrote; ``name`` is for messages.

    Raises:
        ConfigError: it is not that.

    """
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise _broken(name, f"not TOML: {error}") from error
    if document.get("version") != VERSION:
        raise _broken(name, f"its version is {document.get('version')!r}, not {VERSION}")
    found = document.get("bases", {})
    if not isinstance(found, dict):
        raise _broken(name, "[bases] is no table")
    return {base: _pin_of(base, entry, text, name) for base, entry in found.items()}


def _pin_of(base: str, entry: object, text: str, name: str) -> Pin:
    if isinstance(entry, dict) and len(entry) == 1:
        ((kind, digest),) = entry.items()
        if kind == "registry" and isinstance(digest, str) and _DIGEST.fullmatch(digest):
            return Pin(digest=digest)
        if kind == "engine" and isinstance(digest, str) and _DIGEST.fullmatch(digest):
            return Pin(digest=digest, local=True)
    fact = f'the entry of "{base}" is neither {{ registry = "sha256:…" }} nor {{ engine = … }}'
    raise ConfigError(
        fact, where=Location(name, line_of(text, ("bases", base))), hint="remove it; --lock adds it"
    )


def _broken(name: str, fact: str) -> ConfigError:
    return ConfigError(fact, where=Location(name), hint="remove the file; --lock writes it anew")


def _read(path: Path) -> dict[str, Pin]:
    try:
        return from_text(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path.name, f"cannot be read: {error}") from error


def _pin(found: object) -> Pin | None:
    if not isinstance(found, ResolvedBase) or not found.reference:
        return None
    return Pin(digest=found.digest, local="@" not in found.reference)


def _open(resolution: Resolution) -> Iterable[tuple[str, object]]:
    """What no entry can be written for: not found, or an address."""
    return [
        (text, one)
        for text, one in resolution.items()
        if _pin(one) is None
        and not (isinstance(one, ResolvedBase) and one.digest.startswith("folder:"))
    ]


def _unlockable(text: str, found: object, path: Path) -> InputError:
    reason = getattr(found, "message", "it is an address, which no lock can pin")
    return ConfigError(f"the base {text} cannot be locked: {reason}", where=Location(path.name))
