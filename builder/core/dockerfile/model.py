"""A Dockerfile as values: what was written, where, and what it asks of the world."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from enum import Enum
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from builder.core.errors import DockerfileError, Location, did_you_mean


class Heredoc(Struct, frozen=True, kw_only=True):
    """One ``<<NAME`` document of an instruction.

    ``expand`` is False where the delimiter was quoted; ``strip_tabs`` is True for ``<<-``, whose
    content has its leading tabs removed already.
    """

    name: str
    content: str
    expand: bool
    strip_tabs: bool


class Flag(Struct, frozen=True, kw_only=True):
    """``--name=value``; value is None for a bare ``--name``."""

    name: str
    value: str | None


class Instruction(Struct, frozen=True, kw_only=True):
    """One instruction as written; nothing is expanded.

    ``arguments``: the words as BuildKit's parser splits them (one string for shell form of RUN,
    CMD, ENTRYPOINT, HEALTHCHECK CMD; ``K=V`` pairs stay ``K=V`` with quotes kept for ENV, LABEL,
    ARG; legacy ``ENV K V`` is given as the one pair ``K=V`` with ``legacy=True``).
    ``json`` is True for the exec form. ``source`` is the original text without heredoc bodies.
    Lines count from 1; ``end_line`` includes heredoc bodies.
    ``trigger`` is the instruction inside an ONBUILD.
    """

    keyword: str
    flags: tuple[Flag, ...] = ()
    arguments: tuple[str, ...] = ()
    json: bool = False
    legacy: bool = False
    heredocs: tuple[Heredoc, ...] = ()
    source: str
    line: int
    end_line: int
    trigger: Instruction | None = None


class Stage(Struct, frozen=True, kw_only=True):
    """``FROM base AS name`` and what follows; ``base`` and ``platform`` are as written."""

    index: int
    name: str
    base: str
    platform: str
    instructions: tuple[Instruction, ...]
    line: int


class Dockerfile(Struct, frozen=True, kw_only=True):
    """A parsed file: ``path`` is how messages name it; ``args`` are the ARGs before any FROM."""

    path: str
    escape: str
    syntax: str
    check: str
    args: tuple[Instruction, ...]
    stages: tuple[Stage, ...]


class Via(str, Enum):
    """The instruction that names an image or reads the context."""

    FROM = "FROM"
    COPY = "COPY"
    ADD = "ADD"
    RUN = "RUN"


class BaseUse(Struct, frozen=True, kw_only=True):
    """A name from outside this Dockerfile that a needed stage uses; ``text`` is expanded.

    Never "scratch", never a stage of the same file.
    """

    text: str
    via: Via
    stage: int
    location: Location


class ContextRead(Struct, frozen=True, kw_only=True):
    """What one instruction reads from the build context; ``sources`` are expanded, ``ADD`` URLs and
    heredocs left out.

    ``whole`` is True where the sources cannot be known (an unexpandable variable) or are the whole
    context, so that every file has to be taken as read.
    """

    via: Via
    sources: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    parents: bool = False
    whole: bool = False
    location: Location


class Inherited(Struct, frozen=True, kw_only=True):
    """What a stage takes over from its base image.

    ``complete``: ``env`` and ``unknown`` name every variable that is set; False where an external
    image lies below, whose ENV is not known here. ``unknown``: variables that are set to a value
    that depends on such an image; they are not in ``env``.
    """

    env: Mapping[str, str]
    labels: Mapping[str, str]
    onbuild: tuple[Instruction, ...] = ()
    complete: bool = False
    unknown: frozenset[str] = frozenset()


class Needs(Struct, frozen=True, kw_only=True):
    """All that building one target of a Dockerfile asks for and yields.

    ``stages``: indices of the stages that are really built, ascending. ``base``: what the target
    starts from, through stages of this file, as it stands in ``bases``; None for scratch.
    ``args``: build args that a needed stage or FROM declares, with the value in force, so that an
    arg nobody reads is not here; for a key, not to be passed on (a default is in force for its own
    stage only). ``remote``: URLs and git addresses of ADD, expanded.
    ``features``: what an engine has to be able to do, from FEATURES.
    ``complete`` and ``unknown``: as in ``Inherited``. A label whose value depends on an external
    image is in ``labels`` as it was written; ``own_labels`` are those that no base has handed on,
    and where they are set.
    """

    target: int
    base: str | None
    stages: tuple[int, ...]
    bases: tuple[BaseUse, ...]
    reads: tuple[ContextRead, ...]
    remote: tuple[str, ...]
    args: Mapping[str, str]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    onbuild: tuple[Instruction, ...]
    features: frozenset[str]
    own_labels: Mapping[str, Location] = {}
    complete: bool = False
    unknown: frozenset[str] = frozenset()

    @property
    def inherited(self) -> Inherited:
        """What an image built on this one takes over."""
        return Inherited(
            env=self.env,
            labels=self.labels,
            onbuild=self.onbuild,
            complete=self.complete,
            unknown=self.unknown,
        )


FEATURES = {
    "heredoc": "here-documents",
    "mount": "RUN --mount",
    "network": "RUN --network",
    "security": "RUN --security",
    "device": "RUN --device",
    "secret": "RUN --mount=type=secret",
    "ssh": "RUN --mount=type=ssh",
    "chmod": "COPY/ADD --chmod",
    "link": "COPY/ADD --link",
    "parents": "COPY --parents",
    "exclude": "COPY/ADD --exclude",
    "checksum": "ADD --checksum",
    "keep-git-dir": "ADD --keep-git-dir",
    "unpack": "ADD --unpack",
    "git": "ADD of a git repository",
    "platform": "FROM --platform",
    "copy-from-image": "COPY --from of an image",
    "healthcheck-start-interval": "HEALTHCHECK --start-interval",
    "syntax": "a # syntax= line that names another frontend",
    "ignore-file": "a <Dockerfile>.dockerignore file",
}


def declared_args(dockerfile: Dockerfile) -> frozenset[str]:
    """The names of all ARGs, of triggers too."""
    steps = (step.trigger or step for stage in dockerfile.stages for step in stage.instructions)
    args = (step for step in (*dockerfile.args, *steps) if step.keyword == "ARG")
    return frozenset(word.partition("=")[0] for arg in args for word in arg.arguments)


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
