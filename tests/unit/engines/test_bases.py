"""External bases: where each comes from, and that it is frozen to what was found."""

from __future__ import annotations

import threading
from pathlib import Path

from builder.config.load import load
from builder.core.bases import Pin, ResolvedBase
from builder.core.engine.answers import LocalImage
from builder.core.errors import BuildError
from builder.core.reference import Reference
from builder.core.settings.config import Config
from builder.core.settings.sections import BootstrapSettings
from builder.engines.bases import BaseProviders, look_up, provide, remembered
from tests.support.engines import FakeImages
from tests.support.tree import BUILD_TOML, Tree

DIGEST = "sha256:" + "d" * 64
MADE = "ocbuild-bootstrap/debian:trixie-slim"
BASE = "debian:trixie-slim"


class Images(FakeImages):
    """An engine's images, and a registry that has some more; what a network fault cannot show."""

    def __init__(self, local: dict[str, LocalImage], remote: dict[str, LocalImage]) -> None:
        super().__init__(local, remote)
        self.bootstrapped: list[str] = []
        self.told: list[str] = []

    def bootstrap(
        self, base: Reference, settings: BootstrapSettings, cancel: threading.Event
    ) -> None:
        self.bootstrapped.append(f"{base} {settings.suite}")
        self.names[MADE] = "sha256:made"
        self.images["sha256:made"] = LocalImage(id="sha256:made")


def config(tmp_path: Path, extra: str = "") -> Config:
    return load(Tree(tmp_path, {"a": f"FROM {BASE}"}, toml=BUILD_TOML + extra).root / "build.toml")


def provided(
    images: Images, settings: Config, text: str = BASE, *, pin: Pin | None = None
) -> object:
    providers = BaseProviders(
        pins={} if pin is None else {text: pin},
        images=images,
        bootstrap=images.bootstrap,
        tell=images.told.append,
        cancel=threading.Event(),
    )
    return provide([text], settings, providers)[text]


PULLED = LocalImage(id="sha256:id", repo_digests=(f"debian@{DIGEST}",))
BOOTSTRAP = f'[bases."{BASE}"]\nbootstrap = {{ suite = "trixie" }}\n'
MIRROR = f'[bases."{BASE}"]\nmirror = "mirror.example.org/debian:trixie-slim"\n'


def test_what_the_engine_has_is_not_pulled_and_is_frozen_by_digest(tmp_path: Path) -> None:
    images = Images({BASE: PULLED}, {})
    assert provided(images, config(tmp_path)) == ResolvedBase(
        text=BASE,
        context=f"docker-image://debian@{DIGEST}",
        reference=f"debian@{DIGEST}",
        digest=DIGEST,
    )
    assert images.pulled == []


def test_an_image_without_a_digest_is_known_by_its_id(tmp_path: Path) -> None:
    images = Images({BASE: LocalImage(id="sha256:mine")}, {})
    found = provided(images, config(tmp_path))
    assert isinstance(found, ResolvedBase)
    assert (found.context, found.digest) == (f"docker-image://{BASE}", "sha256:mine")


def test_what_is_missing_is_pulled(tmp_path: Path) -> None:
    images = Images({}, {BASE: PULLED})
    found = provided(images, config(tmp_path, BOOTSTRAP))
    assert isinstance(found, ResolvedBase)
    assert found.digest == DIGEST
    assert images.bootstrapped == []


def test_a_mirror_is_asked_instead(tmp_path: Path) -> None:
    mirrored = "mirror.example.org/debian"
    image = LocalImage(id="sha256:id", repo_digests=(f"{mirrored}@{DIGEST}",))
    images = Images({}, {f"{mirrored}:trixie-slim": image})
    found = provided(images, config(tmp_path, MIRROR))
    assert isinstance(found, ResolvedBase)
    assert found.reference == f"{mirrored}@{DIGEST}"
    assert images.pulled == [f"{mirrored}:trixie-slim"]


def test_what_cannot_be_pulled_is_made_under_a_name_of_its_own(tmp_path: Path) -> None:
    images = Images({}, {})
    found = provided(images, config(tmp_path, BOOTSTRAP))
    assert isinstance(found, ResolvedBase)
    assert found.reference == MADE
    assert images.bootstrapped == [f"{BASE} trixie"]
    assert any("making it with mmdebstrap" in line for line in images.told)
    again = provided(images, config(tmp_path, BOOTSTRAP))
    assert again == found
    assert len(images.pulled) == 1


