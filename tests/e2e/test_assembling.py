"""Images without RUN are assembled on whatever a registry has: also on what was only just built."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from builder.core.reference import Reference
from builder.core.registry_content import OCI_INDEX, Manifest
from tests.e2e.conftest import BASE, Ocbuild, ask, docker
from tests.support.client import make_client
from tests.support.engines import soon
from tests.support.registry import LocalRegistry, free_address
from tests.support.tree import Tree
from tests.support.trees import comparable, differences, exported

pytestmark = [pytest.mark.e2e, pytest.mark.engine]
APP = (
    "FROM {base}\nCOPY --chown=3:4 f /opt/app/\nWORKDIR /opt/w\n"
    "ENV A=1 B=$PATH\nCMD cat /opt/app/f\n"
)
BAD_TEST = '\n[images.base]\ntest = ["false"]\n'
LAYERS_OF_BASE = 2
OTHER = "not by assembler"


def published(ocbuild: Ocbuild, *words: str, code: int = 0) -> dict[str, str]:
    """Publish; the action of each image."""
    ended = ocbuild(*(words or ("all",)), "--push")
    assert ended.code == code, ended.err
    images: Mapping[str, Mapping[str, str]] = ocbuild.report()["images"]
    return {name: image["action"] for name, image in images.items()}


def log_of(ocbuild: Ocbuild, image: str) -> str:
    return Path(ocbuild.report()["images"][image]["log"]).read_text()


def require_equal(ours: str, folder: Path, contexts: Mapping[str, str]) -> None:
    """Compare a published image with the one that BuildKit makes of the same Dockerfile."""
    theirs = f"{ours}-theirs"
    docker("rmi", "--force", ours, check=False)
    docker("pull", "--quiet", ours)
    seen = json.loads(docker("image", "inspect", ours))[0]
    labels = [f"--label={k}={v}" for k, v in (seen["Config"]["Labels"] or {}).items()]
    redirects = [f"--build-context={k}=docker-image://{v}" for k, v in contexts.items()]
    argv = ["docker", "buildx", "build", "--load", "--provenance=false", "--tag", theirs]
    done = subprocess.run(
        [*argv, *labels, *redirects, str(folder)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    other = json.loads(docker("image", "inspect", theirs))[0]
    assert not differences(exported(ours), exported(theirs))
    assert comparable(seen["Config"]) == comparable(other["Config"])
    docker("rmi", theirs)


# -- on what an engine builds in the same run ----------------------------------------------------


@pytest.fixture
def built(tree: Tree) -> Tree:
    """``base`` and ``late`` have a RUN; ``late`` stands on ``middle``, which has none."""
    tree.image("leaf", {"Dockerfile": APP.format(base="base"), "f": "leaf\n"})
    tree.image("top", {"Dockerfile": "FROM leaf\nCOPY f /opt/app/g\n", "f": "top\n"})
    tree.image("middle", "FROM base\nENV MIDDLE=1\n")
    tree.image("late", "FROM middle\nRUN echo $MIDDLE > /late\n")
    return tree


def test_the_first_run_assembles_what_no_build_has_to_wait_for(
    built: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str
) -> None:
    commit = built.commit()
    assert published(ocbuild) == {
        "base": "build",
        "leaf": "assemble",
        "top": "assemble",
        "middle": "build",
        "late": "build",
    }
    images = ocbuild.report()["images"]
    because = "needs an engine: an engine builds base in this run, and late on this image"
    assert because in images["middle"]["reasons"]
    assert not [name for name in images if OTHER in log_of(ocbuild, name)]
    for name, parent in (("leaf", "base"), ("top", "leaf")):
        ours, below = (
            f"{registry.address}/{namespace}/{each}:1.0-{commit}" for each in (name, parent)
        )
        require_equal(ours, built.root / "images" / name, {parent: below})


def test_the_layers_of_the_parent_are_taken_from_where_it_was_pushed(
    built: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str
) -> None:
    built.commit()
    before = len(registry.asked())
    published(ocbuild)
    asked = registry.asked()[before:]
    stored = [each for each in asked if each.startswith("PUT ")]
    assert next(n for n, each in enumerate(stored) if "/base/manifests/key-" in each) < next(
        n for n, each in enumerate(stored) if "/leaf/manifests/" in each
    )
    mounts = [each for each in asked if f"/v2/{namespace}/leaf/" in each and "from=" in each]
    assert len(mounts) == LAYERS_OF_BASE


def test_a_parent_that_fails_its_test_blocks_what_would_be_assembled_on_it(
    built: Tree, ocbuild: Ocbuild
) -> None:
    built.write("build.toml", (built.root / "build.toml").read_text() + BAD_TEST)
    built.commit()
    published(ocbuild, code=1)
    images = ocbuild.report()["images"]
    assert images["base"]["status"] == "failed"
    assert (images["leaf"]["status"], images["leaf"]["blocked_by"]) == ("blocked", "base")
    assert (images["top"]["status"], images["top"]["blocked_by"]) == ("blocked", "base")


def test_an_image_with_a_test_is_assembled_on_a_new_parent_and_tested(
    built: Tree, ocbuild: Ocbuild
) -> None:
    test = '\n[images.leaf]\ntest = ["grep leaf /opt/app/f"]\n'
    built.write("build.toml", (built.root / "build.toml").read_text() + test)
    built.commit()
    assert published(ocbuild)["leaf"] == "assemble"
    assert "$ grep leaf /opt/app/f" in log_of(ocbuild, "leaf")
    assert OTHER not in log_of(ocbuild, "leaf")


def test_without_push_the_engine_makes_them_and_the_plan_says_so(
    built: Tree, ocbuild: Ocbuild
) -> None:
    built.commit()
    ended = ocbuild("plan", "leaf", "--json")
    steps = {step["image"]: step for step in ended.json["steps"]}
    assert steps["leaf"]["action"] == "build"
    assert steps["leaf"]["reasons"][-1] == "needs an engine: an engine builds base in this run"
    ended = ocbuild("plan", "leaf", "--push", "--json")
    steps = {step["image"]: step for step in ended.json["steps"]}
    assert steps["leaf"]["action"] == "assemble"


# -- again, on what the last release has ----------------------------------------------------------


def edited_leaf(tree: Tree, ocbuild: Ocbuild) -> str:
    """A leaf that is published, and has changed since then; the commit."""
    tree.image("leaf", {"Dockerfile": APP.format(base="base"), "f": "leaf\n"})
    tree.commit()
    published(ocbuild)
    tree.write("images/leaf/f", "another\n")
    return tree.commit()


def test_a_leaf_that_has_changed_gets_its_tag_and_no_other_name(
    tree: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str
) -> None:
    commit = edited_leaf(tree, ocbuild)
    before = len(registry.asked())
    assert published(ocbuild)["leaf"] == "assemble"
    place = f"/v2/{namespace}/leaf/"
    asked = [each for each in registry.asked()[before:] if place in each]
    # Two blobs, and the manifest once; before it the look whether the tag is somebody else's.
    assert [each.partition(" ")[0] for each in asked] == ["POST", "PUT"] * 2 + ["HEAD", "PUT"]
    assert asked[-1] == f"PUT {place}manifests/1.0-{commit}"
    assert ocbuild("release", "verify", commit, "--deep").code == 0
    ours = f"{registry.address}/{namespace}/leaf:1.0-{commit}"
    parent = f"{registry.address}/{namespace}/base:1.0-{commit}"
    require_equal(ours, tree.root / "images/leaf", {"base": parent})


def test_a_base_is_read_once(
    tree: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str
) -> None:
    def configs_of_base() -> list[str]:
        """A config is asked for by who builds on an image, and by nobody else."""
        place = f"GET /v2/{namespace}/base/blobs/"
        return [each for each in registry.asked() if each.startswith(place)]

    edited_leaf(tree, ocbuild)
    first = configs_of_base()
    assert first
    assert published(ocbuild)["leaf"] == "assemble"
    assert configs_of_base() == first


def test_a_base_that_was_read_and_is_lost_is_asked_for_again(
    tree: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str
) -> None:
    edited_leaf(tree, ocbuild)
    published(ocbuild)
    for repository in ("leaf", "base"):
        registry.forget(f"{namespace}/{repository}")
    tree.write("images/leaf/f", "after the loss\n")
    tree.commit()
    # What the release says is there is not; nothing is published half, and it can be made anew.
    assert ocbuild("all", "--push", "--no-reuse").code == 0


def test_what_a_repository_has_lost_is_brought_again(
    tree: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str
) -> None:
    commit = edited_leaf(tree, ocbuild)
    registry.forget(f"{namespace}/leaf")
    assert published(ocbuild)["leaf"] == "assemble"
    assert docker("pull", "--quiet", f"{registry.address}/{namespace}/leaf:1.0-{commit}")
    assert ocbuild("release", "verify", commit, "--deep").code == 0


def test_a_registry_that_may_be_spoken_to_without_tls_is(
    tree: Tree, ocbuild: Ocbuild, namespace: str
) -> None:
    """What is assembled goes there by another way than what an engine pushes."""
    tree.image("alone", {"Dockerfile": "FROM scratch\nCOPY f /f\n", "f": "alone\n"})
    commit = tree.commit()
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    bridge = docker("network", "inspect", "bridge", "--format", gateway)
    with LocalRegistry(free_address(bridge)) as registry:
        words = ("alone", "--push", "--registry", registry.address)
        refused = ocbuild(*words)
        assert refused.code == 4, refused.err
        assert "plain-http" in refused.err
        allowed = ocbuild(*words, "--set", f'publish.plain-http=["{registry.address}"]')
        assert allowed.code == 0, allowed.err
        assert ocbuild.report()["images"]["alone"]["action"] == "assemble"
        assert f"1.0-{commit}" in ask(registry, f"{namespace}/alone/tags/list")[0]["tags"]


# -- on images from outside ----------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path, namespace: str) -> Iterator[str]:
    """The address of another registry, with an image that an engine has built."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "busybox").chmod(0o755)
    run = "mkdir -p /var/lib /run /tmp && ln -s ../run /var/run && chmod 1777 /tmp"
    text = f"{BASE}RUN {run}\nENV OUTSIDE={namespace}\n"
    (folder / "Dockerfile").write_text(text)
    with LocalRegistry() as other:
        name = f"{other.address}/library/thing:3"
        done = subprocess.run(
            ["docker", "buildx", "build", "--load", "--provenance=false", "--tag", name, folder],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        )
        assert done.returncode == 0, done.stderr
        docker("push", "--quiet", name)
        docker("rmi", name)
        yield name
        docker("rmi", "--force", name, check=False)


