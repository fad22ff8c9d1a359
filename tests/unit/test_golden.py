"""What users and their scripts see stays as it is, to the byte, until somebody means to change it.

``tests/support/golden.py`` says how the files are written anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from builder.core.commands import COMMANDS
from builder.core.deploy.records import Deployment, SharedDeployment, SharedRecord
from builder.core.errors import Location
from builder.core.events import (
    Blocked,
    Built,
    Claimed,
    Failed,
    Interrupted,
    Outcome,
    Phase,
    Pushed,
    Reused,
    StepId,
    StepOutput,
    Summary,
    Tagged,
    Tested as WasTested,
)
from builder.core.packages.inventory import Inventory, Package, PackageSource
from builder.core.plan import Action, Plan
from builder.core.release import Inputs, Release, ReleasedImage
from builder.core.run_json import plan_json
from tests.support import golden
from tests.support.golden import Facts
from tests.support.seed import write_seed
from tests.support.story import BROKEN, BUILD, EVENTS, PUSH, SUMMARY, TAG, TEST, finished, image

MOVE, CLAIM = Phase.MOVE, Phase.CLAIM
Case = Callable[[Path], "str | bytes"]


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


# --- plans --------------------------------------------------------------------------------------

MIXED = {
    "base": Facts(
        dockerfile="FROM debian:12\nRUN apt-get update",
        key="a" * 64,
        published=digest("a"),
        tagged=True,
    ),
    "tools": Facts(
        dockerfile="FROM base\nRUN make\nLABEL state=trial",
        key="b" * 64,
        published=digest("b"),
        of="release 7d1c0de",
    ),
    "app": Facts(
        dockerfile="FROM base\nCOPY f /f\nLABEL state=trial",
        key="c" * 64,
        changes=("f changed since 1.0-7d1c0de", "the Dockerfile changed since 1.0-7d1c0de"),
    ),
    "service": Facts(
        dockerfile="FROM base\nRUN make",
        key="d" * 64,
        changes=("not in the last release, 7d1c0de",),
        obstacle="line 2 is a RUN",
        optional=True,
    ),
    "service-api": Facts(
        dockerfile="FROM service\nCOPY f /f",
        key="e" * 64,
        changes=("parent service is rebuilt",),
    ),
}
ANCESTORS = {
    "root": Facts(dockerfile="FROM debian:12", key=""),
    "base": Facts(dockerfile="FROM root\nRUN make", key="b" * 64, obstacle="line 2 is a RUN"),
    "held": Facts(dockerfile="FROM base", key="c" * 64, place="the engine"),
    "leaf": Facts(dockerfile="FROM held\nFROM base\nCOPY --from=0 / /", key="d" * 64),
    "other": Facts(dockerfile="FROM scratch", key="e" * 64),
}
PLANS: dict[str, Callable[[Path], Plan]] = {
    "mixed": lambda folder: golden.plan(folder, MIXED),
    "mixed-not-pushed": lambda folder: golden.plan(folder, MIXED, push=False),
    "dirty-with-remarks": lambda folder: golden.plan(
        folder, MIXED, dirty=True, remarks={"state=trial": "not for production: é"}
    ),
    "ancestors": lambda folder: golden.plan(folder, ANCESTORS, "leaf", push=False),
    "no-reuse": lambda folder: golden.plan(
        folder,
        {name: replace(facts, place="") for name, facts in ANCESTORS.items()},
        "leaf",
        no_reuse=True,
        push=False,
        commit="",
    ),
    "engine": lambda folder: golden.plan(folder, ANCESTORS, "leaf", "other", assembler=False),
    "blocked": lambda _folder: golden.blocked_plan(),
}


def plan_text(name: str) -> Case:
    return lambda folder: golden.plan_text(PLANS[name](folder))


def plan_case(name: str) -> Case:
    return lambda folder: json.dumps(plan_json(PLANS[name](folder)), indent=2) + "\n"


# --- runs ---------------------------------------------------------------------------------------

Outcomes = dict[tuple[str, Phase], Outcome]
MADE = (BUILD, TEST, PUSH, TAG)
BUILT = Built(image_id="sha256:i", size=120_300_000, engine="buildx")
ASSEMBLED = Built(image_id="sha256:j", size=7, engine="assembler")
PUSHED = Pushed(digest=digest("d"), uploaded=64_000_000)


def tagged(name: str) -> Tagged:
    return Tagged(references=(f"reg/ns/{name}:1-c0ffee", f"reg/ns/{name}:1"))


def well(name: str, built: Built = BUILT) -> Outcomes:
    return {
        (name, BUILD): built,
        (name, TEST): WasTested(commands=2),
        (name, PUSH): PUSHED,
        (name, TAG): tagged(name),
    }


def lost(name: str, by: str) -> Outcomes:
    return {(name, phase): Blocked(by=by) for phase in MADE}


def summary_ok() -> Summary:
    return golden.summary(
        [
            image("common", action=Action.REUSE),
            image("moved", action=Action.RETAG),
            image("base"),
            image("app", "base", action=Action.ASSEMBLE),
            image("cached", "base"),
        ],
        {
            **well("base"),
            **well("app", ASSEMBLED),
            **well("cached", Built(image_id="sha256:i", size=None, engine="buildx", cached=True)),
            ("base", CLAIM): Claimed(),
            ("base", MOVE): Tagged(references=("reg/ns/base:latest",)),
            ("moved", TAG): tagged("moved"),
        },
        {
            "common": [],
            "moved": [TAG],
            "base": [*MADE, CLAIM, MOVE],
            "app": MADE,
            "cached": MADE,
        },
        release="reg/ns/release:c0ffee",
        remarks=("2 images with state=trial: not for production",),
    )


def summary_failed() -> Summary:
    unreachable = Failed(message="reg: 503 é", exit_code=4, hint="try again later", transient=True)
    return golden.summary(
        [
            image("common", action=Action.REUSE),
            image("moved", action=Action.RETAG),
            image("base"),
            image("nova", "base"),
            image("nova-api", "nova"),
            image("lone"),
            image("lost", action=Action.BLOCKED),
        ],
        {
            **well("base"),
            ("base", TAG): Blocked(by="nova"),
            **lost("nova", "nova"),
            ("nova", BUILD): BROKEN,
            **lost("nova-api", "nova"),
            **well("lone"),
            ("lone", PUSH): unreachable,
            ("lone", TAG): Blocked(by="lone"),
            ("moved", TAG): Blocked(by="nova"),
        },
        {
            "common": [],
            "moved": [TAG],
            "lost": [],
            **dict.fromkeys(("base", "nova", "nova-api", "lone"), MADE),
        },
    )


def summary_interrupted() -> Summary:
    return golden.summary(
        [image("base"), image("app", "base"), image("moved", action=Action.RETAG)],
        {
            ("base", BUILD): BUILT,
            ("base", TEST): Interrupted(),
            ("moved", TAG): Interrupted(),
        },
        {"base": MADE, "app": MADE, "moved": [TAG]},
        interrupted=True,
    )


def summary_optional_missing() -> Summary:
    return golden.summary(
        [
            image("base"),
            image("extra", "base", optional=True),
            image("more", "extra", optional=True),
        ],
        {
            **well("base"),
            **lost("extra", "extra"),
            ("extra", BUILD): BROKEN,
            **lost("more", "extra"),
        },
        dict.fromkeys(("base", "extra", "more"), MADE),
        release="reg/ns/release:c0ffee",
    )


def summary_nothing_to_do() -> Summary:
    return golden.summary(
        [image("common", action=Action.REUSE), image("nova", action=Action.REUSE)],
        {},
        {"common": [], "nova": []},
    )


def summary_of_nothing() -> Summary:
    return golden.summary([], {}, {})


def summary_not_pushed() -> Summary:
    reused = Reused(reference=f"reg/ns/base@{digest('b')}")
    return golden.summary(
        [image("base", action=Action.REUSE), image("app", "base")],
        {("base", BUILD): reused, ("app", BUILD): BUILT},
        {"base": [BUILD], "app": [BUILD]},
    )


SUMMARIES: dict[str, Callable[[], Summary]] = {
    "ok": summary_ok,
    "failed": summary_failed,
    "interrupted": summary_interrupted,
    "optional-missing": summary_optional_missing,
    "nothing-to-do": summary_nothing_to_do,
    "of-nothing": summary_of_nothing,
    "not-pushed": summary_not_pushed,
    "story": lambda: SUMMARY,
}
ALL_EVENTS = (
    *EVENTS,
    finished(TEST, "nova", WasTested(commands=2), 1.5),
    finished(CLAIM, "nova", Claimed()),
    finished(TAG, "nova", tagged("nova"), 0.25),
    finished(BUILD, "nova", Interrupted()),
    finished(
        BUILD,
        "nova",
        Failed(message="é\n\x1b[0m", exit_code=70, where=Location("a b/Dockerfile"), hint="none"),
    ),
    StepOutput(step=StepId(BUILD, "nova"), line="\udcff\tü\n\x1b[0m"),
)


def summary_text(name: str) -> Case:
    return lambda _folder: golden.text_of(SUMMARIES[name]())


def report(name: str) -> Case:
    return lambda folder: golden.report_of(SUMMARIES[name](), folder)


# --- what is stored -----------------------------------------------------------------------------


def released(name: str, **more: object) -> ReleasedImage:
    fields: dict[str, object] = {
        "name": name,
        "path": f"acme/{name}",
        "tag": "1.0-c0ffee0",
        "digest": digest(name[0]),
        "key": name[0] * 64,
        "group": "images",
        "inputs": Inputs(recipe="0123abcd"),
        **more,
    }
    return ReleasedImage(**fields)  # type: ignore[arg-type]


RELEASE = Release(
    tag="c0ffee0",
    project="cloud",
    namespace="acme",
    commit="c0ffee0" + "1" * 33,
    created="2026-02-03T04:05:06Z",
    branch="main",
    dirty=True,
    previous="7d1c0de",
    images={
        "base": released(
            "base",
            inputs=Inputs(
                recipe="0123abcd",
                setting="linux/amd64",
                files={"b/é": "01", "a": "02"},
                args={"VERSION": "1"},
                bases={"debian:12": digest("d"), "alpine:3": digest("a")},
                tests="89",
                redirects={"debian:12": "docker-image://mirror/debian:12"},
            ),
            size=120_300_000,
            media_type="application/vnd.oci.image.manifest.v1+json",
            generation=3,
            inventory=digest("f"),
            labels={"state": "trial", "org": "☃"},
        ),
        "app": released("app", inputs=Inputs(recipe="ab", parents=("base",)), base="base"),
    },
    missing={"extra": "RUN make: failed with exit code 1 (é)"},
)
BARE_RELEASE = Release(
    tag="none", project="acme", namespace="acme", commit="", created="1970-01-01T00:00:00Z"
)
INVENTORY = Inventory(
    dpkg=True,
    packages=tuple(
        Package(name=name, version=version, architecture=of, source=source, source_version=version)
        for name, version, of, source in (
            ("zlib1g", "1:1.3.dfsg+really1.3.1-1+b1", "amd64", "zlib"),
            ("libc6", "2.41-12", "amd64", "glibc"),
            ("é", "1", "all", "é"),
        )
    ),
    sources=(
        PackageSource(uri="http://archive.example.com/debian", suite="trixie", component="main"),
        PackageSource(uri="file:/flat", suite="./", trusted=True),
    ),
    pinned=True,
)


def brought(release: str) -> SharedDeployment:
    compose = {"services": {"web": {"image": f"reg/acme/web@{digest('e')}", "é": [1, None, True]}}}
    return SharedDeployment(
        id=f"id-{release}", release=release, at="2026-02-03T04:05:06Z", by="é@desk", compose=compose
    )


def entry(**more: object) -> SharedRecord:
    fields: dict[str, object] = {
        "host": "local host",
        "stack": "cloud",
        "engine": "ENGINE:ID",
        "project": "acme-cloud",
        "at": "2026-02-04T00:00:00Z",
        "by": "root@desk",
        **more,
    }
    return SharedRecord(**fields)  # type: ignore[arg-type]


def deployments(folder: Path) -> bytes:
    first, second = (
        Deployment(
            release=release,
            at="2026-02-03T04:05:06Z",
            host="local",
            compose={"services": {"web": {"image": "reg/web:1", "environment": {"SECRET": "é"}}}},
            by="root@desk",
            id=f"id-{release}",
            adopted=release == "c0ffee0",
        )
        for release in ("7d1c0de", "c0ffee0")
    )
    return golden.deployment_files([first, second], folder)


def lock(_folder: Path) -> str:
    return golden.lock_text(
        {"debian:12": digest("d"), "reg:5000/a/b:1.2": digest("a"), 'q"é': digest("0")},
        {"ubuntu:14.04": digest("b")},
    )


# --- commands on trees --------------------------------------------------------------------------


def on_seed(*words: str) -> Case:
    def said(folder: Path) -> str:
        toml = write_seed(folder) / "build.toml"
        return golden.run(*words, "--config", str(toml)).replace(str(folder), "/tree")

    return said


def said_of_release(*words: str) -> Case:
    return lambda _folder: golden.release_command(RELEASE, *words)


def help_of(command: str) -> Case:
    return lambda _folder: golden.help_of(*command.split())


CASES: dict[str, Case] = {
    "help/ocbuild.txt": help_of(""),
    **{f"help/{name.replace(' ', '-')}.txt": help_of(name) for name in COMMANDS},
    **{f"plan/{name}.txt": plan_text(name) for name in PLANS},
    **{f"plan/{name}.json": plan_case(name) for name in PLANS},
    **{f"summary/{name}.txt": summary_text(name) for name in SUMMARIES},
    **{f"summary/{name}.json": report(name) for name in SUMMARIES},
    "run/durations.json": lambda folder: golden.durations_of(summary_ok(), folder),
    "run/events.jsonl": lambda _folder: golden.shown("json", ALL_EVENTS),
    "run/plain.txt": lambda _folder: golden.shown("plain", ALL_EVENTS),
    "run/quiet.txt": lambda _folder: golden.shown("quiet", ALL_EVENTS),
    "run/logs.txt": lambda folder: golden.logs(ALL_EVENTS, folder),
    "tree/graph.json": on_seed("graph", "--format", "json", "--commit", "c0ffee0"),
    "tree/graph.dot": on_seed("graph", "--format", "dot"),
    "tree/graph.mermaid": on_seed("graph", "--format", "mermaid"),
    "tree/graph.txt": on_seed("graph", "--format", "tree"),
    "tree/graph-of-some.txt": on_seed("graph", "nova+", "analytics+", "--exclude", "nova-api"),
    "tree/list.txt": on_seed("list"),
    "tree/list.json": on_seed("list", "--json"),
    "tree/build.lock": lock,
    "release/stored": lambda _folder: golden.stored_release(RELEASE),
    "release/stored-bare": lambda _folder: golden.stored_release(BARE_RELEASE),
    "release/show.json": lambda _folder: golden.release_command(
        RELEASE, "release", "show", "--json"
    ),
    "release/show.txt": said_of_release("release", "show"),
    "release/ls.json": said_of_release("release", "ls", "--json"),
    "release/ls.txt": said_of_release("release", "ls"),
    "release/inventory": lambda _folder: golden.stored_inventory(
        INVENTORY, base="base", held={"libc6:amd64": "2.41-13", "é:all": "2"}
    ),
    "release/inventory-bare": lambda _folder: golden.stored_inventory(Inventory(dpkg=False)),
    "deploy/stored": lambda _folder: golden.stored_deployment(
        entry(now=brought("c0ffee0"), before=brought("7d1c0de"))
    ),
    "deploy/stored-down": lambda _folder: golden.stored_deployment(entry(data=False)),
    "deploy/files": deployments,
}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 100 columns without colours, and no wishes of this machine."""
    for name in ("OCBUILD_COMMIT", "OCBUILD_STATE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_in_its_file(name: str, tmp_path: Path) -> None:
    golden.check(name, CASES[name](tmp_path))


def test_every_file_has_a_case() -> None:
    files = {
        str(path.relative_to(golden.FOLDER)) for path in golden.FOLDER.rglob("*") if path.is_file()
    }
    assert files == CASES.keys()


def test_a_text_that_differs_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    (tmp_path / "known").write_text("one\n")
    golden.check("known", "one\n")
    with pytest.raises(pytest.fail.Exception, match="says something else"):
        golden.check("known", "two\n")
    with pytest.raises(pytest.fail.Exception, match="says something else"):
        golden.check("new", "two\n")
    assert (tmp_path / "known").read_text() == "one\n"


def test_a_file_that_is_written_anew_fails_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    monkeypatch.setattr(golden, "_WRITE", True)
    with pytest.raises(pytest.fail.Exception, match="was written anew"):
        golden.check("folder/new", b"one\n")
    golden.check("folder/new", b"one\n")


@pytest.mark.parametrize("head", ["-f FILE, --file FILE", "-f, --file FILE"])
@pytest.mark.parametrize("gap", ["  ", "\n                        "])
def test_helps_of_all_pythons_are_one(head: str, gap: str) -> None:
    text = f"options:\n  {head}{gap}what is\n                        read\n  -v  say more"
    assert golden.unfolded(text) == "options:\n  -f, --file FILE  what is read\n  -v  say more"
