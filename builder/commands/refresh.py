"""The refresh as one story: read the last release, see what is stale, make that again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from msgspec.structs import replace

from builder.config.load import Lock
from builder.core.errors import PublishError, RevisionError
from builder.core.new_release import Renewal, next_suffix, renewal
from builder.core.options import BuildOptions, SelectOptions, TreeOptions
from builder.core.release import LATEST, NIGHTLY, Release
from builder.core.stale import Outdated, Staleness
from builder.publish.home import Home, choose, open_home, start_registry
from builder.refresh.archives import Archives
from builder.refresh.check import Check, check
from builder.report.files import write_failure
from builder.report.streams import tell
from builder.system.files import state_dir
from builder.system.resources import Clock, SystemClock
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
    start_registry(tree.config, environ, tell)
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
        sys.stdout.write(json.dumps(as_json(found), indent=2) + "\n")
    (sys.stderr if options.as_json else sys.stdout).write(as_text(found))
    _refuse_blindness(found)
    if options.dry_run or not found.verdict.stale:
        if options.report is not None and not options.dry_run:
            write_failure(options.report, status="ok", message="nothing is stale")
        return 0
    from builder.commands.build import make, refuse_dirt  # noqa: PLC0415 - a check needs no engine

    # A check can take minutes: what is made, and whether a commit has it, is what lies there now.
    tree = read_tree(tree_options)
    _refuse_other_commit(tree, found.release)
    wanted = renewal(
        found.verdict, now=found.now, generations=found.release.generations, suffix=suffix
    )
    if options.push:
        refuse_dirt(tree, options)
    selection = wanted.selection(tree.graph)
    return make(_renamed(tree, wanted), selection, options, environ, wanted)


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


_INDENT = "  "


def as_json(check: Check) -> Mapping[str, Any]:
    """The contract of ``ocbuild refresh --dry-run --json``."""
    verdict = check.verdict
    return {
        "release": check.release.tag,
        "stale": {
            name: {
                "packages": _packages(found.outdated),
                "bases": [
                    {"base": moved.name, "built_on": moved.built_on, "now": moved.now}
                    for moved in found.moved
                ],
            }
            for name, found in verdict.stale.items()
        },
        "rebuilt_with": {name: list(causes) for name, causes in verdict.above.items()},
        "held": {name: _packages(found) for name, found in verdict.held.items()},
        "only_bases_checked": [*verdict.without_packages, *verdict.without_inventory],
        "not_checked": list(check.unchecked),
    }


def _packages(found: Iterable[Outdated]) -> list[Mapping[str, str]]:
    return [
        {
            "package": one.package.name,
            "architecture": one.package.architecture,
            "source": one.package.source,
            "installed": one.package.version,
            "candidate": one.candidate,
        }
        for one in found
    ]


def as_text(check: Check) -> str:
    """What is stale and why, and then all that could not be told."""
    verdict = check.verdict
    lines = [_headline(check)]
    for name, found in verdict.stale.items():
        lines += ["", name, *(f"{_INDENT}{line}" for line in _reasons(found))]
    if verdict.above:
        lines += ["", "built on them, and made anew with them:"]
        lines += [f"{_INDENT}{', '.join(verdict.above)}"]
    notes = list(_notes(check))
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _headline(check: Check) -> str:
    verdict, count = check.verdict, len(check.release.images)
    if not verdict.stale:
        return f"nothing of release {check.release.tag} is stale ({count} images)"
    return (
        f"{len(verdict.stale)} of {count} images of release {check.release.tag} are stale,"
        f" {len(verdict.images)} are to be made anew"
    )


def _reasons(found: Staleness) -> Iterable[str]:
    width = max((len(one.package.name) for one in found.outdated), default=0)
    for moved in found.moved:
        yield f"the base {moved.name} moved from {moved.built_on} to {moved.now}"
    for one in found.outdated:
        yield f"{one.package.name:{width}}  {one.package.version} -> {one.candidate}"


def _notes(check: Check) -> Iterable[str]:
    verdict = check.verdict
    for line in check.unchecked:
        yield f"not checked: {line}"
    for text in check.made_here:
        yield f"note: no registry has the base {text}, so only its packages are compared"
    for text in check.locked:
        yield f"note: the base {text} has moved, but build.lock holds it; --lock moves it, too"
    for name, held in verdict.held.items():
        texts = (f"{one.package.name} {one.package.version} (not {one.candidate})" for one in held)
        yield f"note: {name} keeps {', '.join(texts)}: the last refresh could not renew them"
    for names, why in (
        (verdict.without_packages, "no Debian packages, so only bases are compared"),
        (verdict.without_inventory, "published without inventory, so only bases are compared"),
        (verdict.pinned, "apt's preferences are not taken into account"),
    ):
        if names:
            yield f"note: {why}: {', '.join(names)}"
    for suite in check.market.unverified:
        yield f"note: no key on this machine for the signature of {suite}"