def test_an_image_on_a_base_from_outside_is_assembled_and_brings_its_layers(
    tree: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str, outside: str
) -> None:
    text = APP.format(base=outside).replace("/opt/app/", "/var/run/app/")
    folder = tree.image("app", {"Dockerfile": text, "f": "app\n"})
    commit = tree.commit()
    assert published(ocbuild, "app") == {"app": "assemble"}
    assert OTHER not in log_of(ocbuild, "app")
    ours = f"{registry.address}/{namespace}/app:1.0-{commit}"
    manifest, _ = ask(registry, f"{namespace}/app/manifests/1.0-{commit}")
    assert len(manifest["layers"]) > 1
    require_equal(ours, folder, {})


def test_a_base_that_is_an_index_is_taken_for_our_platform(
    tree: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str, outside: str
) -> None:
    index = _index_of(outside)
    folder = tree.image("app", {"Dockerfile": APP.format(base=index), "f": "app\n"})
    commit = tree.commit()
    assert published(ocbuild, "app") == {"app": "assemble"}
    assert OTHER not in log_of(ocbuild, "app")
    require_equal(f"{registry.address}/{namespace}/app:1.0-{commit}", folder, {})
    docker("rmi", "--force", index, check=False)


def test_files_of_an_image_from_outside_are_copied_without_an_engine(
    tree: Tree, ocbuild: Ocbuild, registry: LocalRegistry, namespace: str, outside: str
) -> None:
    text = f'FROM scratch\nCOPY --from={outside} /bin/busybox /bin/\nCMD ["/bin/busybox"]\n'
    folder = tree.image("tool", text)
    commit = tree.commit()
    assert published(ocbuild, "tool") == {"tool": "assemble"}
    assert OTHER not in log_of(ocbuild, "tool")
    require_equal(f"{registry.address}/{namespace}/tool:1.0-{commit}", folder, {})