def test_without_a_bootstrap_the_error_names_both_remedies(tmp_path: Path) -> None:
    error = provided(Images({}, {}), config(tmp_path))
    assert isinstance(error, BuildError)
    assert "no such host" in error.message
    assert "mirror" in str(error.hint)
    assert "bootstrap" in str(error.hint)


def test_contexts_redirect_a_name_to_another_image(tmp_path: Path) -> None:
    images = Images({"elsewhere/debian:1": LocalImage(id="sha256:other")}, {})
    extra = f'[contexts]\n"{BASE}" = "docker-image://elsewhere/debian:1"\n'
    found = provided(images, config(tmp_path, extra))
    assert isinstance(found, ResolvedBase)
    assert found.reference == "elsewhere/debian:1"


def test_contexts_redirect_a_name_to_a_folder_known_by_its_content(tmp_path: Path) -> None:
    extra = f'[contexts]\n"{BASE}" = "./debs"\n'
    settings = config(tmp_path, "")
    (settings.root / "debs").mkdir()
    (settings.root / "debs/a.deb").write_text("1")
    settings = config(tmp_path, extra)
    first = provided(Images({}, {}), settings)
    assert isinstance(first, ResolvedBase)
    assert first.context == str(settings.root / "debs")
    (settings.root / "debs/a.deb").write_text("2")
    second = provided(Images({}, {}), settings)
    assert isinstance(second, ResolvedBase)
    assert first.digest != second.digest


def test_a_plan_pulls_nothing(tmp_path: Path) -> None:
    images = Images({}, {BASE: PULLED})
    found = look_up([BASE], config(tmp_path, BOOTSTRAP), images)[BASE]
    assert isinstance(found, BuildError)
    assert images.pulled == []


def test_a_locked_base_is_pulled_by_its_digest_from_the_mirror(tmp_path: Path) -> None:
    reference = f"mirror.example.org/debian@{DIGEST}"
    images = Images({BASE: LocalImage(id="sha256:newer")}, {reference: PULLED})
    found = provided(images, config(tmp_path, MIRROR), pin=Pin(digest=DIGEST))
    assert found == ResolvedBase(
        text=BASE, context=f"docker-image://{reference}", reference=reference, digest=DIGEST
    )
    assert images.pulled == [reference]


def test_a_locked_base_that_cannot_be_pulled_is_not_made_instead(tmp_path: Path) -> None:
    images = Images({}, {})
    found = provided(images, config(tmp_path, BOOTSTRAP), pin=Pin(digest=DIGEST))
    assert isinstance(found, BuildError)
    assert images.bootstrapped == []


def test_a_base_that_is_locked_to_an_image_of_the_engine_has_to_be_that_one(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path, BOOTSTRAP)
    images = Images({MADE: LocalImage(id="sha256:made")}, {})
    found = provided(images, settings, pin=Pin(digest="sha256:made", local=True))
    assert isinstance(found, ResolvedBase)
    assert (found.context, found.digest) == (f"docker-image://{MADE}", "sha256:made")
    for local in ({MADE: LocalImage(id="sha256:other")}, {}):
        images = Images(dict(local), {})
        found = provided(images, settings, pin=Pin(digest="sha256:made", local=True))
        assert isinstance(found, BuildError)
        assert "which this engine does not have" in found.message
        assert images.pulled == images.bootstrapped == []


def test_a_plan_looks_for_locked_bases_by_digest(tmp_path: Path) -> None:
    images = Images({BASE: PULLED, f"debian@{DIGEST}": PULLED}, {})
    pins = {BASE: Pin(digest=DIGEST)}
    found = look_up([BASE], config(tmp_path), images, pins)[BASE]
    assert isinstance(found, ResolvedBase)
    assert found.digest == DIGEST
    other = {BASE: Pin(digest="sha256:" + "e" * 64)}
    assert isinstance(look_up([BASE], config(tmp_path), images, other)[BASE], BuildError)


def test_a_remembered_base_is_the_engines_if_that_is_the_same_and_else_a_promise(
    tmp_path: Path,
) -> None:
    pinned = LocalImage(id="sha256:id", repo_digests=(f"debian@{DIGEST}",))
    images = Images({BASE: pinned}, {})
    settings = config(tmp_path)
    same = remembered({BASE: Pin(digest=DIGEST)}, settings, images)[BASE]
    assert isinstance(same, ResolvedBase)
    assert (same.digest, same.digest_only) == (DIGEST, False)
    older = "sha256:" + "e" * 64
    promise = remembered({BASE: Pin(digest=older)}, settings, images)[BASE]
    assert isinstance(promise, ResolvedBase)
    assert (promise.digest, promise.digest_only) == (older, True)
    assert images.pulled == []
