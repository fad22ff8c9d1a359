"""The command ``prune``: what is old goes from the registry and from the engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from builder.core.errors import Bug, EngineUnavailableError, PublishError, UsageError, did_you_mean
from builder.core.labels import KEY
from builder.core.options import PruneOptions, TreeOptions
from builder.core.reference import BadReferenceError, Reference
from builder.core.release_text import prune_json, prune_lines
from builder.core.retention import (
    EngineSweep,
    Found,
    KeptImage,
    Policy,
    Shelved,
    Sweep,
    Verdict,
    judge,
    sweep,
    sweep_engine,
)
from builder.core.settings.config import DEFAULT_ADDRESS
from builder.core.settings.sections import PruneSettings
from builder.core.text import size
from builder.docker.storage import Storage
from builder.publish.deployments import Deployments
from builder.publish.home import Home, open_home, shelve
from builder.publish.scan import repositories, scan
from builder.registry.collection import collect, obstacle
from builder.registry.embedded import EmbeddedRegistry
from builder.registry.faults import NotFoundError, RefusedError
from builder.system.files import state_dir
from builder.system.threads import each
from builder.tree.revision import branch_commits

_METHOD_NOT_ALLOWED = 405
_ROUNDS = 5


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
            document = prune_json(found, local, freed, deleted=options.delete)
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        else:
            lines = prune_lines(home.address, found, local, deleted=options.delete)
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
) -> EngineSweep:
    try:
        storage = Storage.connect(environ)
    except EngineUnavailableError as error:
        return EngineSweep(note=error.message)
    with closing(storage):
        mine = [image for image in storage.labelled(KEY) if _is_mine(home, image)]
    return sweep_engine(verdicts, mine, policy)


def _is_mine(home: Home, image: KeptImage) -> bool:
    """Every name of it is in our namespace: one that somebody else gave is not ours to remove."""
    start = f"{home.address}/"
    return bool(image.tags) and all(_repository(tag).startswith(start) for tag in image.tags)


def _repository(tag: str) -> str:
    try:
        return Reference.parse(tag).repository
    except BadReferenceError as error:
        raise Bug(f"the engine has an image called {tag}: {error.message}") from error


def _delete_local(local: EngineSweep, environ: Mapping[str, str]) -> EngineSweep:
    if not local.delete:
        return local
    with closing(Storage.connect(environ)) as storage:
        # One after the other: the engine takes a lock for each.
        gone = [image for image in local.delete if all(map(storage.remove, image.tags))]
    return EngineSweep(delete=tuple(gone), kept=local.kept + len(local.delete) - len(gone))


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
