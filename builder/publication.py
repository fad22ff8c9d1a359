"""What a run leaves in the registry beside its images: the release that they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from builder.bases import Resolution, ResolvedBase
from builder.events import ImageResult, ImageStatus, Summary
from builder.refresh.inventories import Inventories
from builder.refresh.recording import Files, Recorder
from builder.registry.client import Registry
from builder.registry.releases import Releases
from builder.release import LATEST, NIGHTLY, Inputs, Release, ReleasedImage
from builder.renewal import Renewal
from builder.tree import Tree, registry_host


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The release of a run: ``previous`` is the one that it goes on from."""

    registry: Registry
    tree: Tree
    previous: Release | None
    renewal: Renewal | None = None

    @classmethod
    def open(cls, registry: Registry, tree: Tree, renewal: Renewal | None) -> Publication:
        """Read the last release.

        Raises:
            RegistryError: the registry cannot be asked.

        """
        return cls(
            registry=registry,
            tree=tree,
            previous=_releases(registry, tree).find(LATEST),
            renewal=renewal,
        )

    @property
    def generations(self) -> Mapping[str, int]:
        """The generation of each image, after this refresh if it is one."""
        if self.renewal is not None:
            return self.renewal.generations
        return self.previous.generations if self.previous else {}

    def recorder(self, engine: Files, run_id: str) -> Recorder:
        """What notes which packages the images of the run have."""
        return Recorder(
            inventories=Inventories(self.registry),
            engine=engine,
            run_id=run_id,
            hoped_for=self.renewal.hoped_for if self.renewal else {},
        )

    def write(self, summary: Summary, resolution: Resolution, now: float) -> Release:
        """Store the release of what was made, and of all else as it was."""
        tree, renewal = self.tree, self.renewal
        made = {
            name: self._image(result, resolution)
            for name, result in summary.images.items()
            if result.status is ImageStatus.OK and result.digest and result.action != "reuse"
        }
        missing = _missing(summary)
        kept = {
            name: image
            for name, image in (self.previous.images if self.previous else {}).items()
            if name not in made and name not in missing and name in tree.tags
        }
        if renewal is not None:
            kept = {name: self._taken_over(image) for name, image in kept.items()}
        revision = tree.revision
        short = revision.short if revision else "none"
        tag = short if renewal is None else renewal.tag(short)
        tag = f"{tag}-dirty" if tree.dirty else tag
        release = Release(
            tag=tag,
            project=tree.config.project.name,
            namespace=tree.config.project.namespace,
            commit=revision.commit if revision else "",
            created=datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds"),
            branch=revision.branch if revision else "",
            dirty=tree.dirty,
            previous=self._before(tag),
            images={**kept, **made},
            missing={**self._still_missing(made), **missing},
        )
        _releases(self.registry, tree).write(release, self._moving())
        return release

    def reference(self, release: Release) -> str:
        """Where a release of this namespace is."""
        return str(_releases(self.registry, self.tree).repository.with_tag(release.tag))

    def _before(self, tag: str) -> str:
        """The release before this one, which may have been published in part already."""
        previous = self.previous
        if previous is None:
            return ""
        return previous.previous if previous.tag == tag else previous.tag

    def _still_missing(self, made: Mapping[str, ReleasedImage]) -> Mapping[str, str]:
        """What the release before lacked, and this run did not make either."""
        lacked = self.previous.missing if self.previous else {}
        return {
            name: why for name, why in lacked.items() if name not in made and name in self.tree.tags
        }

    def _moving(self) -> tuple[str, ...]:
        """What is set last; a tree with edits moves nothing, as no commit stands for it."""
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

    def _image(self, result: ImageResult, resolution: Resolution) -> ReleasedImage:
        image = self.tree.graph[result.image]
        reference = image.repository.at(result.digest or "")
        manifest = self.registry.manifest(reference)
        bases = {text: resolution[text] for text in image.external}
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
            inventory=Inventories(self.registry).find(reference),
            labels=image.needs.labels,
            inputs=Inputs(
                recipe=result.key[:12],
                bases={
                    text: base.digest
                    for text, base in bases.items()
                    if isinstance(base, ResolvedBase)
                },
                parents=image.parents,
            ),
        )


def _missing(summary: Summary) -> dict[str, str]:
    """The optional images that failed, each with the reason in one line."""
    return {
        name: result.error.message.partition("\n")[0]
        if result.error
        else f"{result.blocked_by} failed"
        for name, result in summary.images.items()
        if result.optional and result.status is not ImageStatus.OK
    }


def _releases(registry: Registry, tree: Tree) -> Releases:
    return Releases(
        registry, host=registry_host(tree.config), namespace=tree.config.project.namespace
    )
