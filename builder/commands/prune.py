"""The command ``prune``: what is old goes from the registry and from the engine."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from msgspec import Struct

from builder.commands import release_texts as texts
from builder.core.errors import Bug, EngineUnavailableError, PublishError, UsageError, did_you_mean
from builder.core.keys import key_tag
from builder.core.labels import KEY
from builder.core.options import PruneOptions, TreeOptions
from builder.core.reference import BadReferenceError, Reference
from builder.core.retention import Found, Policy, Shelved, Sweep, Verdict, judge, sweep
from builder.core.settings.config import DEFAULT_ADDRESS
from builder.core.settings.sections import PruneSettings
from builder.core.text import columns, counted, size
from builder.docker.storage import KeptImage, Storage
from builder.publish.deployments import Deployments
from builder.publish.home import Home, open_home, shelve
from builder.publish.scan import repositories, scan
from builder.registry.collection import collect, obstacle
from builder.registry.embedded import EmbeddedRegistry
from builder.registry.faults import NotFoundError, RefusedError
from builder.system.state_folder import state_dir
from builder.system.threads import each
from builder.tree.revision import branch_commits

_METHOD_NOT_ALLOWED = 405
_ROUNDS = 5


class Local(Struct, frozen=True, kw_only=True):
    """The engine's images that go; ``note`` says why none are looked at."""

    delete: tuple[KeptImage, ...] = ()
    kept: int = 0
    note: str = ""

    @property
    def freed(self) -> int:
        return sum(image.own for image in self.delete)


def prune(tree: TreeOptions, options: PruneOptions, environ: Mapping[str, str]) -> int:
    """Show what goes, or delete it.

    Raises:
        PublishError: the registry cannot be read, a release in it cannot be understood, or it
            allows no deletion.

    """
    with open_home(tree, environ) as home:
        found, shelf = _survey(home, options)
        local = _survey_engine(home, found.releases, environ, _policy(home, options, shelf))
        if options.delete:
            _delete(home, found)
            local = _delete_local(local, environ)
        freed = _collect(home, environ) if options.collect else None
        if options.as_json:
            document = _document(found, local, freed, deleted=options.delete)
            sys.stdout.write(texts.as_json(document))
        else:
            lines = _lines(home, found, local, deleted=options.delete)
            lines += _next_steps(home, environ, found, options, freed)
            sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


# --- the registry -------------------------------------------------------------------------------


def _survey(home: Home, options: PruneOptions) -> tuple[Sweep, list[Shelved]]:
    """Read until the releases before and after are the same: one that was published meanwhile may
    name what would go.
    """
    shelf = _shelve(home)
    for _ in range(_ROUNDS):
        policy = _policy(home, options, shelf)
        manifests = scan(home, repositories(home, shelf))
        made = {one.place: one.made for one in manifests if one.made is not None}
        deployed = _deployed(home)
        verdicts = judge(shelf, made, policy, deployed)
        found = sweep(verdicts, manifests, policy, shelf=home.releases.repository.path)
        again = _shelve(home)
        same = [(one.digest, one.tags) for one in again] == [
            (one.digest, one.tags) for one in shelf
        ]
        if same and _deployed(home) == deployed:
            return found, shelf
        shelf = again
    raise PublishError(
        f"releases are being published to {home.address} all the time",
        hint="prune when nobody publishes",
    )


def _shelve(home: Home) -> list[Shelved]:
    shelf, broken = shelve(home)
    if broken:
        # It may name anything, so nothing is safe to delete.
        raise PublishError(
            f"{broken[0].message}; so nothing is deleted",
            hint=broken[0].hint or "delete that tag, if nobody needs it",
        )
    return shelf


def _deployed(home: Home) -> dict[str, list[str]]:
    """Where each release runs, or ran before what runs now, by its tag."""
    found: dict[str, list[str]] = {}
    for entry in Deployments(home.registry, home.releases.repository).all():
        for release in entry.releases:
            found.setdefault(release, []).append(f"{entry.host}.{entry.stack}")
    return found


def _policy(home: Home, options: PruneOptions, shelf: Iterable[Shelved]) -> Policy:
    settings = home.config.prune if home.config is not None else PruneSettings()
    root = home.config.root if home.config is not None else Path.cwd()
    branch = options.branch or settings.branch or ""
    commits = branch_commits(root, branch) if branch else frozenset[str]()
    recorded = {one.release.branch for one in shelf}
    if branch and not commits and branch not in recorded:
        raise UsageError(
            f'git knows no branch "{branch}", and no release was made of one',
            hint=did_you_mean(branch, sorted(recorded)),
        )
    return Policy(
        now=datetime.now(timezone.utc),
        keep_commits=_first(options.keep_commits, settings.keep_commits),
        keep_days=_first(options.keep_days, settings.keep_days),
        branch=branch,
        commits=commits,
    )


def _first(option: int | None, setting: int) -> int:
    return setting if option is None else option


def _delete(home: Home, found: Sweep) -> None:
    """Images first: whoever is stopped here finds the releases again, and finishes."""
    shelf = home.releases.repository.path
    images = [one for one in found.delete if one.path != shelf]
    # An index before its parts, so that none is ever without them.
    for some in (
        [one for one in images if one.children],
        [one for one in images if not one.children],
        [one for one in found.delete if one.path == shelf],
    ):
        each(lambda one: _delete_one(home, one), some)


def _delete_one(home: Home, one: Found) -> None:
    try:
        home.registry.delete(home.at(one.path).at(one.digest))
    except NotFoundError:
        return
    except RefusedError as error:
        if error.status != _METHOD_NOT_ALLOWED:
            raise
        raise PublishError(
            f"{home.host} allows no deletion",
            hint="the registry's configuration needs storage: {delete: {enabled: true}}",
        ) from error


