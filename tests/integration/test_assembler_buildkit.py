"""What the assembler puts together is what BuildKit makes: the same files, the same config."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.assemble.assemble import Assembled
from builder.core.reference import Reference
from builder.core.registry_content import OCI_MANIFEST, Content, Manifest
from builder.engines import BuildRequest
from builder.engines.assembler import Assembler
from builder.engines.base_layers import BaseImage, read_base
from builder.engines.buildx import Buildx
from builder.engines.layer_cache import LayerIndexes, ManifestCache
from builder.engines.together import put_together
from builder.registry.client import Registry
from builder.system.resources import SystemClock
from tests.support import dockerfiles
from tests.support.containers import tree_images
from tests.support.engines import (
    BUSYBOX,
    OURS,
    TEST_LABEL,
    Outputs,
    connect,
    docker,
    parsed,
    remove_test_images,
)
from tests.support.registry import LocalRegistry, require
from tests.support.trees import Tree, comparable, differences, exported, lay, saved, top_layers

pytestmark = pytest.mark.engine

SEEDS = range(int(os.environ.get("OCBUILD_TEST_SEEDS", "900")))
# With many seeds, each of these is in some images that are compared.
SPECIAL = (
    *("plain.tar", "packed.tgz", "old.tar.bz2", "etc.tar", "text.gz"),
    *("/twins", "--platform=", "--link", "<<", "capability"),
)
MANY, FEW = 500, 3
AT_ONCE = 40
PULLED = 10
PLATFORM = "linux/amd64"
LABELS = {"given": "by the request", TEST_LABEL: OURS}


class Workshop(Struct, frozen=True, kw_only=True):
    """A registry with bases, a context, and what the assembler reads of them."""

    address: str
    registry: Registry
    bases: dict[str, BaseImage]
    indexes: LayerIndexes
    names: list[str]
    context: Path
    folder: Path

    def request(self, name: str, text: str, **changes: object) -> BuildRequest:
        dockerfile = self.folder / name / "Dockerfile"
        dockerfile.parent.mkdir(parents=True, exist_ok=True)
        dockerfile.write_text(text, encoding="utf-8")
        return BuildRequest(
            image=name,
            parsed=parsed(text),
            context=self.context,
            dockerfile=dockerfile,
            dockerfile_label=f"{name}/Dockerfile",
            tags=(self.tag(name),),
            labels=LABELS,
            args={"G": "given"},
        )

    def tag(self, name: str) -> str:
        return f"{self.address}/assembler-test/{name}:{OURS}"

    def assemble(self, request: BuildRequest) -> Assembled:
        return put_together(request, self.registry, self.base, platform=PLATFORM).assembled

    def base(self, name: str) -> BaseImage:
        if name not in self.bases:
            reference = Reference.parse(name)
            manifest = self.registry.manifest(reference)
            kept = ManifestCache(None)
            self.bases[name] = read_base(reference, manifest, self.registry, self.indexes, kept)
        return self.bases[name]

    def tree(self, made: Assembled) -> Tree:
        """The files of an image as its layers make them."""
        tree: Tree = {}
        for layer in json.loads(made.manifest)["layers"]:
            if made.layer is not None and layer["digest"] == made.layer.digest:
                tree = lay(tree, io.BytesIO(made.layer.data))
                continue
            tree = self._base_layer(tree, layer["digest"])
        return tree

    def store(self, made: Assembled, reference: str) -> None:
        target = Reference.parse(reference)
        for data in made.blobs:
            self.registry.blobs.put(target, Content.of(data))
        for layer in Manifest.of(made.manifest).layers:
            if made.layer is None or layer.digest != made.layer.digest:
                source = Reference.parse(self.holder(layer.digest))
                assert self.registry.blobs.mount(target, layer.digest, source)
        self.registry.put(target, Manifest.of(made.manifest))

    def holder(self, digest: str) -> str:
        """A base that has the layer."""
        for name in self.names:
            if any(layer.digest == digest for layer in self.base(name).manifest.layers):
                return name
        raise AssertionError(digest)

    def _base_layer(self, tree: Tree, digest: str) -> Tree:
        with self.registry.blobs.open(Reference.parse(self.holder(digest)), digest) as stream:
            return lay(tree, io.BytesIO(stream.readall() or b""))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    connect().close()
    require(BUSYBOX.is_file(), f"{BUSYBOX} (Debian's package busybox-static)")
    folder = tmp_path_factory.mktemp("assembler")
    with LocalRegistry() as local:
        registry = Registry.connect(os.environ, clock=SystemClock())
        names = [f"{local.address}/assembler-test/{name}:base" for name in ("odd", "set", "later")]
        make_bases(folder / "bases", names)
        yield Workshop(
            address=local.address,
            registry=registry,
            bases={},
            indexes=LayerIndexes(registry, folder / "indexes"),
            names=names,
            context=dockerfiles.make_context(folder / "context"),
            folder=folder,
        )
        registry.close()
        remove_test_images()


def make_bases(folder: Path, names: list[str]) -> None:
    """Odd files, with removals in a layer of their own; the same with much config; and triggers."""
    odd, configured, later = names
    folder.mkdir()
    (folder / "rootfs.tar").write_bytes(dockerfiles.rootfs())
    (folder / "busybox").write_bytes(BUSYBOX.read_bytes())
    (folder / "busybox").chmod(0o755)
    texts = {
        odd: "FROM scratch\nADD rootfs.tar /\nCOPY busybox /busybox\n"
        'RUN ["/busybox", "rm", "-r", "/opt/gone"]\n'
        'RUN ["/busybox", "sh", "-c", "rm -r /opt/emptied && /busybox mkdir /opt/emptied"]\n'
        'RUN ["/busybox", "chmod", "0755", "/home/u"]\n',
        configured: f"FROM {odd}\n{dockerfiles.CONFIG}",
        later: f"FROM {odd}\nENV A=5\n{dockerfiles.TRIGGERS}",
    }
    for name, text in texts.items():
        (folder / "Dockerfile").write_text(f"{text}LABEL {TEST_LABEL}={OURS}\n", encoding="utf-8")
        docker("build", "--quiet", "--tag", name, str(folder))
        docker("push", "--quiet", name)


def build(workshop: Workshop, requests: Mapping[str, BuildRequest]) -> dict[str, str]:
    """Build with BuildKit, all at once; the names that failed, with the reason."""
    if bake(workshop, requests) == "":
        return {}
    return {
        name: said
        for name, request in requests.items()
        if (said := bake(workshop, {name: request}))
    }


def bake(workshop: Workshop, requests: Mapping[str, BuildRequest]) -> str:
    """What bake said if it failed, else nothing."""
    targets = {
        name: {
            "context": str(request.context),
            "dockerfile": str(request.dockerfile),
            "tags": [f"{tag}-theirs" for tag in request.tags],
            "labels": dict(request.labels),
            "args": dict(request.args),
            "contexts": {key: f"docker-image://{value}" for key, value in request.contexts.items()},
            "output": ["type=docker"],
        }
        for name, request in requests.items()
    }
    file = workshop.folder / "bake.json"
    file.write_text(json.dumps({"target": targets}), encoding="utf-8")
    done = subprocess.run(
        ["docker", "buildx", "bake", "--file", str(file), "--provenance=false", *targets],
        check=False,
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else done.stderr.strip() or "failed"


def test_generated_images_are_those_of_buildkit(workshop: Workshop) -> None:
    made: dict[str, tuple[BuildRequest, Assembled]] = {}
    refused: Counter[str] = Counter()
    for seed in SEEDS:
        name = f"case{seed}"
        text = dockerfiles.Generator(seed, workshop.names).dockerfile()
        request = workshop.request(name, text)
        try:
            made[name] = (request, workshop.assemble(request))
        except Refused as reason:
            refused[reason.reason] += 1
    problems: list[str] = []
    names = list(made)
    for start in range(0, len(names), AT_ONCE):
        batch = names[start : start + AT_ONCE]
        problems.extend(compare(workshop, {name: made[name] for name in batch}))
    summary = "\n".join(f"{count} {reason}" for reason, count in refused.most_common())
    seen = Counter(word for pair in made.values() for word in special(*pair))
    print(f"{len(made)} compared, {sum(refused.values())} refused:\n{summary}\n{seen}")  # noqa: T201
    assert not problems, "\n\n".join(problems[:10]) + f"\n\n{len(problems)} of {len(made)}"
    assert len(SEEDS) < MANY or all(seen[word] >= FEW for word in SPECIAL), seen
    assert len(made) >= len(SEEDS) * 300 // 900, summary


def special(request: BuildRequest, made: Assembled) -> set[str]:
    """What of the rarer things an image has that was not refused."""
    text = request.dockerfile.read_text(encoding="utf-8")
    found = {word for word in SPECIAL if word in text}
    entries = made.layer.index.entries.values() if made.layer else ()
    return found | {"capability" for entry in entries if entry.capability}


def test_engine_and_registry_take_the_images(workshop: Workshop) -> None:
    """Pulled by an engine and laid on each other by overlayfs, the files are BuildKit's."""
    compared = 0
    for seed in range(1000, 1060):
        text = dockerfiles.Generator(seed, workshop.names).dockerfile()
        request = workshop.request(f"pulled{seed}", text)
        try:
            made = workshop.assemble(request)
        except Refused:
            continue
        if made.layer is None:
            continue
        workshop.store(made, request.tags[0])
        docker("pull", "--quiet", request.tags[0])
        assert not bake(workshop, {request.image: request})
        ours, theirs = exported(request.tags[0]), exported(f"{request.tags[0]}-theirs")
        assert not differences(ours, theirs), text
        compared += 1
        if compared == PULLED:
            return
    pytest.fail(f"only {compared} were compared")


