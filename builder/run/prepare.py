"""From the tree and what exists to a plan and its jobs: keys, look-ups, build requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from builder.core.bases import Resolution, ResolvedBase, digests
from builder.core.context import ContextListing, ReadContext
from builder.core.errors import ContextError, Location, OcbuildError, TreeError
from builder.core.image import Image
from builder.core.keys import FileIdentity, content_key, inputs_of, key_tag
from builder.core.labels import oci_labels
from builder.core.plan import (
    Assemble,
    AvailableImage,
    Build,
    Decision,
    ImageFacts,
    Plan,
    Retag,
    Reuse,
)
from builder.core.published import Published
from builder.core.release import Inputs
from builder.core.settings.config import Config
from builder.engines import BuildRequest, SecretSource
from builder.engines.host import ca_bundle, proxy_args
from builder.run.work import Job
from builder.tree.context import with_contents
from builder.tree.read import Tree, context_of

CA_SECRET = "ca-bundle"  # noqa: S105 - the name of a secret


Find = Callable[[Image, str], AvailableImage | None]


class Identities(Struct, frozen=True, kw_only=True):
    """By image its key, "" where it is not known, and where it is what the key was made of.

    ``contexts`` are the contexts that were read for it.
    """

    keys: dict[str, str]
    inputs: dict[str, Inputs]
    contexts: dict[str, ReadContext]


def identify(
    tree: Tree,
    names: Iterable[str],
    *,
    bases: Resolution,
    platform: str,
    engine_class: str,
    generations: Mapping[str, int] | None = None,
    listings: Mapping[str, ContextListing] | None = None,
) -> Identities:
    """The keys and inputs of images, parents first; ``listings`` are those that were made before.

    Raises:
        InputError: a context that cannot be read.

    """
    keys: dict[str, str] = {}
    inputs: dict[str, Inputs] = {}
    contexts: dict[str, ReadContext] = {}
    for name in names:
        image = tree.graph[name]
        externals = digests(image.external, bases)
        if externals is None or not all(keys.get(parent) for parent in image.parents):
            keys[name] = ""
            continue
        contexts[name] = _read(image, (listings or {}).get(name))
        files = _identities(contexts[name])
        of = image.source.platform or platform
        keys[name] = content_key(
            image,
            files=files,
            externals=externals,
            parents=keys,
            platform=of,
            engine_class=engine_class,
            generation=(generations or {}).get(name, 0),
        )
        inputs[name] = inputs_of(
            image,
            files=files,
            externals=externals,
            platform=of,
            engine_class=engine_class,
            tests=tree.config.image(name).test,
            redirects=tree.config.contexts,
        )
    return Identities(keys=keys, inputs=inputs, contexts=contexts)


def _read(image: Image, listing: ContextListing | None) -> ReadContext:
    context, reads = image.source.context, image.needs.reads
    if listing is not None:
        with suppress(ContextError):  # a file is gone by now, perhaps from a folder that is copied
            return with_contents(context, reads, listing)
    return with_contents(context, reads, context_of(image))


def _identities(read: ReadContext) -> list[FileIdentity]:
    return [
        FileIdentity(
            path=file.path,
            kind=file.kind,
            mode=file.mode,
            link=file.link,
            content=read.contents.get(file.path, ""),
        )
        for file in read.listing.files
    ]


def image_facts(
    tree: Tree,
    selected: frozenset[str],
    keys: Mapping[str, str],
    find: Find,
    *,
    published: Mapping[str, Published],
    changes: Mapping[str, tuple[str, ...]],
) -> dict[str, ImageFacts]:
    """What is known of each image; ``find`` is asked for ancestors that are not selected.

    ``published`` are the selected ones that the registry has; ``changes`` why others are built.
    """
    return {
        name: ImageFacts(
            key=key,
            refs=tree.refs(name),
            optional=tree.config.image(name).optional,
            tested=bool(tree.config.image(name).test),
            available=find(tree.graph[name], key) if key and name not in selected else None,
            published=published.get(name),
            changes=changes.get(name, ()),
        )
        for name, key in keys.items()
    }


def make_jobs(
    tree: Tree,
    plan: Plan,
    *,
    bases: Resolution,
    environ: Mapping[str, str],
    no_cache: bool | frozenset[str],
    push: bool,
    contexts: Mapping[str, ReadContext],
) -> dict[str, Job]:
    """One job per image of the plan; ``no_cache`` is for all, or for the images that it names.

    ``contexts`` are those that the keys of the plan were made of.
    """
    references = {
        step.image: step.reference for step in plan.steps if isinstance(step, Reuse | Retag)
    }
    return {
        step.image: (
            _build_job(
                tree,
                step,
                bases,
                references,
                environ,
                read=contexts.get(step.image),
                no_cache=no_cache if isinstance(no_cache, bool) else step.image in no_cache,
                push=push,
            )
            if isinstance(step, Assemble | Build)
            else Job(
                decision=step,
                repository=tree.graph[step.image].repository,
                tag=tree.tags[step.image],
                moving=tree.moving[step.image],
            )
        )
        for step in plan.steps
    }


def _build_job(
    tree: Tree,
    step: Assemble | Build,
    bases: Resolution,
    references: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    read: ReadContext | None,
    no_cache: bool,
    push: bool,
) -> Job:
    image = tree.graph[step.image]
    found = {text: bases[text] for text in image.external}
    obstacle = next((base for base in found.values() if isinstance(base, OcbuildError)), None)
    request = None
    if obstacle is None:
        contexts = {**_in_tree(tree, image, references), **_external(found)}
        request = _request(tree, image, step, contexts, environ, read=read, no_cache=no_cache)
        if isinstance(step, Assemble):
            request = replace(request, in_engine=step.in_engine, published=push)
    return Job(
        decision=step,
        repository=image.repository,
        tag=tree.tags[step.image],
        moving=tree.moving[step.image],
        base=image.links.get(image.base or ""),
        request=request,
        tests=tree.config.image(step.image).test,
        timeout=_timeout(tree.config, step.image),
        obstacle=obstacle,
    )


def _in_tree(tree: Tree, image: Image, references: Mapping[str, str]) -> dict[str, str]:
    """Each in-tree name to what the engine shall take for it; no Dockerfile is ever rewritten."""
    return {
        text: references[name] if name in references else tree.refs(name)[0]
        for text, name in image.links.items()
    }


def _external(found: Resolution) -> dict[str, str]:
    return {text: base.context for text, base in found.items() if isinstance(base, ResolvedBase)}


def _request(
    tree: Tree,
    image: Image,
    step: Decision,
    contexts: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    read: ReadContext | None,
    no_cache: bool,
) -> BuildRequest:
    config = tree.config
    proxies = proxy_args(environ) if config.build.proxies else {}
    return BuildRequest(
        image=image.name,
        context=image.source.context,
        dockerfile=image.source.dockerfile,
        dockerfile_label=image.source.label,
        tags=step.refs,
        target=_target(image),
        args={**proxies, **image.source.args},
        labels=_labels(tree, image, step, contexts),
        contexts=contexts,
        secrets=_secrets(config, image.name, environ),
        platform=image.source.platform,
        features=image.needs.features,
        no_cache=no_cache or not config.build.cache,
        timeout=_timeout(config, image.name),
        parsed=image.source.parsed,
        read=read,
    )


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
    tree: Tree, image: Image, step: Decision, contexts: Mapping[str, str]
) -> dict[str, str]:
    revision = tree.revision
    base = image.base or ""
    in_tree = image.links.get(base)
    return oci_labels(
        title=image.name,
        key=step.key,
        version=tree.config.groups[image.group].version or "",
        revision=revision.commit if revision else "",
        source=tree.config.project.source or "",
        created=revision.committed_at if revision else None,
        base_name=tree.refs(in_tree)[0] if in_tree else base,
        base_digest=contexts.get(base, "").partition("@")[2],
    )


def _secrets(config: Config, name: str, environ: Mapping[str, str]) -> dict[str, SecretSource]:
    secrets = {
        key: SecretSource(file=secret.file, env=secret.env)
        for key, secret in config.image(name).secrets.items()
    }
    bundle = ca_bundle(config.build.ca_bundle, environ)
    if bundle is not None:
        secrets.setdefault(CA_SECRET, SecretSource(file=bundle))
    return secrets


def _timeout(config: Config, name: str) -> float:
    own = config.image(name).timeout
    return config.build.timeout if own is None else own


def staged_reference(image: Image, key: str) -> str:
    """Where the registry has an image of this key, if it has one."""
    return str(image.repository.with_tag(key_tag(key)))


def default_jobs(config: Config, asked: int | None) -> int:
    return asked or config.build.jobs or os.cpu_count() or 1
