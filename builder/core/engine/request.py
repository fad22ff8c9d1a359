"""The request for an image: what an engine is told, from the tree, the plan and the settings."""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.bases import (
    Pin,
    Resolution,
    ResolvedBase,
    clashing,
    context_value,
    familiar,
)
from builder.core.context import ReadContext
from builder.core.dockerfile.model import BaseUse, Dockerfile
from builder.core.engine.answers import PROXY_NAMES
from builder.core.errors import Location, OcbuildError, TreeError
from builder.core.graph import ImageGraph
from builder.core.image import Image
from builder.core.keys import oci_labels
from builder.core.plan import Assemble, Build, Decision, Plan, Retag, Reuse
from builder.core.settings.config import Config


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
    since. ``names`` maps those of ``uses`` that clash with a stage or with each other to the names
    that they have in ``contexts``, and in the Dockerfile that an engine is given. ``folders`` are
    the digests of those that stand for bases.
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
    folders: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    uses: tuple[BaseUse, ...] = ()

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


def buildx_arguments(
    request: BuildRequest, metadata: Path, *, builder: str, proxies: Mapping[str, str]
) -> list[str]:
    """The command line; no value in it is a secret.

    ``proxies`` are the build args that the docker command adds by itself.
    """
    argv = ["docker", "buildx", "build", "--builder", builder, "--load", "--provenance=false"]
    argv += ["--progress=rawjson", "--metadata-file", str(metadata)]
    argv += ["--file", str(request.dockerfile)]
    for tag in request.tags:
        argv += ["--tag", tag]
    for name, value in sorted(request.labels.items()):
        argv += ["--label", f"{name}={value}"]
    for name, value in sorted(request.args.items() - proxies.items()):
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


