"""Others accept what the assembler makes: skopeo, `docker run`, and an engine on containerd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from builder.core.reference import Reference
from builder.core.registry_content import DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from builder.engines import BuildRequest
from tests.support.engines import BOX, OURS, box, connect, docker, remove_test_images
from tests.support.registry import LocalRegistry, require
from tests.support.second_engine import SecondEngine
from tests.support.yard import Yard

pytestmark = pytest.mark.engine

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
TEXTS = {
    "layer": 'FROM base\nCOPY --chown=7:8 f /made\nWORKDIR /w\nCMD ["sh", "-c", "cat /made"]\n',
    "config": 'FROM base\nENV SAYS="the config"\nEXPOSE 80\nCMD ["sh", "-c", "echo $SAYS"]\n',
    "scratch": "FROM scratch\nCOPY --from=base /bin/busybox /busybox\n"
    'ENTRYPOINT ["/busybox", "echo", "alone"]\n',
}
SAID = {"layer": "first", "config": "the config", "scratch": "alone"}
KINDS = {"docker": DOCKER_MANIFEST, "oci": OCI_MANIFEST}
CASES = [(kind, text) for kind in KINDS for text in TEXTS if (kind, text) != ("oci", "scratch")]


class Stored(Struct, frozen=True, kw_only=True):
    """An image that the assembler has made and stored; ``says`` is what it prints when run."""

    reference: str
    digest: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    says: str

    @property
    def layers(self) -> list[str]:
        return [layer["digest"] for layer in self.manifest["layers"]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Stored]]:
    """Of both kinds, with a layer of their own and without; none of them is in the engine."""
    daemon = connect()
    with box(tmp_path_factory.mktemp("box")), LocalRegistry() as local:
        yard = Yard(daemon, local.address, tmp_path_factory.mktemp("yard"))
        docker("tag", BOX, yard.tag("base"))
        docker("push", "--quiet", yard.tag("base"))
        bases = {"docker": yard.tag("base"), "oci": _as_oci(yard)}
        found = {}
        for kind, text in CASES:
            request = yard.request(f"{kind}-{text}", TEXTS[text])
            found[kind, text] = _stored(
                yard,
                replace(request, contexts={"base": bases[kind]}, in_engine=False),
                SAID[text],
            )
        yield found
        yard.registry.close()
    daemon.close()
    remove_test_images()


def _as_oci(yard: Yard) -> str:
    """The base again, with the names that OCI has for the same bytes."""
    base = Reference.parse(yard.tag("base"))
    content = json.loads(yard.registry.manifest(base).body)
    content["mediaType"] = OCI_MANIFEST
    content["config"]["mediaType"] = OCI_CONFIG
    for layer in content["layers"]:
        layer["mediaType"] = OCI_LAYER
    manifest = Manifest.of(json.dumps(content).encode(), OCI_MANIFEST)
    yard.registry.put(base.with_tag("oci"), manifest)
    return str(base.at(manifest.digest))


def _stored(yard: Yard, request: BuildRequest, says: str) -> Stored:
    yard.make(request)
    digest, _, _ = yard.store(request)
    reference = Reference.parse(request.tags[0])
    manifest = yard.registry.manifest(reference.at(digest))
    assert manifest.config is not None
    config = json.loads(yard.registry.blobs.read(reference, manifest.config))
    return Stored(
        reference=request.tags[0],
        digest=digest,
        manifest=json.loads(manifest.body),
        config=config,
        says=says,
    )


@pytest.fixture(params=CASES, ids="-".join)
def stored(request: pytest.FixtureRequest, images: dict[tuple[str, str], Stored]) -> Stored:
    return images[request.param]


def skopeo(*words: str) -> str:
    require(shutil.which("skopeo"), "the program skopeo")
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy(source: str, target: str, *flags: str) -> None:
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", *flags, source, target)


def inspect(image: str, *flags: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(skopeo("inspect", "--tls-verify=false", *flags, image))
    return found


# -- skopeo --------------------------------------------------------------------------------------


def test_the_images_are_of_the_kind_of_their_base(images: dict[tuple[str, str], Stored]) -> None:
    assert {case: each.manifest["mediaType"] for case, each in images.items()} == {
        (kind, text): KINDS[kind] for kind, text in CASES
    }
    fewer = {len(images[kind, "config"].layers) for kind in KINDS}
    more = {len(images[kind, "layer"].layers) for kind in KINDS}
    assert more == {number + 1 for number in fewer}


def test_skopeo_reads_what_the_assembler_wrote(stored: Stored) -> None:
    name = f"docker://{stored.reference}"
    seen = inspect(name)
    assert (seen["Digest"], seen["Layers"]) == (stored.digest, stored.layers)
    assert seen["Env"] == stored.config["config"]["Env"]
    assert (seen["Os"], seen["Architecture"]) == ("linux", "amd64")
    assert json.loads(skopeo("inspect", "--tls-verify=false", "--raw", name)) == stored.manifest
    assert inspect(name, "--config")["rootfs"] == stored.config["rootfs"]


def test_skopeo_copies_them_between_registries_byte_for_byte(stored: Stored) -> None:
    with LocalRegistry() as other:
        target = f"docker://{other.address}/copied/image:1"
        copy(f"docker://{stored.reference}", target, "--preserve-digests")
        assert inspect(target)["Digest"] == stored.digest


def test_skopeo_copies_them_to_a_folder_of_oci_s_form(stored: Stored, tmp_path: Path) -> None:
    """And from there into a registry, from which an engine runs them."""
    folder = f"oci:{tmp_path}/images:1"
    copy(f"docker://{stored.reference}", folder)
    seen = inspect(folder)
    assert seen["Layers"] == stored.layers
    assert inspect(folder, "--config")["rootfs"] == stored.config["rootfs"]
    raw = json.loads(skopeo("inspect", "--raw", folder))
    assert {layer["mediaType"] for layer in raw["layers"]} == {OCI_LAYER}
    with LocalRegistry() as other:
        back = f"{other.address}/from-folder/image:{OURS}"
        copy(folder, f"docker://{back}")
        assert docker("run", "--rm", "--network", "none", back) == stored.says
        docker("rmi", back)


def test_skopeo_writes_them_for_docker_load(stored: Stored, tmp_path: Path) -> None:
    archive, name = tmp_path / "image.tar", f"ocbuild-test/from-skopeo:{OURS}"
    copy(f"docker://{stored.reference}", f"docker-archive:{archive}:{name}")
    docker("load", "--quiet", "--input", str(archive))
    assert docker("run", "--rm", "--network", "none", name) == stored.says
    diff_ids = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", name))
    assert diff_ids == stored.config["rootfs"]["diff_ids"]
    docker("rmi", name)


# -- engines -------------------------------------------------------------------------------------


def test_the_usual_engine_pulls_and_runs_them(stored: Stored) -> None:
    docker("pull", "--quiet", stored.reference)
    assert docker("run", "--rm", "--network", "none", stored.reference) == stored.says
    image = docker("image", "inspect", "--format", "{{.Id}}", stored.reference)
    assert image == stored.manifest["config"]["digest"]
    docker("rmi", stored.reference)


@pytest.fixture(scope="module")
def second() -> Iterator[SecondEngine]:
    with SecondEngine() as engine:
        yield engine


def test_an_engine_on_containerd_pulls_and_runs_them(second: SecondEngine, stored: Stored) -> None:
    """It names an image by its manifest, so that one is as the registry has it."""
    second.docker("pull", "--quiet", stored.reference)
    assert second.docker("run", "--rm", "--network", "none", stored.reference) == stored.says
    image = second.docker("image", "inspect", "--format", "{{.Id}}", stored.reference)
    assert image == stored.digest


def test_an_engine_on_containerd_has_the_files_of_the_layer(
    second: SecondEngine, images: dict[tuple[str, str], Stored]
) -> None:
    for kind in KINDS:
        made = images[kind, "layer"].reference
        second.docker("pull", "--quiet", made)
        run = ["run", "--rm", "--network", "none", made, "stat", "-c", "%u:%g %a %s"]
        assert second.docker(*run, "/made", "/w").split("\n") == ["7:8 644 6", "0:0 755 4096"]


def test_an_engine_on_containerd_builds_on_them(
    second: SecondEngine, images: dict[tuple[str, str], Stored], tmp_path: Path
) -> None:
    for kind in KINDS:
        made = images[kind, "layer"].reference
        (tmp_path / "Dockerfile").write_text(f"FROM {made}\nRUN cp /made /again\n")
        name = f"ocbuild-test/on-{kind}"
        environ = {**os.environ, **second.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        argv = ["docker", "buildx", "build", "--load", "--tag", name, str(tmp_path)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environ)
        assert done.returncode == 0, done.stderr
        run = ["run", "--rm", "--network", "none", name, "cat", "/made", "/again"]
        assert second.docker(*run) == "first\nfirst"
