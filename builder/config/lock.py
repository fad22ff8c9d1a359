"""build.lock: the external bases of a tree by digest, so that everybody builds on the same ones.

It lies beside build.toml and belongs into git. What it can pin differs, and each entry says so:

``registry``  a manifest's digest: pulled by it, from wherever build.toml says, on every machine.
``engine``    the id of an image that no registry knows, such as one that was bootstrapped: good on
              machines whose engine has that very image, and an error on others.

Folders in [contexts] are part of the tree and are not locked; an address is not lockable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import tomli
from msgspec import Struct, field

from builder.config.toml import line_of
from builder.core.bases import Pin, Resolution
from builder.core.errors import ConfigError, Location, raise_all
from builder.core.options import BuildOptions
from builder.core.settings.config import Config
from builder.core.settings.lock import as_text, broken, lost, moved, pins_in, unlockable, unlocked
from builder.system.files import replace_file


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
            raise_all([*unlocked(self.pins, texts, config, self.path.name)])

    def record(self, resolution: Resolution, tree: Iterable[str]) -> bool:
        """Write, with --lock, what was resolved; entries of bases that the ``tree`` lost go.

        Returns whether the lock is another one now.

        Raises:
            InputError: with --locked, for every base that this machine would have to make anew.
            ConfigError: a base cannot be locked, or the file cannot be written.

        """
        if self.strict:
            raise_all([*lost(self.pins, resolution, self.path.name)])
        if not self.write:
            return False
        raise_all([*unlockable(resolution, self.path.name)])
        pins = moved(self.pins, resolution, tree)
        if pins == self.pins and self.path.exists():
            return False
        try:
            replace_file(self.path, as_text(pins))
        except OSError as error:
            raise ConfigError(
                f"cannot be written: {error.strerror}", where=Location(str(self.path))
            ) from error
        return True


def _read(path: Path) -> dict[str, Pin]:
    try:
        return from_text(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise broken(path.name, f"cannot be read: {error}") from error


def from_text(text: str, name: str) -> dict[str, Pin]:
    """Read what ``as_text`` wrote; ``name`` is for messages.

    Raises:
        ConfigError: it is not that.

    """
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise broken(name, f"not TOML: {error}") from error
    return pins_in(document, name, lambda base: line_of(text, ("bases", base)))
