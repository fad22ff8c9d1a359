"""The release of a run: stored as an artifact beside deployments, and written last."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from msgspec import Struct

from builder.core import new_release
from builder.core.deploy.records import SharedRecord, is_record_tag
from builder.core.errors import PublishError, did_you_mean
from builder.core.events import ImageResult, Summary
from builder.core.graph import ImageGraph
from builder.core.new_release import Frame, ImageRecord, Renewal
from builder.core.plan import Plan
from builder.core.reference import Reference
from builder.core.registry_content import EMPTY, Content, Manifest, is_artifact, make_artifact
from builder.core.registry_faults import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnauthorisedError,
)
from builder.core.release import (
    ARTIFACT_TYPE,
    DEPLOYED,
    LATEST,
    NAME,
    NIGHTLY,
    EarlierReleases,
    Inputs,
    Release,
    ReleasedImage,
)
from builder.core.settings.config import registry_host
from builder.publish import Tell
from builder.publish.claim import CLAIMS, Claim, RegistryMarks
from builder.registry.client import Registry
from builder.system.process import in_threads
from builder.system.resources import SystemClock
from builder.tree.read import Tree


class Releases:
    """The releases of one namespace of one registry; none is read twice."""

    def __init__(self, registry: Registry, *, host: str, namespace: str) -> None:
        self._registry = registry
        self.repository = Reference(path=f"{namespace}/{NAME}", registry=host)
        self._known: dict[str, Release] = {}

    def find(self, tag: str) -> Release | None:
        """The release of this tag; None if there is none.

        Raises:
            RegistryError: the registry cannot be asked.
            PublishError: what is there is no release.

        """
        reference = self.repository.with_tag(tag)
        try:
            manifest = self._registry.manifest(reference)
        except NotFoundError:
            return None
        if not is_artifact(manifest, ARTIFACT_TYPE):
            raise PublishError(
                f"{reference} is no release of ocbuild",
                hint="is the namespace the right one?",
            )
        known = self._known.get(manifest.digest)
        if known is None:
            content = self._registry.blobs.read(self.repository, manifest.layers[0])
            known = self._known[manifest.digest] = Release.from_bytes(content, str(reference))
        return known

    def read(self, tag: str) -> Release:
        """The release of this tag.

        Raises:
            PublishError: there is none; the hint has the nearest tags.

        """
        found = self.find(tag)
        if found is None:
            raise PublishError(
                f"there is no release {tag} in {self.repository}",
                hint=did_you_mean(tag, list(self.tags())) or "see: ocbuild release ls",
            )
        return found

    def write(self, release: Release, tags: tuple[str, ...] = ()) -> Reference:
        """Store it under its own tag and then under ``tags``; where it is, by digest."""
        manifest, (empty, content) = artifact(release)
        # It says when it was made, so nobody has it.
        self._registry.blobs.put(self.repository, content, look=False)
        own, *others = (self.repository.with_tag(tag) for tag in (release.tag, *tags))
        self._registry.put_artifact(own, manifest, empty)
        for reference in others:
            self._registry.put(reference, manifest)
        return self.repository.at(manifest.digest)

    def tags(self) -> Iterator[str]:
        """The tags of all releases, moving ones included; none where there is no release yet."""
        try:
            for tag in self._registry.tags(self.repository):
                # The claims of runs and the records of deployments lie beside them.
                if tag not in CLAIMS and not tag.startswith(DEPLOYED):
                    yield tag
        except NotFoundError:
            return


def artifact(release: Release) -> tuple[Manifest, tuple[Content, ...]]:
    """The manifest of a release, and the blobs that must be there before it."""
    annotations = {
        "org.opencontainers.image.created": release.created,
        "org.opencontainers.image.revision": release.commit,
        "org.opencontainers.image.version": release.tag,
    }
    return make_artifact(ARTIFACT_TYPE, release.as_bytes(), annotations)


TYPE = "application/vnd.ocbuild.deployment.v1+json"


class Deployments:
    """The records of one namespace of one registry; ``repository`` is that of its releases."""

    def __init__(self, registry: Registry, repository: Reference) -> None:
        self._registry = registry
        self._repository = repository

    def read(self, tag: str) -> SharedRecord | None:
        """The record of this tag; None if there is none.

        Raises:
            RegistryError: the registry cannot be asked.
            PublishError: what is there is no record.

        """
        place = self._repository.with_tag(tag)
        try:
            manifest = self._registry.manifest(place)
        except NotFoundError:
            return None
        if not is_artifact(manifest, TYPE):
            raise PublishError(
                f"{place} is no record of a deployment", hint="delete that tag, and deploy again"
            )
        data = self._registry.blobs.read(self._repository, manifest.layers[0])
        return SharedRecord.from_bytes(data, str(place))

    def all(self) -> Iterator[SharedRecord]:
        try:
            tags = [tag for tag in self._registry.tags(self._repository) if is_record_tag(tag)]
        except NotFoundError:
            return
        for tag in tags:
            record = self.read(tag)
            if record is not None:
                yield record

    def write(self, record: SharedRecord) -> None:
        """Put it in the place of what was there, which is deleted where that is allowed."""
        place = self._repository.with_tag(record.tag)
        before = self._registry.head(place)
        manifest, parts = make_artifact(
            TYPE,
            record.as_bytes(),
            {
                "org.opencontainers.image.created": record.at,
                "org.opencontainers.image.title": f"{record.stack} on {record.host}",
            },
        )
        for part in parts:
            self._registry.blobs.put(self._repository, part)
        self._registry.put(place, manifest)
        if before is not None and before.digest != manifest.digest:
            # Nothing names it any more; a registry that keeps it all the same is welcome to it.
            with suppress(NotFoundError, RefusedError, ForbiddenError, UnauthorisedError):
                self._registry.delete(self._repository.at(before.digest))


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
        self.registry.blobs.put(self.releases.repository, Content.of(EMPTY), look=False)
        try:
            self.claim.try_out()
        except RefusedError as error:
            raise PublishError(
                f"{error.message}: tags that have to move cannot",
                hint=f"exclude {self.releases.repository.path} from immutability, or its tags"
                f" {', '.join((*CLAIMS, LATEST, NIGHTLY))}",
            ) from error

    def write(
        self,
        plan: Plan,
        summary: Summary,
        inputs: Mapping[str, Inputs],
        manifests: Mapping[str, Manifest],
        *,
        now: float,
        tell: Tell,
    ) -> Reference:
        """Store the release of what was published, and of all else as it is; where it is.

        ``manifests`` are those of the images that this run has tagged, by digest. Where nothing
        was done, nothing is written, unless an earlier run has left a moving tag behind.

        Raises:
            PublishError: another run has set one of the tags meanwhile.

        """
        frame = self.frame
        place = self.releases.repository.with_tag(frame.tag)
        if new_release.nothing_to_do(plan, self.earlier):
            if new_release.is_left_behind(self.earlier, frame):
                self._move(place, tell)
            return place
        self.claim.take(tell)
        earlier = read_earlier(self.releases, frame.tag)
        results = new_release.published(plan, summary)
        made = self._images(results, inputs, manifests, earlier)
        missing = new_release.missing(summary)
        if frame.refresh:
            untouched = new_release.kept(earlier, made, missing, frame)
            in_threads(self._rename, untouched.values())
        release = new_release.compose(frame, earlier, made=made, missing=missing, now=now)
        if release is not earlier.same:
            # Each tag is as the registry has said in its answer, and by the claim nobody else's.
            self.claim.check()
            self.releases.write(release, new_release.moving_tags(frame))
        return place

    def _move(self, place: Reference, tell: Tell) -> None:
        """Have the moving tags name a release that is there."""
        self.claim.take(tell)
        for tag in new_release.moving_tags(self.frame):
            self.registry.retag(place, tag)
            tell(f"{tag} was left behind by an earlier run, and names {self.frame.tag} now")

    def _rename(self, image: ReleasedImage) -> None:
        """Give an image that was not made anew the names of this refresh."""
        reference = image.reference(self.releases.repository.registry)
        for name in (image.tag, *self.moving[image.name]):
            (self.claim.keep if name == image.tag else self.claim.check)()
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
        return known | {image.name: image for image in in_threads(make, asked)}

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
