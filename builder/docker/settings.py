"""What docker's own settings say: which Docker Engine is meant, and the logins for registries.

Logins come from docker's config.json and from the credential helpers that it names.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct

from builder.core.codec import MalformedError, convert
from builder.core.engine.answers import (
    DEFAULT_CONTEXT,
    DEFAULT_URL,
    ContextMeta,
    Endpoint,
    chosen_context,
    context_folder,
    of_context,
    of_host,
    of_place,
)
from builder.core.errors import DeployError, EngineUnavailableError, OcbuildError
from builder.core.reference import HUB, Reference
from builder.core.registry_faults import CredentialsError
from builder.docker.client import Client
from builder.system.process import Completed, ProgramMissingError, ProgramTimeoutError, run


def find_endpoint(environ: Mapping[str, str]) -> Endpoint:
    """DOCKER_HOST, else DOCKER_CONTEXT, else the current context, else the default socket.

    Raises:
        EngineUnavailableError: if the context is not there or cannot be read.

    """
    if url := environ.get("DOCKER_HOST", "").strip():
        return of_host(url, environ, config_dir(environ))
    current = None if environ.get("DOCKER_CONTEXT") else docker_config(environ)
    name = chosen_context(environ, str((current or {}).get("currentContext") or ""))
    if name is None:
        return Endpoint(url=DEFAULT_URL, env={"DOCKER_CONTEXT": DEFAULT_CONTEXT})
    folder = config_dir(environ) / "contexts"
    file = folder / "meta" / context_folder(name) / "meta.json"
    meta = _read_json(file)
    if meta is None:
        raise EngineUnavailableError(
            f'there is no docker context "{name}"',
            hint="`docker context ls` shows those that exist; "
            "DOCKER_CONTEXT or `docker context use` chooses one",
        )
    certificates = folder / "tls" / context_folder(name) / "docker"
    try:
        shaped = convert(meta, ContextMeta, what=str(file))
    except MalformedError as error:
        raise EngineUnavailableError(str(error)) from error
    return of_context(name, shaped, certificates if certificates.is_dir() else None)


def config_dir(environ: Mapping[str, str]) -> Path:
    """Where the docker command keeps config.json and its contexts."""
    if chosen := environ.get("DOCKER_CONFIG"):
        return Path(chosen)
    return Path(environ.get("HOME") or Path.home()) / ".docker"


def docker_config(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The content of the docker command's config.json; empty where there is none.

    Raises:
        EngineUnavailableError: if it cannot be read.

    """
    return _read_json(config_dir(environ) / "config.json") or {}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineUnavailableError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise EngineUnavailableError(
            f"{path} is no JSON: {error}", hint="mend or remove it; the docker command reads it too"
        ) from error
    if not isinstance(content, dict):
        raise EngineUnavailableError(f"{path} holds no JSON object")
    return content


# How long the engine may be silent; in a pull, while it unpacks a large layer.
_SILENCE_SECONDS = 120
_LONG_SILENCE_SECONDS = 900


