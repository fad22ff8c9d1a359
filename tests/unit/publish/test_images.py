"""Images are pushed without a tag, the claim comes first, and a tag takes a request."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import cast

import pytest

from builder.core.errors import PublishError
from builder.core.events import Pushed
from builder.core.reference import Reference
from builder.core.registry_content import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest
from builder.core.registry_faults import RefusedError
from builder.publish import MadeImage, Tell
from builder.publish.claim import Claim
from builder.publish.images import ImagePublisher, SolePublisher
from builder.registry.client import Registry
from tests.support.engines import digest_of
from tests.unit.publish.test_staging import OURS, engine_with

RELEASE = Reference.parse("registry.example:5000/team/app:1")
STAGED = RELEASE.with_tag("key-1")
MANIFEST = Manifest.of(b'{"schemaVersion": 2, "layers": []}', OCI_MANIFEST)


class FakeRegistry:
    """Tags and their digests, and a log of what was asked."""

    def __init__(self, tags: Mapping[str, str] | None = None) -> None:
        self.tags = dict(tags or {})
        self.log: list[str] = []

    def head(self, reference: Reference) -> Descriptor | None:
        self.log.append(f"head {reference.tag}")
        digest = self.tags.get(reference.tag)
        return None if digest is None else Descriptor(media_type="", digest=digest, size=0)

    def manifest(self, reference: Reference) -> Manifest:
        self.log.append(f"get {reference.digest}")
        return MANIFEST

    def put(self, reference: Reference, manifest: Manifest) -> None:
        self.log.append(f"put {reference.tag}")
        self.tags[reference.tag] = manifest.digest


class FakeBlobs:
    """An image that needs no engine."""

    manifest = MANIFEST

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def upload(self, target: Reference) -> int:
        self._registry.log.append(f"upload {target.path}")
        return 7

    def store(self, target: Reference) -> int:
        self._registry.log.append(f"store {target.tag}")
        self._registry.tags[target.tag] = MANIFEST.digest
        return 9


class FakeClaim:
    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def take(self, tell: Tell) -> None:
        self._registry.log.append("claim")
        tell("waited")

    def check(self) -> None:
        self._registry.log.append("check")

    def keep(self) -> None:
        """Ask nobody: no time passes here."""


def image(registry: FakeRegistry, *, own: bool = False, bare: bool = False) -> MadeImage:
    return MadeImage(
        name="app",
        release=RELEASE,
        staged=STAGED,
        local=OURS,
        blobs=FakeBlobs(registry) if own else None,
        bare=bare,
    )


def publisher(
    registry: FakeRegistry,
    *,
    immutable: bool = True,
    promised: Mapping[Reference, str] | None = None,
    moving: frozenset[Reference] = frozenset(),
    keys: Mapping[Reference, str] | None = None,
) -> SolePublisher:
    def record(made: MadeImage, digest: str, tell: Tell) -> None:
        registry.log.append(f"record {made.name} {digest}")

    images = ImagePublisher(
        cast("Registry", registry),
        engine_with(),
        run_id="run",
        cancel=threading.Event(),
        record=record,
    )
    return SolePublisher(
        images,
        cast("Registry", registry),
        cast("Claim", FakeClaim(registry)),
        immutable=immutable,
        promised=promised or {},
        moving=moving,
        keys=keys,
    )


def ignore(*_: object) -> None:
    pass


def test_what_an_engine_built_is_pushed_recorded_and_compared_with_the_release_tag() -> None:
    registry = FakeRegistry()
    pushed = publisher(registry).push(image(registry), ignore, ignore)
    assert pushed == Pushed(digest=digest_of(OURS), uploaded=1)
    assert registry.log == [f"record app {digest_of(OURS)}", "head 1"]


def test_what_was_put_together_is_stored_under_its_key_and_compared_only_with_the_claim() -> None:
    registry = FakeRegistry()
    publishes = publisher(registry)
    pushed = publishes.push(image(registry, own=True), ignore, ignore)
    assert pushed == Pushed(digest=MANIFEST.digest, uploaded=9)
    assert registry.log == ["store key-1"]
    assert publishes.manifests == {MANIFEST.digest: MANIFEST}


def test_what_needs_no_name_but_its_tags_has_only_its_blobs_stored() -> None:
    registry = FakeRegistry()
    publishes = publisher(registry)
    pushed = publishes.push(image(registry, own=True, bare=True), ignore, ignore)
    publishes.tag(RELEASE, pushed.digest)
    assert pushed.uploaded == 7
    assert registry.log == ["upload team/app", "store 1"]


def test_a_tag_is_one_request_and_the_manifest_of_what_is_there_is_read_once() -> None:
    registry = FakeRegistry()
    publishes = publisher(registry)
    for tag in ("1", "latest"):
        publishes.tag(RELEASE.with_tag(tag), MANIFEST.digest)
    assert registry.log == [f"get {MANIFEST.digest}", "put 1", "put latest"]
    assert publishes.manifests == {MANIFEST.digest: MANIFEST}


@pytest.mark.parametrize("immutable", [True, False])
def test_an_image_whose_release_tag_names_another_is_not_published(*, immutable: bool) -> None:
    registry = FakeRegistry({"1": "sha256:other"})
    publishes = publisher(registry, immutable=immutable)
    if not immutable:
        publishes.push(image(registry), ignore, ignore)
        publishes.claim(ignore)
        assert "head 1" not in registry.log
        return
    with pytest.raises(PublishError, match="with other content: sha256:other there, sha256:"):
        publishes.push(image(registry), ignore, ignore)


@pytest.mark.parametrize("promised", [True, False])
def test_the_claim_is_taken_before_the_tags_are_compared_once_more(*, promised: bool) -> None:
    registry, told = FakeRegistry(), list[str]()
    digests = {RELEASE: MANIFEST.digest} if promised else {}
    publishes = publisher(registry, promised=digests)
    if not promised:
        publishes.push(image(registry, own=True), ignore, ignore)
    registry.log.clear()
    publishes.claim(told.append)
    assert (registry.log, told) == (["claim", "head 1"], ["waited"])
    registry.tags["1"] = MANIFEST.digest
    publishes.claim(ignore)  # it is set by now, and names the same
    registry.tags["1"] = "sha256:quicker"
    with pytest.raises(PublishError, match="sha256:quicker there"):
        publishes.claim(ignore)


class StrictRegistry(FakeRegistry):
    """One that sets no tag twice, whatever it is to name."""

    def put(self, reference: Reference, manifest: Manifest) -> None:
        if reference.tag in self.tags:
            raise RefusedError("tag already exists", status=409)
        super().put(reference, manifest)


def test_a_tag_that_names_the_image_already_is_right_whatever_the_registry_says() -> None:
    registry = StrictRegistry({"1": MANIFEST.digest, "2": "sha256:other"})
    publisher(registry).tag(RELEASE, MANIFEST.digest)
    with pytest.raises(RefusedError):
        publisher(registry).tag(RELEASE.with_tag("2"), MANIFEST.digest)


def test_the_claim_is_looked_at_before_each_tag_that_moves() -> None:
    registry = FakeRegistry()
    publishes = publisher(registry, moving=frozenset({RELEASE.with_tag("latest")}))
    publishes.tag(RELEASE, MANIFEST.digest)
    publishes.tag(RELEASE.with_tag("latest"), MANIFEST.digest)
    assert registry.log == [f"get {MANIFEST.digest}", "put 1", "check", "put latest"]


class LabelledRegistry(FakeRegistry):
    """Every image in it says that it was made of ``key``."""

    key = "k"

    @property
    def blobs(self) -> LabelledRegistry:
        return self

    def read(self, _place: Reference, _config: Descriptor) -> bytes:
        return json.dumps({"config": {"Labels": {"ocbuild.key": self.key}}}).encode()

    def manifest(self, reference: Reference) -> Manifest:
        config = {"mediaType": OCI_CONFIG, "digest": f"sha256:{'c' * 64}", "size": 2}
        return Manifest.of(
            json.dumps({"schemaVersion": 2, "config": config}).encode(), OCI_MANIFEST
        )


def test_a_release_tag_that_names_an_image_made_of_the_same_stays_and_is_adopted() -> None:
    registry = LabelledRegistry({"1": "sha256:earlier"})
    publishes = publisher(
        registry,
        promised={RELEASE: MANIFEST.digest},
        keys={RELEASE: "k"},
        moving=frozenset({RELEASE.with_tag("latest")}),
    )
    told: list[str] = []
    publishes.claim(told.append)
    assert "team/app keeps sha256:earlier" in told[-1]
    assert publishes.tag(RELEASE, MANIFEST.digest) == "sha256:earlier"
    assert registry.tags == {"1": "sha256:earlier"}
    publishes.tag(RELEASE.with_tag("latest"), MANIFEST.digest)
    assert registry.tags.keys() == {"1", "latest"}


@pytest.mark.parametrize("key", ["other", ""])
def test_a_release_tag_that_names_an_image_made_of_something_else_is_refused(key: str) -> None:
    registry = LabelledRegistry({"1": "sha256:earlier"})
    registry.key = key
    publishes = publisher(registry, promised={RELEASE: MANIFEST.digest}, keys={RELEASE: "k"})
    with pytest.raises(PublishError, match="with other content"):
        publishes.claim(ignore)