def test_a_base_that_only_the_engine_has_needs_the_engine(
    tree: Tree, ocbuild: Ocbuild, outside: str, namespace: str
) -> None:
    docker("pull", "--quiet", outside)
    local = f"only-here/{namespace}:1"
    docker("tag", outside, local)
    docker("rmi", outside)
    tree.image("app", {"Dockerfile": APP.format(base=local), "f": "app\n"})
    tree.commit()
    [step] = ocbuild("plan", "app", "--json").json["steps"]
    docker("rmi", "--force", local)
    assert step["action"] == "build"
    assert "is only in the engine" in step["reasons"][-1]


def _index_of(name: str) -> str:
    """An index with the image and with one for another machine, put beside it as ``many``."""
    registry = make_client()
    reference = Reference.parse(name)
    ours = registry.manifest(reference)
    other = Manifest.of(ours.body + b"\n", ours.media_type)
    registry.put(reference.at(other.digest), other)
    manifests = [
        {
            "mediaType": each.media_type,
            "digest": each.digest,
            "size": len(each.body),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for each, architecture in ((other, "s390x"), (ours, "amd64"))
    ]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    many = reference.with_tag("many")
    registry.put(many, Manifest.of(json.dumps(index).encode(), OCI_INDEX))
    registry.close()
    return str(many)


# -- while others write --------------------------------------------------------------------------


def test_a_context_that_holds_the_logs_of_the_run_itself_is_assembled(
    tree: Tree, ocbuild: Ocbuild
) -> None:
    tree.image("whole", "FROM base\nCOPY . /opt/tree/\n")
    whole = '\n[images.whole]\ncontext = "../.."\n'
    tree.write("build.toml", (tree.root / "build.toml").read_text() + whole)
    for _ in range(2):  # the second finds the logs and the report of the first
        tree.commit()
        assert published(ocbuild, "whole")["whole"] == "assemble"
        assert OTHER not in log_of(ocbuild, "whole")


def test_a_file_that_is_edited_before_its_image_is_made_fails_that_image_and_no_other(
    tree: Tree, ocbuild: Ocbuild
) -> None:
    text = (tree.root / "images/base/Dockerfile").read_text()
    tree.write("images/base/Dockerfile", f'{text}RUN ["/bin/busybox", "sleep", "5"]\n')
    tree.image("edited", {"Dockerfile": APP.format(base="base"), "f": "first\n"})
    tree.image("quiet", {"Dockerfile": APP.format(base="base"), "f": "first\n"})
    tree.commit()
    running = ocbuild.start("all", "--push", "--keep-going")
    assert soon(lambda: bool(list(tree.root.glob(".ocbuild/runs/*/base.log"))), within=60)
    tree.write("images/edited/f", "second\n")
    out, _ = running.communicate(timeout=300)
    assert running.returncode == 1, out
    assert '"f" has changed since this run read it' in out
    images = ocbuild.report()["images"]
    assert images["edited"]["status"] == "failed"
    assert images["quiet"]["status"] != "failed"
    tree.commit()
    assert published(ocbuild)["edited"] == "assemble"
