"""From the tree and what exists to a plan and its jobs: keys, look-ups, build requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from builder.config.load import Config
from builder.core.bases import Resolution, ResolvedBase, digests
from builder.core.errors import ContextError, Location, OcbuildError, TreeError
from builder.core.image import Image
from builder.core.keys import FileIdentity, content_key, inputs_of, key_tag
from builder.core.labels import oci_labels
from builder.core.plan import Action, Known, Plan, Step
from builder.core.published import Published
from builder.core.reference import Reference
from builder.core.release import Inputs, ReleasedImage
from builder.engines import BuildRequest, SecretSource
from builder.engines.host import ca_bundle, proxy_args
from builder.run.work import Job
from builder.tree.context import ContextListing, ReadContext, with_contents
from builder.tree.read import Tree, context_of

CA_SECRET = "ca-bundle"  # noqa: S105 - the name of a secret


class Existing(Struct, frozen=True, kw_only=True):
    """Where an image with a certain key is: ``reference`` for engines, ``place`` for people.

    ``image_id`` is set where the engine has the image, perhaps under another name.
    """

    reference: str
    place: str
    image_id: str = ""


Find = Callable[[Image, str], Existing | None]


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


def known_images(
    tree: Tree,
    selected: frozenset[str],
    keys: Mapping[str, str],
    find: Find,
    *,
    published: Mapping[str, Published],
    reasons: Mapping[str, tuple[str, ...]],
) -> tuple[dict[str, Known], dict[str, Existing]]:
    """What is known of each image; ``find`` is asked for ancestors that are not selected.

    ``published`` are the selected ones that the registry has; ``reasons`` why others are built.
    """
    known: dict[str, Known] = {}
    existing: dict[str, Existing] = {}
    for name, key in keys.items():
        image = tree.graph[name]
        there = published.get(name)
        found = find(image, key) if key and name not in selected else None
        if there is not None:
            reference = str(image.repository.at(there.digest))
            found = Existing(reference=reference, place="the registry")
        if found is not None:
            existing[name] = found
        known[name] = Known(
            key=key,
            refs=tree.refs(name),
            existing=found.place if found else "",
            optional=tree.config.image(name).optional,
            digest=there.digest if there else "",
            tagged=there is not None and there.tagged,
            of=there.of if there else "",
            reasons=reasons.get(name, ()),
        )
    return known, existing


def make_jobs(
    tree: Tree,
    plan: Plan,
    *,
    bases: Resolution,
    existing: Mapping[str, Existing],
    environ: Mapping[str, str],
    no_cache: bool | frozenset[str],
    push: bool,
    released: Mapping[str, ReleasedImage],
    contexts: Mapping[str, ReadContext],
) -> dict[str, Job]:
    """One job per image of the plan; ``no_cache`` is for all, or for the images that it names.

    ``released`` are the images of the release that this run goes on from, if it publishes;
    ``contexts`` are those that the keys of the plan were made of.
    """
    jobs = {
        step.image: (
            _reuse_job(tree, step, existing[step.image])
            if step.action in (Action.REUSE, Action.RETAG)
            else _build_job(
                tree,
                step,
                bases,
                existing,
                environ,
                read=contexts.get(step.image),
                no_cache=no_cache if isinstance(no_cache, bool) else step.image in no_cache,
            )
        )
        for step in plan.steps
    }
    return _with_places(tree, plan, jobs, existing, released) if push else jobs


def _reuse_job(tree: Tree, step: Step, found: Existing) -> Job:
    return Job(
        image=step.image,
        repository=tree.graph[step.image].repository,
        key=step.key,
        tag=tree.tags[step.image],
        moving=tree.moving[step.image],
        reused=found.reference,
        reused_id=found.image_id,
        digest=step.digest,
        tagged=step.action is Action.REUSE,
        optional=step.optional,
    )


def _build_job(
    tree: Tree,
    step: Step,
    bases: Resolution,
    existing: Mapping[str, Existing],
    environ: Mapping[str, str],
    *,
    read: ReadContext | None,
    no_cache: bool,
) -> Job:
    image = tree.graph[step.image]
    found = {text: bases[text] for text in image.external}
    obstacle = next((base for base in found.values() if isinstance(base, OcbuildError)), None)
    request = None
    if obstacle is None:
        contexts = {**_in_tree(tree, image, existing), **_external(found)}
        request = _request(tree, image, step, contexts, environ, read=read, no_cache=no_cache)
    return Job(
        image=step.image,
        repository=image.repository,
        key=step.key,
        tag=tree.tags[step.image],
        moving=tree.moving[step.image],
        base=image.links.get(image.base or ""),
        request=request,
        assembled=step.action is Action.ASSEMBLE,
        tests=tree.config.image(step.image).test,
        timeout=_timeout(tree.config, step.image),
        obstacle=obstacle,
        optional=step.optional,
    )


def _in_tree(tree: Tree, image: Image, existing: Mapping[str, Existing]) -> dict[str, str]:
    """Each in-tree name to what the engine shall take for it; no Dockerfile is ever rewritten."""
    return {
        text: existing[name].reference if name in existing else tree.refs(name)[0]
        for text, name in image.links.items()
    }


def _external(found: Resolution) -> dict[str, str]:
    return {text: base.context for text, base in found.items() if isinstance(base, ResolvedBase)}


def _request(
    tree: Tree,
    image: Image,
    step: Step,
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


def _labels(tree: Tree, image: Image, step: Step, contexts: Mapping[str, str]) -> dict[str, str]:
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


def _with_places(
    tree: Tree,
    plan: Plan,
    jobs: Mapping[str, Job],
    existing: Mapping[str, Existing],
    released: Mapping[str, ReleasedImage],
) -> dict[str, Job]:
    """The jobs, with word of where the images are needed: all in the registry, some only there.

    Those are assembled, have no test, and nothing of this run is built on them.
    """
    found = dict(jobs)
    needed = {parent for step in plan.steps for parent in step.parents}
    for step in plan.steps:
        job = jobs[step.image]
        if step.action is Action.ASSEMBLE and job.request:
            in_engine = step.image in needed or bool(job.tests)
            request = replace(job.request, in_engine=in_engine, published=True)
            # Nobody looks for the key of an image that is as quick to make and that nothing needs.
            held = not (in_engine or tree.graph.children(step.image)) and _is_held(
                job, existing, released
            )
            found[step.image] = replace(job, request=request, held=held)
    return found


def _is_held(
    job: Job, existing: Mapping[str, Existing], released: Mapping[str, ReleasedImage]
) -> bool:
    """Whether the release has this image on its base as that is now, so with the same layers."""
    base, below = existing.get(job.base or ""), released.get(job.base or "")
    before = released.get(job.image)
    if base is None or below is None or before is None:
        return False
    same_base = Reference.parse(base.reference).digest == below.digest
    return same_base and before.base == job.base and before.path == job.repository.path


def staged_reference(image: Image, key: str) -> str:
    """Where the registry has an image of this key, if it has one."""
    return str(image.repository.with_tag(key_tag(key)))


def default_jobs(config: Config, asked: int | None) -> int:
    return asked or config.build.jobs or os.cpu_count() or 1
