"""Releases, their differences and what a prune removes: lines for people, values for JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from builder.core.difference import Difference, short
from builder.core.release import LATEST, NIGHTLY, Release
from builder.core.retention import EngineSweep, Found, Shelved, Sweep, moment
from builder.core.text import clean, columns, counted, size

_KEY_DIGITS = 12


def listing_lines(shelf: Sequence[Shelved]) -> list[str]:
    head = ("RELEASE", "COMMIT", "CREATED", "IMAGES", "MISSING", "ALSO")
    rows = [
        (
            one.release.tag,
            one.release.commit[:7],
            _day(one.release.created),
            str(len(one.release.images)),
            str(len(one.release.missing)) if one.release.missing else "-",
            ", ".join(one.other_tags),
        )
        for one in shelf
    ]
    return columns([head, *rows], right=(3, 4))


def listing_json(shelf: Sequence[Shelved]) -> list[dict[str, object]]:
    return [
        {
            "tag": one.release.tag,
            "commit": one.release.commit,
            "branch": one.release.branch,
            "created": one.release.created,
            "dirty": one.release.dirty,
            "images": len(one.release.images),
            "missing": sorted(one.release.missing),
            "digest": one.digest,
            "latest": LATEST in one.tags,
            "nightly": NIGHTLY in one.tags,
            "tags": list(one.tags),
        }
        for one in shelf
    ]


def _bases(release: Release) -> dict[str, list[str]]:
    """Every external base and the digests that the images were built on: one, if all is well."""
    found: dict[str, set[str]] = {}
    for image in release.images.values():
        for text, digest in image.inputs.bases.items():
            found.setdefault(text, set()).add(digest)
    return {text: sorted(found[text]) for text in sorted(found)}


def release_lines(release: Release, where: str) -> list[str]:
    total = sum(image.size for image in release.images.values())
    facts = [
        ("release", f"{release.tag}, in {where}"),
        ("commit", release.commit + (f" on {release.branch}" if release.branch else "")),
        ("created", release.created + (", of a tree with edits" if release.dirty else "")),
        ("after", release.previous or "no other release"),
        ("images", f"{len(release.images)}, {size(total)} in layers, shared ones not merged"),
    ]
    rows = [
        (
            name,
            image.group,
            image.tag,
            size(image.size),
            short(image.digest),
            image.key[:_KEY_DIGITS],
        )
        for name, image in sorted(release.images.items())
    ]
    head = ("IMAGE", "GROUP", "TAG", "SIZE", "DIGEST", "KEY")
    lines = [*columns(facts), "", *columns([head, *rows], right=(3,))]
    if release.missing:
        missing = sorted(release.missing.items())
        lines += ["", "missing, each of them optional:"]
        lines += columns([(f"  {name}", clean(why)) for name, why in missing])
    external = _bases(release)
    if external:
        lines += ["", "built on:"]
        lines += [f"  {text} {digest}" for text in external for digest in external[text]]
    return lines


def release_json(release: Release) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(release.as_bytes())
    return {**document, "bases": _bases(release)}


def difference_lines(found: Difference) -> list[str]:
    rows = [
        *(("added", image.name, image.tag) for image in found.added),
        *(("removed", image.name, image.tag) for image in found.removed),
        *(("changed", one.new.name, "; ".join(one.reasons)) for one in found.changed),
        *(("missing", name, clean(why)) for name, why in sorted(found.missing.items())),
    ]
    counts = (
        f"{found.old} → {found.new}: {len(found.added)} added, {len(found.removed)} removed,"
        f" {len(found.changed)} changed, {len(found.unchanged)} unchanged"
    )
    return [*(columns(rows) if rows else ()), counts]


def difference_json(found: Difference) -> dict[str, object]:
    return {
        "old": found.old,
        "new": found.new,
        "added": {image.name: image.digest for image in found.added},
        "removed": {image.name: image.digest for image in found.removed},
        "changed": {
            one.new.name: {
                "old": one.old.digest,
                "new": one.new.digest,
                "reasons": list(one.reasons),
            }
            for one in found.changed
        },
        "unchanged": list(found.unchanged),
        "missing": dict(found.missing),
    }


def _day(text: str) -> str:
    at = moment(text)
    return text if at is None else f"{at:%Y-%m-%d %H:%M}"


# --- prune --------------------------------------------------------------------------------------


def prune_lines(address: str, found: Sweep, local: EngineSweep, *, deleted: bool) -> list[str]:
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
    lines = [*columns(rows), ""] if rows else [f"there is no release in {address}", ""]
    lines.append(
        f"registry {address}: {counted(len(found.gone), 'release')} and"
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


def prune_json(
    found: Sweep, local: EngineSweep, freed: int | None, *, deleted: bool
) -> dict[str, object]:
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
