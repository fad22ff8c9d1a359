"""The standard library's ``dataclass``, with methods that are made only where one is called.

A run makes some two hundred frozen classes as it starts, and for each the library compiles six
methods: that alone is a fifth of a run that changes one image. The fields, and with them
``fields``, ``replace`` and ``asdict``, are the library's own; so is all of a class that is not
frozen, or wants more than slots and names for its arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """As ``dataclasses.dataclass``, whose documentation holds."""
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        if not options.get("frozen") or options.keys() - {"frozen", "slots", "kw_only"}:
            return dataclasses.dataclass(cls, **options)
        own = {name: cls.__dict__.get(name) for name in ("__init__", *_METHODS)}
        cls.__doc__ = cls.__doc__ or cls.__name__  # else the library looks at the signature
        made = dataclasses.dataclass(cls, **{**options, **_BARE})
        for name, method in {**_METHODS, "__init__": _first_init(made)}.items():
            if own[name] is None:
                setattr(made, name, method)
        return made


_BARE = {"init": False, "repr": False, "eq": False, "frozen": False}
_set = object.__setattr__


def _first_init(cls: Any) -> Any:
    """An ``__init__`` that makes the real one when it is called, and puts it in its own place."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - what it becomes
        cls.__init__ = _init(cls)
        cls.__init__(self, *args, **kwargs)

    return __init__


def _init(cls: Any) -> Any:
    """The ``__init__`` that the library would make; its fields are set past ``__setattr__``."""
    names: dict[str, Any] = {"_set": _set, "_missing": dataclasses.MISSING}
    positional: list[str] = []
    by_name: list[str] = []
    body = []
    for field in dataclasses.fields(cls):
        name, given = field.name, f"_default_{field.name}"
        value = name
        if field.default_factory is not dataclasses.MISSING:
            names[given] = field.default_factory
            parameter = f"{name}=_missing"
            value = f"{given}() if {name} is _missing else {name}"
        elif field.default is not dataclasses.MISSING:
            names[given] = field.default
            parameter = f"{name}={given}"
        else:
            parameter = name
        body.append(f"  _set(self, {name!r}, {value})\n")
        (by_name if field.kw_only else positional).append(parameter)
    star = ["*"] if by_name else []
    after = "  self.__post_init__()\n" if hasattr(cls, "__post_init__") else ""
    text = f"def __init__({', '.join(['self', *positional, *star, *by_name])}):\n"
    exec(text + "".join(body) + (after or "  pass\n"), names)  # noqa: S102 - as the library does it
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _values(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """What gives the values of these fields, as something to be compared or hashed."""
    return attrgetter(*names) if names else lambda _self: ()


@cache
def _compared(cls: Any) -> Callable[[Any], Any]:
    return _values(tuple(each.name for each in dataclasses.fields(cls) if each.compare))


@cache
def _hashed(cls: Any) -> Callable[[Any], Any]:
    fields = dataclasses.fields(cls)
    return _values(
        tuple(each.name for each in fields if (each.compare if each.hash is None else each.hash))
    )


def _eq(self: Any, other: Any) -> Any:
    cls = self.__class__
    if other.__class__ is not cls:
        return NotImplemented
    values = _compared(cls)
    # In tuples, as the library compares them: what is the same object is equal.
    return (values(self),) == (values(other),)


def _hash(self: Any) -> int:
    return hash(_hashed(self.__class__)(self))


def _repr(self: Any) -> str:
    shown = (
        f"{each.name}={getattr(self, each.name)!r}"
        for each in dataclasses.fields(self)
        if each.repr
    )
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _setattr(_self: Any, name: str, _value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(_self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        _set(self, each.name, value)


_METHODS = {
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
