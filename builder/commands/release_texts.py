"""Releases in words and tables for people, and as values for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from builder.core.difference import Difference, short
from builder.core.release import LATEST, NIGHTLY, Release
from builder.core.retention import Shelved, moment
from builder.core.text import clean, columns, counted, size
from builder.publish.promote import Promoted
from builder.publish.verify import Verdict

_KEY_DIGITS = 12


def listing(shelf: Sequence[Shelved]) -> list[str]:
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


def bases(release: Release) -> dict[str, list[str]]:
    """Every external base and the digests that the images were built on: one, if all is well."""
    found: dict[str, set[str]] = {}
    for image in release.images.values():
        for text, digest in image.inputs.bases.items():
            found.setdefault(text, set()).add(digest)
    return {text: sorted(found[text]) for text in sorted(found)}


def content(release: Release, where: str) -> list[str]:
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
    external = bases(release)
    if external:
        lines += ["", "built on:"]
        lines += [f"  {text} {digest}" for text in external for digest in external[text]]
    return lines


def content_json(release: Release) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(release.as_bytes())
    return {**document, "bases": bases(release)}


def changes(found: Difference) -> list[str]:
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


def changes_json(found: Difference) -> dict[str, object]:
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


def verdict(found: Verdict, *, deep: bool) -> list[str]:
    lines = [str(defect) for defect in found.defects]
    lines += [f"note: {note}" for note in found.notes]
    how = "read" if deep else "looked for"
    state = counted(len(found.defects), "defect") if found.defects else "all is there"
    lines.append(
        f"{found.release.tag}: {state}; {counted(len(found.release.images), 'image')} and"
        f" {counted(found.blobs, 'blob')} ({size(found.size)}) {how}"
    )
    return lines


def verdict_json(found: Verdict) -> dict[str, object]:
    return {
        "release": found.release.tag,
        "images": len(found.release.images),
        "blobs": found.blobs,
        "bytes": found.size,
        "defects": [{"image": one.image, "what": one.text} for one in found.defects],
        "notes": [{"image": one.image, "what": one.text} for one in found.notes],
    }


def promoted(done: Promoted, where: str) -> list[str]:
    there = f" ({done.present} were there)" if done.present else ""
    moving = ", and it is the latest there" if done.moved_latest else ""
    amounts = (
        f"{size(done.copied)} copied, {size(done.mounted)} mounted,"
        f" {size(done.existed)} found there"
    )
    return [
        f"{done.release.tag} is in {where}{moving}",
        f"{counted(done.images, 'image')}{there}: {amounts}",
    ]


def promoted_json(done: Promoted, where: str) -> dict[str, object]:
    return {
        "release": done.release.tag,
        "to": where,
        "reference": str(done.reference),
        "latest": done.moved_latest,
        "images": done.images,
        "present": done.present,
        "copied_bytes": done.copied,
        "mounted_bytes": done.mounted,
        "existing_bytes": done.existed,
        "digests": {name: image.digest for name, image in sorted(done.release.images.items())},
    }


def as_json(value: Mapping[str, object] | Sequence[object]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _day(text: str) -> str:
    at = moment(text)
    return text if at is None else f"{at:%Y-%m-%d %H:%M}"