def build_parameters(request: BuildRequest, *, version: str, dockerfile: str) -> dict[str, Any]:
    """The query of POST /build; ``dockerfile`` is the path in the archive that is posted."""
    params: dict[str, Any] = {
        "version": version,
        "dockerfile": dockerfile,
        "t": list(request.tags),
        "buildargs": json.dumps(dict(request.args)),
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


def proxy_args(environ: Mapping[str, str], in_config: Mapping[str, str]) -> dict[str, str]:
    """The proxies that builds get as build args.

    Those of docker's own config.json, which the docker command adds by itself, go before those of
    an environment. Of these one on the loopback is left out, for a build cannot reach it.
    """
    of_environ = {
        name: value
        for name in sorted(PROXY_NAMES)
        if (value := environ.get(name)) and not _is_loopback(name, value)
    }
    return {**of_environ, **in_config}


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


CA_SECRET = "ca-bundle"  # noqa: S105 - the name of a secret


class Circumstances(Struct, frozen=True, kw_only=True):
    """What requests say of tree and machine, beside what the plan says.

    ``bases`` are the external bases, ``contexts`` the build contexts that the keys were made of.
    ``proxies`` are build args of all images; ``ca_bundle`` is the file that builds get as a secret.
    ``no_cache`` are the images that are made without the layer cache.
    """

    config: Config
    graph: ImageGraph
    bases: Resolution
    contexts: Mapping[str, ReadContext] = field(default_factory=dict)
    commit: str = ""
    committed_at: datetime | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: Path | None = None
    no_cache: frozenset[str] = frozenset()
    push: bool = False


def make_requests(plan: Plan, given: Circumstances) -> dict[str, BuildRequest | OcbuildError]:
    """What is asked for each image that is made, or why that cannot even be tried.

    Raises:
        TreeError: the target is a stage without a name.

    """
    decisions = {step.image: step for step in plan.steps}
    return {
        step.image: _base_error(given.graph[step.image], given.bases)
        or _request(step, decisions, given)
        for step in plan.steps
        if isinstance(step, Assemble | Build)
    }


def _base_error(image: Image, bases: Resolution) -> OcbuildError | None:
    """Why a base of the image cannot be had."""
    found = (bases[text] for text in image.external)
    return next((base for base in found if isinstance(base, OcbuildError)), None)


def _request(
    step: Assemble | Build, decisions: Mapping[str, Decision], given: Circumstances
) -> BuildRequest:
    image, config = given.graph[step.image], given.config
    contexts = {**_in_tree(image, decisions), **_external(image, given.bases)}
    names = clashing((stage.name for stage in image.source.parsed.stages), contexts)
    own = config.image(image.name)
    request = BuildRequest(
        image=image.name,
        context=image.source.context,
        dockerfile=image.source.dockerfile,
        dockerfile_label=image.source.label,
        tags=step.refs,
        target=_target(image),
        args={**given.proxies, **image.source.args},
        labels=_labels(step, decisions, contexts, given),
        contexts={names.get(text, text): value for text, value in contexts.items()},
        names=names,
        uses=image.needs.bases,
        secrets=_secrets(config, image.name, given.ca_bundle),
        platform=image.source.platform,
        features=image.needs.features,
        no_cache=image.name in given.no_cache or not config.build.cache,
        timeout=config.build.timeout if own.timeout is None else own.timeout,
        base=image.links.get(image.base or "", ""),
        parsed=image.source.parsed,
        read=given.contexts.get(image.name),
        folders=_folders(image, given.bases),
    )
    if isinstance(step, Build):
        return request
    return replace(request, in_process=True, in_engine=step.in_engine, published=given.push)


def _in_tree(image: Image, decisions: Mapping[str, Decision]) -> dict[str, str]:
    """Each in-tree name to what the engine shall take for it."""
    return {text: _place(decisions[name]) for text, name in image.links.items()}


def _place(step: Decision) -> str:
    return step.reference if isinstance(step, Reuse | Retag) else str(step.release)


def _external(image: Image, bases: Resolution) -> dict[str, str]:
    found = ((text, bases[text]) for text in image.external)
    return {text: base.context for text, base in found if isinstance(base, ResolvedBase)}


def _folders(image: Image, bases: Resolution) -> dict[str, str]:
    found = (bases[text] for text in image.external)
    known = (base for base in found if isinstance(base, ResolvedBase))
    return {base.context: base.digest for base in known if base.is_folder}


def _target(image: Image) -> str | None:
    """The stage by name, for BuildKit knows no other; None for the last one.

    Raises:
        TreeError: the stage has no name.

    """
    if image.source.target is None:
        return None
    stage = image.source.parsed.stages[image.needs.target]
    if not stage.name:
        raise TreeError(
            f"the target {image.source.target} is a stage without a name",
            where=Location(image.source.label, stage.line),
            hint=f"name it: FROM {stage.base} AS …",
        )
    return stage.name


def _labels(
    step: Decision,
    decisions: Mapping[str, Decision],
    contexts: Mapping[str, str],
    given: Circumstances,
) -> dict[str, str]:
    image, config = given.graph[step.image], given.config
    base = image.base or ""
    in_tree = image.links.get(base)
    return oci_labels(
        title=image.name,
        key=step.key,
        version=config.groups[image.group].version or "",
        revision=given.commit,
        source=config.project.source or "",
        created=given.committed_at,
        base_name=str(decisions[in_tree].release) if in_tree else base,
        base_digest=contexts.get(base, "").partition("@")[2],
        own=image.needs.own_labels,
    )


def _secrets(config: Config, name: str, bundle: Path | None) -> dict[str, SecretSource]:
    secrets = {
        key: SecretSource(file=secret.file, env=secret.env)
        for key, secret in config.image(name).secrets.items()
    }
    if bundle is not None:
        secrets.setdefault(CA_SECRET, SecretSource(file=bundle))
    return secrets


def promised_bases(plan: Plan, graph: ImageGraph, bases: Resolution) -> dict[str, Pin]:
    """What images have to be made on, and is only known by its digest."""
    made = (step.image for step in plan.steps if isinstance(step, Assemble | Build))
    texts = {text for name in made for text in graph[name].external}
    found = ((text, bases[text]) for text in sorted(texts))
    return {
        text: Pin(digest=base.digest)
        for text, base in found
        if isinstance(base, ResolvedBase) and base.digest_only
    }
