"""What a run finds and leaves in the registry beside its images: the releases."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from builder.core import new_release, reasons
from builder.core.bases import Pin, released_pins
from builder.core.events import ImageResult, Summary
from builder.core.image import Image
from builder.core.new_release import Frame, ImageRecord
from builder.core.plan import Plan
from builder.core.published import Published, Question, Sought, answered, consult
from builder.core.reference import Reference
from builder.core.release import LATEST, EarlierReleases, Inputs, Release, ReleasedImage
from builder.core.settings.config import registry_host
from builder.publish.claim import Claim, RegistryMarks
from builder.publish.store import Releases
from builder.registry.artifacts import EMPTY
from builder.registry.client import Registry
from builder.registry.content import Content, Manifest
from builder.system import threads
from builder.system.clock import Clock
from builder.tree.read import Tree

if TYPE_CHECKING:
    from builder.core.renewal import Renewal
    from builder.publish.recording import Files, Recorder


class Publication(Struct, frozen=True, kw_only=True):
    """The releases that a run goes on from, and the registry that has them."""

    registry: Registry
    releases: Releases
    tree: Tree
    earlier: EarlierReleases
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
        earlier = _read(releases, _frame(tree, renewal).tag)
        marks = RegistryMarks(registry, releases.repository)
        place = str(releases.repository)
        return cls(
            registry=registry,
            releases=releases,
            tree=tree,
            earlier=earlier,
            claim=Claim(marks, holder, place=place, clock=clock, cancel=cancel),
            renewal=renewal,
        )

    @property
    def generations(self) -> Mapping[str, int]:
        """The generation of each image, after this refresh if it is one."""
        if self.renewal is not None:
            return self.renewal.generations
        return self.earlier.before.generations if self.earlier.before else {}

    @property
    def pins(self) -> Mapping[str, Pin]:
        """The external bases of the release that this one goes on from."""
        return released_pins(self.released.values(), self.tree.config.contexts)

    @property
    def released(self) -> Mapping[str, ReleasedImage]:
        """The images of the release that this one goes on from."""
        return self.earlier.images

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
        immutable = tree.config.publish.immutable and not tree.dirty
        known = {
            name: consult(
                Sought(
                    image=name,
                    repository=tree.graph[name].repository,
                    key=keys[name],
                    tag=tree.tags[name],
                    tests=inputs[name].tests,
                    by_key=name not in quick,
                ),
                self.earlier,
            )
            for name in names
            if name in inputs
        }

        def ask(question: Question) -> Published | None:
            step: Published | Question | None = question
            while isinstance(step, Question):
                named = self.registry.head(step.reference)
                step = answered(step, named.digest if named else "", immutable=immutable)
            return step

        questions = {name: one for name, one in known.items() if isinstance(one, Question)}
        told = dict(zip(questions, threads.each(ask, questions.values()), strict=True))
        return {
            name: fact for name, fact in {**known, **told}.items() if isinstance(fact, Published)
        }

    def find(self, image: Image, key: str) -> Reference | None:
        """Where a release has the image with this key, by digest; nobody is asked."""
        release = self.earlier.having(image.name, key)
        return image.repository.at(release.images[image.name].digest) if release else None

    def reasons(
        self, name: str, inputs: Inputs | None, published: Mapping[str, Published]
    ) -> tuple[str, ...]:
        """Why the image has to be built."""
        return reasons.not_published(
            name,
            self.earlier.before,
            inputs,
            generation=self.generations.get(name, 0),
            parents=self.tree.graph[name].parents,
            published=published,
        )

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
        same = self.earlier.same
        if same is not None and new_release.nothing_to_do(plan, self.earlier):
            return same
        frame = _frame(self.tree, self.renewal)
        earlier = _read(self.releases, frame.tag)
        results = new_release.published(plan, summary)
        made = self._images(results, inputs, manifests, earlier, frame)
        missing = new_release.missing(summary)
        if frame.refresh:
            untouched = new_release.kept(earlier, made, missing, frame)
            threads.each(self._rename, untouched.values())
        release = new_release.compose(frame, earlier, made=made, missing=missing, now=now)
        if release is earlier.same:
            return release
        # Each tag is as the registry has said in its answer, and by the claim nobody else's.
        self.claim.check()
        self.releases.write(release, new_release.moving_tags(frame))
        return release

    def _rename(self, image: ReleasedImage) -> None:
        """Give an image that was not made anew the names of this refresh."""
        reference = image.reference(registry_host(self.tree.config))
        for name in (image.tag, *self.tree.moving[image.name]):
            self.registry.retag(reference, name)

    def _images(
        self,
        results: Iterable[ImageResult],
        inputs: Mapping[str, Inputs],
        manifests: Mapping[str, Manifest],
        earlier: EarlierReleases,
        frame: Frame,
    ) -> dict[str, ReleasedImage]:
        """What the release says of each; only of what is new the registry may have to be asked."""

        def make(result: ImageResult) -> ReleasedImage:
            image = self.tree.graph[result.image]
            return new_release.new(
                image,
                result,
                inputs[result.image],
                self._record(image.repository.at(result.digest or ""), result, manifests),
                tag=frame.tags[result.image],
                generation=self.generations.get(image.name, 0),
            )

        known = {
            result.image: new_release.known(result, inputs[result.image], earlier, frame)
            for result in results
        }
        new = [result for result in results if known[result.image] is None]
        # What was assembled is known to the last byte.
        told = {r.image: make(r) for r in new if r.assembled and r.digest in manifests}
        made = threads.each(make, [result for result in new if result.image not in told])
        return {
            **{name: image for name, image in known.items() if image is not None},
            **told,
            **{image.name: image for image in made},
        }

    def _record(
        self, reference: Reference, result: ImageResult, manifests: Mapping[str, Manifest]
    ) -> ImageRecord:
        manifest = manifests.get(reference.digest) or self.registry.manifest(reference)
        return ImageRecord(
            digest=manifest.digest,
            media_type=manifest.media_type,
            size=sum(layer.size for layer in manifest.layers),
            inventory="" if result.assembled else self._inventory(reference),
        )

    def _inventory(self, reference: Reference) -> str:
        from builder.publish.inventories import Inventories  # noqa: PLC0415 - only for builds

        return Inventories(self.registry).find(reference)


def _read(releases: Releases, tag: str) -> EarlierReleases:
    """The newest release, and the one of this run's tag."""
    last = releases.find(LATEST)
    same = last if last is not None and last.tag == tag else releases.find(tag)
    return EarlierReleases(same=same, last=last)


def _frame(tree: Tree, renewal: Renewal | None) -> Frame:
    revision = tree.revision
    return Frame(
        tag=new_release.release_tag(
            revision.short if revision else "",
            suffix=renewal.suffix if renewal else "",
            dirty=tree.dirty,
        ),
        project=tree.config.project.name,
        namespace=tree.config.project.namespace,
        commit=revision.commit if revision else "",
        branch=revision.branch if revision else "",
        dirty=tree.dirty,
        refresh=renewal is not None,
        tags=tree.tags,
    )
