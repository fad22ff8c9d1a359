"""What may go from a registry: which releases, which manifests, and how much that frees.

Pure: releases and manifests as they were found, and a policy, in; what is deleted and why the rest
is kept, out.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from msgspec import Struct, field

from builder.core.keys import KEY, key_tag
from builder.core.release import Release
from builder.core.text import moment

_KEY = re.compile(r"key-[0-9a-f]{40}(?:-[0-9a-f]{12})?")
# version-commit and what refreshes and dirty trees add: the tag of a release, there or gone.
_RELEASE_TAG = re.compile(r"(?:.*-)?[0-9a-f]{7}(?:\.[0-9]{8}(?:\.[0-9]+)?)?(?:-dirty)?")
# What is attached to a manifest names it in its tag: inventories, cosign's signatures, referrers.
# An index is attached to a layer, which many images share: it stays.
_ATTACHED = re.compile(r"(?:inventory|sha256|index)-([0-9a-f]{40,64})(?:\..*)?")
_SAME_COMMIT = 7

Place = tuple[str, str]  # a repository's path, and a digest in it


class Policy(Struct, frozen=True, kw_only=True):
    """``commits`` are those of the branch as git knows them; ``branch`` "" stands for any."""

    now: datetime
    keep_commits: int
    keep_days: int
    branch: str = ""
    commits: frozenset[str] = frozenset()

    @property
    def horizon(self) -> datetime:
        return self.now - timedelta(days=self.keep_days)

    def is_young(self, at: datetime) -> bool:
        return at > self.horizon

    def on_branch(self, release: Release) -> bool:
        if not self.branch or release.branch == self.branch:
            return True
        return release.commit[:_SAME_COMMIT] in {commit[:_SAME_COMMIT] for commit in self.commits}


class Shelved(Struct, frozen=True, kw_only=True):
    """A release as it lies in the registry: its artifact's digest, and all tags that name it."""

    release: Release
    digest: str
    tags: tuple[str, ...]

    @property
    def other_tags(self) -> tuple[str, ...]:
        """Moving tags, and what somebody has put there by hand."""
        return tuple(tag for tag in self.tags if tag != self.release.tag)