def test_a_base_of_oci_s_kind_gives_an_image_of_that_kind(workshop: Workshop) -> None:
    """With layers that keep the name of their kind, which an engine takes as they are."""
    odd = Reference.parse(workshop.names[0])
    content = json.loads(workshop.registry.manifest(odd).body)
    content["mediaType"] = OCI_MANIFEST
    content["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    for layer in content["layers"]:
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
    oci = odd.with_tag("oci")
    workshop.registry.put(oci, Manifest.of(json.dumps(content).encode(), OCI_MANIFEST))
    request = workshop.request(
        "oci", f'FROM {oci}\nCOPY f /made\nCMD ["/busybox", "cat", "/made"]\n'
    )
    made = workshop.assemble(request)
    assert made.media_type == OCI_MANIFEST
    workshop.store(made, request.tags[0])
    assert docker("run", "--rm", request.tags[0]) == "f"


def test_the_same_input_gives_the_same_image_on_any_day(workshop: Workshop) -> None:
    text = f"FROM {workshop.names[0]}\nCOPY d /opt/new/\nENV A=2\nWORKDIR /w\n"
    request = workshop.request("same", text)
    first = workshop.assemble(request)
    for path in workshop.context.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert workshop.assemble(request).manifest == first.manifest


def test_images_of_our_trees_without_run_are_those_of_buildkit(tmp_path: Path) -> None:
    """Each on the base of this tree; made by the engine `assembler` as a run makes it."""
    daemon = connect()
    registry = Registry.connect(os.environ, clock=SystemClock())
    engine = Assembler(daemon, registry, LayerIndexes(registry, tmp_path / "i"), platform=PLATFORM)
    buildx = Buildx(daemon, os.environ)
    made: dict[str, tuple[str, str]] = {}
    images = tree_images()
    for folder in without_run():
        base = base_of(folder)
        request = BuildRequest(
            image=folder.name,
            parsed=parsed((folder / "Dockerfile").read_text()),
            context=folder,
            dockerfile=folder / "Dockerfile",
            dockerfile_label=f"{folder.name}/Dockerfile",
            tags=(f"assembler-test/{folder.name}:{OURS}",),
            contexts={base: images[base]},
            labels={**LABELS, "org.opencontainers.image.title": folder.name},
        )
        theirs = replace(request, tags=(f"{request.tags[0]}-theirs",))
        engine.build(request, Outputs(), threading.Event())
        buildx.build(theirs, Outputs(), threading.Event())
        made[folder.name] = (request.tags[0], theirs.tags[0])
    assert len(made) >= 25, sorted(made)
    try:
        tops = top_layers([tag for pair in made.values() for tag in pair])
        for name, (ours, other) in made.items():
            assert tops[ours].below == tops[other].below, name
            assert not differences(tops[ours].tree, tops[other].tree), name
            assert comparable(tops[ours].config) == comparable(tops[other].config), name
    finally:
        remove_test_images()
        registry.close()
        daemon.close()


def without_run() -> list[Path]:
    """The directories of images whose Dockerfile has no RUN."""
    root = Path(__file__).parents[2]
    groups = ("common", "openstack", "contrail")
    files = [file for group in groups for file in sorted(root.glob(f"{group}/*/Dockerfile"))]
    return [file.parent for file in files if not re.search(r"(?m)^\s*RUN\b", file.read_text())]


def base_of(folder: Path) -> str:
    found = re.search(r"(?m)^FROM (\S+)$", (folder / "Dockerfile").read_text())
    assert found is not None
    return found[1]


def compare(workshop: Workshop, made: Mapping[str, tuple[BuildRequest, Assembled]]) -> list[str]:
    requests = {name: request for name, (request, _) in made.items()}
    failed = build(workshop, requests)
    good = [name for name in made if name not in failed]
    tags = {name: f"{requests[name].tags[0]}-theirs" for name in good}
    theirs = saved(list(tags.values()), workshop.folder)
    problems = [
        f"{name}: BuildKit refuses: {said[-800:]}\n{requests[name].dockerfile.read_text()}"
        for name, said in failed.items()
    ]
    for name in good:
        ours = made[name][1]
        found = differences(workshop.tree(ours), theirs[tags[name]].tree)
        config = json.loads(ours.config)
        if comparable(config) != comparable(theirs[tags[name]].config):
            found.append(f"config: {comparable(config)}\n{comparable(theirs[tags[name]].config)}")
        if found:
            text = requests[name].dockerfile.read_text()
            problems.append("\n".join([f"{name}:", *found[:8], text]))
    docker("rmi", *tags.values())
    return problems
