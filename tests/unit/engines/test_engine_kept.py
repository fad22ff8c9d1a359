"""What is kept of bases is what its digest says, or is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.core.registry_content import OCI_MANIFEST, Descriptor, digest_of
from builder.engines.layer_cache import ManifestCache

BODY = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "a/b", "digest": digest_of(b"{}"), "size": 2},
        "layers": [],
    }
).encode()
DIGEST = digest_of(BODY)


def config_of(digest: str) -> Descriptor:
    return Descriptor(media_type="", digest=digest, size=1)


def test_what_was_kept_is_there_for_the_next_process(tmp_path: Path) -> None:
    config = '{"word": "é"}\r\n'.encode()
    kept = ManifestCache(tmp_path / "new")
    kept.keep(DIGEST, BODY)
    kept.keep(digest_of(config), config)
    manifest = ManifestCache(tmp_path / "new").manifest(DIGEST)
    assert manifest is not None
    assert (manifest.digest, manifest.body) == (DIGEST, BODY)
    assert ManifestCache(tmp_path / "new").config(config_of(digest_of(config))) == config


def test_what_has_changed_on_the_disk_is_not_believed(tmp_path: Path) -> None:
    kept = ManifestCache(tmp_path)
    kept.keep(DIGEST, BODY)
    (file,) = tmp_path.iterdir()
    file.write_bytes(BODY.replace(b"a/b", b"b/a"))
    assert kept.manifest(DIGEST) is None
    assert kept.config(config_of(DIGEST)) is None


def test_what_is_no_manifest_is_none(tmp_path: Path) -> None:
    kept = ManifestCache(tmp_path)
    kept.keep(digest_of(b"[]"), b"[]")
    assert kept.manifest(digest_of(b"[]")) is None


def test_what_is_forgotten_is_asked_for_again(tmp_path: Path) -> None:
    kept = ManifestCache(tmp_path)
    kept.keep(DIGEST, BODY)
    kept.forget(DIGEST)
    kept.forget(DIGEST)
    assert kept.manifest(DIGEST) is None


@pytest.mark.parametrize("folder", [None, Path("/proc/nowhere")])
def test_where_nothing_can_be_kept_nothing_is(folder: Path | None) -> None:
    kept = ManifestCache(folder)
    kept.keep(DIGEST, BODY)
    kept.keep(digest_of(b"\xff"), b"\xff")
    kept.forget(DIGEST)
    assert kept.manifest(DIGEST) is None
    assert kept.config(config_of(DIGEST)) is None