class HostEngine:
    """One host's engine, for many threads at once; errors are DeployErrors.

    ``place`` is "local", the name of a docker context, or an address.
    """

    def __init__(self, name: str, place: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self._place = place
        self._environ = environ

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def get(self, path: str, doing: str) -> Any:
        """The JSON at a path of the API; ``doing`` follows "cannot" in messages.

        Raises:
            DeployError: the engine says no, or cannot be asked.

        """
        with self._asking(doing) as client:
            return client.get(path, {})

    def post(self, path: str, doing: str, body: Mapping[str, Any]) -> Any:
        """Send JSON to a path of the API; ``body`` is in no message of ours.

        Raises:
            DeployError: the engine says no, or cannot be asked.

        """
        with self._asking(doing) as client:
            return client.send(path, body)

    @contextmanager
    def pull(
        self,
        reference: Reference,
        auth: str,
        *,
        cancel: threading.Event,
        explain: Callable[[str], OcbuildError],
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Fetch an image, and tell by messages how far it is; ``auth`` is an X-Registry-Auth.

        Raises:
            InterruptedRunError: once ``cancel`` is set.
            DeployError: the engine breaks off; what ``explain`` makes of it where it says why.

        """
        with (
            self._asking(f"pull {reference} on") as client,
            client.post(
                f'cannot pull {reference} on host "{self.name}"',
                "/images/create",
                params={"fromImage": reference.repository, "tag": reference.digest},
                headers={"X-Registry-Auth": auth},
                explain=explain,
                cancel=cancel,
                silence=_LONG_SILENCE_SECONDS,
            ) as messages,
        ):
            yield messages

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Client]:
        text = f'cannot {doing} host "{self.name}"'
        try:
            with self._client.errors(text):
                yield self._client
        except EngineUnavailableError as error:
            raise DeployError(f"{text}: {error.message}", hint=error.hint) from error

    @cached_property
    def _client(self) -> Client:
        environ = of_place(self._place, self._environ)
        endpoint = find_endpoint(environ)
        return Client(endpoint, environ, raises=DeployError, silence=_SILENCE_SECONDS)


HUB_KEY = "https://index.docker.io/v1/"
_HELPER = "docker-credential-"
_HELPER_SECONDS = 60.0
# What a helper calls the user whose secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 - a name, no secret
_NONE_FOUND = b"credentials not found"


class Login(Struct, frozen=True, kw_only=True):
    """Who we are at a registry: a user with a password, or an identity token."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Login(username={self.username!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("username", self.username)]

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


class DockerLogins:
    """What `docker login` left behind, looked up once per registry and only when it is needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._found: dict[str, Login | None] = {}

    def login(self, host: str) -> Login | None:
        """The login for a registry as references name it; None if there is none.

        Raises:
            CredentialsError: if the config or a helper cannot be used.

        """
        # Under the lock, too: a helper may ask the user, and is to ask him once.
        with self._lock:
            if host not in self._found:
                self._found[host] = self._look_up(host)
            return self._found[host]

    def all(self) -> dict[str, Login]:
        """All logins by their keys; none where a helper fails, as the docker command does it."""
        try:
            config = self._config()
            store = config.get("credsStore")
            keys = {*(config.get("auths") or {}), *(config.get("credHelpers") or {})}
            keys |= set(self._listed(str(store))) if store else set()
            found = {key: self.login(HUB if key == HUB_KEY else key) for key in sorted(keys)}
        except (CredentialsError, EngineUnavailableError):
            return {}
        return {key: login for key, login in found.items() if login is not None}

    def _config(self) -> Mapping[str, Any]:
        try:
            return docker_config(self._environ)
        except EngineUnavailableError as error:
            raise CredentialsError(error.message, hint=error.hint) from error

    def _look_up(self, host: str) -> Login | None:
        config = self._config()
        key = HUB_KEY if host == HUB else host
        helpers = config.get("credHelpers") or {}
        # An empty helper for one registry says that its login is in the file itself.
        helper = helpers.get(host, helpers.get(key, config.get("credsStore")))
        found = self._ask(str(helper), key) if helper else None
        return found or _from_file(config.get("auths") or {}, host)

    def _listed(self, helper: str) -> list[str]:
        """The keys of all logins that a helper has."""
        done = self._run([_HELPER + helper, "list"], b"", "its logins")
        try:
            return [str(key) for key in json.loads(done.stdout)] if done.returncode == 0 else []
        except (ValueError, TypeError):
            return []

    def _ask(self, helper: str, key: str) -> Login | None:
        argv = [_HELPER + helper, "get"]
        done = self._run(argv, key.encode(), key)
        if done.returncode != 0:
            if _NONE_FOUND in done.stdout + done.stderr:
                return None
            raise CredentialsError(f"{argv[0]} gives no login for {key}: {done.complaint(lines=1)}")
        try:
            answer = json.loads(done.stdout)
            user, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise CredentialsError(f"{argv[0]} gives an answer that is no login") from error
        if user == _TOKEN_USER:
            return Login(identity_token=secret)
        return Login(username=user, password=secret) if user or secret else None

    def _run(self, argv: list[str], said: bytes, wanted: str) -> Completed:
        try:
            return run(argv, input=said, env=self._environ, timeout=_HELPER_SECONDS)
        except ProgramMissingError as error:
            raise CredentialsError(
                f"docker's config.json names the credential helper {argv[0]}, which cannot be"
                " started",
                hint=f"install it, or remove it from config.json and log in to {wanted} again",
            ) from error
        except ProgramTimeoutError as error:
            raise CredentialsError(error.message, transient=True) from error


def registry_auth(login: Login | None, registry: str) -> str:
    """The header X-Registry-Auth: who we are at a registry, for one pull or push of an engine.

    Old engines insist on the header even where there is no login.
    """
    return _encoded({} if login is None else _auth_config(login, registry))


def registry_config(logins: Mapping[str, Login]) -> str:
    """The header X-Registry-Config: who we are at all registries, for one build of an engine."""
    return _encoded({key: _auth_config(login, key) for key, login in logins.items()})


def _auth_config(login: Login, registry: str) -> dict[str, str]:
    """An AuthConfig of the API: docker.github.io/engine/api, "Authentication"."""
    server = HUB_KEY if registry == HUB else registry
    if login.identity_token:
        return {"identitytoken": login.identity_token, "serveraddress": server}
    return {"username": login.username, "password": login.password, "serveraddress": server}


def _encoded(document: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def _from_file(auths: Mapping[str, Any], host: str) -> Login | None:
    wanted = {HUB_KEY, HUB, "index.docker.io"} if host == HUB else {host}
    for key, entry in auths.items():
        # Older versions of docker wrote whole addresses, e.g. https://host/v1/.
        bare = key.partition("://")[2] or key
        if (key in wanted or bare.partition("/")[0] in wanted) and isinstance(entry, dict):
            return _entry(entry, key)
    return None


def _entry(entry: Mapping[str, Any], key: str) -> Login | None:
    if token := entry.get("identitytoken"):
        return Login(identity_token=str(token))
    if not entry.get("auth"):
        user, password = entry.get("username"), entry.get("password")
        return Login(username=str(user), password=str(password)) if user and password else None
    try:
        text = base64.b64decode(str(entry["auth"]), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CredentialsError(
            f"docker's config.json holds a broken login for {key}",
            hint=f"log in again: `docker login {key}`",
        ) from error
    user, _, password = text.partition(":")
    # Docker for Windows pads with NUL.
    return Login(username=user, password=password.rstrip("\0"))
