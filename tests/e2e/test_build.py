"""From Dockerfiles to images: what is built, what a failure stops, what a run leaves behind."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Ocbuild, docker, interrupt
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


def test_images_are_built_in_order_and_say_what_they_are(ocbuild: Ocbuild, tree: Tree) -> None:
    tree.image("app", "FROM base\nRUN echo made > /made\nLABEL kind=app\n")
    tree.image("app-api", 'FROM app\nRUN test -f /made\nCMD ["cat", "/made"]\n')
    commit = tree.commit()
    ended = ocbuild("all")
    assert ended.code == 0, ended.err
    reference = f"{ocbuild.report()['images']['app-api']['refs'][0]}"
    assert reference.endswith(f"/app-api:1.0-{commit}")
    assert docker("run", "--rm", reference) == "made"
    labels = docker("inspect", "--format", "{{json .Config.Labels}}", reference)
    for label in (
        '"kind":"app"',
        '"org.opencontainers.image.title":"app-api"',
        '"org.opencontainers.image.version":"1.0"',
        f'"org.opencontainers.image.revision":"{commit}',
        '"org.opencontainers.image.source":"https://example.org/tree"',
        f'"org.opencontainers.image.base.name":"{reference.replace("app-api", "app")}"',
        '"org.opencontainers.image.base.digest":"sha256:',
        '"org.opencontainers.image.created":"20',
    ):
        assert label in labels


def test_a_tag_in_from_is_redirected_to_what_was_just_built(ocbuild: Ocbuild, tree: Tree) -> None:
    namespace = "michaelhenkel"
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml.replace("source =", f'aliases = ["{namespace}"]\nsource ='))
    tree.image("analytics", "FROM base\nRUN echo ours > /whose\n")
    tree.image(
        "analytics-api",
        f"FROM {namespace}/analytics:3.0.1-e24cc66\nCOPY --from={namespace}/base:0 /bin/sh /sh2\n"
        'CMD ["cat", "/whose"]\n',
    )
    tree.commit()
    ended = ocbuild("all")
    assert ended.code == 0, ended.err
    api = ocbuild.report()["images"]["analytics-api"]["refs"][0]
    assert docker("run", "--rm", api) == "ours"


def test_one_of_fifty_fails_and_all_that_does_not_need_it_is_built(
    ocbuild: Ocbuild, tree: Tree
) -> None:
    parents = {number: (number - 1) // 3 for number in range(1, 50)}
    for number in range(50):
        base = "base" if number == 0 else f"image-{parents[number]:02}"
        step = "RUN echo going down; exit 3" if number == 7 else f"ENV NUMBER={number}"
        tree.image(f"image-{number:02}", f"FROM {base}\n# number {number}\n{step}\n")
    tree.commit()
    below = {7}
    for number in range(8, 50):
        if parents[number] in below:
            below.add(number)
    ended = ocbuild("all", "--push", "--jobs", "4", "--report", "report.json")
    assert ended.code == 1
    images = ocbuild.report()["images"]
    status = {name: image["status"] for name, image in images.items()}
    assert status["image-07"] == "failed"
    blocked = {f"image-{number:02}" for number in below - {7}}
    assert {name for name in status if status[name] == "blocked"} == blocked
    assert {images[name]["blocked_by"] for name in blocked} == {"image-07"}
    assert {status[name] for name in status if name not in blocked | {"image-07"}} == {"ok"}
    assert "images/image-07/Dockerfile:3" in images["image-07"]["error"]
    assert "blocked by image-07" in ended.err
    assert "going down" in ended.err.rpartition("FAILED image-07")[2]
    # The rest is kept under its keys, and no tag of this release is visible.
    assert all(image["refs"] == [] for image in images.values())
    assert (tree.root / "report.json").exists()


def test_retry_failed_selects_only_what_did_not_succeed(ocbuild: Ocbuild, tree: Tree) -> None:
    tree.image("good", "FROM base\n")
    tree.image("bad", "FROM base\nRUN false\n")
    tree.image("child", "FROM bad\n")
    tree.commit()
    assert ocbuild("all").code == 1
    tree.image("bad", "FROM base\nRUN true\n")
    ended = ocbuild("--retry-failed")
    assert ended.code == 0, ended.err
    actions = {name: image["action"] for name, image in ocbuild.report()["images"].items()}
    assert actions == {"base": "reuse", "bad": "build", "child": "build"}


def test_fail_fast_starts_nothing_more(ocbuild: Ocbuild, tree: Tree) -> None:
    tree.image("a-bad", "FROM base\nRUN false\n")
    tree.image("z-good", "FROM base\nRUN true\n")
    tree.commit()
    ended = ocbuild("all", "--fail-fast", "--jobs", "1")
    assert ended.code == 1
    images = ocbuild.report()["images"]
    assert images["a-bad"]["status"] == "failed"
    assert images["z-good"]["status"] == "interrupted"


def test_an_optional_image_may_fail(ocbuild: Ocbuild, tree: Tree) -> None:
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml + "[images.maybe]\noptional = true\n")
    tree.image("maybe", "FROM base\nRUN false\n")
    tree.commit()
    ended = ocbuild("all")
    assert ended.code == 0, ended.err
    assert ocbuild.report()["images"]["maybe"]["status"] == "failed"
    assert "maybe" in ended.err


def test_a_build_that_takes_too_long_is_stopped(ocbuild: Ocbuild, tree: Tree) -> None:
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml + '[images.slow]\ntimeout = "2s"\n')
    tree.image("slow", "FROM base\nRUN sleep 600\n")
    tree.commit()
    ended = ocbuild("all")
    assert ended.code == 1
    assert "timed out after 2s" in ocbuild.report()["images"]["slow"]["error"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_all_and_still_reports(
    ocbuild: Ocbuild, tree: Tree, number: int
) -> None:
    marker = f"4{number}1234"
    tree.image("slow", f"FROM base\nRUN echo started; sleep {marker}\n")
    tree.image("child", "FROM slow\n")
    tree.commit()
    process = ocbuild.start("all", "--progress", "json")
    assert process.stdout is not None
    for line in process.stdout:
        if '"started"' in line:
            break
    interrupt(process, number)
    assert process.returncode == 130
    images = ocbuild.report()["images"]
    assert images["base"]["status"] == "ok"
    assert {images["slow"]["status"], images["child"]["status"]} == {"interrupted"}
    assert not _processes_with(marker)


def _processes_with(marker: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if marker.encode() in command:
                found.append(process.name)
    return found


def test_a_failing_test_fails_its_image(ocbuild: Ocbuild, tree: Tree) -> None:
    toml = (tree.root / "build.toml").read_text()
    tests = '[images.app]\ntest = ["test -f /made", "echo looking; test -f /missing"]\n'
    tree.write("build.toml", toml + tests)
    tree.image("app", "FROM base\nRUN echo made > /made\n")
    tree.commit()
    ended = ocbuild("all", "--push")
    assert ended.code == 1
    report = ocbuild.report()["images"]["app"]
    assert report["status"] == "failed"
    assert "test -f /missing" in report["error"]
    assert report["refs"] == []


def test_a_new_commit_busts_no_layer_cache(ocbuild: Ocbuild, tree: Tree) -> None:
    tree.image("app", "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /random\n")
    tree.commit()
    assert ocbuild("all").code == 0
    first = ocbuild.report()["images"]["app"]["refs"][0]
    tree.commit("nothing changed")
    assert ocbuild("all").code == 0
    second = ocbuild.report()["images"]["app"]["refs"][0]
    assert first != second
    assert docker("run", "--rm", first, "cat", "/random") == docker(
        "run", "--rm", second, "cat", "/random"
    )


def test_secrets_reach_the_build_and_no_layer(ocbuild: Ocbuild, tree: Tree) -> None:
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml + '[images.app]\nsecrets = { token = { env = "TOKEN" } }\n')
    tree.image(
        "app", "FROM base\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /length\n"
    )
    tree.commit()
    ended = ocbuild("all", env={"TOKEN": "twelve chars"})
    assert ended.code == 0, ended.err
    app = ocbuild.report()["images"]["app"]["refs"][0]
    assert docker("run", "--rm", app, "cat", "/length") == "12"
    assert "twelve chars" not in docker("history", "--no-trunc", app)
    logs = "".join(p.read_text() for p in (tree.root / ".ocbuild").rglob("*.log"))
    assert "twelve chars" not in logs


@pytest.mark.parametrize("engine", ["buildx", "engine-api", "classic"])
def test_every_engine_builds_a_plain_tree(ocbuild: Ocbuild, tree: Tree, engine: str) -> None:
    tree.image("app", 'FROM base\nRUN echo made > /made\nCMD ["cat", "/made"]\n')
    tree.commit()
    ended = ocbuild("all", "--engine", engine)
    assert ended.code == 0, ended.err
    assert docker("run", "--rm", ocbuild.report()["images"]["app"]["refs"][0]) == "made"


@pytest.mark.parametrize("engine", ["buildx", "engine-api"])
def test_a_stage_that_is_named_like_its_base_keeps_its_instructions(
    ocbuild: Ocbuild, tree: Tree, engine: str
) -> None:
    tree.image("app", "FROM base AS base\nRUN echo app > /app\nFROM base\nCMD app\n")
    tree.commit()
    ended = ocbuild("all", "--engine", engine)
    assert ended.code == 0, ended.err
    images = ocbuild.report()["images"]
    run = ("run", "--rm", images["app"]["refs"][0], "cat", "/app")
    assert docker(*run) == "app"


def test_an_engine_that_cannot_says_so_and_why(ocbuild: Ocbuild, tree: Tree) -> None:
    tree.image("app", "FROM base\nRUN <<EOF\necho made > /made\nEOF\n")
    tree.commit()
    ended = ocbuild("all", "--engine", "classic")
    assert ended.code == 1
    assert "here-documents" in ended.err
