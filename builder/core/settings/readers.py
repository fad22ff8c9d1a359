"""Reads single TOML values: text, numbers, switches, durations, paths."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.errors import InputError, did_you_mean
from builder.core.text import quoted, quoted_key

Key: TypeAlias = str | int
KeyPath: TypeAlias = tuple[Key, ...]


class Mistake(Struct, frozen=True, kw_only=True):
    """One mistake at one key."""

    path: KeyPath
    message: str
    hint: str | None = None


class Demand(Struct, frozen=True, kw_only=True):
    """What has to be on the disk: ``missing`` if nothing is, ``other`` if it is no ``kind``."""

    file: Path
    kind: Literal["file", "folder", "any"]
    missing: Mistake
    other: Mistake


class UnfitError(Exception):
    """A value cannot be used; the fault that says why is recorded already."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a value stands in the file; relative paths start at ``root``.

    ``expand`` puts the home folder for a ``~``, or raises RuntimeError. Mistakes are collected in
    ``faults``, and what only the disk can tell in ``demands``.
    """

    root: Path
    faults: list[Mistake]
    demands: list[Demand] = field(default_factory=list)
    expand: Callable[[Path], Path] = Path
    path: KeyPath = ()

    def at(self, *keys: str | int) -> Place:
        return replace(self, path=self.path + keys)

    def shown(self, path: Path) -> str:
        """How messages name a path: below the folder of the file, without it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def mistake(self, message: str, hint: str | None = None) -> Mistake:
        return Mistake(path=self.path, message=message, hint=hint)

    def fault(self, message: str, hint: str | None = None) -> None:
        self.faults.append(self.mistake(message, hint))

    def demand(
        self, file: Path, kind: Literal["file", "folder", "any"], missing: Mistake, other: Mistake
    ) -> None:
        self.demands.append(Demand(file=file, kind=kind, missing=missing, other=other))

    def misfit(self, given: str, reader: ValueReader, hint: str | None = None) -> Mistake:
        """That something else is given than what ``reader`` wants."""
        message = f"{dotted(self.path)} is {given}, but {reader.wanted} is wanted"
        key, example = self.path[-1], reader.example
        if isinstance(key, int):
            key, example = self.path[-2], f"[{example}]"
        return self.mistake(message, hint or f"for example: {quoted_key(str(key))} = {example}")

    def unfit(self, given: str, reader: ValueReader, hint: str | None = None) -> UnfitError:
        """Record a misfit."""
        self.faults.append(self.misfit(given, reader, hint))
        return UnfitError()


@runtime_checkable
class ValueReader(Protocol):
    """Turns a TOML value into a Python one, or records a fault and raises UnfitError."""

    @property
    def wanted(self) -> str: ...

    @property
    def example(self) -> str: ...

    def read(self, value: object, place: Place) -> Any: ...


class FreeText(Struct, frozen=True, kw_only=True):
    """A value from the command line; it is text where text is wanted: ``version=3.0``."""

    text: str
    value: object


def plain(value: object) -> object:
    return value.value if isinstance(value, FreeText) else value


