"""A Dockerfile as values: what was written, where, and what it asks of the world."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from builder.core.errors import Location


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
    image is in ``labels`` as it was written.
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
