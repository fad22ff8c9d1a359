"""The refresh as one story: read the last release, see what is stale, make that anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

from msgspec.structs import replace

from builder.commands import refresh_show as show
from builder.config.lock import Lock
from builder.core.errors import PublishError, RevisionError
from builder.core.options import BuildOptions, SelectOptions, TreeOptions
from builder.core.release import LATEST, NIGHTLY, Release
from builder.core.renewal import Renewal, next_suffix, renewal
from builder.publish.home import Home, choose, open_home, start_registry
from builder.refresh.archives import Archives
from builder.refresh.check import Check, check
from builder.system.clock import Clock, SystemClock
from builder.system.files import state_dir
from builder.tree.read import Tree, choose_images, read_tree

APT = "apt"


def refresh(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
) -> int:
    """Say what is stale in the last release, and unless only that was asked make it anew.

    Raises:
        PublishError: there is no release, or nothing at all could be checked.
        OcbuildError: as for a build.

    """
    clock = SystemClock()
    tree = read_tree(tree_options)
    among = frozenset(choose_images(tree, select_options).images)
    start_registry(tree.config, environ, _tell)
    with open_home(tree_options, environ) as home:
        found = check(
            choose(home, LATEST),
            tree.config,
            home.registry,
            Archives(state_dir(environ) / APT, environ, now=clock.now()),
            host=home.host,
            images=frozenset(tree.graph.images),
            among=among,
            pins={} if options.lock else Lock.open(tree.config, options).pins,
        )
        suffix = _suffix(home, found, clock)
    # With --json the text is talk, and goes where talk goes.
    if options.as_json:
        sys.stdout.write(json.dumps(show.as_json(found), indent=2) + "\n")
    (sys.stderr if options.as_json else sys.stdout).write(show.as_text(found))
    _refuse_blindness(found)
    if options.dry_run or not found.verdict.stale:
        return 0
    from builder.commands.build import make, refuse_dirt  # noqa: PLC0415 - a check needs no engine

    _refuse_other_commit(tree, found.release)
    wanted = renewal(
        found.verdict, now=found.now, generations=found.release.generations, suffix=suffix
    )
    if options.push:
        refuse_dirt(tree, options)
    selection = wanted.selection(tree.graph)
    return make(_renamed(tree, wanted), selection, options, environ, wanted)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _suffix(home: Home, found: Check, clock: Clock) -> str:
    """Today, counted if there was a refresh today."""
    day = datetime.fromtimestamp(clock.now(), timezone.utc).strftime("%Y%m%d")
    if not found.verdict.stale:
        return day
    # "abcdef0.20250131.2" is a refresh of "abcdef0".
    return next_suffix(day, (tag.partition(".")[2] for tag in home.releases.tags()))


def _refuse_blindness(found: Check) -> None:
    """A nightly job must not stay green for ever where it sees nothing."""
    if found.blind:
        raise PublishError(
            "nothing could be checked, so nobody knows what is stale",
            hint="check the network and the proxies; the lines above say who does not answer",
        )


def _refuse_other_commit(tree: Tree, release: Release) -> None:
    """What is not stale is taken over as it is, so it has to be what the tree says."""
    at = tree.revision.commit if tree.revision else ""
    if at and release.commit and not at.startswith(release.commit):
        raise RevisionError(
            f"the last release, {release.tag}, is of commit {release.commit[:7]}, and the tree is"
            f" at {at[:7]}",
            hint="publish the tree first (`ocbuild all --push`), or check out that commit",
        )


def _renamed(tree: Tree, renewal: Renewal) -> Tree:
    """The tree under the names of a refresh; one with edits moves no tag."""
    moving = () if tree.dirty else (NIGHTLY,)
    return replace(
        tree,
        tags={name: renewal.tag(tag) for name, tag in tree.tags.items()},
        moving=dict.fromkeys(tree.moving, moving),
    )
