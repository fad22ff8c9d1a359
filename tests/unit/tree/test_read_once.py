"""Contexts and Dockerfiles are read once a run, and edits meanwhile make no wrong image."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import Struct
from msgspec.structs import replace

import builder.engines.base_layers
import builder.tree.read
from builder.core.bases import Pin, Resolution, ResolvedBase
from builder.core.context import ContextListing
from builder.core.engine.failure import BuildFailedError
from builder.core.engine.request import Circumstances, make_requests
from builder.core.errors import InputError
from builder.core.options import BuildOptions, SelectOptions, TreeOptions
from builder.core.plan import Plan
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, Engine
from builder.engines.assembler import Assembler
from builder.engines.base_layers import ChangedError
from builder.engines.bases import folder_digest
from builder.engines.choose import Watched, make
from builder.engines.layer_cache import LayerIndexes
from builder.engines.together import put_together
from builder.registry.client import Registry
from builder.run.facts import Gathered, Provide, Sources, identify, look_ahead, plan_run
from builder.system.resources import SystemClock
from builder.tree.discover import read_context
from builder.tree.read import (
    Tree as ReadTree,
    choose_images,
    edited_since,
    read_contexts,
    read_tree,
)
from tests.support.engines import Outputs
from tests.support.tree import Tree

PLATFORM = "linux/amd64"
BASE = ResolvedBase(
    text="debian:12", context="docker-image://d", reference="d@sha256:1", digest="sha256:1"
)
IMAGES: Mapping[str, str | Mapping[str, str]] = {
    "base": {"Dockerfile": "FROM scratch\nCOPY run lib /srv/\n", "run": "first", "lib/a": "a"},
    "app": {"Dockerfile": "FROM base\nCOPY run /\n", "run": "app"},
    "other": {"Dockerfile": "FROM debian:12\nCOPY run /\n", "run": "other"},
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree", IMAGES)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images whose contexts are listed, whoever does it."""
    found: list[str] = []

    def counted(directory: Path, *arguments: Any, **named: Any) -> ContextListing:
        found.append(directory.name)
        return read_context(directory, *arguments, **named)

    monkeypatch.setattr(builder.tree.read, "read_context", counted)
    monkeypatch.setattr(builder.engines.base_layers, "read_context", counted)
    return found


def read(tree: Tree) -> ReadTree:
    return read_tree(TreeOptions(config=tree.root / "build.toml"))


class Planner(Struct, frozen=True, kw_only=True):
    """Plans with the contexts as they were when it was made, and an engine that has no image."""

    sources: Sources

    def plan(self, provide: Provide) -> Planned:
        plan, gathered = plan_run(self.sources, {}, provide)
        return Planned(plan=plan, gathered=gathered)


class Planned(Struct, frozen=True, kw_only=True):
    plan: Plan
    gathered: Gathered


def planner(whole: ReadTree, *targets: str) -> Planner:
    selection = choose_images(whole, SelectOptions(targets=targets))
    daemon = SimpleNamespace(
        inspect=lambda _name: None,
        remote_digest=lambda _name: None,
    )
    sources = Sources(
        tree=whole,
        selection=selection,
        options=BuildOptions(),
        daemon=cast("Daemon", daemon),
        platform=PLATFORM,
        listings=read_contexts(whole, selection.images),
    )
    return Planner(sources=sources)


def fresh(whole: ReadTree) -> dict[str, str]:
    """The keys as a run that begins now finds them."""
    selection = choose_images(whole, SelectOptions(targets=("all",)))
    sources = Sources(tree=whole, selection=selection, options=BuildOptions(), platform=PLATFORM)
    identities = identify(sources, {"debian:12": BASE})
    return {name: identity.key for name, identity in identities.items()}


def keys(plan: Plan) -> dict[str, str]:
    return {step.image: step.key for step in plan.steps}


