"""Who owns what: ``--chown`` and USER as BuildKit looks them up."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.core.assemble import Reader, Refused
from builder.core.assemble.files import Files, Owner

_NUMBER = re.compile(r"[0-9]+")
_LIKE_A_NUMBER = re.compile(r"[+-]?[0-9_]+")
_HIGHEST = (1 << 31) - 1


def owner_of(text: str, files: Files, reader: Reader) -> Owner | None:
    """The owner that ``user[:group]`` names; None for "".

    A name that nobody has is root, and a number alone is user and group. What counts are the
    accounts as they are before the instruction.

    Raises:
        Refused: an engine fails, or it cannot be known.

    """
    if not text:
        return None
    user, colon, group = text.partition(":")
    uid = gid = 0
    number = _number(user)
    if number is not None:
        uid = gid = number
    elif user:
        uid, gid = _user(user, _accounts("etc/passwd", files, reader))
    if not colon:
        return Owner(uid, gid)
    number = _number(group)
    if number is not None:
        return Owner(uid, number)
    if group:
        found = _group(group, _accounts("etc/group", files, reader))
        return Owner(uid, gid if found is None else found)
    return Owner(uid, 0)


def _number(text: str) -> int | None:
    if text == "root":
        return 0
    if _NUMBER.fullmatch(text) and text.isascii():
        if int(text) > _HIGHEST:
            raise Refused(f'the id "{text}" is too high')
        return int(text)
    if _LIKE_A_NUMBER.fullmatch(text):
        raise Refused(f'the id "{text}" is no plain number')
    return None


def _accounts(path: str, files: Files, reader: Reader) -> str:
    if files.empty:
        raise Refused("an owner with a name cannot be looked up in an empty image")
    return files.account(path, reader) or ""


def _user(name: str, text: str) -> tuple[int, int]:
    for fields in _fields(text):
        if fields[0] == name:
            return _id(fields, 2), _id(fields, 3)
    return 0, 0


def _group(name: str, text: str) -> int | None:
    for fields in _fields(text):
        if fields[0] == name:
            return _id(fields, 2)
    return None


def _fields(text: str) -> Iterator[list[str]]:
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped:
            yield stripped.split(":")


def _id(fields: list[str], at: int) -> int:
    """A number as Go's Atoi reads it; 0 where it is none."""
    text = fields[at] if len(fields) > at else ""
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        return 0
    return int(text)
