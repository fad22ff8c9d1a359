"""What exceptions of the docker SDK, requests and urllib3 mean: one error of ours for each."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from builder.core.engine.failure import is_transient, remedy
from builder.core.errors import Bug, EngineUnavailableError, OcbuildError


class Meaning(Struct, frozen=True, kw_only=True):
    """What an exception says; ``raises`` None stands for the error class of what was being done."""

    raises: type[OcbuildError] | None = None
    hint: str | None = None
    transient: bool = False


class NoAnswerError(ConnectionError):
    """What a program that leads to an engine says instead of passing on the engine's answer."""


_OURS = Meaning(raises=Bug, hint="please report it")
_CONTEXT = Meaning(raises=EngineUnavailableError, hint="`docker context ls` shows what there is")

# By name, so that nothing has to be imported before something fails.
MEANINGS: Mapping[str, Meaning] = {
    "DockerException": Meaning(),
    "APIError": Meaning(),
    "NotFound": Meaning(),
    "ImageNotFound": Meaning(),
    "BuildError": Meaning(),
    "ContainerError": Meaning(),
    "ImageLoadError": Meaning(),
    "StreamParseError": Meaning(transient=True, hint="the engine's answer ended half-way"),
    "InvalidVersion": Meaning(
        raises=EngineUnavailableError, hint="upgrade the Docker Engine to 18.09 or later"
    ),
    "InvalidConfigFile": Meaning(hint="mend the `auths` of ~/.docker/config.json"),
    "TLSParameterError": Meaning(
        raises=EngineUnavailableError,
        hint="DOCKER_CERT_PATH has to hold ca.pem, cert.pem and key.pem",
    ),
    "ContextAlreadyExists": _CONTEXT,
    "ContextException": _CONTEXT,
    "ContextNotFound": _CONTEXT,
    "MissingContextParameter": _CONTEXT,
    "InvalidRepository": _OURS,
    "InvalidArgument": _OURS,
    "DeprecatedMethod": _OURS,
    "NullResource": _OURS,
}


def translate(
    error: Exception, doing: str, *, raises: type[OcbuildError], url: str = "its address"
) -> OcbuildError:
    """Our error for one of theirs; ``doing`` begins its message, ``url`` names the engine."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return _answer(str(explanation), doing, raises)
    missing = unreachable(error, url)
    if missing is not None:
        return missing
    meaning = next(
        (MEANINGS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in MEANINGS),
        None,
    )
    if meaning is None:
        # What is left is of requests and urllib3: the connection broke while it was used.
        return raises(f"{doing}: the Docker Engine broke off: {_text(error)}", transient=True)
    kind = meaning.raises or raises
    text = getattr(error, "msg", None) or _text(error)
    return kind(f"{doing}: {text}", hint=meaning.hint, transient=meaning.transient)


def _answer(explanation: str, doing: str, raises: type[OcbuildError]) -> OcbuildError:
    """For an error that the engine itself reports."""
    return raises(
        f"{doing}: {explanation.strip()}",
        hint=remedy(explanation),
        transient=is_transient(explanation),
    )


def unreachable(error: Exception, url: str) -> EngineUnavailableError | None:
    """The error for an engine that cannot be reached at all; None if that is not what happened."""
    wrapped = _wrapped(error)
    for each in wrapped:
        if isinstance(each, NoAnswerError):
            return EngineUnavailableError(f"no Docker Engine answers at {url}: {each}")
    cause = next((each for each in reversed(wrapped) if _is_of_system(each)), None)
    if isinstance(cause, FileNotFoundError):
        return EngineUnavailableError(
            f"there is no Docker Engine at {url}",
            hint="start it (`systemctl start docker`), or point DOCKER_HOST or a docker context "
            "at one that runs; `ocbuild doctor` helps to find out",
        )
    if isinstance(cause, PermissionError):
        return EngineUnavailableError(
            f"no permission to talk to the Docker Engine at {url}",
            hint="`sudo usermod -aG docker $USER` lets you, after the next login; or use sudo",
        )
    if isinstance(cause, ConnectionRefusedError):
        return EngineUnavailableError(
            f"nobody answers at {url}",
            hint="is the Docker Engine running? `systemctl status docker` tells",
        )
    return None


def _is_of_system(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno is not None


def _wrapped(error: BaseException) -> list[BaseException]:
    """The error and all that it was raised from or holds, the outermost first."""
    found: list[BaseException] = []
    pile: list[object] = [error]
    while pile:
        each = pile.pop()
        if isinstance(each, BaseException) and all(each is not other for other in found):
            found.append(each)
            pile += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return found


def _text(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
