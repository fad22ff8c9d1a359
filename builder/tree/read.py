"""build.toml, Dockerfiles and git, read into one Tree: images, graph and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from builder.config.load import find_config, load
from builder.core.checks import TreeWarning, warnings
from builder.core.codec import MalformedError, decode
from builder.core.context import ContextListing
from builder.core.dockerfile.model import declared_args
from builder.core.errors import InputError, RevisionError, UsageError, raise_all
from builder.core.graph import ImageGraph
from builder.core.image import Image, InTreeNames, render_tag, used_fields
from builder.core.options import SelectOptions, TreeOptions
from builder.core.run_json import RunReport
from builder.core.select import Selection, needs_changes, select
from builder.core.settings.config import Config, inputs, registry_host
from builder.core.settings.sections import Group
from builder.core.text import quoted
from builder.tree.discover import discover, read_context, unread_files
from builder.tree.revision import Revision, changed_paths, read_revision

DIRTY = "-dirty"
LAST_REPORT = Path(".ocbuild/last-report.json")
FROM_GIT = frozenset({"commit", "date", "branch"})


class Tree(Struct, frozen=True, kw_only=True):
    """All that was read. ``tags`` are the release tags, ``moving`` those that are set last."""

    config: Config
    graph: ImageGraph
    revision: Revision | None
    tags: Mapping[str, str]
    moving: Mapping[str, tuple[str, ...]]

    @property
    def dirty(self) -> bool:
        return self.revision is not None and self.revision.dirty

    def refs(self, name: str) -> tuple[str, ...]:
        repository = self.graph[name].repository
        return tuple(str(repository.with_tag(tag)) for tag in (self.tags[name], *self.moving[name]))


def read_tree(options: TreeOptions) -> Tree:
    """Read everything.

    Raises:
        InputError: all that is wrong with build.toml, the Dockerfiles or the repository.

    """
    config = load_config(options)
    graph = ImageGraph.of(discover(config), _names(config))
    revision = _revision(config, options.commit)
    tags: dict[str, str] = {}
    moving: dict[str, tuple[str, ...]] = {}
    for image in graph.images.values():
        tags[image.name], moving[image.name] = _tags(image, config, revision)
    return Tree(config=config, graph=graph, revision=revision, tags=tags, moving=moving)


def with_build_args(tree: Tree, args: Mapping[str, str]) -> Tree:
    """The tree with build args of this machine, before which those of build.toml go.

    It is the same one where no Dockerfile declares any of them.

    Raises:
        InputError: with these, a Dockerfile cannot be built.

    """
    sources = [image.source for image in tree.graph.images.values()]
    if not any(args.keys() & declared_args(source.parsed) for source in sources):
        return tree
    given = (replace(source, args={**args, **source.args}) for source in sources)
    return replace(tree, graph=ImageGraph.of(given, _names(tree.config)))


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


def _revision(config: Config, commit: str | None) -> Revision | None:
    """None only where there is no git, and no tag rule asks for what git knows."""
    try:
        return read_revision(config.root, inputs(config), commit=commit)
    except RevisionError:
        if any(_needs_git(group) for group in config.groups.values()):
            raise
        return None


def _needs_git(group: Group) -> bool:
    fields = {name for rule in (group.tag, *group.also) for name in used_fields(rule)}
    known = {"commit"} if group.commit else set()
    return bool((fields - known) & FROM_GIT)


def _tags(image: Image, config: Config, revision: Revision | None) -> tuple[str, tuple[str, ...]]:
    """The release tag and the moving ones; a dirty tree moves none."""
    group = config.groups[image.group]
    fields = {"version": group.version or "", "group": group.name, "name": image.name}
    if revision is not None:
        fields["commit"] = revision.short
        fields["branch"] = revision.branch
        fields["date"] = _date(revision)
    if group.commit:
        fields["commit"] = group.commit
    dirty = revision is not None and revision.dirty
    tag = render_tag(group.tag, fields)
    if dirty:
        return tag + DIRTY, ()
    return tag, tuple(render_tag(rule, fields) for rule in group.also)


def _date(revision: Revision) -> str:
    """The commit's day, so that a commit has one tag for ever; today's where git knows none."""
    at = revision.committed_at or datetime.now(timezone.utc)
    return at.strftime("%Y%m%d")


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
    changed = changed_paths(config.root, since, inputs(config))
    if any(
        path.relative_to(config.root).as_posix() in changed
        for path in (config.path, config.lock_path)
    ):
        return frozenset(tree.graph.images)
    return frozenset(
        image.name for image in tree.graph.images.values() if _reads_any(image, changed)
    )


def _reads_any(image: Image, changed: frozenset[str]) -> bool:
    """Whether a changed path is an input of the image; a deleted one counts if it lay in reach."""
    source = image.source
    if source.label in changed:
        return True
    prefix = "" if source.context_label == "." else f"{source.context_label}/"
    near = {path.removeprefix(prefix) for path in changed if path.startswith(prefix)}
    if not near:
        return False
    listing = context_of(image)
    if listing.ignore_file is not None and listing.ignore_file in near:
        return True
    read = {file.path for file in listing.files}
    return any(path in read or not (source.context / path).exists() for path in near)


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
        image = tree.graph[name]
        unread: tuple[str, ...] = ()
        try:
            listing = context_of(image)
            unread = unread_files(image.source.context, image.source.dockerfile, listing)
        except InputError as error:
            errors.append(error)
        findings.extend(warnings(image, tags=clean, unread=unread))
    return Checked(images=len(names), warnings=tuple(findings))


def read_contexts(tree: Tree, names: Iterable[str]) -> dict[str, ContextListing]:
    """The context of each image, so that what is missing is said before anything is built.

    Raises:
        InputError: all that is missing, together.

    """
    errors: list[InputError] = []
    listings: dict[str, ContextListing] = {}
    for name in names:
        try:
            listings[name] = context_of(tree.graph[name])
        except InputError as error:
            errors.append(error)
    raise_all(errors)
    return listings
