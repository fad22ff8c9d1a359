"""Releases, their differences and what a prune removes: lines for people, values for JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from builder.core.release import LATEST, NIGHTLY, Difference, Release, short
from builder.core.retention import EngineSweep, Shelved, StoredManifest, Sweep
from builder.core.text import clean, columns, counted, moment, size

_KEY_DIGITS = 12


def listing_lines(releases: Sequence[Shelved]) -> list[str]:
    head = ("RELEASE", "COMMIT", "CREATED", "IMAGES", "MISSING", "ALSO")
    rows = [
        (
            stored.release.tag,
            stored.release.commit[:7],
            _day(stored.release.created),
            str(len(stored.release.images)),
            str(len(stored.release.missing)) if stored.release.missing else "-",
            ", ".join(stored.other_tags),
        )
        for stored in releases
    ]
    return columns([head, *rows], right=(3, 4))


def listing_json(releases: Sequence[Shelved]) -> list[dict[str, object]]:
    return [
        {
            "tag": stored.release.tag,
            "commit": stored.release.commit,
            "branch": stored.release.branch,
            "created": stored.release.created,
            "dirty": stored.release.dirty,
            "images": len(stored.release.images),
            "missing": sorted(stored.release.missing),
            "digest": stored.digest,
            "latest": LATEST in stored.tags,
            "nightly": NIGHTLY in stored.tags,
            "tags": list(stored.tags),
        }
        for stored in releases
    ]


def _bases(release: Release) -> dict[str, list[str]]:
    """Every external base and the digests that the images were built on: one, if all is well."""
    bases: dict[str, set[str]] = {}
    for image in release.images.values():
        for text, digest in image.inputs.bases.items():
            bases.setdefault(text, set()).add(digest)
    return {text: sorted(bases[text]) for text in sorted(bases)}


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


def difference_lines(difference: Difference) -> list[str]:
    rows = [
        *(("added", image.name, image.tag) for image in difference.added),
        *(("removed", image.name, image.tag) for image in difference.removed),
        *(("changed", change.new.name, "; ".join(change.reasons)) for change in difference.changed),
        *(("missing", name, clean(why)) for name, why in sorted(difference.missing.items())),
    ]
    counts = (
        f"{difference.old} → {difference.new}: {len(difference.added)} added,"
        f" {len(difference.removed)} removed, {len(difference.changed)} changed,"
        f" {len(difference.unchanged)} unchanged"
    )
    return [*(columns(rows) if rows else ()), counts]


def difference_json(difference: Difference) -> dict[str, object]:
    return {
        "old": difference.old,
        "new": difference.new,
        "added": {image.name: image.digest for image in difference.added},
        "removed": {image.name: image.digest for image in difference.removed},
        "changed": {
            change.new.name: {
                "old": change.old.digest,
                "new": change.new.digest,
                "reasons": list(change.reasons),
            }
            for change in difference.changed
        },
        "unchanged": list(difference.unchanged),
        "missing": dict(difference.missing),
    }


def _day(text: str) -> str:
    at = moment(text)
    return text if at is None else f"{at:%Y-%m-%d %H:%M}"


# --- prune --------------------------------------------------------------------------------------


def prune_lines(address: str, sweep: Sweep, local: EngineSweep, *, deleted: bool) -> list[str]:
    verb = "deleted" if deleted else "would be deleted"
    rows = [
        (
            "keep" if judged.why else "delete",
            judged.shelved.release.tag,
            f"{judged.shelved.release.created[:10]}",
            judged.why,
        )
        for judged in sweep.releases
    ]
    lines = [*columns(rows), ""] if rows else [f"there is no release in {address}", ""]
    lines.append(
        f"registry {address}: {counted(len(sweep.gone), 'release')} and"
        f" {counted(len(_images(sweep)), 'image')} {verb}, {counted(sweep.kept, 'manifest')} kept;"
        f" {size(sweep.freed)} of blobs that nothing here needs any more"
    )
    if sweep.unexplained:
        example = sweep.unexplained[0]
        lines.append(
            f"note: {counted(len(sweep.unexplained), 'image')} stay because of a tag that no"
            f" release explains, such as {example.path}:{_odd(example)}"
        )
    if local.note:
        lines.append(f"engine: not looked at: {local.note}")
    else:
        lines.append(
            f"engine: {counted(len(local.delete), 'image')} {verb}, {local.kept} kept;"
            f" at least {size(local.freed)}"
        )
    return lines


def _images(sweep: Sweep) -> tuple[StoredManifest, ...]:
    gone = {shelved.digest for shelved in sweep.gone}
    return tuple(manifest for manifest in sweep.delete if manifest.digest not in gone)


def _odd(manifest: StoredManifest) -> str:
    return next((tag for tag in manifest.tags if not tag.startswith("key-")), manifest.tags[0])


def prune_json(
    sweep: Sweep, local: EngineSweep, freed: int | None, *, deleted: bool
) -> dict[str, object]:
    return {
        "deleted": deleted,
        "releases": [
            {
                "tag": judged.shelved.release.tag,
                "digest": judged.shelved.digest,
                "keep": bool(judged.why),
                "why": judged.why,
            }
            for judged in sweep.releases
        ],
        "manifests": [_manifest_json(manifest) for manifest in sweep.delete],
        "kept_manifests": sweep.kept,
        "unexplained": [_manifest_json(manifest) for manifest in sweep.unexplained],
        "freed_bytes": sweep.freed,
        "collected_bytes": freed,
        "engine": {
            "note": local.note,
            "images": [{"id": image.id, "tags": list(image.tags)} for image in local.delete],
            "kept": local.kept,
            "freed_bytes": local.freed,
        },
    }


def _manifest_json(manifest: StoredManifest) -> dict[str, object]:
    tags = list(manifest.tags)
    return {"repository": manifest.path, "digest": manifest.digest, "tags": tags}
