"""What differs between two releases, and why: two values in, one value out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from builder.core.release import Inputs, Release, ReleasedImage

_SHOWN_FILES = 5
_SHORT_DIGEST = len("sha256:") + 12


class Change(Struct, frozen=True, kw_only=True):
    """One image that is in both, and not the same."""

    old: ReleasedImage
    new: ReleasedImage
    reasons: tuple[str, ...]


class Difference(Struct, frozen=True, kw_only=True):
    """From ``old`` to ``new``, each part in the order of names."""

    old: str
    new: str
    added: tuple[ReleasedImage, ...] = ()
    removed: tuple[ReleasedImage, ...] = ()
    changed: tuple[Change, ...] = ()
    unchanged: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def difference(old: Release, new: Release) -> Difference:
    """Compare by digest.

    ``missing`` are the optional images that the new one lacks and the old one has.
    """
    both = sorted(old.images.keys() & new.images.keys())
    differing = [name for name in both if old.images[name].digest != new.images[name].digest]
    return Difference(
        old=old.tag,
        new=new.tag,
        added=tuple(new.images[name] for name in sorted(new.images.keys() - old.images.keys())),
        removed=tuple(old.images[name] for name in sorted(old.images.keys() - new.images.keys())),
        changed=tuple(
            Change(
                old=old.images[name],
                new=new.images[name],
                reasons=_reasons(name, old, new),
            )
            for name in differing
        ),
        unchanged=tuple(name for name in both if name not in differing),
        missing={name: why for name, why in new.missing.items() if name in old.images},
    )


def _reasons(name: str, old: Release, new: Release) -> tuple[str, ...]:
    before, after = old.images[name], new.images[name]
    found = [*input_changes(before.inputs, after.inputs), *_parents(before, after, old, new)]
    if after.generation != before.generation:
        found.append(f"refreshed (generation {before.generation} → {after.generation})")
    if not found and before.key == after.key:
        found.append("made anew from the same inputs")
    # Inputs are kept as short hashes, part by part; the key alone knows all of them.
    return tuple(found or ["an input changed of which the release keeps no record"])


def input_changes(old: Inputs, new: Inputs) -> tuple[str, ...]:
    """What of an image's own inputs differs, in words; its parents are not among them."""
    found = []
    if old.recipe != new.recipe:
        found.append("Dockerfile changed")
    found += _files(old.files, new.files)
    found += _args(old.args, new.args)
    found += _bases(old.bases, new.bases)
    if old.setting != new.setting:
        found.append("engine or platform changed")
    if old.tests != new.tests:
        found.append("its tests changed")
    return tuple(found)


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changes = [
        *(f"file {path} added" for path in sorted(new.keys() - old.keys())),
        *(f"file {path} removed" for path in sorted(old.keys() - new.keys())),
        *(f"file {path} changed" for path in _differing(old, new)),
    ]
    if len(changes) <= _SHOWN_FILES:
        return changes
    return [*changes[:_SHOWN_FILES], f"and {len(changes) - _SHOWN_FILES} more files"]


def _args(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    # Values stay out: they are hashes here, and may be secrets there.
    return [f"build arg {name} changed" for name in sorted({*old, *new} - _same(old, new))]


def _bases(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        *(f"base {text} added" for text in sorted(new.keys() - old.keys())),
        *(f"base {text} removed" for text in sorted(old.keys() - new.keys())),
        *(
            f"base {text} moved from {short(old[text])} to {short(new[text])}"
            for text in _differing(old, new)
        ),
    ]


def _parents(before: ReleasedImage, after: ReleasedImage, old: Release, new: Release) -> list[str]:
    was, now = before.inputs.parents, after.inputs.parents
    found = []
    if set(was) != set(now):
        found.append(f"built on {_named(now)} instead of {_named(was)}")
    for parent in sorted(set(was) & set(now)):
        one, other = old.images.get(parent), new.images.get(parent)
        if one is not None and other is not None and one.key != other.key:
            found.append(f"parent {parent} changed")
    return found


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no image of the tree"


def _same(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    return {name for name in old.keys() & new.keys() if old[name] == new[name]}


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted((old.keys() & new.keys()) - _same(old, new))


def short(digest: str) -> str:
    """A digest as people compare it: sha256: and 12 digits."""
    return digest[:_SHORT_DIGEST]