def _embedded(home: Home, environ: Mapping[str, str]) -> EmbeddedRegistry | None:
    """The registry of this machine that ocbuild runs, if that is the one we are about."""
    state = state_dir(environ)
    _, _, port = home.host.rpartition(":")
    is_known = home.host == DEFAULT_ADDRESS or (state / "registry" / port).is_dir()
    try:
        return EmbeddedRegistry(state=state, address=home.host) if is_known else None
    except UsageError:
        return None  # no loopback address


def _collect(home: Home, environ: Mapping[str, str]) -> int:
    embedded = _embedded(home, environ)
    if embedded is None:
        raise PublishError(
            f"{home.host} is not ours, so its disk is freed by its owner",
            hint="docker-registry garbage-collect CONFIG, while nobody pushes",
        )
    return collect(embedded)


# --- the engine ---------------------------------------------------------------------------------


def _survey_engine(
    home: Home, verdicts: Iterable[Verdict], environ: Mapping[str, str], policy: Policy
) -> Local:
    try:
        storage = Storage.connect(environ)
    except EngineUnavailableError as error:
        return Local(note=error.message)
    kept = [verdict.shelved.release for verdict in verdicts if verdict.why]
    keys = {key_tag(image.key) for release in kept for image in release.images.values()}
    with closing(storage):
        mine = [image for image in storage.labelled(KEY) if _is_mine(home, image)]
    delete = [
        image
        for image in mine
        if not image.in_use
        and not policy.is_young(image.made)
        and key_tag(image.labels.get(KEY, "")) not in keys
    ]
    return Local(delete=tuple(delete), kept=len(mine) - len(delete))


def _is_mine(home: Home, image: KeptImage) -> bool:
    """Every name of it is in our namespace: one that somebody else gave is not ours to remove."""
    start = f"{home.address}/"
    return bool(image.tags) and all(_repository(tag).startswith(start) for tag in image.tags)


def _repository(tag: str) -> str:
    try:
        return Reference.parse(tag).repository
    except BadReferenceError as error:
        raise Bug(f"the engine has an image called {tag}: {error.message}") from error


def _delete_local(local: Local, environ: Mapping[str, str]) -> Local:
    if not local.delete:
        return local
    with closing(Storage.connect(environ)) as storage:
        # One after the other: the engine takes a lock for each.
        gone = [image for image in local.delete if all(map(storage.remove, image.tags))]
    return Local(delete=tuple(gone), kept=local.kept + len(local.delete) - len(gone))


# --- what is said -------------------------------------------------------------------------------


def _lines(home: Home, found: Sweep, local: Local, *, deleted: bool) -> list[str]:
    verb = "deleted" if deleted else "would be deleted"
    rows = [
        (
            "keep" if verdict.why else "delete",
            verdict.shelved.release.tag,
            f"{verdict.shelved.release.created[:10]}",
            verdict.why,
        )
        for verdict in found.releases
    ]
    lines = [*columns(rows), ""] if rows else [f"there is no release in {home.address}", ""]
    lines.append(
        f"registry {home.address}: {counted(len(found.gone), 'release')} and"
        f" {counted(len(_images(found)), 'image')} {verb}, {counted(found.kept, 'manifest')} kept;"
        f" {size(found.freed)} of blobs that nothing here needs any more"
    )
    if found.unexplained:
        one = found.unexplained[0]
        lines.append(
            f"note: {counted(len(found.unexplained), 'image')} stay because of a tag that no"
            f" release explains, such as {one.path}:{_odd(one)}"
        )
    if local.note:
        lines.append(f"engine: not looked at: {local.note}")
    else:
        lines.append(
            f"engine: {counted(len(local.delete), 'image')} {verb}, {local.kept} kept;"
            f" at least {size(local.freed)}"
        )
    return lines


def _images(found: Sweep) -> tuple[Found, ...]:
    gone = {shelved.digest for shelved in found.gone}
    return tuple(one for one in found.delete if one.digest not in gone)


def _odd(one: Found) -> str:
    return next((tag for tag in one.tags if not tag.startswith("key-")), one.tags[0])


def _next_steps(
    home: Home,
    environ: Mapping[str, str],
    found: Sweep,
    options: PruneOptions,
    freed: int | None,
) -> list[str]:
    if freed is not None:
        return [f"the registry's garbage collection freed {size(freed)} of disk"]
    if not options.delete:
        return ["nothing was deleted; --yes does it"]
    if not found.delete:
        return []
    embedded = _embedded(home, environ)
    if embedded is not None and not obstacle(embedded):
        command = "`ocbuild prune --yes --collect`, while nobody pushes"
        return [f"the disk is freed by the registry's garbage collection: {command}"]
    return [f"the disk of {home.host} is freed once its own garbage collection has run"]


def _document(found: Sweep, local: Local, freed: int | None, *, deleted: bool) -> dict[str, object]:
    return {
        "deleted": deleted,
        "releases": [
            {
                "tag": verdict.shelved.release.tag,
                "digest": verdict.shelved.digest,
                "keep": bool(verdict.why),
                "why": verdict.why,
            }
            for verdict in found.releases
        ],
        "manifests": [
            {"repository": one.path, "digest": one.digest, "tags": list(one.tags)}
            for one in found.delete
        ],
        "kept_manifests": found.kept,
        "unexplained": [
            {"repository": one.path, "digest": one.digest, "tags": list(one.tags)}
            for one in found.unexplained
        ],
        "freed_bytes": found.freed,
        "collected_bytes": freed,
        "engine": {
            "note": local.note,
            "images": [{"id": one.id, "tags": list(one.tags)} for one in local.delete],
            "kept": local.kept,
            "freed_bytes": local.freed,
        },
    }
