"""build.toml, Dockerfiles and git, read into one Tree: images, graph and what they are called."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from builder.config.load import find_config, load
from builder.core.checks import TreeWarning, warnings
from builder.core.codec import MalformedError, decode
from builder.core.context import IGNORE_FILE, OWN_FOLDER, ContextListing, ReadContext
from builder.core.context.sources import reaches
from builder.core.dockerfile.model import declared_args
from builder.core.errors import InputError, RevisionError, UsageError, raise_all
from builder.core.graph import DEFAULT_PLATFORM, ImageGraph
from builder.core.image import Image, InTreeNames, render_tag, used_fields
from builder.core.options import SelectOptions, TreeOptions
from builder.core.run_json import RunReport
from builder.core.select import Selection, needs_changes, select
from builder.core.settings.config import Config, inputs, registry_host
from builder.core.settings.sections import Group
from builder.core.text import quoted
from builder.tree.discover import (
    DOCKERFILE,
    Reads,
    all_below,
    discover,
    open_context,
    read_context,
    seen_from,
    unread_files,
    way,
)
from builder.tree.revision import Revision, changed_paths, read_revision

DIRTY = "-dirty"
# A file system's clock is behind by as much, at the most.
_CLOCK_TICK = 20_000_000
LAST_REPORT = Path(OWN_FOLDER, "last-report.json")
FROM_GIT = frozenset({"commit", "date", "branch"})


class Tree(Struct, frozen=True, kw_only=True):
    """All that was read. ``tags`` are the release tags, ``moving`` those that are set last.

    ``dirty``: no commit has all that the images are made of; ``read_at`` in nanoseconds.
    """

    config: Config
    graph: ImageGraph
    revision: Revision | None
    reads: Mapping[str, Reads]
    dirty: bool
    read_at: int
    tags: Mapping[str, str]
    moving: Mapping[str, tuple[str, ...]]

    def refs(self, name: str) -> tuple[str, ...]:
        repository = self.graph[name].repository
        return tuple(str(repository.with_tag(tag)) for tag in (self.tags[name], *self.moving[name]))


def read_tree(options: TreeOptions) -> Tree:
    """Read everything.

    Raises:
        InputError: all that is wrong with build.toml, the Dockerfiles or the repository.

    """
    config, read_at = load_config(options), time.time_ns()
    graph = ImageGraph.of(discover(config), _names(config))
    root = os.path.realpath(config.root)
    reads = {image.name: _reads(image, config, root) for image in graph.images.values()}
    revision = _revision(config, reads, options.commit)
    dirty = revision is not None and _is_dirty(config, graph, reads, revision.edits)
    tags: dict[str, str] = {}
    moving: dict[str, tuple[str, ...]] = {}
    for image in graph.images.values():
        tags[image.name], moving[image.name] = _tags(image, config, revision, dirty=dirty)
    return Tree(
        config=config,
        graph=graph,
        revision=revision,
        reads=reads,
        dirty=dirty,
        read_at=read_at,
        tags=tags,
        moving=moving,
    )


def for_engine(tree: Tree, args: Mapping[str, str], platform: str = DEFAULT_PLATFORM) -> Tree:
    """The tree as an engine of this platform builds it; build args of build.toml go before these.

    Raises:
        InputError: with these, a Dockerfile cannot be built.

    """
    sources = [image.source for image in tree.graph.images.values()]
    declared = any(args.keys() & declared_args(source.parsed) for source in sources)
    if not declared and platform == DEFAULT_PLATFORM:
        return tree
    given = (replace(source, args={**args, **source.args}) for source in sources)
    return replace(tree, graph=ImageGraph.of(given, _names(tree.config), platform))


def load_config(options: TreeOptions) -> Config:
    overrides = list(options.sets)
    if options.registry is not None:
        overrides.append(f"project.registry={quoted(options.registry)}")
    if options.namespace is not None:
        overrides.append(f"project.namespace={quoted(options.namespace)}")
    return load(find_config(Path.cwd(), options.config), overrides)


def _names(config: Config) -> InTreeNames:
    return InTreeNames(
        namespace=config.project.namespace,
        registry=registry_host(config),
        aliases=frozenset(config.project.aliases),
        redirects=config.contexts,
    )


# --- tags ---------------------------------------------------------------------------------------


def _revision(config: Config, reads: Mapping[str, Reads], commit: str | None) -> Revision | None:
    """None only where there is no git, and no tag rule asks for what git knows."""
    try:
        places, files = _looked_at(config, reads)
        return read_revision(config.root, places, commit=commit, reads=files)
    except RevisionError:
        if any(_needs_git(group) for group in config.groups.values()):
            raise
        return None


def _needs_git(group: Group) -> bool:
    fields = {name for rule in (group.tag, *group.also) for name in used_fields(rule)}
    known = {"commit"} if group.commit else set()
    return bool((fields - known) & FROM_GIT)


def _tags(
    image: Image, config: Config, revision: Revision | None, *, dirty: bool
) -> tuple[str, tuple[str, ...]]:
    """The release tag and the moving ones; a dirty tree moves none."""
    group = config.groups[image.group]
    fields = {"version": group.version or "", "group": group.name, "name": image.name}
    if revision is not None:
        fields["commit"] = revision.short
        fields["branch"] = revision.branch
        fields["date"] = _date(revision)
    if group.commit:
        fields["commit"] = group.commit
    tag = render_tag(group.tag, fields)
    if dirty:
        return tag + DIRTY, ()
    return tag, tuple(render_tag(rule, fields) for rule in group.also)


def _date(revision: Revision) -> str:
    """The commit's day, so that a commit has one tag for ever; today's where git knows none."""
    at = revision.committed_at or datetime.now(timezone.utc)
    return at.strftime("%Y%m%d")


def edited_since(tree: Tree, contexts: Mapping[str, ReadContext]) -> bool:
    """Whether these contexts, which were read later, have what the clean tree's commit has not.

    Raises:
        RevisionError: where git cannot tell.

    """
    revision = tree.revision
    if revision is None or not revision.head or tree.dirty:
        return False
    if not any(_is_newer(tree, name, context) for name, context in contexts.items()):
        return False
    config, graph, root = tree.config, tree.graph, os.path.realpath(tree.config.root)
    reads = {image.name: _reads(image, config, root) for image in graph.images.values()}
    changed = changed_paths(config.root, revision.head, *_looked_at(config, reads))
    return _is_dirty(config, graph, reads, changed)


def _is_newer(tree: Tree, name: str, context: ReadContext) -> bool:
    """Whether a context may differ from what git was asked about."""
    if context.listing != tree.reads[name].listing:
        return True
    folder, since = tree.graph[name].source.context, tree.read_at - _CLOCK_TICK
    files = [f"{folder}/{file.path}" for file in context.listing.files]
    return any(not os.path.lexists(file) or os.lstat(file).st_ctime_ns >= since for file in files)


# --- selecting ----------------------------------------------------------------------------------


def choose_images(tree: Tree, options: SelectOptions) -> Selection:
    """What the targets mean.

    Raises:
        UsageError: an unknown target, or nothing is left.

    """
    targets = options.targets
    if options.retry_failed:
        targets = (*targets, *_failed_last_time(tree))
        if not targets:
            return Selection(images=(), because={})
    changed = None
    if needs_changes((*targets, *options.exclude)):
        changed = _changed_images(tree, options.since)
    selection = select(
        tree.graph,
        targets,
        groups=tree.config.groups,
        exclude=options.exclude,
        changed=changed,
    )
    if not selection.images and changed is None:
        raise UsageError("--exclude leaves nothing of the targets")
    return selection


def _failed_last_time(tree: Tree) -> Iterable[str]:
    file = tree.config.root / LAST_REPORT
    try:
        report = decode(file.read_bytes(), RunReport, what=str(LAST_REPORT))
    except (OSError, MalformedError) as error:
        raise UsageError(
            "--retry-failed: there is no report of an earlier run here",
            hint="run once without it; the report is kept beside build.toml, under .ocbuild",
        ) from error
    again = {"failed", "blocked", "interrupted"}
    failed = {name for name, image in report.images.items() if image.status in again}
    return tree.graph.in_order(failed)


def _changed_images(tree: Tree, since: str | None) -> frozenset[str]:
    config = tree.config
    places, files = _looked_at(config, tree.reads)
    changed = changed_paths(config.root, since, places, files)
    if not changed.isdisjoint(_configuration(config)):
        return frozenset(tree.graph.images)
    gone = _gone(config, changed)
    images = tree.graph.images.values()
    return frozenset(
        image.name for image in images if _reads_any(image, tree.reads[image.name], changed, gone)
    )


# --- what is read -------------------------------------------------------------------------------


def _reads(image: Image, config: Config, root: str) -> Reads:
    source = image.source
    dockerfile, context = way(root, source.dockerfile), way(root, source.context)
    named = [config.root / config.contexts.get(text, ":") for text in image.external]
    folders = [way(root, folder) for folder in named if folder.is_dir()]
    files = {*dockerfile, *context[:-1], *(link for each in folders for link in each[:-1])}
    files.update(path for each in folders for path in all_below(root, each[-1]))
    listing: ContextListing | InputError
    try:
        listing = context_of(image)
    except InputError as error:
        listing = error
    else:
        prefix = "" if context[-1] == "." else f"{context[-1]}/"
        files.update(f"{prefix}{file.path}" for file in listing.files)
        if listing.ignore_file is not None:
            files.update(way(root, source.context / listing.ignore_file))
    return Reads(
        listing=listing,
        context=context[-1],
        # What git keeps there is no content that it could have.
        files=frozenset(path for path in files if ".git" not in path.split("/")),
        folders=tuple(each[-1] for each in folders),
        places=frozenset({*dockerfile, *context, *(place for each in folders for place in each)}),
    )


def _looked_at(config: Config, reads: Mapping[str, Reads]) -> tuple[list[Path], set[str]]:
    """The places and the files that git is asked about."""
    given = [path.absolute() for path in inputs(config)]
    root = Path(os.path.realpath(config.root))
    above = tuple(f"{seen_from(str(root), os.path.realpath(path))}/" for path in given)
    places = {place for each in reads.values() for place in each.places}
    more = [root / place for place in places if not f"{place}/".startswith(above)]
    files = {file for each in reads.values() for file in each.files}
    there = {name for name in _configuration(config) if os.path.lexists(root / name)}
    return [*given, *more], files | there


def _configuration(config: Config) -> set[str]:
    root = os.path.realpath(config.root)
    return {step for path in (config.path, config.lock_path) for step in way(root, path)}


def _is_dirty(
    config: Config, graph: ImageGraph, reads: Mapping[str, Reads], edits: frozenset[str]
) -> bool:
    if not edits:
        return False
    gone = _gone(config, edits)
    return (
        not edits.isdisjoint(_configuration(config))
        or any(posixpath.basename(path) == DOCKERFILE for path in gone)
        or any(_reads_any(image, reads[name], edits, gone) for name, image in graph.images.items())
    )


def _gone(config: Config, changed: Iterable[str]) -> frozenset[str]:
    root = os.path.realpath(config.root)
    return frozenset(path for path in changed if not os.path.lexists(f"{root}/{path}"))


def _reads_any(image: Image, reads: Reads, changed: frozenset[str], gone: frozenset[str]) -> bool:
    """Whether a changed path is an input of the image; a deleted one counts if it lay in reach."""
    if not reads.files.isdisjoint(changed):
        return True
    if any(path.startswith(f"{folder}/") for folder in reads.folders for path in changed):
        return True
    prefix = "" if reads.context == "." else f"{reads.context}/"
    if isinstance(reads.listing, InputError):
        return any(path.startswith(prefix) for path in changed)
    near = [path.removeprefix(prefix) for path in gone if path.startswith(prefix)]
    if f"{image.source.label}{IGNORE_FILE}" in gone or IGNORE_FILE in near:
        return True
    if not near:
        return False
    tree = open_context(image.source.context, image.source.dockerfile)
    return any(reaches(tree, image.needs.reads, path) for path in near)


def context_of(image: Image) -> ContextListing:
    """The files of the build context that the image can read.

    Raises:
        InputError: a source that is missing or lies outside of the context.

    """
    return read_context(
        image.source.context,
        image.source.dockerfile,
        image.needs.reads,
        shown=image.source.context_label,
    )


# --- checking -----------------------------------------------------------------------------------


class Checked(Struct, frozen=True, kw_only=True):
    """How many images were looked at, and what is not an error but probably not meant."""

    images: int = 0
    warnings: tuple[TreeWarning, ...] = field(default=())


def check_tree(options: TreeOptions, selection: SelectOptions, errors: list[InputError]) -> Checked:
    """Read the whole tree and every context; mistakes are added to ``errors``, not raised."""
    try:
        tree = read_tree(options)
        names = choose_images(tree, selection).images
    except InputError as error:
        errors.append(error)
        return Checked()
    clean = {name: tag.removesuffix(DIRTY) for name, tag in tree.tags.items()}
    findings: list[TreeWarning] = []
    for name in names:
        image, listing = tree.graph[name], tree.reads[name].listing
        unread: tuple[str, ...] = ()
        if isinstance(listing, InputError):
            errors.append(listing)
        else:
            unread = unread_files(image.source.context, image.source.dockerfile, listing)
        findings.extend(warnings(image, tags=clean, unread=unread))
    return Checked(images=len(names), warnings=tuple(findings))


def read_contexts(tree: Tree, names: Sequence[str]) -> dict[str, ContextListing]:
    """The contexts of images and of what they are built on, so that what is missing is said early.

    Raises:
        InputError: all that is missing, together.

    """
    wanted = tree.graph.in_order({*names, *tree.graph.ancestors(names)})
    found = {name: tree.reads[name].listing for name in wanted}
    raise_all([each for each in found.values() if isinstance(each, InputError)])
    return {name: each for name, each in found.items() if isinstance(each, ContextListing)}
