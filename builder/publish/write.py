"""Reads the releases that a run goes on from, and writes the one that comes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from builder.core import new_release
from builder.core.events import ImageResult, Summary
from builder.core.graph import ImageGraph
from builder.core.new_release import Frame, ImageRecord
from builder.core.plan import Plan
from builder.core.reference import Reference
from builder.core.registry_content import EMPTY, Content, Manifest
from builder.core.release import LATEST, EarlierReleases, Inputs, ReleasedImage
from builder.core.renewal import Renewal
from builder.core.settings.config import registry_host
from builder.publish.claim import Claim, RegistryMarks
from builder.publish.store import Releases
from builder.registry.client import Registry
from builder.system import threads
from builder.system.clock import SystemClock
from builder.tree.read import Tree


def read_earlier(releases: Releases, tag: str) -> EarlierReleases:
    """The newest release, and the one of the tag that this run's is to have.

    Raises:
        RegistryError: the registry cannot be asked.

    """
    last = releases.find(LATEST)
    same = last if last is not None and last.tag == tag else releases.find(tag)
    return EarlierReleases(same=same, last=last)


@contextmanager
def open_writer(
    tree: Tree,
    renewal: Renewal | None,
    environ: Mapping[str, str],
    *,
    holder: str,
    cancel: threading.Event,
) -> Iterator[ReleaseWriter]:
    """What writes the release of this tree; ``holder`` is how other runs see this one.

    Raises:
        RegistryError: the registry cannot be asked.

    """
    clock, plain = SystemClock(), frozenset(tree.config.publish.plain_http)
    with Registry.connect(environ, clock=clock, plain_http=plain, cancel=cancel) as registry:
        host, namespace = registry_host(tree.config), tree.config.project.namespace
        releases = Releases(registry, host=host, namespace=namespace)
        frame = frame_of(tree, renewal)
        earlier = read_earlier(releases, frame.tag)
        generations = earlier.before.generations if earlier.before else {}
        marks, place = RegistryMarks(registry, releases.repository), str(releases.repository)
        yield ReleaseWriter(
            registry=registry,
            releases=releases,
            claim=Claim(marks, holder, place=place, clock=clock, cancel=cancel),
            frame=frame,
            earlier=earlier,
            graph=tree.graph,
            moving=tree.moving,
            generations=renewal.generations if renewal else generations,
        )


def frame_of(tree: Tree, renewal: Renewal | None) -> Frame:
    """What the release of this tree says of it."""
    revision, project = tree.revision, tree.config.project
    return Frame(
        tag=new_release.release_tag(
            revision.short if revision else "",
            suffix=renewal.suffix if renewal else "",
            dirty=tree.dirty,
        ),
        project=project.name,
        namespace=project.namespace,
        commit=revision.commit if revision else "",
        branch=revision.branch if revision else "",
        dirty=tree.dirty,
        refresh=renewal is not None,
        tags=tree.tags,
    )


class ReleaseWriter(Struct, frozen=True, kw_only=True):
    """Writes the release of one run; ``earlier`` are those that the run went on from.

    ``moving`` are the moving tags of each image, ``generations`` how often it was refreshed.
    """

    registry: Registry
    releases: Releases
    claim: Claim
    frame: Frame
    earlier: EarlierReleases
    graph: ImageGraph
    moving: Mapping[str, tuple[str, ...]]
    generations: Mapping[str, int]

    def check_access(self) -> None:
        """Make sure, before anything is built, that we may write.

        Raises:
            RegistryError: we may not.

        """
        self.registry.blobs.put(self.releases.repository, Content.of(EMPTY))

    def write(
        self,
        plan: Plan,
        summary: Summary,
        inputs: Mapping[str, Inputs],
        manifests: Mapping[str, Manifest],
        now: float,
    ) -> Reference:
        """Store the release of what was published, and of all else as it is; where it is.

        ``manifests`` are those of the images that this run has tagged, by digest. Where nothing
        was done, nothing is written.

        Raises:
            PublishError: another run has set one of the tags meanwhile.

        """
        frame = self.frame
        place = self.releases.repository.with_tag(frame.tag)
        if new_release.nothing_to_do(plan, self.earlier):
            return place
        earlier = read_earlier(self.releases, frame.tag)
        results = new_release.published(plan, summary)
        made = self._images(results, inputs, manifests, earlier)
        missing = new_release.missing(summary)
        if frame.refresh:
            untouched = new_release.kept(earlier, made, missing, frame)
            threads.each(self._rename, untouched.values())
        release = new_release.compose(frame, earlier, made=made, missing=missing, now=now)
        if release is not earlier.same:
            # Each tag is as the registry has said in its answer, and by the claim nobody else's.
            self.claim.check()
            self.releases.write(release, new_release.moving_tags(frame))
        return place

    def _rename(self, image: ReleasedImage) -> None:
        """Give an image that was not made anew the names of this refresh."""
        reference = image.reference(self.releases.repository.registry)
        for name in (image.tag, *self.moving[image.name]):
            self.registry.retag(reference, name)

    def _images(
        self,
        results: list[ImageResult],
        inputs: Mapping[str, Inputs],
        manifests: Mapping[str, Manifest],
        earlier: EarlierReleases,
    ) -> dict[str, ReleasedImage]:
        """What the release says of each; only of what is new the registry may have to be asked."""

        def make(result: ImageResult) -> ReleasedImage:
            return new_release.new(
                self.graph[result.image],
                result,
                inputs[result.image],
                self._record(result, manifests),
                tag=self.frame.tags[result.image],
                generation=self.generations.get(result.image, 0),
            )

        known: dict[str, ReleasedImage] = {}
        asked: list[ImageResult] = []
        for result in results:
            image = new_release.known(result, inputs[result.image], earlier, self.frame)
            # What was assembled is known to the last byte.
            if image is None and result.assembled and result.digest in manifests:
                image = make(result)
            if image is None:
                asked.append(result)
            else:
                known[result.image] = image
        return known | {image.name: image for image in threads.each(make, asked)}

    def _record(self, result: ImageResult, manifests: Mapping[str, Manifest]) -> ImageRecord:
        reference = self.graph[result.image].repository.at(result.digest or "")
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
