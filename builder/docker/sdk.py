"""The one place where exceptions of the docker SDK, requests and urllib3 become our errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from builder.core.engine.failure import is_transient, remedy
from builder.core.errors import Bug, EngineUnavailableError, OcbuildError
from builder.docker.endpoint import Endpoint


class Meaning(Struct, frozen=True, kw_only=True):
    """What an exception says; ``raises`` None stands for the error class of what was being done."""

    raises: type[OcbuildError] | None = None
    hint: str | None = None
    transient: bool = False


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


Explain = Callable[[str], OcbuildError]


@contextmanager
def translated(
    doing: str,
    *,
    raises: type[OcbuildError],
    endpoint: Endpoint | None = None,
    explain: Explain | None = None,
) -> Iterator[None]:
    """Run SDK calls; what they raise comes out as ``raises``, beginning with ``doing``.

    ``explain`` makes the error instead where the engine itself says what is wrong.
    """
    from docker.errors import DockerException, StreamParseError  # noqa: PLC0415 - 170 ms
    from requests.exceptions import RequestException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except (
        DockerException,
        StreamParseError,
        RequestException,
        HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        explanation = getattr(error, "explanation", None)
        if explanation and explain is not None:
            raise explain(str(explanation)) from error
        raise translate(error, doing, raises=raises, endpoint=endpoint) from error


def translate(
    error: Exception,
    doing: str,
    *,
    raises: type[OcbuildError],
    endpoint: Endpoint | None = None,
) -> OcbuildError:
    """Our error for one of theirs."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return _answer(str(explanation), doing, raises)
    found = unreachable(error, endpoint)
    if found is not None:
        return found
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


def unreachable(error: Exception, endpoint: Endpoint | None) -> EngineUnavailableError | None:
    """The error for an engine that cannot be reached at all; None if that is not what happened."""
    url = endpoint.url if endpoint else "its address"
    cause = os_error(error)
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
    if "Install paramiko" in str(error):
        return EngineUnavailableError(
            f"{url} needs SSH, for which a Python package is missing",
            hint="pip install 'docker[ssh]'",
        )
    return None


def os_error(error: BaseException) -> OSError | None:
    """The error of the operating system at the bottom of a pile of wrappers."""
    pile: list[object] = [error]
    seen: set[int] = set()
    found: OSError | None = None
    while pile:
        current = pile.pop()
        if id(current) in seen or not isinstance(current, BaseException):
            continue
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno is not None:
            found = current
        pile += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        pile += current.args
    return found


def _text(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
