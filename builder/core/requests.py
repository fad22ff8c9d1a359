"""From a plan to what engines are asked for: one request per image that is made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.bases import Pin, Resolution, ResolvedBase
from builder.core.context import ReadContext
from builder.core.engine.request import BuildRequest, SecretSource
from builder.core.errors import Location, OcbuildError, TreeError
from builder.core.graph import ImageGraph
from builder.core.image import Image
from builder.core.keys import oci_labels
from builder.core.plan import Assemble, Build, Decision, Plan, Retag, Reuse
from builder.core.settings.config import Config

CA_SECRET = "ca-bundle"  # noqa: S105 - the name of a secret


class Circumstances(Struct, frozen=True, kw_only=True):
    """What requests say of tree and machine, beside what the plan says.

    ``bases`` are the external bases, ``contexts`` the build contexts that the keys were made of.
    ``proxies`` are build args; ``ca_bundle`` is the file that builds get as a secret. ``no_cache``
    are the images that are made without the layer cache.
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
        contexts=contexts,
        secrets=_secrets(config, image.name, given.ca_bundle),
        platform=image.source.platform,
        features=image.needs.features,
        no_cache=image.name in given.no_cache or not config.build.cache,
        timeout=config.build.timeout if own.timeout is None else own.timeout,
        base=image.links.get(image.base or "", ""),
        parsed=image.source.parsed,
        read=given.contexts.get(image.name),
    )
    if isinstance(step, Build):
        return request
    return replace(request, in_process=True, in_engine=step.in_engine, published=given.push)


def _in_tree(image: Image, decisions: Mapping[str, Decision]) -> dict[str, str]:
    """Each in-tree name to what the engine shall take for it; no Dockerfile is ever rewritten."""
    return {text: _place(decisions[name]) for text, name in image.links.items()}


def _place(step: Decision) -> str:
    return step.reference if isinstance(step, Reuse | Retag) else str(step.release)


def _external(image: Image, bases: Resolution) -> dict[str, str]:
    found = ((text, bases[text]) for text in image.external)
    return {text: base.context for text, base in found if isinstance(base, ResolvedBase)}


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
