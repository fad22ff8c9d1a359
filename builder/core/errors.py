"""Every error that a user can see: a message, a place, a remedy and an exit code.

The tree::

    OcbuildError                    message, where, hint, exit code
    +-- InputError                  2   what the user wrote is wrong
    |   +-- UsageError                  the command line
    |   +-- ConfigError                 build.toml
    |   +-- TreeError                   Dockerfiles, contexts, the graph
    |   |   +-- DockerfileError
    |   |   +-- ContextError
    |   |   +-- DuplicateImageError
    |   |   +-- CycleError
    |   |   +-- UnknownBaseError
    |   +-- RevisionError               git
    |   +-- InputErrors                 several of the above, shown together
    +-- EngineUnavailableError      3   no usable engine
    +-- BuildError                  1   an image failed to build or to pass its tests
    +-- PublishError                4   the registry or the push
    +-- DeployError                 5
    +-- InterruptedRunError       130   Ctrl-C or SIGTERM
    +-- Bug                        70   ours
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct


class Location(Struct, frozen=True):
    """A place in a text file; ``line`` counts from 1 and is None where only the file is known."""

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


class OcbuildError(Exception):
    """Base of all errors that are shown to the user as one message, never as a traceback.

    ``transient`` is set by the adapter that knows (network, 5xx, 429), never guessed above it.
    """

    exit_code = 70

    def __init__(
        self,
        message: str,
        *,
        where: Location | None = None,
        hint: str | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.transient = transient

    def __str__(self) -> str:
        """The message as a user reads it: ``path:line: fact``, a blank line, ``hint: remedy``."""
        text = self.message if self.where is None else f"{self.where}: {self.message}"
        return text if self.hint is None else f"{text}\n\nhint: {self.hint}"


class InputError(OcbuildError):
    exit_code = 2


class UsageError(InputError):
    pass


class ConfigError(InputError):
    pass


class TreeError(InputError):
    pass


class DockerfileError(TreeError):
    pass


class ContextError(TreeError):
    pass


class DuplicateImageError(TreeError):
    pass


class CycleError(TreeError):
    pass


class UnknownBaseError(TreeError):
    pass


class RevisionError(InputError):
    pass


class InputErrors(InputError):  # noqa: N818 - it is several errors
    """Several independent mistakes, so that the user can mend all of them in one go."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n\n".join(str(error) for error in self.errors))


class EngineUnavailableError(OcbuildError):
    exit_code = 3


class BuildError(OcbuildError):
    exit_code = 1


class PublishError(OcbuildError):
    exit_code = 4


class DeployError(OcbuildError):
    exit_code = 5


class InterruptedRunError(OcbuildError):
    exit_code = 130


class Bug(OcbuildError):  # noqa: N818 - the honest name for what it is
    exit_code = 70


def raise_all(errors: Sequence[InputError]) -> None:
    """Raise nothing, the one error, or all of them together."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputErrors(errors)


def nearest(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """The known words that ``word`` was probably meant to be, best first."""
    from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

    return get_close_matches(word, sorted(set(known)), n=limit, cutoff=0.6)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A remedy in words, or None where nothing comes near."""
    close = nearest(word, known)
    if not close:
        return None
    quoted = [f'"{name}"' for name in close]
    return f"did you mean {' or '.join(quoted)}?"
