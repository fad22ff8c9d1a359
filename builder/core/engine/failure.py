"""What exceptions of the docker SDK, requests and urllib3 mean: one error of ours for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from builder.core.errors import Bug, BuildError, EngineUnavailableError, Location, OcbuildError


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


KILLED = 137

# Patterns are compiled by the first who looks for one: few runs have a fault to look at.
_NO_SPACE = r"no space left on device"

# What no retry changes. Looked for first, for these texts often come wrapped in words
# ("failed to fetch", "failed to do request") that also stand around a passing fault.
_PERMANENT = r"""
    \bdenied\b | \bunauthorized\b | \b401\b | \b403\ Forbidden | insufficient_scope
    | authentication\ required | no\ basic\ auth\ credentials
    | manifest\ unknown | name\ unknown | \bnot\ found\b | does\ not\ exist
    | no\ such\ host | x509: | certificate\ (?:signed|verify|has\ expired)
    | server\ gave\ HTTP\ response\ to\ HTTPS | first\ record\ does\ not\ look\ like\ a\ TLS
    | no\ space\ left\ on\ device
    """

# Words that mean a passing fault of the network or of a server, whoever says them.
_NETWORK = r"""
    i/o\ timeout | TLS\ handshake\ timeout | Client\.Timeout\ exceeded | context\ deadline\ exceeded
    | connection\ reset | connection\ timed?\ ?out | connection\ aborted | broken\ pipe
    | unexpected\ EOF | (?:":|Read|reading\ from\ server:)\ EOF\b
    | network\ is\ unreachable | no\ route\ to\ host
    | Temporary\ failure\ (?:resolving|in\ name\ resolution) | server\ misbehaving
    | \b429\ Too\ Many | toomanyrequests
    | \b500\ Internal\ Server | \b502\ Bad\ Gateway | \b503\ Service | \b504\ Gateway
    | (?:status|status\ code|error)(?:\ from\ [^:]*)?:?\ (?:429|5\d\d)\b
    | server\ sent\ GOAWAY | stream\ error:\ stream\ ID | use\ of\ closed\ network\ connection
    | transport\ is\ closing | no\ active\ sessions?
    # an engine that pushed one layer twice at a time, and wrote the manifest before the layer
    | manifest\ blob\ unknown | blob\ unknown\ to\ registry
    """

# What the tools that fetch things inside RUN say when their server or the network fails.
_MIRROR = (
    _NETWORK
    + r"""
    # apt; a 404 comes from an index that is too old and stays
    | Failed\ to\ fetch\ (?!.*\b40[34]\b)
    | Hash\ Sum\ mismatch | Mirror\ sync\ in\ progress | Could\ not\ (?:connect|resolve)\b
    | Unable\ to\ connect\ to
    # yum, dnf, apk
    | Curl\ error\ \((?:6|7|28|35|52|56)\) | Status\ code:\ 5\d\d | All\ mirrors\ were\ tried
    | temporary\ error\ \(try\ again\ later\) | network\ error\ \(check\ Internet
    # pip and whatever else is built on urllib3
    | Max\ retries\ exceeded | Read\ timed\ out | ReadTimeoutError | ConnectTimeoutError
    | NewConnectionError | IncompleteRead | HTTP\ error\ (?:429|5\d\d)
    # npm, yarn
    | \b(?:ETIMEDOUT|ESOCKETTIMEDOUT|ECONNRESET|ECONNREFUSED|EAI_AGAIN|ERR_SOCKET_TIMEOUT)\b
    | code\ E(?:429|5\d\d)\b | network\ timeout\ at
    # maven, gradle
    | Could\ not\ transfer\ artifact\ (?!.*(?:\b40[134]\b|not\ authorized))
    | SocketTimeoutException | Received\ status\ code\ (?:429|5\d\d)
    # curl, wget, git
    | curl:\ \((?:6|7|18|28|35|52|55|56|92)\) | returned\ error:\ (?:429|5\d\d)
    | ERROR\ (?:429|5\d\d): | unable\ to\ resolve\ host\ address | Could\ not\ resolve\ host
    | RPC\ failed; | early\ EOF | hung\ up\ unexpectedly | gnutls_handshake\(\)\ failed
    """
)

_HINTS = (
    (
        r"no space left on device",
        "the engine's disk is full: see `docker system df`, then `docker builder prune`",
    ),
    (
        r"server gave HTTP response to HTTPS|first record does not look like a TLS",
        (
            "the registry speaks plain HTTP: add its host:port to insecure-registries in the "
            "engine's daemon.json, or give the registry a certificate"
        ),
    ),
    (
        r"x509:|certificate signed by unknown authority",
        (
            "the engine does not trust the certificate: put its CA into "
            "/etc/docker/certs.d/HOST:PORT/ca.crt"
        ),
    ),
    (
        r"SSL certificate problem|certificate verify failed|Certificate verification failed",
        'to have builds trust the CAs of this host, set ca-bundle = "host" in [build]',
    ),
    (
        r"(?<!permission )\bdenied\b|unauthorized|authentication required|no basic auth",
        (
            "log in with `docker login HOST`, and check that the name is right: registries "
            "say the same of what does not exist and of what is not yours"
        ),
    ),
    (
        r"no such host",
        (
            "the name cannot be resolved: check its spelling, DNS and the proxy of the engine; "
            "[bases] in build.toml can name a mirror for a base image"
        ),
    ),
    (r"connection refused", "nothing listens there: is the registry running?"),
    (
        r"no active sessions?",
        "this engine cannot ask for registry tokens: use the engine buildx",
    ),
)

_LONGEST_COMMAND = 100

# Patterns are compiled by the first who looks for one: few runs have a failure to explain.
_STATUS = r"(?:exit code|non-zero code): (\d+)"
# buildx ends its report with "Dockerfile:12", a ruler, the lines in question, and a ruler.
_SNIPPET = r"(?m)^\S.*?:(?P<line>\d+)\r?\n-{8,}\r?$"
_PARSE_ERROR = r"(?:dockerfile|Dockerfile) parse error (?:on )?line (?P<line>\d+)"
_ERROR = r"(?m)^ERROR: (?P<text>.*(?:\n(?!ERROR: ).*)*)"
# What the engine was doing for its own sake when the error came.
_NOISE = (
    r"failed to solve(?: with frontend \S+)?: |failed to compute cache key: |failed to load cache "
    r"key: |failed to calculate checksum of ref \S+: |rpc error: code = \w+ desc = "
    r"|dockerfile parse error (?:on )?line \d+: |cannot build: "
)
_NOTHING_TO_COPY = r'"(?P<path>/[^"]*)": not found'


class BuildFailedError(BuildError):
    """A build that failed.

    ``command`` is the instruction that failed, ``status`` what its command returned, ``log_tail``
    the last lines that it printed; each is empty or None where no instruction is to blame.
    """

    def __init__(
        self,
        message: str,
        *,
        where: Location | None = None,
        hint: str | None = None,
        transient: bool = False,
        command: str | None = None,
        status: int | None = None,
        log_tail: Sequence[str] = (),
    ) -> None:
        super().__init__(message, where=where, hint=hint, transient=transient)
        self.command = command
        self.status = status
        self.log_tail = tuple(log_tail)


def describe(
    error: str,
    *,
    label: str,
    line: int | None = None,
    command: str | None = None,
    log: Sequence[str] = (),
) -> BuildFailedError:
    """The failure of a build, from the error text of the engine."""
    status = exit_status(error)
    return BuildFailedError(
        _message(error, command, status),
        where=Location(label, line),
        hint=remedy(error, log, status=status),
        transient=is_transient(error, log, status=status),
        command=command,
        status=status,
        log_tail=log,
    )


def refused(error: BuildError, label: str) -> BuildFailedError:
    """The failure of a build that the engine would not even begin, from its own answer."""
    return BuildFailedError(
        re.sub(_NOISE, "", error.message).strip(),
        where=Location(label, reported_line(error.message)),
        hint=error.hint,
        transient=error.transient,
    )


def timed_out(seconds: float, *, label: str, log: Sequence[str] = ()) -> BuildFailedError:
    """The failure of a build that took longer than it may."""
    return BuildFailedError(
        f"timed out after {span(seconds)}",
        where=Location(label),
        hint="give the image a longer timeout in build.toml if it is known to take that long",
        log_tail=log,
    )


def span(seconds: float) -> str:
    """A time span as build.toml writes it: 90s, 20m, 2h; several units where one will not do."""
    if seconds != int(seconds):
        return f"{seconds:g}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def exit_status(error: str) -> int | None:
    """What the failed command returned, where a command has failed."""
    found = re.search(_STATUS, error)
    return None if found is None else int(found[1])


def reported_line(said: str) -> int | None:
    """The line of the Dockerfile that the engine itself names."""
    found = re.search(_SNIPPET, said) or re.search(_PARSE_ERROR, said)
    return None if found is None else int(found["line"])


def reported_error(said: str) -> str | None:
    """The text of the last ``ERROR:`` that the program printed."""
    found = list(re.finditer(_ERROR, said))
    return found[-1]["text"].strip() if found else None


def _message(error: str, command: str | None, status: int | None) -> str:
    fact = re.sub(_NOISE, "", error).strip()
    missing = re.fullmatch(_NOTHING_TO_COPY, fact)
    if missing:
        fact = f'there is no "{missing["path"]}" to copy'
    if command is None:
        return fact
    short = " ".join(command.split())
    if len(short) > _LONGEST_COMMAND:
        short = f"{short[: _LONGEST_COMMAND - 1]}…"
    if status is None:
        return f"{short}: {fact}"
    return f"{short}: failed with exit code {status}"


def is_transient(message: str, log: Sequence[str] = (), *, status: int | None = None) -> bool:
    """Whether the same build may succeed when tried again.

    ``status`` is the exit status of the failed command, None where no command failed: a command
    that returns non-zero has failed for good unless its last lines show a fault of a mirror.
    """
    said = "\n".join(log)
    if re.search(_NO_SPACE, f"{message}\n{said}", re.IGNORECASE):
        return False
    if status is not None:
        return status != KILLED and _says(_MIRROR, said)
    return not _says(_PERMANENT, message) and _says(_NETWORK, message)


def remedy(message: str, log: Sequence[str] = (), *, status: int | None = None) -> str | None:
    """What a person can do about it, where we know."""
    if status == KILLED:
        return (
            "exit code 137 means that the command was killed, most often for want of memory: "
            "build fewer images at a time (--jobs) or give the engine more memory"
        )
    text = message if status is None else "\n".join(log)
    return next((hint for pattern, hint in _HINTS if re.search(pattern, text, re.IGNORECASE)), None)


def _says(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE | re.VERBOSE) is not None
