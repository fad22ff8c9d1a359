"""The command ``prune``: what is old goes from the registry and from the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from builder.core.errors import Bug, EngineUnavailableError, PublishError, UsageError, did_you_mean
from builder.core.keys import KEY
from builder.core.options import PruneOptions, TreeOptions
from builder.core.reference import BadReferenceError, Reference
from builder.core.registry_faults import NotFoundError, RefusedError
from builder.core.release_text import prune_json, prune_lines
from builder.core.retention import (
    EngineSweep,
    JudgedRelease,
    KeptImage,
    Policy,
    Shelved,
    StoredManifest,
    Sweep,
    judge,
    sweep,
    sweep_engine,
)
from builder.core.settings.config import DEFAULT_ADDRESS
from builder.core.settings.sections import PruneSettings
from builder.core.text import size
from builder.docker.daemon import Daemon
from builder.publish.claim import Claim
from builder.publish.home import Home, claimed, open_home, repositories, scan, shelve
from builder.publish.write import Deployments
from builder.registry.embedded import EmbeddedRegistry, collect, obstacle
from builder.report.streams import print_json, print_lines, tell
from builder.system.files import state_dir
from builder.system.process import in_threads
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
        swept, stored = _survey(home, options)
        if options.delete and swept.delete:
            with claimed(home, "prune", tell) as claim:
                # What was published while others held the claim counts, and what has a tag now.
                swept, stored = _survey(home, options)
                _delete(home, swept, claim)
        local = _survey_engine(home, swept.releases, environ, _policy(home, options, stored))
        if options.delete:
            local = _delete_local(local, environ)
        freed = _collect(home, environ) if options.collect else None
        if options.as_json:
            document = prune_json(swept, local, freed, deleted=options.delete)
            print_json(document)
        else:
            lines = prune_lines(home.address, swept, local, deleted=options.delete)
            lines += _next_steps(home, environ, swept, options, freed)
            print_lines(lines)
    return 0


# --- the registry -------------------------------------------------------------------------------


def _survey(home: Home, options: PruneOptions) -> tuple[Sweep, list[Shelved]]:
    """Read until the releases before and after are the same: one that was published meanwhile may
    name what would go.
    """
    stored = _shelve(home)
    for _ in range(_ROUNDS):
        policy = _policy(home, options, stored)
        manifests = scan(home, repositories(home, stored))
        built = {manifest.place: manifest.made for manifest in manifests if manifest.made}
        deployed = _deployed(home)
        verdicts = judge(stored, built, policy, deployed)
        swept = sweep(verdicts, manifests, policy, shelf=home.releases.repository.path)
        again = _shelve(home)
        if _names(again) == _names(stored) and _deployed(home) == deployed:
            return swept, stored
        stored = again
    raise PublishError(
        f"releases are being published to {home.address} all the time",
        hint="prune when nobody publishes",
    )


def _names(stored: Iterable[Shelved]) -> list[tuple[str, tuple[str, ...]]]:
    return [(release.digest, release.tags) for release in stored]


def _shelve(home: Home) -> list[Shelved]:
    stored, broken = shelve(home)
    if broken:
        # It may name anything, so nothing is safe to delete.
        raise PublishError(
            f"{broken[0].message}; so nothing is deleted",
            hint=broken[0].hint or "delete that tag, if nobody needs it",
        )
    return stored


def _deployed(home: Home) -> dict[str, list[str]]:
    """Where each release runs, or ran before what runs now, by its tag."""
    places: dict[str, list[str]] = {}
    for entry in Deployments(home.registry, home.releases.repository).all():
        for release in entry.releases:
            places.setdefault(release, []).append(f"{entry.host}.{entry.stack}")
    return places


def _policy(home: Home, options: PruneOptions, stored: Iterable[Shelved]) -> Policy:
    settings = home.config.prune if home.config is not None else PruneSettings()
    root = home.config.root if home.config is not None else Path.cwd()
    branch = options.branch or settings.branch or ""
    commits = branch_commits(root, branch) if branch else frozenset[str]()
    recorded = {release.release.branch for release in stored}
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


def _delete(home: Home, swept: Sweep, claim: Claim) -> None:
    """Images first: whoever is stopped here finds the releases again, and finishes."""
    shelf = home.releases.repository.path
    images = [manifest for manifest in swept.delete if manifest.path != shelf]
    # An index before its parts, so that none is ever without them.
    for batch in (
        [manifest for manifest in images if manifest.children],
        [manifest for manifest in images if not manifest.children],
        [manifest for manifest in swept.delete if manifest.path == shelf],
    ):
        in_threads(lambda manifest: _delete_manifest(home, manifest, claim), batch)


def _delete_manifest(home: Home, manifest: StoredManifest, claim: Claim) -> None:
    claim.keep()
    try:
        home.registry.delete(home.at(manifest.path).at(manifest.digest))
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
    home: Home, verdicts: Iterable[JudgedRelease], environ: Mapping[str, str], policy: Policy
) -> EngineSweep:
    try:
        daemon = Daemon.connect(environ)
    except EngineUnavailableError as error:
        return EngineSweep(note=error.message)
    with closing(daemon):
        mine = [image for image in daemon.kept(KEY) if _is_mine(home, image)]
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
    with closing(Daemon.connect(environ)) as daemon:
        # One after the other: the engine takes a lock for each.
        gone = [image for image in local.delete if all(map(daemon.remove, image.tags))]
    return EngineSweep(delete=tuple(gone), kept=local.kept + len(local.delete) - len(gone))


def _next_steps(
    home: Home,
    environ: Mapping[str, str],
    swept: Sweep,
    options: PruneOptions,
    freed: int | None,
) -> list[str]:
    if freed is not None:
        return [f"the registry's garbage collection freed {size(freed)} of disk"]
    if not options.delete:
        return ["nothing was deleted; --yes does it"]
    if not swept.delete:
        return []
    embedded = _embedded(home, environ)
    if embedded is not None and not obstacle(embedded):
        command = "`ocbuild prune --yes --collect`, while nobody pushes"
        return [f"the disk is freed by the registry's garbage collection: {command}"]
    return [f"the disk of {home.host} is freed once its own garbage collection has run"]
