"""The request for an image, the result, and what an engine is told for it.

That is the command line of https://docs.docker.com/reference/cli/docker/buildx/build/, or the query
of POST /build, which https://docs.docker.com/reference/api/engine/ calls ImageBuild.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from builder.core.bases import context_value, familiar
from builder.core.context import ReadContext
from builder.core.dockerfile.model import Dockerfile


class SecretSource(Struct, frozen=True, kw_only=True):
    """Where a build secret comes from: a file or an environment variable, never a value."""

    file: Path | None = None
    env: str | None = None


class BuildRequest(Struct, frozen=True, kw_only=True):
    """One image to be built.

    ``dockerfile_label`` is how messages name the Dockerfile. ``contexts`` maps a name as the
    Dockerfile writes it (FROM, COPY --from, RUN --mount=from=) to an image reference that the
    engine can resolve, or to a URL with a scheme that buildx knows (docker-image://, a folder …).
    ``tags`` are full references that the result gets in the engine. ``features`` are the keys of
    ``FEATURES`` in core.dockerfile.model that the Dockerfile needs. ``timeout`` in seconds.
    ``in_engine`` is False where nobody will ask the Docker Engine for the image: one that needs no
    engine to make it may then keep it to itself until it is stored. ``published``: the registry of
    the tags has the image by the end of the run, so it may be put there before, by digest alone.
    ``in_process``: no engine is needed, as far as the plan could see; only then it is tried without
    one. ``base`` is the in-tree image that the target stage starts from, "" for none.
    ``parsed`` is the Dockerfile and ``read`` the context as the key was made of them, the context
    where that is known; whoever follows them makes the image of the key, whatever has been edited
    since.
    """

    image: str
    context: Path
    dockerfile: Path
    dockerfile_label: str
    tags: tuple[str, ...]
    parsed: Dockerfile
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    platform: str | None = None
    features: frozenset[str] = frozenset()
    no_cache: bool = False
    timeout: float | None = None
    in_engine: bool = True
    published: bool = False
    in_process: bool = False
    base: str = ""
    read: ReadContext | None = None

    def __repr__(self) -> str:
        return f"BuildRequest({self.image!r}, tags={self.tags!r})"


class BuildResult(Struct, frozen=True, kw_only=True):
    """``image_id`` as the engine names it, ``size`` in bytes, ``cached``: no step had to run.

    ``size`` is None where only an engine could tell, and none has the image. ``engine`` made it.
    ``local`` is what the Docker Engine calls it where that is not its id: another run can take a
    name, but not where every run makes the same.
    """

    image_id: str
    size: int | None
    cached: bool = False
    engine: str = ""
    local: str = ""


# -- what engines are told ---------------------------------------------------------------------


# Docker defines these build args by itself: they need no ARG and leave no trace in the history.
_WORDS = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
PROXY_NAMES = frozenset(name for word in _WORDS for name in (word, word.upper()))
# The first version that knows --progress=rawjson.
OLDEST_BUILDX = (0, 12)
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
# The keys of `proxies` in docker's config.json.
_CONFIG_KEYS = {
    "httpProxy": "http_proxy",
    "httpsProxy": "https_proxy",
    "ftpProxy": "ftp_proxy",
    "noProxy": "no_proxy",
    "allProxy": "all_proxy",
}


def buildx_arguments(request: BuildRequest, metadata: Path, *, builder: str) -> list[str]:
    """The command line; no value in it is a secret."""
    argv = ["docker", "buildx", "build", "--builder", builder, "--load", "--provenance=false"]
    argv += ["--progress=rawjson", "--metadata-file", str(metadata)]
    argv += ["--file", str(request.dockerfile)]
    for tag in request.tags:
        argv += ["--tag", tag]
    for name, value in sorted(request.labels.items()):
        argv += ["--label", f"{name}={value}"]
    for name, value in sorted(request.args.items()):
        # A proxy's address may hold a password, so it goes by way of the environment.
        argv += ["--build-arg", name if name in PROXY_NAMES else f"{name}={value}"]
    for name, value in sorted(request.contexts.items()):
        argv += ["--build-context", f"{familiar(name)}={context_value(value)}"]
    for name, source in sorted(request.secrets.items()):
        argv += ["--secret", _secret(name, source)]
    if "ssh" in request.features:
        argv += ["--ssh", "default"]
    if request.target:
        argv += ["--target", request.target]
    if request.platform:
        argv += ["--platform", request.platform]
    if request.no_cache:
        argv += ["--no-cache"]
    return [*argv, "--", str(request.context)]


def _secret(name: str, source: SecretSource) -> str:
    """``id=…,src=…`` in CSV, which buildx reads, so that a path may hold a comma."""
    origin = f"env={source.env}" if source.file is None else f"src={source.file}"
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([f"id={name}", origin])
    return line.getvalue()


def build_parameters(
    request: BuildRequest, *, version: str, dockerfile: str, proxies: Mapping[str, str]
) -> dict[str, Any]:
    """The query of POST /build; ``dockerfile`` is the path in the archive that is posted."""
    params: dict[str, Any] = {
        "version": version,
        "dockerfile": dockerfile,
        "t": list(request.tags),
        "buildargs": json.dumps({**proxies, **request.args}),
        "labels": json.dumps(dict(request.labels)),
        "rm": "1",
        "forcerm": "1",
    }
    if request.target:
        params["target"] = request.target
    if request.platform:
        params["platform"] = request.platform
    if request.no_cache:
        params["nocache"] = "1"
    return params


def unusable_buildx(said: str) -> str | None:
    """Why a buildx that says this of its version cannot be used; None where it can."""
    version = _VERSION.search(said.partition(" ")[2])
    if version is None or (int(version[1]), int(version[2])) >= OLDEST_BUILDX:
        return None
    oldest = ".".join(map(str, OLDEST_BUILDX))
    return f"buildx {version[1]}.{version[2]} is too old, {oldest} is needed"


# -- proxies -----------------------------------------------------------------------------------


def proxies_to_pass(environ: Mapping[str, str], in_config: Mapping[str, str]) -> dict[str, str]:
    """The proxies of an environment as build args.

    Those that docker's own config.json sets are left out, for the docker command adds them; so are
    those on the loopback of this machine, which a build cannot reach.
    """
    return {
        name: value
        for name in sorted(PROXY_NAMES)
        if (value := environ.get(name)) and name not in in_config and not _is_loopback(name, value)
    }


def config_proxies(config: Mapping[str, Any], host: str) -> dict[str, str]:
    """The build args that the docker command makes of ``proxies`` in its config.json."""
    proxies = config.get("proxies") or {}
    chosen = proxies.get(host) or proxies.get("default") or {}
    args: dict[str, str] = {}
    for key, word in _CONFIG_KEYS.items():
        if value := chosen.get(key):
            args[word] = args[word.upper()] = str(value)
    return args


def _is_loopback(name: str, value: str) -> bool:
    if name.lower() == "no_proxy":
        return False
    host = urlsplit(value if "://" in value else f"//{value}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
