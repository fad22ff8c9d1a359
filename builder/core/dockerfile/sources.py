"""What a source is: a path of the context, a URL, a git repository, or what RUN --mount names.

https://docs.docker.com/reference/dockerfile/#add and #run---mount describe them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from builder.core.errors import DockerfileError, did_you_mean

_PROTOCOL = re.compile(r"([a-zA-Z0-9]+)://")
_SCP_STYLE = re.compile(r"[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:")


def is_git(source: str) -> bool:
    """Whether ADD clones it; an http address is a repository only if its path ends with .git."""
    if source.startswith(("./", "../", "github.com/")):
        return False
    protocol = _PROTOCOL.match(source)
    if protocol is None:
        return _SCP_STYLE.match(source) is not None
    name = protocol[1].lower()
    if name not in ("http", "https"):
        return name in ("ssh", "git")
    try:
        return unquote(urlsplit(source).path).endswith(".git")
    except ValueError:
        return False


def is_remote(source: str) -> bool:
    """Whether ADD takes it from the network; no other protocol is known to BuildKit."""
    return source.startswith(("http://", "https://")) or is_git(source)


def is_whole_context(source: str) -> bool:
    return posixpath.normpath(f"/{source}").strip("/") == ""


# -- RUN --mount -------------------------------------------------------------------------------


_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(?:,|\Z)')
_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARINGS = ("shared", "private", "locked")
_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_BOOLEANS = ("readonly", "readwrite", "required")
_NUMBERS = {"mode": re.compile("[0-7]+"), "uid": re.compile("[0-9]+"), "gid": re.compile("[0-9]+")}
_SIZE = re.compile(r"[0-9]+(?:\.[0-9]+)? ?[kmgtp]?i?b?", re.IGNORECASE)
_TEXTS = ("type", "from", "source", "target", "size", "id", "sharing", "mode", "uid", "gid", "env")
_KEYS = (*_TEXTS, *_BOOLEANS, *_ALIASES)
# strconv.ParseBool
_BOOLEAN = ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")
_WITH_OWNER = ("secret", "ssh", "cache")
_WITH_REQUIRED = ("secret", "ssh")


class Mount(Struct, frozen=True, kw_only=True):
    """What a mount reads; ``origin`` is its ``from``, "" for the build context."""

    kind: str
    origin: str
    source: str


def origin_of(value: str) -> str:
    """The ``from`` of a mount, which is fixed before any variable has a value.

    Raises:
        DockerfileError: it holds a variable.

    """
    origin = ""
    for key, field in _pairs(value):
        if key == "from" and field is not None:
            if "$" in field[:-1]:
                raise DockerfileError(
                    f'from={field}: a variable cannot stand in "from"',
                    hint="name a stage for it: FROM …${VARIABLE}… AS name, then from=name",
                )
            origin = field
    return origin


def parse_mount(value: str, expand: Callable[[str], str]) -> Mount:
    """One ``--mount`` with its variables expanded."""
    fields: dict[str, str] = {}
    for key, written in _pairs(value):
        if key not in _KEYS:
            raise DockerfileError(
                f'--mount has no field "{key}"', hint=did_you_mean(key, _KEYS) or _all_of(_KEYS)
            )
        name = _ALIASES.get(key, key)
        if written is None:
            if name not in _BOOLEANS:
                raise DockerfileError(f'--mount: "{key}" has no value', hint=f"write {key}=value")
            fields[name] = "true"
        else:
            fields[name] = expand(written)
            _check_field(name, fields[name])
    kind = fields.get("type", "bind").lower()
    _check_kind(kind, fields)
    return Mount(kind=kind, origin=origin_of(value), source=fields.get("source", ""))


def _pairs(value: str) -> list[tuple[str, str | None]]:
    """``key=value`` and ``key`` fields of the CSV line; keys in lower case."""
    pairs: list[tuple[str, str | None]] = []
    for field in _fields(value):
        key, equals, text = field.partition("=")
        pairs.append((key.lower(), text if equals else None))
    return pairs


def _fields(value: str) -> list[str]:
    if '"' not in value:
        return value.split(",")
    fields: list[str] = []
    at = 0
    while at < len(value):
        found = _FIELD.match(value, at)
        if found is None:
            raise DockerfileError(
                f"--mount={value} has a stray quote",
                hint='quote a whole field: "source=a,b"',
            )
        quoted, plain = found.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        at = found.end()
    return [*fields, ""] if value.endswith(",") else fields


def _check_field(name: str, value: str) -> None:
    if name == "type":
        _check_choice(name, value.lower(), _TYPES)
    elif name == "sharing":
        _check_choice(name, value.lower(), _SHARINGS)
    elif name in _BOOLEANS:
        _check_choice(name, value, _BOOLEAN)
    elif name in _NUMBERS and not _NUMBERS[name].fullmatch(value):
        raise DockerfileError(f'--mount: {name}="{value}" is no number')
    elif name == "size" and not _SIZE.fullmatch(value):
        raise DockerfileError(f'--mount: size="{value}" is no size', hint="like 64m or 1g")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DockerfileError(
            f'--mount: {name}="{value}" is not possible',
            hint=did_you_mean(value, choices) or _all_of(choices),
        )


def _check_kind(kind: str, fields: dict[str, str]) -> None:
    refused = [
        *(name for name in ("mode", "uid", "gid") if kind not in _WITH_OWNER),
        *(("required",) if kind not in _WITH_REQUIRED else ()),
        *(("size",) if kind != "tmpfs" else ()),
        *(("sharing",) if kind != "cache" else ()),
        *(("from",) if kind == "secret" else ()),
    ]
    for name in refused:
        if fields.get(name):
            raise DockerfileError(f'--mount: a {kind} mount cannot have "{name}"')
    if kind == "secret":
        if fields.get("source") and fields.get("id"):
            raise DockerfileError('--mount: a secret has either "source" or "id"')
        if not any(fields.get(name) for name in ("source", "target", "id")):
            raise DockerfileError(
                '--mount: a secret needs an "id"', hint="like type=secret,id=name"
            )


def _all_of(words: tuple[str, ...]) -> str:
    return f"one of {', '.join(words)}"