def nothing(texts: frozenset[str], _pins: Mapping[str, Pin]) -> Resolution:
    assert not texts
    return {}


def request_for(whole: ReadTree, name: str, planned: Planned) -> BuildRequest:
    """What the assembler is asked for, an image that no engine is to have."""
    given = Circumstances(
        config=whole.config,
        graph=whole.graph,
        bases=planned.gathered.resolution,
        contexts=planned.gathered.contexts,
    )
    requests = make_requests(planned.plan, given)
    request = requests[name]
    assert isinstance(request, BuildRequest)
    return replace(request, in_engine=False)


@pytest.fixture
def registry() -> Registry:
    return Registry.connect({}, clock=SystemClock())


def files(request: BuildRequest, registry: Registry) -> dict[str, tuple[int, bytes]]:
    """The mode and the content of each file in the layer of the image."""

    def find(name: str) -> Any:
        raise AssertionError(name)

    layer = put_together(request, registry, find, platform=PLATFORM).assembled.layer
    assert layer is not None
    found: dict[str, tuple[int, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(layer.data)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                found[member.name] = (member.mode, content.read())
    return found


# -- planning -----------------------------------------------------------------------------------


def test_a_context_is_listed_once_for_the_look_at_it_and_for_its_key_and_image(
    tree: Tree, listed: list[str], registry: Registry
) -> None:
    whole = read(tree)
    planned = planner(whole, "base", "app").plan(nothing)
    files(request_for(whole, "base", planned), registry)
    assert sorted(listed) == ["app", "base", "other"]  # as git is asked about all of them
    assert keys(planned.plan) == {name: fresh(whole)[name] for name in ("base", "app")}


def test_an_ancestor_that_is_not_selected_is_listed_once_as_well(
    tree: Tree, listed: list[str]
) -> None:
    planner(read(tree), "app").plan(nothing)
    assert sorted(listed) == ["app", "base", "other"]


def test_a_plan_that_only_looks_ahead_lists_once(tree: Tree, listed: list[str]) -> None:
    whole = read(tree)
    plan = look_ahead(planner(whole, "all").sources, {"debian:12": BASE}, frozenset())
    assert sorted(listed) == ["app", "base", "other"]
    assert keys(plan) == fresh(whole)


def test_what_is_missing_is_said_before_anything_else(tree: Tree) -> None:
    (tree.root / "images/app/run").unlink()
    (tree.root / "images/base/run").unlink()
    with pytest.raises(InputError, match=r"(?s)images/base.*images/app|images/app.*images/base"):
        planner(read(tree), "all")


def test_what_is_edited_while_a_base_is_fetched_is_in_the_key(tree: Tree) -> None:
    whole = read(tree)

    def provide(texts: frozenset[str], _pins: Mapping[str, Pin]) -> Resolution:
        assert texts == {"debian:12"}
        tree.write("images/base/lib/b", "new")
        return {"debian:12": BASE}

    before = fresh(whole)
    planned = planner(whole, "all").plan(provide)
    assert keys(planned.plan) == fresh(whole)
    assert keys(planned.plan)["base"] != before["base"]


def test_what_is_edited_while_a_promised_base_is_fetched_is_in_the_key(tree: Tree) -> None:
    whole = read(tree)
    passes = 0

    def provide(_texts: frozenset[str], _pins: Mapping[str, Pin]) -> Resolution:
        nonlocal passes
        passes += 1
        (tree.root / "images/base/run").chmod(0o600 + passes)
        return {"debian:12": replace(BASE, reference="", context="") if passes == 1 else BASE}

    planned = planner(whole, "all").plan(provide)
    assert passes == 2
    assert keys(planned.plan) == fresh(whole)
    files_of_base = planned.gathered.contexts["base"].listing.files
    assert {file.path: file.mode for file in files_of_base}["run"] == 0o602


def test_contents_are_those_of_the_moment_when_the_key_is_made(tree: Tree) -> None:
    whole = read(tree)
    before = fresh(whole)
    made = planner(whole, "base")
    tree.write("images/base/run", "second")
    planned = made.plan(nothing)
    assert keys(planned.plan)["base"] == fresh(whole)["base"] != before["base"]


def test_a_file_of_a_folder_may_go_after_the_listing(tree: Tree) -> None:
    whole = read(tree)
    made = planner(whole, "base")
    tree.write("images/base/lib/b", "b")
    (tree.root / "images/base/lib/a").unlink()
    planned = made.plan(nothing)
    assert keys(planned.plan)["base"] == fresh(whole)["base"]


@pytest.mark.parametrize("commits", [True, False])
def test_an_edit_after_git_was_asked_is_in_no_commit(tree: Tree, *, commits: bool) -> None:
    tree.commit()
    whole = read(tree)
    assert not whole.dirty
    assert not edited_since(whole, planner(whole, "base", "app").plan(nothing).gathered.contexts)
    made = planner(whole, "base", "app")
    tree.write("images/app/run", "app")
    assert not edited_since(whole, made.plan(nothing).gathered.contexts)
    tree.write("images/app/run", "new")
    if commits:
        tree.commit()
    assert edited_since(whole, made.plan(nothing).gathered.contexts)


# -- assembling ---------------------------------------------------------------------------------


def test_the_image_is_of_the_dockerfile_that_the_key_was_made_of(
    tree: Tree, registry: Registry
) -> None:
    whole = read(tree)
    planned = planner(whole, "base").plan(nothing)
    tree.write("images/base/Dockerfile", "FROM scratch\nCOPY run /elsewhere/\n")
    assert set(files(request_for(whole, "base", planned), registry)) == {"srv/run", "srv/a"}


def test_files_and_modes_that_come_after_the_key_are_not_in_the_image(
    tree: Tree, registry: Registry
) -> None:
    (tree.root / "images/base/run").chmod(0o640)
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    before = files(request, registry)
    assert before["srv/run"] == (0o640, b"first")
    tree.write("images/base/lib/b", "new")
    (tree.root / "images/base/run").chmod(0o755)
    assert files(request, registry) == before


@pytest.mark.parametrize("edit", ["other", "first\n", None])
@pytest.mark.parametrize("path", ["run", "lib/a"])
def test_no_image_is_made_of_a_file_that_has_changed_since(
    tree: Tree, registry: Registry, path: str, edit: str | None
) -> None:
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    (tree.root / "images/base" / path).unlink()
    if edit is not None:
        tree.write(f"images/base/{path}", edit)
    with pytest.raises(ChangedError, match=f'"{path}" has changed since this run read it'):
        files(request, registry)


def test_what_add_would_unpack_has_to_be_the_same_too(tree: Tree, registry: Registry) -> None:
    tree.write("images/base/Dockerfile", "FROM scratch\nADD run /srv/run\nCOPY lib/a /srv/run\n")
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    assert set(files(request, registry)) == {"srv/run"}
    tree.write("images/base/run", "second")
    with pytest.raises(ChangedError):
        files(request, registry)


def test_where_the_reads_turn_out_to_be_others_the_context_is_listed_anew(
    tree: Tree, registry: Registry, listed: list[str]
) -> None:
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    assert request.read is not None
    listed.clear()
    assert files(replace(request, read=replace(request.read, reads=())), registry)
    assert listed == ["base"]


def test_an_image_whose_context_has_changed_fails_and_no_other_engine_is_asked(
    tree: Tree, registry: Registry, tmp_path: Path
) -> None:
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    tree.write("images/base/run", "second")
    engine = Assembler(
        cast("Daemon", None), registry, LayerIndexes(registry, tmp_path / "i"), platform=PLATFORM
    )

    class Never:
        name = "never"

        def build(self, *_: object) -> BuildResult:
            raise AssertionError

    for _ in range(2):
        with pytest.raises(BuildFailedError, match='"run" has changed') as caught:
            make(request, [engine, cast("Engine", Never())], Outputs(), threading.Event())
        assert not caught.value.transient
        assert str(caught.value.where) == "images/base/Dockerfile"
    tree.write("images/base/run", "first")
    made = make(request, [engine], Outputs(), threading.Event())
    assert (made.engine, made.image_id[:7]) == ("assembler", "sha256:")


# -- engines that read for themselves -----------------------------------------------------------


class Reader:
    """An engine that reads the tree while something else happens to it."""

    name = "reader"

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.meanwhile = meanwhile
        self.untagged: list[str] = []
        self.asked = False

    def build(self, *_: object) -> BuildResult:
        self.asked = True
        self.meanwhile()
        return BuildResult(image_id="sha256:1", size=1)

    def untag(self, reference: str) -> None:
        self.untagged.append(reference)


def told(request: BuildRequest, engine: Reader) -> str:
    """Why the image fails; "" where it does not."""
    watched = Watched(cast("Engine", engine), cast("Daemon", engine))
    try:
        watched.build(request, Outputs(), threading.Event())
    except BuildFailedError as error:
        return "it may be tried again" if error.transient else str(error)
    return ""


EDITS: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "content": (lambda base: (base / "run").write_text("other"), '"run" has changed'),
    "there and back": (
        lambda base: ((base / "run").write_text("other"), (base / "run").write_text("first")),
        '"run" has changed',
    ),
    "a new file": (lambda base: (base / "lib/b").write_text(""), '"lib/b" has changed'),
    "gone": (lambda base: (base / "lib/a").unlink(), '"lib/a" has changed'),
    "a mode": (lambda base: (base / "run").chmod(0o755), '"run" has changed'),
    "a link": (lambda base: (base / "lib/l").symlink_to("a"), '"lib/l" has changed'),
    "its source": (lambda base: (base / "run").unlink(), '"run" is not in the build context'),
    "Dockerfile": (
        lambda base: (base / "Dockerfile").write_text("FROM scratch\nCOPY run /\n"),
        '"Dockerfile" has changed',
    ),
    "an ignore file": (lambda base: (base / ".dockerignore").write_text("lib/a"), "lib"),
    "what nothing reads": (lambda base: (base / "notes").write_text(""), ""),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_engine_makes_no_image_of_what_is_edited_while_it_reads(tree: Tree, edit: str) -> None:
    happens, expected = EDITS[edit]
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    engine = Reader(lambda: happens(tree.root / "images/base"))
    assert expected in told(request, engine)
    assert engine.asked
    assert engine.untagged == (list(request.tags) if expected else [])


@pytest.mark.parametrize("edit", [edit for edit in EDITS if edit != "there and back"])
def test_an_engine_is_not_asked_once_its_context_is_another_one(tree: Tree, edit: str) -> None:
    happens, expected = EDITS[edit]
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    happens(tree.root / "images/base")
    engine = Reader(lambda: None)
    assert expected in told(request, engine)
    assert engine.asked is not bool(expected)


def test_a_file_that_is_written_again_before_an_engine_reads_it_is_the_same(tree: Tree) -> None:
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    tree.write("images/base/run", "first")
    tree.write("images/base/Dockerfile", "FROM scratch\nCOPY run lib /srv/\n")
    assert told(request, Reader(lambda: None)) == ""


def test_a_folder_that_stands_for_a_base_is_held_to_its_digest(tree: Tree) -> None:
    whole = read(tree)
    request = request_for(whole, "base", planner(whole, "base").plan(nothing))
    given = tree.write("given/f", "a")
    request = replace(request, folders={str(given.parent): folder_digest(given.parent)})
    assert told(request, Reader(lambda: None)) == ""
    assert "given/f" in told(request, Reader(lambda: given.write_text("a")))
    given.write_text("b")
    assert "given" in told(request, Reader(lambda: None))