class StoredManifest(Struct, frozen=True, kw_only=True):
    """A manifest of a repository, with what it names; ``made`` is when it was built, if known."""

    path: str
    digest: str
    size: int
    tags: tuple[str, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    children: tuple[str, ...] = ()
    made: datetime | None = None

    @property
    def place(self) -> Place:
        return self.path, self.digest


class JudgedRelease(Struct, frozen=True, kw_only=True):
    """A release, and why it is kept: "" if it goes."""

    shelved: Shelved
    why: str = ""


class Sweep(Struct, frozen=True, kw_only=True):
    """What goes. ``freed`` counts each blob once, as a registry stores it.

    ``unexplained`` are manifests that stay because of a tag that is neither ours nor a release's.
    """

    releases: tuple[JudgedRelease, ...]
    delete: tuple[StoredManifest, ...]
    kept: int
    freed: int
    unexplained: tuple[StoredManifest, ...] = ()

    @property
    def gone(self) -> tuple[Shelved, ...]:
        return tuple(verdict.shelved for verdict in self.releases if not verdict.why)


class KeptImage(Struct, frozen=True, kw_only=True):
    """An image of the engine. ``own`` are the bytes of layers that no other image shares."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    made: datetime
    own: int
    in_use: bool

    @classmethod
    def of(cls, image: Mapping[str, Any], used: Container[str]) -> KeptImage:
        """Read an entry of ``GET /images/json``; ``used`` are the ids that containers have."""
        shared = max(0, int(image.get("SharedSize") or 0))
        return cls(
            id=image["Id"],
            tags=tuple(image.get("RepoTags") or ()),
            labels=dict(image.get("Labels") or {}),
            made=datetime.fromtimestamp(int(image["Created"]), timezone.utc),
            own=max(0, int(image.get("Size") or 0) - shared),
            in_use=image["Id"] in used,
        )


class EngineSweep(Struct, frozen=True, kw_only=True):
    """The engine's images that go; ``note`` says why none are looked at."""

    delete: tuple[KeptImage, ...] = ()
    kept: int = 0
    note: str = ""

    @property
    def freed(self) -> int:
        return sum(image.own for image in self.delete)


def judge(
    shelf: Iterable[Shelved],
    made: Mapping[Place, datetime],
    policy: Policy,
    deployed: Mapping[str, Sequence[str]] | None = None,
) -> tuple[JudgedRelease, ...]:
    """Which releases stay; ``made`` says when images were built.

    A release is as young as the youngest of its images: it may have been made of an old commit.
    ``deployed`` says, by tag, where a release runs or may be brought back to.
    """
    shelf = tuple(shelf)
    recent = _recent(shelf, policy)
    verdicts = []
    for one in shelf:
        why = recent.get(one.digest, "")
        at = _age(one.release, made)
        if at is None:
            why = "nobody knows how old it is"
        elif policy.is_young(at):
            why = f"younger than {policy.keep_days} days"
        reasons = list(one.other_tags)
        if places := [place for tag in one.tags for place in (deployed or {}).get(tag, ())]:
            reasons.append(f"deployed: {', '.join(sorted(set(places)))}")
        if reasons:
            why = ", ".join(reasons)
        verdicts.append(JudgedRelease(shelved=one, why=why))
    return tuple(verdicts)


def _recent(shelf: Iterable[Shelved], policy: Policy) -> dict[str, str]:
    """Of each of the newest commits the first release and the newest: what lies between are
    refreshes that later ones have replaced.
    """
    by_commit: dict[str, list[tuple[datetime, Shelved]]] = {}
    for one in shelf:
        at = moment(one.release.created)
        if at is not None and not one.release.dirty and policy.on_branch(one.release):
            by_commit.setdefault(one.release.commit, []).append((at, one))
    for versions in by_commit.values():
        versions.sort(key=lambda version: version[0])
    # By the first release: a refresh of an old commit makes it no newer.
    newest = sorted(by_commit.values(), key=lambda versions: versions[0][0], reverse=True)
    why = f"one of the newest {policy.keep_commits} commits"
    if policy.branch:
        why += f" of {policy.branch}"
    return {
        one.digest: why
        for versions in newest[: policy.keep_commits]
        for _, one in (versions[0], versions[-1])
    }


def _age(release: Release, made: Mapping[Place, datetime]) -> datetime | None:
    created = moment(release.created)
    if created is None:
        return None
    built = [made.get((image.path, image.digest)) for image in release.images.values()]
    return max([created, *(at for at in built if at is not None)])


def sweep(
    verdicts: Sequence[JudgedRelease],
    found: Sequence[StoredManifest],
    policy: Policy,
    *,
    shelf: str,
) -> Sweep:
    """What goes with the releases that go; ``shelf`` is the repository of the releases themselves.

    A manifest goes only if it is in the namespace of the releases, no release that stays names it,
    every tag of it is that of a key or of a release that goes or is gone, and it was made before
    the policy's horizon: a run that is under way has images in the registry of which no release
    speaks yet.
    """
    needed, explained = _named(verdicts)
    needed |= _children(one for one in found if one.place in needed)
    artifacts = {(shelf, verdict.shelved.digest) for verdict in verdicts if not verdict.why}
    namespace = shelf.rpartition("/")[0] + "/"
    delete: set[Place] = set()
    unexplained = []
    for one in found:
        # A release may name images of others, but is no reason to touch them.
        if one.place in needed or not one.tags or not one.path.startswith(namespace):
            continue
        if one.place in artifacts:
            delete.add(one.place)
        elif one.path == shelf or any(_ATTACHED.fullmatch(tag) for tag in one.tags):
            continue
        elif not all(_is_ours(tag, one, explained) for tag in one.tags):
            unexplained.append(one)
        elif one.place in explained or (one.made is not None and not policy.is_young(one.made)):
            delete.add(one.place)
    going = _with_what_hangs_on_it(found, delete, needed)
    return Sweep(
        releases=tuple(verdicts),
        delete=tuple(one for one in found if one.place in going),
        kept=sum(one.place not in going for one in found),
        freed=_freed(found, going),
        unexplained=tuple(unexplained),
    )


def _named(verdicts: Iterable[JudgedRelease]) -> tuple[set[Place], dict[Place, set[str]]]:
    """What the releases that stay name; and what those that go name, with the tags of it."""
    needed: set[Place] = set()
    explained: dict[Place, set[str]] = {}
    for verdict in verdicts:
        for image in verdict.shelved.release.images.values():
            for digest in filter(None, (image.digest, image.inventory)):
                if verdict.why:
                    needed.add((image.path, digest))
                else:
                    explained.setdefault((image.path, digest), set()).add(image.tag)
    return needed, explained


def _is_ours(tag: str, one: StoredManifest, explained: Mapping[Place, set[str]]) -> bool:
    if _KEY.fullmatch(tag) or tag in explained.get(one.place, ()):
        return True
    # An image that many releases shared outlives some of them, and a run may have been cut off
    # before it wrote its release. Their tags look like it, and the image has a key: it is ours.
    return bool(_RELEASE_TAG.fullmatch(tag)) and any(map(_KEY.fullmatch, one.tags))


def _children(found: Iterable[StoredManifest]) -> set[Place]:
    return {(one.path, child) for one in found for child in one.children}


def _with_what_hangs_on_it(
    found: Sequence[StoredManifest], delete: set[Place], needed: set[Place]
) -> set[Place]:
    """The same with signatures and the like, and with the parts of indexes that nobody else has."""
    going = set(delete)
    hexes = {(path, digest.partition(":")[2]) for path, digest in delete}
    for one in found:
        subjects = [_ATTACHED.fullmatch(tag) for tag in one.tags]
        if subjects and all(match and _is_prefix(one.path, match[1], hexes) for match in subjects):
            going.add(one.place)
    held = _children(one for one in found if one.place not in going) | needed
    tagged = {one.place for one in found if one.tags}
    going -= held
    return going | (_children(one for one in found if one.place in going) - held - tagged)


def _is_prefix(path: str, start: str, hexes: set[Place]) -> bool:
    return any(where == path and digits.startswith(start) for where, digits in hexes)


def _freed(found: Sequence[StoredManifest], going: set[Place]) -> int:
    """Of blobs and manifests that nothing that stays needs, each counted once."""
    needed = {
        digest for one in found if one.place not in going for digest in (*one.blobs, one.digest)
    }
    freed = {
        digest: size
        for one in found
        if one.place in going
        for digest, size in {**one.blobs, one.digest: one.size}.items()
    }
    return sum(size for digest, size in freed.items() if digest not in needed)


def sweep_engine(
    verdicts: Iterable[JudgedRelease], images: Sequence[KeptImage], policy: Policy
) -> EngineSweep:
    """The engine's images that go: of no release that stays, unused, and not young."""
    kept = [verdict.shelved.release for verdict in verdicts if verdict.why]
    keys = {key_tag(image.key) for release in kept for image in release.images.values()}
    delete = tuple(
        image
        for image in images
        if not image.in_use
        and not policy.is_young(image.made)
        and key_tag(image.labels.get(KEY, "")) not in keys
    )
    return EngineSweep(delete=delete, kept=len(images) - len(delete))
