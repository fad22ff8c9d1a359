"""What the registry has is never made again, whoever made it; what changed is, and nothing else."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest

from builder.core.reference import Reference
from builder.publish.claim import Claim, RegistryMarks
from builder.system.resources import SystemClock
from tests.e2e.conftest import Ocbuild, ask, docker
from tests.support.client import make_client
from tests.support.engines import soon
from tests.support.registry import LocalRegistry
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]
NAMES = ("base", "app", "app-api", "app-worker", "other")


@pytest.fixture
def published(ocbuild: Ocbuild, tree: Tree) -> str:
    """A group base with two leaves on it and an image beside it, published; the commit."""
    tree.image("app", "FROM base\nCOPY entrypoint.sh /\nRUN echo app > /app\n")
    tree.write("images/app/entrypoint.sh", "#!/bin/sh\n")
    tree.write("images/app/notes.txt", "nobody copies this\n")
    tree.image("app-api", "FROM app\nCMD api\n")
    tree.image("app-worker", "FROM app\nRUN echo worker > /worker\n")
    tree.image("other", "FROM base\nRUN echo other > /other\n")
    commit = tree.commit()
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    return commit


def images_of(ocbuild: Ocbuild) -> Mapping[str, Mapping[str, object]]:
    images: Mapping[str, Mapping[str, object]] = ocbuild.report()["images"]
    return images


def actions(ocbuild: Ocbuild) -> dict[str, object]:
    return {name: image["action"] for name, image in images_of(ocbuild).items()}


def local_images(namespace: str) -> list[str]:
    found = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    return [name for name in found if f"/{namespace}/" in name]


def forget(namespace: str) -> None:
    """Leave the engine without any image of the namespace."""
    mine = local_images(namespace)
    docker("rmi", "--force", *mine)


def written(registry: LocalRegistry, since: int, namespace: str) -> list[str]:
    """What was changed in the registry since so many requests; releases are not images."""
    return [
        request
        for request in registry.asked()[since:]
        if not request.startswith(("GET ", "HEAD ")) and f"/v2/{namespace}/release/" not in request
    ]


@pytest.mark.usefixtures("published")
def test_a_second_run_on_the_same_commit_writes_nothing_at_all(
    ocbuild: Ocbuild, registry: LocalRegistry
) -> None:
    before = len(registry.asked())
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    assert set(actions(ocbuild).values()) == {"reuse"}
    assert [r for r in registry.asked()[before:] if not r.startswith(("GET ", "HEAD "))] == []
    # One release is all that it has to read; whether its tags are as it says is asked of each.
    assert len(registry.asked()[before:]) <= 4 + len(NAMES)
    assert "5 unchanged" in ended.err


def test_after_an_empty_commit_all_images_get_its_tag_and_no_blob_is_sent(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, published: str
) -> None:
    before = len(registry.asked())
    commit = tree.commit("nothing")
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    assert set(actions(ocbuild).values()) == {"retag"}
    assert sorted(written(registry, before, namespace)) == sorted(
        f"PUT /v2/{namespace}/{name}/manifests/1.0-{commit}" for name in NAMES
    )
    for name in NAMES:
        old = ask(registry, f"{namespace}/{name}/manifests/1.0-{published}")[1]
        new = ask(registry, f"{namespace}/{name}/manifests/1.0-{commit}")[1]
        assert old["Docker-Content-Digest"] == new["Docker-Content-Digest"]
    assert ocbuild.report()["release"] == f"{registry.address}/{namespace}/release:{commit}"


@pytest.mark.usefixtures("published")
def test_another_clone_with_an_empty_engine_and_no_state_builds_and_pulls_nothing(
    tree: Tree, registry: LocalRegistry, namespace: str, tmp_path: Path
) -> None:
    forget(namespace)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", tree.root, clone], check=True)
    toml = (clone / "build.toml").read_text()
    elsewhere = Ocbuild(Tree(clone, toml=toml), tmp_path / "another-state")
    before = len(registry.asked())
    ended = elsewhere("all", "--push")
    assert ended.code == 0, ended.err
    assert set(actions(elsewhere).values()) == {"reuse"}
    assert not [
        request
        for request in registry.asked()[before:]
        if "/blobs/" in request and f"/v2/{namespace}/release/" not in request
    ]
    assert local_images(namespace) == []


def test_what_is_edited_is_built_with_all_that_stands_on_it_and_nothing_else(
    ocbuild: Ocbuild, tree: Tree, published: str
) -> None:
    tree.write("images/app/entrypoint.sh", "#!/bin/sh\nexec true\n")
    tree.commit("entrypoint")
    plan = ocbuild("plan", "all", "--push", "--json").json["steps"]
    assert ocbuild("all", "--push").code == 0
    done = actions(ocbuild)
    assert {step["image"]: step["action"] for step in plan} == done
    assert {name: action for name, action in done.items() if action != "retag"} == {
        "app": "build",
        "app-api": "assemble",
        "app-worker": "build",
    }
    images = images_of(ocbuild)
    assert images["app"]["reasons"] == [
        f"file entrypoint.sh changed since 1.0-{published}",
        "needs an engine: line 3 is a RUN",
    ]
    assert images["app-api"]["reasons"] == ["parent app is rebuilt"]
    assert images["other"]["reasons"] == [f"the registry has its key, of {published}"]


@pytest.mark.usefixtures("published")
def test_an_edit_of_what_no_copy_reads_builds_nothing(ocbuild: Ocbuild, tree: Tree) -> None:
    tree.write("images/app/notes.txt", "still nobody copies this\n")
    tree.commit("notes")
    assert ocbuild("all", "--push").code == 0
    assert set(actions(ocbuild).values()) == {"retag"}


@pytest.mark.usefixtures("published")
def test_a_leaf_is_built_on_a_parent_that_only_got_another_tag(
    ocbuild: Ocbuild, tree: Tree, namespace: str
) -> None:
    forget(namespace)
    tree.image("app-worker", "FROM app\nRUN echo another > /worker\n")
    tree.commit("worker")
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    done = actions(ocbuild)
    assert done == {**dict.fromkeys(NAMES, "retag"), "app-worker": "build"}
    worker = str(images_of(ocbuild)["app-worker"]["refs"][0])  # type: ignore[index]
    assert docker("run", "--rm", worker, "cat", "/app", "/worker") == "app\nanother"


def test_a_run_that_was_killed_leaves_no_tag_and_the_next_one_takes_what_it_made(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("quick", "FROM base\nRUN echo quick > /quick\n")
    tree.image("slow", "FROM quick\nRUN sleep 60\n")
    commit = tree.commit()
    process = ocbuild.start("all", "--push", "--progress", "plain")

    def staged() -> bool:
        return any(
            request.startswith(f"PUT /v2/{namespace}/quick/manifests/key-")
            for request in registry.asked()
        )

    assert soon(staged, within=60)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    tags = ask(registry, f"{namespace}/quick/tags/list")[0]["tags"]
    assert not [tag for tag in tags if commit in tag]
    # The same input of all but the slow one, at another commit.
    tree.image("slow", "FROM quick\nRUN echo slow > /slow\n")
    commit = tree.commit("no longer slow")
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    assert actions(ocbuild) == {"base": "retag", "quick": "retag", "slow": "build"}
    for name in ("base", "quick", "slow"):
        assert f"1.0-{commit}" in ask(registry, f"{namespace}/{name}/tags/list")[0]["tags"]


def test_of_a_release_with_a_broken_image_no_tag_exists_until_it_is_mended(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("good", "FROM base\nRUN echo good > /good\n")
    tree.image("bad", "FROM base\nRUN false\n")
    commit = tree.commit()
    assert ocbuild("all", "--push").code == 1
    assert ocbuild.report()["release"] is None
    for name in ("base", "good"):
        assert not [
            tag
            for tag in ask(registry, f"{namespace}/{name}/tags/list")[0]["tags"]
            if commit in tag
        ]
    tree.image("bad", "FROM base\nRUN true\n")
    tree.commit("mended")
    assert ocbuild("all", "--push").code == 0
    assert actions(ocbuild) == {"base": "retag", "good": "retag", "bad": "build"}


@pytest.mark.usefixtures("published")
def test_an_image_with_other_tests_has_to_pass_them(ocbuild: Ocbuild, tree: Tree) -> None:
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml + '\n[images.app]\ntest = ["cat /nowhere"]\n')
    commit = tree.commit("a test")
    ended = ocbuild("all", "--push")
    assert ended.code == 1
    assert "the test `cat /nowhere` ended with exit code 1" in ended.err
    assert actions(ocbuild)["app"] == "build"
    # Its content is the same, so what stands on it is, too.
    assert actions(ocbuild)["app-api"] == "retag"
    assert ocbuild("release", "show", commit).code == 4


def test_two_runs_at_once_end_in_one_whole_release(
    ocbuild: Ocbuild, tree: Tree, tmp_path: Path
) -> None:
    tree.image("app", "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /random && sleep 2\n")
    commit = tree.commit()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", tree.root, clone], check=True)
    toml = (clone / "build.toml").read_text()
    elsewhere = Ocbuild(Tree(clone, toml=toml), tmp_path / "another-state")
    # Without the layer cache each makes an image of its own.
    words = ("all", "--push", "--no-cache", "--progress", "plain")
    runs = [each.start(*words) for each in (ocbuild, elsewhere)]
    said = [process.communicate(timeout=120)[0] for process in runs]
    codes = sorted(process.returncode for process in runs)
    assert codes[0] == 0, said
    if codes[1] != 0:
        late = next(text for text, run in zip(said, runs, strict=True) if run.returncode != 0)
        assert codes[1] == 4
        assert "is published already, and with other content" in late
    assert ocbuild("release", "verify", commit).code == 0
    again = ocbuild("all", "--push")
    assert again.code == 0, again.err
    assert set(actions(ocbuild).values()) == {"reuse"}


def test_who_comes_late_says_so_and_sets_no_tag(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("app", "FROM base\nRUN echo app > /app\n")
    commit = tree.commit()
    repository = Reference(path=f"{namespace}/release", registry=registry.address)
    images = {
        name: Reference(path=f"{namespace}/{name}", registry=registry.address)
        for name in ("app", "base")
    }
    with make_client() as client:
        other = Claim(
            RegistryMarks(client, repository),
            "the other run",
            place=str(repository),
            clock=SystemClock(),
            cancel=Event(),
        )
        other.take(print)
        process = ocbuild.start("all", "--push", "--progress", "plain")
        assert process.stdout is not None
        said = ""
        while "waiting: the other run is publishing" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        # What the other one does meanwhile: it gives the tag to an image of its own.
        tags = ask(registry, f"{namespace}/base/tags/list")[0]["tags"]
        key = next(tag for tag in tags if tag.startswith("key-"))
        client.copy(images["base"].with_tag(key), images["app"].with_tag(f"1.0-{commit}"))
        other.free()
        said += process.communicate(timeout=60)[0]
    assert process.returncode == 4, said
    assert f"app:1.0-{commit} is published already, and with other content" in said
    tags = ask(registry, f"{namespace}/base/tags/list")[0]["tags"]
    assert f"1.0-{commit}" not in tags
    assert ocbuild("release", "show", commit).code == 4


# -- what the engine has ---------------------------------------------------------------------------


def test_what_is_in_the_engine_is_left_alone_until_something_of_it_changes(
    ocbuild: Ocbuild, tree: Tree
) -> None:
    tree.image("app", "FROM base\nRUN echo app > /app\n")
    tree.image("app-api", "FROM app\nCMD api\n")
    tree.commit()
    assert ocbuild("all").code == 0
    ended = ocbuild("all")
    assert ended.code == 0, ended.err
    assert set(actions(ocbuild).values()) == {"reuse"}
    assert "3 unchanged" in ended.err
    tree.image("app-api", "FROM app\nCMD another\n")
    assert ocbuild("all").code == 0
    assert [name for name, action in actions(ocbuild).items() if action != "reuse"] == ["app-api"]


def test_what_only_the_engine_has_is_pushed_and_not_built(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("app", "FROM base\nRUN echo app > /app\n")
    commit = tree.commit()
    assert ocbuild("all").code == 0
    (made,) = docker("images", "--quiet", f"{registry.address}/{namespace}/app").split()
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    assert actions(ocbuild)["app"] == "reuse"
    assert ask(registry, f"{namespace}/app/manifests/1.0-{commit}")[1]["Docker-Content-Digest"]
    assert docker("images", "--quiet", f"{registry.address}/{namespace}/app").split() == [made]
    assert ocbuild("all", "--push").code == 0
    assert set(actions(ocbuild).values()) == {"reuse"}


def test_an_image_is_not_ours_because_its_label_says_so(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("app", "FROM base\nCMD app\n")
    commit = tree.commit()
    steps = json.loads(ocbuild("plan", "app", "--json").out)["steps"]
    (key,) = [step["key"] for step in steps if step["image"] == "base"]
    name = f"{registry.address}/{namespace}/base:1.0-{commit}"
    stranger = tree.write("images/base/Dockerfile.else", "FROM scratch\nENV A=b\n").parent
    words = ("--label", f"ocbuild.key={key}", "--tag", name)
    docker("build", "--quiet", *words, "--file", str(stranger / "Dockerfile.else"), str(stranger))
    tree.git("clean", "--force", "--quiet")
    assert docker("images", "--quiet", name)
    ended = ocbuild("app")
    assert ended.code == 0, ended.err
    assert actions(ocbuild)["base"] != "reuse"


def test_an_image_whose_test_has_failed_is_made_and_tested_again(
    ocbuild: Ocbuild, tree: Tree
) -> None:
    tree.image("app", "FROM base\nRUN echo app > /app\n")
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml + '\n[images.app]\ntest = ["test -e /nowhere"]\n')
    tree.commit()
    for _ in range(2):
        assert ocbuild("app").code == 1
        assert actions(ocbuild)["app"] == "build"
