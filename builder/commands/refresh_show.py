"""What a check found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from builder.core.stale import Outdated, Staleness
from builder.refresh.check import Check

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
