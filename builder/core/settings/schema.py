"""Reads TOML tables into structs; the annotations of their fields are the schema.

``jobs: Annotated[int, WholeNumber(minimum=1)] | None = None`` says it all: the key, the type, the
rule, the default. Faults are collected, so that one look shows all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    runtime_checkable,
)

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from builder.core.errors import Bug, did_you_mean, nearest
from builder.core.settings.readers import (
    Choice,
    FilePath,
    KeyPath,
    Place,
    Switch,
    Text,
    UnfitError,
    ValueReader,
    dotted,
    kind,
    plain,
)
from builder.core.text import quoted, quoted_key

Shape: TypeAlias = type[Struct]


@runtime_checkable
class HasRules(Protocol):
    """A struct with rules beyond those of its single fields."""

    def check(self, place: Place) -> None: ...


class TableName(Struct, frozen=True):
    """Marks the field that takes the name of its table: ``contrail`` of ``[groups.contrail]``."""


class Spelled(Struct, frozen=True):
    """Marks a field whose key in the file is spelled otherwise."""

    key: str


class SchemaKey(Struct, frozen=True, kw_only=True):
    """One key of a table, as the annotation of a field describes it."""

    name: str
    field: str
    reader: ValueReader
    default: Any
    required: bool


class ListOf(Struct, frozen=True, kw_only=True):
    """A list whose items are all read alike."""

    item: ValueReader
    wanted: str = "a list"

    @property
    def example(self) -> str:
        return f"[{self.item.example}]"

    def read(self, value: object, place: Place) -> tuple[Any, ...]:
        value = plain(value)
        if not isinstance(value, list):
            raise place.unfit(kind(value), self)
        return tuple(_read_all((item, self.item, place.at(i)) for i, item in enumerate(value)))


class TableOf(Struct, frozen=True, kw_only=True):
    """A table whose keys the user chooses."""

    key: Text
    item: ValueReader
    wanted: str = "a table"

    @property
    def example(self) -> str:
        return f"{{ {self.key.example} = {self.item.example} }}"

    def read(self, value: object, place: Place) -> dict[str, Any]:
        table = _table(value, self, place)
        before = len(place.faults)
        for key in table:
            try:
                self.key.read_key(key, place.at(key))
            except UnfitError:
                continue
        items = _read_all((item, self.item, place.at(key)) for key, item in table.items())
        if len(place.faults) > before:
            raise UnfitError
        return dict(zip(table, items, strict=True))


class StructOf(Struct, frozen=True, kw_only=True):
    """A table that becomes a ``shape``."""

    shape: Shape
    wanted: str = "a table"

    @property
    def example(self) -> str:
        keys = keys_of(self.shape)
        shown = [key for key in keys if key.required] or keys[:1]
        return f"{{ {', '.join(f'{key.name} = {key.reader.example}' for key in shown)} }}"

    def read(self, value: object, place: Place) -> Any:
        table = _table(value, self, place)
        before = len(place.faults)
        values = read_fields(self.shape, table, place)
        if len(place.faults) == before:
            record = self.shape(**values)
            if isinstance(record, HasRules):
                record.check(place)
            if len(place.faults) == before:
                return record
        raise UnfitError


@cache
def keys_of(shape: Shape) -> tuple[SchemaKey, ...]:
    """The keys of a table that becomes ``shape``."""
    keys = []
    for field in _fields(shape):
        hint, marks = _unpack(field.type)
        if any(isinstance(mark, TableName) for mark in marks):
            continue
        default = field.default
        if field.default_factory is not NODEFAULT:
            default = field.default_factory()
        keys.append(
            SchemaKey(
                name=next((mark.key for mark in marks if isinstance(mark, Spelled)), field.name),
                field=field.name,
                reader=_reader(hint, marks),
                default=None if field.required else default,
                required=field.required,
            )
        )
    return tuple(keys)


def read_fields(shape: Shape, table: Mapping[str, object], place: Place) -> dict[str, Any]:
    """What the table gives for the fields of ``shape``, as far as it is right.

    Keys that ``shape`` has in PLANNED are still to come: they are faulted with what it says there.
    """
    keys = {key.name: key for key in keys_of(shape)}
    missing = {key.name for key in keys.values() if key.required} - table.keys()
    planned: Mapping[str, str] = getattr(shape, "PLANNED", {})
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in planned:
            what = dotted((*place.path, name)) if place.path else section((name,))
            place.at(name).fault(f"{what} does not work yet", planned[name])
            continue
        if name not in keys:
            remedy = did_you_mean(name, keys) or f"its keys are {', '.join(sorted(keys))}"
            place.at(name).fault(f"{section(place.path)} has no key {quoted(name)}", remedy)
            missing.difference_update(nearest(name, keys))  # one mistake, not two
            continue
        try:
            values[keys[name].field] = keys[name].reader.read(value, place.at(name))
        except UnfitError:
            continue
    for name in sorted(missing):
        remedy = f"add the line: {quoted_key(name)} = {keys[name].reader.example}"
        place.fault(f"{section(place.path)} has no {quoted(name)}", remedy)
    for field in _fields(shape):
        if any(isinstance(mark, TableName) for mark in _unpack(field.type)[1]):
            values[field.name] = place.path[-1]
    return values


@cache
def _fields(shape: Shape) -> tuple[FieldInfo, ...]:
    return fields(shape)


def section(path: KeyPath) -> str:
    return f"[{dotted(path)}]" if path else "build.toml"


def _read_all(parts: Iterable[tuple[object, ValueReader, Place]]) -> list[Any]:
    """Every part read, after each had its chance to record its faults."""
    values, fit = [], True
    for value, reader, place in parts:
        try:
            values.append(reader.read(value, place))
        except UnfitError:
            fit = False
    if not fit:
        raise UnfitError
    return values


def _table(value: object, reader: ValueReader, place: Place) -> dict[str, object]:
    value = plain(value)
    if not isinstance(value, dict):
        raise place.unfit(kind(value), reader)
    return value


def _unpack(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The bare annotation, without ``| None``, and the marks that it carries."""
    if get_origin(hint) in (Union, UnionType):
        choices = [arg for arg in get_args(hint) if arg is not NoneType]
        if len(choices) == 1:
            return _unpack(choices[0])
    if get_origin(hint) is Annotated:
        return get_args(hint)[0], tuple(hint.__metadata__)
    return hint, ()


def _reader(hint: Any, marks: Iterable[Any] = ()) -> ValueReader:
    """The reader that an annotation stands for."""
    for mark in marks:
        if isinstance(mark, ValueReader):
            return mark
    simple: dict[Any, ValueReader] = {str: Text(), bool: Switch(), Path: FilePath()}
    if hint in simple:
        return simple[hint]
    if isinstance(hint, type) and issubclass(hint, Struct):
        return StructOf(shape=hint)
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return Choice(words=arguments)
    if get_origin(hint) is tuple:
        return ListOf(item=_reader(*_unpack(arguments[0])))
    if get_origin(hint) is Mapping:
        key = _reader(*_unpack(arguments[0]))
        if isinstance(key, Text):
            return TableOf(key=key, item=_reader(*_unpack(arguments[1])))
    raise Bug(f"no reader for the annotation {hint!r}")
