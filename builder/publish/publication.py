"""What a run finds and leaves in the registry beside its images: the releases."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from builder.core.bases import Pin
from builder.core.difference import input_changes
from builder.core.events import ImageResult, ImageStatus, Summary
from builder.core.image import Image
from builder.core.plan import Action, Plan, Step
from builder.core.reference import Reference
from builder.core.release import LATEST, NIGHTLY, Inputs, Release, ReleasedImage
from builder.publish.claim import Claim, RegistryMarks
from builder.publish.published import Published, Wanted, look_up
from builder.publish.store import Releases
from builder.registry.artifacts import EMPTY
from builder.registry.client import Registry
from builder.registry.content import Content, Manifest
from builder.system import threads
from builder.system.clock import Clock
from builder.tree.read import Tree, registry_host

if TYPE_CHECKING:
    from builder.core.renewal import Renewal
    from builder.publish.recording import Files, Recorder


class Publication(Struct, frozen=True, kw_only=True):
    """The releases that a run goes on from.

    ``same`` is the one of this run's tag, if an earlier run has published it; ``last`` is the
    newest one.
    """

    registry: Registry
    releases: Releases
    tree: Tree
    last: Release | None
    same: Release | None
    claim: Claim
    renewal: Renewal | None = None

    @classmethod
    def open(
        cls,
        registry: Registry,
        tree: Tree,
        renewal: Renewal | None,
        *,
        holder: str,
        clock: Clock,
        cancel: threading.Event,
    ) -> Publication:
        """Read the releases; ``holder`` is how other runs see this one.

        Raises:
            RegistryError: the registry cannot be asked.

        """
        releases = Releases(
            registry, host=registry_host(tree.config), namespace=tree.config.project.namespace
        )
        last, same = _read(releases, tree, renewal)
        marks = RegistryMarks(registry, releases.repository)
        place = str(releases.repository)
        return cls(
            registry=registry,
            releases=releases,
            tree=tree,
            last=last,
            same=same,
            claim=Claim(marks, holder, place=place, clock=clock, cancel=cancel),
            renewal=renewal,
        )

    @property
    def before(self) -> Release | None:
        """What this release goes on from: itself, where it has been published in part."""
        return self.same or self.last

    @property
    def generations(self) -> Mapping[str, int]:
        """The generation of each image, after this refresh if it is one."""
        if self.renewal is not None:
            return self.renewal.generations
        return self.before.generations if self.before else {}

    @property
    def pins(self) -> Mapping[str, Pin]:
        """The external bases of the release: a refresh moves them, and nothing else does.

        A name that [contexts] points elsewhere now, or did then, stands for something else.
        """
        now = self.tree.config.contexts
        return {
            text: Pin(digest=digest)
            for image in self.released.values()
            for text, digest in image.inputs.bases.items()
            if image.inputs.redirects.get(text, "") == now.get(text, "")
        }

    def look_up(
        self,
        names: Iterable[str],
        keys: Mapping[str, str],
        inputs: Mapping[str, Inputs],
        quick: Container[str] = (),
    ) -> dict[str, Published]:
        """Which of these images the registry has; those that are ``quick`` to make, in a release.

        Raises:
            PublishError: a release tag would have to change what it names.

        """
        tree = self.tree
        return look_up(
            self.registry,
            [
                Wanted(
                    image=tree.graph[name],
                    key=keys[name],
                    tag=tree.tags[name],
                    tests=inputs[name].tests,
                    by_key=name not in quick,
                )
                for name in names
                if name in inputs
            ],
            (self.same, self.last) if self.same else (self.last,),
            own=self.same is not None,
            immutable=tree.config.publish.immutable and not tree.dirty,
        )

    @property
    def released(self) -> Mapping[str, ReleasedImage]:
        """The images of the release that this one goes on from."""
        return self.before.images if self.before else {}

    def find(self, image: Image, key: str) -> Reference | None:
        """Where a release has the image with this key, by digest; nobody is asked."""
        for release in (self.same, self.last):
            known = release.images.get(image.name) if release else None
            if known is not None and known.key == key:
                return image.repository.at(known.digest)
        return None

    def reasons(
        self, name: str, inputs: Inputs | None, published: Mapping[str, Published]
    ) -> tuple[str, ...]:
        """Why the image has to be built, as a person would say it."""
        last = self.before
        if last is None:
            return ("nothing is published yet",)
        image = last.images.get(name)
        if image is None:
            return (f"not in the last release, {last.tag}",)
        since = image.tag
        changes = input_changes(image.inputs, inputs) if inputs is not None else ()
        found = [f"{change} since {since}" for change in changes]
        if self.generations.get(name, 0) != image.generation:
            found.append("a refresh makes it anew")
        found += [
            f"parent {parent} is rebuilt"
            for parent in self.tree.graph[name].parents
            if parent not in published
        ]
        return tuple(found or ["not in the registry"])

    def check_access(self) -> None:
        """Make sure, before anything is built, that we may write.

        Raises:
            RegistryError: we may not.

        """
        self.registry.blobs.put(self.repository, Content.of(EMPTY))

    def recorder(self, engine: Files, run_id: str) -> Recorder:
        """What notes which packages the images of the run have."""
        from builder.publish.inventories import Inventories  # noqa: PLC0415 - only for builds
        from builder.publish.recording import Recorder  # noqa: PLC0415

        return Recorder(
            inventories=Inventories(self.registry),
            engine=engine,
            run_id=run_id,
            hoped_for=self.renewal.hoped_for if self.renewal else {},
        )

    @property
    def repository(self) -> Reference:
        """Where the releases are."""
        return self.releases.repository

    def write(
        self,
        plan: Plan,
        summary: Summary,
        inputs: Mapping[str, Inputs],
        manifests: Mapping[str, Manifest],
        now: float,
    ) -> Release:
        """Store the release of what was published, and of all else as it is.

        ``manifests`` are those of the images that this run has tagged, by digest. Where nothing
        was done, nothing is written.

        Raises:
            PublishError: another run has set one of the tags meanwhile.

        """
        if self.same is not None and all(step.action is Action.REUSE for step in plan.steps):
            return self.same
        last, same = _read(self.releases, self.tree, self.renewal)
        return replace(self, last=last, same=same).store(plan, summary, inputs, manifests, now)

    def store(
        self,
        plan: Plan,
        summary: Summary,
        inputs: Mapping[str, Inputs],
        manifests: Mapping[str, Manifest],
        now: float,
    ) -> Release:
        """As ``write``, going on from the releases as they were read last."""
        tree = self.tree
        results = [
            result
            for step in plan.steps
            if _is_published(step, result := summary.images[step.image])
        ]
        made = self._images(results, inputs, manifests)
        missing = _missing(summary)
        kept = {
            name: image
            for name, image in self.released.items()
            if name not in made and name not in missing and name in tree.tags
        }
        if self.renewal is not None:
            kept = dict(zip(kept, threads.each(self._taken_over, kept.values()), strict=True))
        missing = {**self._still_missing(made), **missing}
        release = self._release({**kept, **made}, missing, now)
        if self.same is not None and replace(release, created=self.same.created) == self.same:
            return self.same
        # Each tag is as the registry has said in its answer, and by the claim nobody else's.
        self.claim.check()
        self.releases.write(release, self._moving())
        return release

    def _still_missing(self, made: Mapping[str, ReleasedImage]) -> Mapping[str, str]:
        """What the release before lacked, and this run did not make either."""
        lacked = self.before.missing if self.before else {}
        return {
            name: why for name, why in lacked.items() if name not in made and name in self.tree.tags
        }

    def _release(
        self, images: Mapping[str, ReleasedImage], missing: Mapping[str, str], now: float
    ) -> Release:
        tree, revision = self.tree, self.tree.revision
        return Release(
            tag=release_tag(tree, self.renewal),
            project=tree.config.project.name,
            namespace=tree.config.project.namespace,
            commit=revision.commit if revision else "",
            created=datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds"),
            branch=revision.branch if revision else "",
            dirty=tree.dirty,
            previous=self.same.previous if self.same else self.last.tag if self.last else "",
            images=dict(sorted(images.items())),
            missing=missing,
        )

    def _moving(self) -> tuple[str, ...]:
        """What is set last; a tree with edits has no commit behind it, so it moves nothing."""
        if self.tree.dirty:
            return ()
        return (LATEST,) if self.renewal is None else (NIGHTLY, LATEST)

    def _taken_over(self, image: ReleasedImage) -> ReleasedImage:
        """Give an image that was not made anew the names of this refresh."""
        reference = image.reference(registry_host(self.tree.config))
        tag = self.tree.tags[image.name]
        for name in (tag, *self.tree.moving[image.name]):
            self.registry.retag(reference, name)
        return replace(image, tag=tag)

    def _images(
        self,
        results: Iterable[ImageResult],
        inputs: Mapping[str, Inputs],
        manifests: Mapping[str, Manifest],
    ) -> dict[str, ReleasedImage]:
        """What the release says of each; only of what is new the registry may have to be asked."""
        found: dict[str, ReleasedImage] = {}
        new = []
        for result in results:
            known = self._known(result, inputs[result.image])
            if known is None:
                new.append(result)
            else:
                found[result.image] = known

        def make(result: ImageResult) -> ReleasedImage:
            return self._new(result, inputs[result.image], manifests)

        # What was assembled is known to the last byte.
        told = {r.image: make(r) for r in new if r.assembled and r.digest in manifests}
        made = threads.each(make, [result for result in new if result.image not in told])
        return found | told | {image.name: image for image in made}

    def _known(self, result: ImageResult, inputs: Inputs) -> ReleasedImage | None:
        """The image as a release before has it."""
        tag = self.tree.tags[result.image]
        for release in (self.same, self.last):
            known = release.images.get(result.image) if release else None
            if known is not None and (known.digest, known.key) == (result.digest, result.key):
                return replace(known, tag=tag, inputs=inputs)
        return None

    def _new(
        self, result: ImageResult, inputs: Inputs, manifests: Mapping[str, Manifest]
    ) -> ReleasedImage:
        image = self.tree.graph[result.image]
        reference = image.repository.at(result.digest or "")
        manifest = manifests.get(reference.digest) or self.registry.manifest(reference)
        return ReleasedImage(
            name=image.name,
            path=image.repository.path,
            tag=self.tree.tags[image.name],
            digest=manifest.digest,
            key=result.key,
            group=image.group,
            size=sum(layer.size for layer in manifest.layers),
            media_type=manifest.media_type,
            generation=self.generations.get(image.name, 0),
            inventory="" if result.assembled else self._inventory(reference),
            labels=dict(image.needs.labels),
            base=image.links.get(image.base or "", "") if result.assembled else "",
            inputs=inputs,
        )

    def _inventory(self, reference: Reference) -> str:
        from builder.publish.inventories import Inventories  # noqa: PLC0415 - only for builds

        return Inventories(self.registry).find(reference)


def _read(
    releases: Releases, tree: Tree, renewal: Renewal | None
) -> tuple[Release | None, Release | None]:
    """The newest release, and the one of this run's tag."""
    last = releases.find(LATEST)
    tag = release_tag(tree, renewal)
    return last, last if last is not None and last.tag == tag else releases.find(tag)


def release_tag(tree: Tree, renewal: Renewal | None) -> str:
    """The tag of the release itself: the short commit, with what is odd about the run behind it."""
    short = tree.revision.short if tree.revision else "none"
    tag = short if renewal is None else renewal.tag(short)
    return f"{tag}-dirty" if tree.dirty else tag


def _is_published(step: Step, result: ImageResult) -> bool:
    """Whether it has its release tag: an ancestor that was only built upon has not."""
    if result.status is not ImageStatus.OK or not result.digest:
        return False
    return step.selected or step.action is not Action.REUSE


def _missing(summary: Summary) -> dict[str, str]:
    """The optional images that failed, each with the reason in one line."""
    return {
        name: result.error.message.partition("\n")[0]
        if result.error
        else f"{result.blocked_by} failed"
        for name, result in summary.images.items()
        if result.optional and result.status is not ImageStatus.OK
    }