def kind(value: object) -> str:
    """What a message calls a value of the wrong type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"


class Text(Struct, frozen=True, kw_only=True):
    """A string, made into a value by ``convert``, whose InputError becomes the fault."""

    wanted: str = "a string"
    example: str = '"text"'
    may_be_empty: bool = False
    pattern: str = r"(?s:.*)"
    convert: Callable[[str], Any] = str

    def read(self, value: object, place: Place) -> Any:
        if isinstance(value, FreeText):
            value = value.value if isinstance(value.value, str) else value.text
        if not isinstance(value, str):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            remedy = f"write it in quotes: {quoted(str(value))}" if number else None
            raise place.unfit(kind(value), self, remedy)
        if not self.accepts(value):
            raise place.unfit(quoted(value), self)
        return self._converted(value, place)

    def read_key(self, key: str, place: Place) -> None:
        """Read a name that the user chose for a key; ``place`` is that of the key."""
        if not self.accepts(key):
            table = dotted(place.path[:-1])
            place.fault(
                f"{quoted(key)} in [{table}] is not {self.wanted}", f"for example: {self.example}"
            )
            raise UnfitError
        self._converted(key, place)

    def accepts(self, text: str) -> bool:
        return bool(text or self.may_be_empty) and re.fullmatch(self.pattern, text) is not None

    def _converted(self, text: str, place: Place) -> Any:
        try:
            return self.convert(text)
        except InputError as error:
            place.fault(f"{dotted(place.path)}: {error.message}", error.hint)
            raise UnfitError from error


class Choice(Struct, frozen=True, kw_only=True):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return "one of " + ", ".join(quoted(word) for word in self.words)

    @property
    def example(self) -> str:
        return quoted(self.words[0])

    def read(self, value: object, place: Place) -> str:
        value = plain(value)
        if not isinstance(value, str):
            raise place.unfit(kind(value), self)
        if value not in self.words:
            raise place.unfit(quoted(value), self, did_you_mean(value, self.words))
        return value


class WholeNumber(Struct, frozen=True, kw_only=True):
    """A whole number that is not too small."""

    minimum: int

    @property
    def wanted(self) -> str:
        return f"a whole number of at least {self.minimum}"

    @property
    def example(self) -> str:
        return str(max(self.minimum, 4))

    def read(self, value: object, place: Place) -> int:
        value = plain(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise place.unfit(kind(value), self)
        if value < self.minimum:
            raise place.unfit(str(value), self)
        return value


class Switch(Struct, frozen=True, kw_only=True):
    """True or false."""

    wanted: str = "true or false"
    example: str = "true"

    def read(self, value: object, place: Place) -> bool:
        value = plain(value)
        if not isinstance(value, bool):
            raise place.unfit(kind(value), self)
        return value


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)


class Duration(Struct, frozen=True, kw_only=True):
    """``"1h30m"``, ``"90s"``, or whole seconds; read as seconds."""

    wanted: str = 'a duration such as "1h30m", "20m" or "90s"'
    example: str = '"20m"'

    def read(self, value: object, place: Place) -> float:
        value = plain(value)
        if isinstance(value, str):
            seconds, given = _seconds(value), quoted(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            seconds, given = value, str(value)
        else:
            raise place.unfit(kind(value), self)
        if seconds <= 0:
            raise place.unfit(given, self)
        return float(seconds)


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        return 0
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


class FilePath(Struct, frozen=True, kw_only=True):
    """A path; ``~`` is the home folder, and a relative one starts at the folder of the file."""

    wanted: str = "a path"
    example: str = '"path/to/it"'

    def read(self, value: object, place: Place) -> Path:
        text = Text(wanted=self.wanted, example=self.example).read(value, place)
        try:
            return Path(posixpath.normpath(place.root / place.expand(Path(text))))
        except RuntimeError as error:  # pathlib's word for an unknown home folder
            raise place.unfit(f"{quoted(text)}, whose home is unknown", self) from error


class WordOrPath(Struct, frozen=True, kw_only=True):
    """A text of a certain form, kept as it is; all else is the path of something that exists."""

    form: str
    wanted: str
    example: str

    def read(self, value: object, place: Place) -> str:
        text = str(Text(wanted=self.wanted, example=self.example).read(value, place))
        if re.fullmatch(self.form, text):
            return text
        mistake = place.misfit(f"{quoted(text)}, which does not exist", self)
        if "://" in text:
            place.faults.append(mistake)
            raise UnfitError
        path = FilePath().read(text, place)
        place.demand(path, "any", mistake, mistake)
        return str(path)


# -- keys as TOML writes them -------------------------------------------------------------------


def dotted(path: KeyPath) -> str:
    """The path as one would write it in TOML: ``groups."x.y".also[0]``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + quoted_key(key)
    return text
