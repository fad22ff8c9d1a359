"""``builder.core.values.dataclass`` makes what ``dataclasses.dataclass`` makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from builder.core.values import dataclass

Decorator = Callable[..., Any]


def shapes(decorate: Decorator) -> dict[str, Any]:
    """The kinds of classes that there are, made with one of the two."""

    @decorate(frozen=True, slots=True, kw_only=True)
    class Named:
        """By name."""

        a: int
        b: str = "b"
        c: list[int] = dataclasses.field(default_factory=list, hash=False)
        d: int = dataclasses.field(default=0, compare=False, repr=False)

    @decorate(frozen=True, slots=True)
    class Placed:
        a: int
        b: int = dataclasses.field(default=2, kw_only=True)
        c: int = 3

        def __post_init__(self) -> None:
            if self.a < 0:
                raise ValueError(self.a)

    @decorate(frozen=True)
    class Open:
        a: tuple[int, ...] = ()

    @decorate(frozen=True, slots=True)
    class Empty:
        pass

    @decorate(frozen=True, slots=True)
    class Own:  # noqa: PLW1641 - its hash is the decorator's
        a: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own)

        def __repr__(self) -> str:
            return "own"

    @decorate(frozen=True, slots=True, kw_only=True)
    class Child(Named):
        e: int = 5

    @decorate(frozen=True, slots=True, order=True)
    class Ordered:
        a: int

    @decorate(slots=True)
    class Changing:
        a: int

    found = locals()
    found.pop("decorate")
    return found


OURS, THEIRS = shapes(dataclass), shapes(dataclasses.dataclass)
MADE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Named", (), {"a": 1}),
    ("Named", (), {"a": 1, "b": "x", "c": [1], "d": 4}),
    ("Named", (), {"a": 1, "b": "x", "c": [1], "d": 5}),
    ("Named", (), {"a": 2, "c": [2]}),
    ("Placed", (1,), {}),
    ("Placed", (1, 4), {"b": 5}),
    ("Placed", (), {"a": 1}),
    ("Open", (), {}),
    ("Open", ((1, 2),), {}),
    ("Empty", (), {}),
    ("Own", (1,), {}),
    ("Own", (2,), {}),
    ("Child", (), {"a": 1, "e": 6}),
    ("Child", (), {"a": 1}),
    ("Ordered", (1,), {}),
    ("Changing", (1,), {}),
]


def made(shapes: dict[str, Any]) -> list[Any]:
    return [shapes[name](*args, **named) for name, args, named in MADE]


def outcome(what: Callable[[], Any]) -> object:
    """What comes of it, errors included: their words name the class in the same way."""
    try:
        return what()
    except Exception as error:  # noqa: BLE001 - whatever the library raises
        return type(error), str(error)


def is_hashable(value: object) -> bool:
    return isinstance(outcome(partial(hash, value)), int)


def test_they_are_equal_where_the_librarys_are() -> None:
    ours, theirs = made(OURS), made(THEIRS)
    table = [[one == other for other in ours] for one in ours]
    assert table == [[one == other for other in theirs] for one in theirs]
    assert any(one != other for one in ours for other in ours)


def test_they_have_a_hash_where_the_librarys_have_and_are_found_by_it() -> None:
    for one, other in zip(made(OURS), made(THEIRS), strict=True):
        assert is_hashable(one) == is_hashable(other)
    assert not is_hashable(OURS["Changing"](1))
    ours, theirs = made(OURS)[:-1], made(THEIRS)[:-1]
    assert len(set(ours)) == len(set(theirs))
    assert set(ours) == set(made(OURS)[:-1])


def test_they_are_shown_and_taken_apart_like_the_librarys() -> None:
    for one, other in zip(made(OURS), made(THEIRS), strict=True):
        assert repr(one) == repr(other)
        assert dataclasses.asdict(one) == dataclasses.asdict(other)
        assert type(one).__match_args__ == type(other).__match_args__
        assert hasattr(one, "__dict__") == hasattr(other, "__dict__")


@pytest.mark.parametrize("name", ["Named", "Placed", "Open", "Empty", "Own", "Child"])
def test_nothing_of_them_can_be_changed(name: str) -> None:
    one = next(each for each in made(OURS) if type(each).__name__ == name)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'a'"):
        one.a = 5
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'a'"):
        del one.a
    assert repr(one) == repr(next(each for each in made(OURS) if type(each).__name__ == name))


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("Named", (), {}),
        ("Named", (1,), {}),
        ("Named", (), {"a": 1, "z": 2}),
        ("Placed", (), {}),
        ("Placed", (1, 2, 3), {}),
        ("Placed", (-1,), {}),
        ("Empty", (1,), {}),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_the_same_words(
    name: str, args: tuple[int, ...], named: dict[str, int]
) -> None:
    ours = outcome(lambda: shapes(dataclass)[name](*args, **named))
    assert ours == outcome(lambda: THEIRS[name](*args, **named))
    assert isinstance(ours, tuple)
    # And the second time, when the methods are there.
    assert ours == outcome(lambda: OURS[name](*args, **named))


def test_each_has_a_default_of_its_own() -> None:
    first, second = OURS["Named"](a=1), OURS["Named"](a=1)
    first.c.append(1)
    assert second.c == []


def test_replace_and_copies_give_equal_values() -> None:
    for one in made(OURS):
        assert dataclasses.replace(one) == one
        assert copy.copy(one) == copy.deepcopy(one) == one
    changed = dataclasses.replace(OURS["Named"](a=1), b="y")
    assert (changed.a, changed.b) == (1, "y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A class that pickle can find."""

    a: int
    b: tuple[int, ...] = ()


def test_they_can_be_sent_elsewhere() -> None:
    one = Known(a=1, b=(2,))
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own


def test_their_order_is_the_librarys() -> None:
    assert OURS["Ordered"](1) < OURS["Ordered"](2)
    changing = OURS["Changing"](1)
    changing.a = 2
    assert changing == OURS["Changing"](2)
