"""The engines make images of real Dockerfiles, and tell truly why they could not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.engine.failure import BuildFailedError
from builder.core.errors import BuildError, InterruptedRunError
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, Engine, SecretSource
from builder.engines.bases import folder_digest
from builder.engines.buildx import Buildx
from builder.engines.choose import available, ca_bundle, make
from builder.engines.posted import BorrowedNames
from tests.support.engines import (
    BOX,
    OURS,
    TEST_LABEL,
    Outputs,
    box,
    connect,
    docker,
    parsed,
    running,
    soon,
)
from tests.support.registry import LocalRegistry

pytestmark = pytest.mark.engine

# A base that no registry has: every FROM of it has to be redirected.
NAME = "michaelhenkel/ocbuild-test:3.0.1-e24cc66"
ALL = ("buildx", "engine-api", "classic")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    found = connect()
    with box(tmp_path_factory.mktemp("box")):
        yield found
    found.close()


class Refusing(Engine, Protocol):
    """An engine that says why it cannot make an image, without a try."""

    def refusal(self, request: BuildRequest) -> str | None: ...


@pytest.fixture
def engines(daemon: Daemon) -> dict[str, Refusing]:
    return {engine.name: cast("Refusing", engine) for engine in available(daemon, os.environ)}


class Tree:
    """One image directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def request(self, text: str, **changes: Any) -> BuildRequest:
        """A request for this Dockerfile, in which NAME means the box."""
        (self.folder / "Dockerfile").write_text(text, encoding="utf-8")
        request = BuildRequest(
            image="app",
            parsed=parsed(text),
            context=self.folder,
            dockerfile=self.folder / "Dockerfile",
            dockerfile_label="common/app/Dockerfile",
            tags=(f"ocbuild-test/app:{OURS}",),
            contexts={NAME: BOX},
            labels={TEST_LABEL: OURS},
        )
        return replace(request, **changes)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def require_willing(engine: Refusing, request: BuildRequest) -> None:
    """The engine has to take the request, unless this Docker Engine is known not to carry it."""
    reason = engine.refusal(request)
    if reason is not None and "containerd image store" in reason:
        pytest.skip(f"{engine.name}: {reason}")
    assert reason is None


def build(engine: Refusing, request: BuildRequest, sink: Outputs | None = None) -> BuildResult:
    require_willing(engine, request)
    return engine.build(request, sink or Outputs(), threading.Event())


def test_the_environment_of_a_run_does_not_reach_into_an_image(tree: Tree, daemon: Daemon) -> None:
    foreign = {"DOCKER_DEFAULT_PLATFORM": "linux/arm64", "SOURCE_DATE_EPOCH": "0"}
    engine = Buildx(daemon, {**os.environ, **foreign, "BUILDX_BUILDER": "none"})
    made = build(engine, tree.request(f"FROM {NAME}\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n"))
    labels = docker("inspect", "--format", "{{.Config.Labels}} {{.Created}}", made.image_id)
    assert f"arch:{daemon.info().platform.partition('/')[2]}" in labels
    assert "1970-" not in labels


@pytest.mark.parametrize("own", [None, ".dockerignore", "Dockerfile.dockerignore"])
@pytest.mark.parametrize("name", ALL)
def test_what_ocbuild_keeps_in_a_context_is_in_no_image(
    engines: dict[str, Refusing], tree: Tree, daemon: Daemon, name: str, own: str | None
) -> None:
    for path in ("a", "secret", ".ocbuild/report", "sub/.ocbuild/report", "sub/b"):
        (tree.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (tree.folder / path).write_text("", encoding="utf-8")
    if own:
        (tree.folder / own).write_text("secret", encoding="utf-8")
    request = tree.request(f"FROM {NAME}\nCOPY . /all/\n")
    if engines[name].refusal(request) is not None:
        pytest.skip("no such ignore file for this engine")
    made = build(engines[name], request)
    found = {path.removeprefix("/all/") for path in daemon.read_files(made.image_id, ["/all"])}
    expected = {"Dockerfile", "a", "secret", "sub/b"} - ({"secret"} if own else set())
    assert found - {".dockerignore", "Dockerfile.dockerignore"} == expected


def test_what_ocbuild_keeps_in_a_folder_that_stands_for_a_base_is_in_no_image(
    engines: dict[str, Refusing],
    tree: Tree,
    daemon: Daemon,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    given = tmp_path_factory.mktemp("given")
    (given / "a").write_text("", encoding="utf-8")
    before = folder_digest(given)
    (given / "sub/.ocbuild").mkdir(parents=True)
    assert folder_digest(given) != before  # a folder is content
    before = folder_digest(given)
    (given / "sub/.ocbuild/report").write_text("", encoding="utf-8")
    assert folder_digest(given) == before
    request = tree.request(f"FROM {NAME}\nCOPY --from=files / /all/\n")
    request = replace(
        request,
        contexts={**request.contexts, "files": str(given)},
        folders={str(given): before},
    )
    made = build(engines["buildx"], request)
    assert set(daemon.read_files(made.image_id, ["/all"])) == {"/all/a"}


def failure(engine: Refusing, request: BuildRequest) -> BuildFailedError:
    with pytest.raises(BuildFailedError) as caught:
        build(engine, request)
    return caught.value


def said(daemon: Daemon, image: str, command: str) -> list[str]:
    lines: list[str] = []
    code = daemon.run_test(
        image, command, timeout=60, sink=lines.append, cancel=threading.Event(), run_id=OURS
    )
    assert code == 0, lines
    return lines


@pytest.mark.parametrize("name", ALL)
def test_a_plain_dockerfile_is_built_alike(
    name: str, engines: dict[str, Refusing], daemon: Daemon, tree: Tree
) -> None:
    (tree.folder / "file").write_text("content", encoding="utf-8")
    outputs = Outputs()
    request = tree.request(
        f"FROM {NAME}\nARG WHO=nobody\nENV GREETED=$WHO\nCOPY file /file\n"
        f'RUN echo "hello $WHO" | tee /greeting; echo complaint of {name} {OURS} >&2\n',
        args={"WHO": "world"},
    )
    result = build(engines[name], request, outputs)

    image = daemon.inspect(request.tags[0])
    assert image is not None
    assert (image.id, image.size) == (result.image_id, result.size)
    assert image.labels[TEST_LABEL] == OURS
    assert "GREETED=world" in image.env
    assert {"hello world", f"complaint of {name} {OURS}"} <= set(outputs.lines)
    assert any("COPY file /file" in step for step in outputs.steps)
    assert said(daemon, result.image_id, "cat /greeting /file") == ["hello world", "content"]
    assert daemon.inspect(NAME) is None


@pytest.mark.parametrize("name", ALL)
def test_a_second_build_is_cached(name: str, engines: dict[str, Refusing], tree: Tree) -> None:
    request = tree.request(f"FROM {NAME}\nRUN echo {name} {time.time_ns()} > /x\nENV A=b\n")

    assert not build(engines[name], request).cached
    assert build(engines[name], request).cached
    assert not build(engines[name], replace(request, no_cache=True)).cached


@pytest.mark.parametrize("name", ALL)
def test_a_failing_command_is_told_with_line_code_and_its_last_lines(
    name: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    error = failure(
        engines[name],
        tree.request(
            f"# a comment\nFROM {NAME}\nENV N=30\n\n"
            "RUN for i in $(seq $N); do \\\n      echo line $i; \\\n    done; \\\n    exit 7\n"
        ),
    )

    assert str(error.where) == "common/app/Dockerfile:5"
    assert error.status == 7
    assert error.message.endswith("failed with exit code 7")
    assert str(error.command).startswith("RUN for i in")
    assert error.log_tail == tuple(f"line {i}" for i in range(11, 31))
    assert not error.transient


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_is_told_with_its_line(
    name: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    error = failure(engines[name], tree.request(f"FROM {NAME}\nRUN true\nCOPY nothing /\n"))

    assert str(error.where) == "common/app/Dockerfile:3"
    assert "nothing" in error.message
    assert error.status is None
    assert not error.transient


@pytest.mark.parametrize("name", ALL)
def test_a_dockerfile_that_the_engine_cannot_parse_is_told_with_its_line(
    name: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    error = failure(engines[name], tree.request(f"FROM {NAME}\n\nRUNN true\n"))

    assert str(error).startswith("common/app/Dockerfile:3: unknown instruction: RUNN")


@pytest.mark.parametrize("name", ALL)
def test_a_base_on_a_registry_that_is_not_there_is_told_and_stays(
    name: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    error = failure(engines[name], tree.request("FROM 127.0.0.1:1/gone:1\nRUN true\n", contexts={}))

    assert "connection refused" in error.message
    assert "registry" in str(error.hint)
    assert not error.transient


@pytest.mark.parametrize("name", ALL)
def test_cancelling_ends_a_build_at_once_and_leaves_nothing_running(
    name: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    sleep = f"sleep {1_000_000 + ALL.index(name)}{OURS}"
    request = tree.request(f"FROM {NAME}\nRUN echo started; {sleep}\n")
    require_willing(engines[name], request)
    outputs = Outputs("started")
    cancel = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            engines[name].build(request, outputs, cancel)
        except InterruptedRunError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert outputs.seen.wait(60)
    try:
        # The shell prints before it starts the next command, so that one may be a moment late.
        began = soon(lambda: running(sleep))
    finally:
        cancel.set()
    assert began
    thread.join(20)

    assert not thread.is_alive()
    assert [type(error) for error in errors] == [InterruptedRunError]
    assert soon(lambda: not running(sleep))
    # The classic builder runs steps in containers of its own.
    assert soon(
        lambda: sleep not in docker("ps", "--all", "--no-trunc", "--format", "{{.Command}}")
    )


@pytest.mark.parametrize("name", ALL)
def test_a_build_that_takes_too_long_is_ended(
    name: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    sleep = f"sleep {2_000_000 + ALL.index(name)}{OURS}"
    request = tree.request(f"FROM {NAME}\nRUN echo begun; {sleep}\n", timeout=2.0)
    error = failure(engines[name], request)

    assert error.message == "timed out after 2s"
    assert str(error.where) == "common/app/Dockerfile"
    assert not error.transient
    assert soon(lambda: not running(sleep))


def test_a_build_that_is_cancelled_before_it_starts_does_nothing(
    engines: dict[str, Refusing], tree: Tree
) -> None:
    cancel = threading.Event()
    cancel.set()

    with pytest.raises(InterruptedRunError):
        engines["buildx"].build(tree.request(f"FROM {NAME}\n"), Outputs(), cancel)


@pytest.mark.parametrize("name", ["buildx", "engine-api"])
def test_what_buildkit_warns_of_is_shown(
    name: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    outputs = Outputs()
    build(engines[name], tree.request(f"FROM {NAME}\nRUN echo a \\\n\n b\n"), outputs)

    assert any(line.startswith("warning: Empty continuation line") for line in outputs.lines)


@pytest.mark.parametrize("name", ALL)
def test_the_ignore_file_is_obeyed(
    name: str, engines: dict[str, Refusing], daemon: Daemon, tree: Tree
) -> None:
    for file in ("keep", "drop", "sub/keep", "sub/drop", "sub/deep/drop"):
        path = tree.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file, encoding="utf-8")
    (tree.folder / ".dockerignore").write_text("# c\n**/drop\n!sub/drop\n", encoding="utf-8")
    result = build(engines[name], tree.request(f"FROM {NAME}\nCOPY . /context\n"))

    assert said(daemon, result.image_id, "cd /context && find . | sort") == [
        ".",
        "./.dockerignore",
        "./Dockerfile",
        "./keep",
        "./sub",
        "./sub/deep",
        "./sub/drop",
        "./sub/keep",
    ]


@pytest.mark.parametrize("name", ["buildx", "classic"])
def test_an_ignored_dockerfile_builds_and_is_not_copied(
    name: str, engines: dict[str, Refusing], daemon: Daemon, tree: Tree
) -> None:
    (tree.folder / ".dockerignore").write_text("Dockerfile\n.dockerignore\n", encoding="utf-8")
    (tree.folder / "keep").write_text("x", encoding="utf-8")
    request = tree.request(f"FROM {NAME}\nCOPY . /context\n")
    result = build(engines[name], request)

    assert said(daemon, result.image_id, "ls -A /context") == ["keep"]


def test_a_dockerfile_that_could_not_be_hidden_from_copy_is_refused(
    engines: dict[str, Refusing], tree: Tree
) -> None:
    request = tree.request(f"FROM {NAME}\nCOPY . /context\n")
    require_willing(engines["engine-api"], request)
    (tree.folder / ".dockerignore").write_text("Dockerfile\n", encoding="utf-8")

    assert "leaves out Dockerfile" in str(engines["engine-api"].refusal(request))


# --- redirection ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_base_is_redirected_to_a_digest_in_a_registry(
    name: str, engines: dict[str, Refusing], daemon: Daemon, tree: Tree
) -> None:
    with LocalRegistry() as registry:
        reference = f"{registry.address}/ocbuild-test/base:1"
        daemon.tag(BOX, reference)
        digest = daemon.push(reference, lambda _current, _total: None).digest
        daemon.untag(reference)
        pinned = f"docker-image://{registry.address}/ocbuild-test/base@{digest}"
        request = tree.request(f"FROM {NAME}\nRUN echo {name} > /x\n", contexts={NAME: pinned})
        result = build(engines[name], request)

    assert said(daemon, result.image_id, "cat /x") == [name]
    assert daemon.inspect(NAME) is None


@pytest.mark.parametrize("name", ALL)
def test_copy_from_an_image_is_redirected(
    name: str, engines: dict[str, Refusing], daemon: Daemon, tree: Tree
) -> None:
    other = "michaelhenkel/ocbuild-test-other:1"
    request = tree.request(
        f"FROM {NAME}\nCOPY --from={other} /bin/busybox /other\n",
        contexts={NAME: BOX, other: BOX},
        features=frozenset({"copy-from-image"}),
    )
    result = build(engines[name], request)

    assert said(daemon, result.image_id, "cmp /other /bin/busybox && echo same") == ["same"]


@pytest.mark.parametrize("name", ["engine-api", "classic"])
def test_a_name_of_the_users_is_never_taken_for_a_redirection(
    name: str, engines: dict[str, Refusing], daemon: Daemon, tree: Tree
) -> None:
    require_willing(engines[name], tree.request(f"FROM {NAME}\n"))
    theirs = f"ocbuild-test/theirs:{OURS}"
    other = build(engines["buildx"], tree.request(f"FROM {NAME}\nENV OTHER=1\n", tags=(theirs,)))
    request = tree.request(f"FROM {theirs}\nRUN true\n", contexts={theirs: BOX})

    assert "means another image" in str(engines[name].refusal(request))
    with pytest.raises(Refused, match="means another image"):
        engines[name].build(request, Outputs(), threading.Event())
    found = daemon.inspect(theirs)
    assert found is not None
    assert found.id == other.image_id
    # The same name for the same image is no redirection at all.
    assert engines[name].refusal(replace(request, contexts={theirs: other.image_id})) is None


def test_a_borrowed_name_stays_until_the_last_build_gives_it_back(daemon: Daemon) -> None:
    names = BorrowedNames(daemon)
    with names.held({NAME: BOX}):
        with names.held({NAME: BOX}):
            assert daemon.inspect(NAME) is not None
        assert daemon.inspect(NAME) is not None
    assert daemon.inspect(NAME) is None


def test_a_borrowed_name_that_somebody_else_has_moved_is_left_to_them(
    daemon: Daemon, engines: dict[str, Refusing], tree: Tree
) -> None:
    other = build(engines["buildx"], tree.request(f"FROM {NAME}\nENV OTHER=2\n"))
    with BorrowedNames(daemon).held({NAME: BOX}):
        daemon.tag(other.image_id, NAME)
    try:
        found = daemon.inspect(NAME)
        assert found is not None
        assert found.id == other.image_id
    finally:
        daemon.untag(NAME)


def test_new_labels_on_a_parent_leave_the_childs_cache_alone(
    engines: dict[str, Refusing], tree: Tree
) -> None:
    parent = f"ocbuild-test/parent:{OURS}"
    results = []
    for created in ("2026-01-01", "2026-02-02"):
        labels = {TEST_LABEL: OURS, "org.opencontainers.image.created": created}
        request = tree.request(f"FROM {NAME}\nRUN echo p > /p\n", tags=(parent,), labels=labels)
        above = build(engines["buildx"], request)
        request = tree.request(
            f"FROM michaelhenkel/parent:1\nRUN echo {OURS} > /c\n",
            contexts={"michaelhenkel/parent:1": parent},
        )
        results.append((above, build(engines["buildx"], request)))

    assert results[0][0].image_id != results[1][0].image_id
    assert results[1][0].cached
    assert results[1][1].cached


# --- secrets ----------------------------------------------------------------------------------


def test_secrets_are_there_for_the_step_alone(daemon: Daemon, tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "a,b").write_text("from file", encoding="utf-8")
    bundle = tmp_path / "ca.crt"
    bundle.write_text("certificates", encoding="utf-8")
    environ = {**os.environ, "OCBUILD_TEST_TOKEN": "from env", "SSL_CERT_FILE": str(bundle)}
    found = ca_bundle("host", environ)
    request = tree.request(
        f"FROM {NAME}\n"
        "RUN --mount=type=secret,id=file --mount=type=secret,id=env"
        " --mount=type=secret,id=ca-bundle"
        " cat /run/secrets/file /run/secrets/env /run/secrets/ca-bundle | wc -c > /size\n",
        secrets={
            "file": SecretSource(file=tmp_path / "a,b"),
            "env": SecretSource(env="OCBUILD_TEST_TOKEN"),
            "ca-bundle": SecretSource(file=found),
        },
        features=frozenset({"mount", "secret"}),
    )
    result = build(Buildx(daemon, environ), request)

    size = len("from file") + len("from env") + len("certificates")
    assert said(daemon, result.image_id, "cat /size; test ! -e /run/secrets/file") == [str(size)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SecretSource(file=Path("/nonexistent")), "there is no file /nonexistent"),
        (SecretSource(env="OCBUILD_TEST_NOT_SET"), "OCBUILD_TEST_NOT_SET is not set"),
    ],
)
def test_a_missing_secret_is_an_error_before_anything_is_built(
    source: SecretSource, message: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    error = failure(engines["buildx"], tree.request(f"FROM {NAME}\n", secrets={"token": source}))

    assert message in error.message


# --- refusals ---------------------------------------------------------------------------------

HEREDOC = f"FROM {NAME}\nRUN <<EOF\necho one > /x\necho two >> /x\nEOF\n"


def test_heredocs_are_built_by_buildkit_and_refused_by_the_classic_builder(
    engines: dict[str, Refusing], daemon: Daemon, tree: Tree
) -> None:
    request = tree.request(HEREDOC, features=frozenset({"heredoc"}))

    assert str(engines["classic"].refusal(request)).startswith("line 2 needs here-documents")
    result = build(engines["engine-api"], request)
    assert said(daemon, result.image_id, "cat /x") == ["one", "two"]
    with pytest.raises(BuildError, match="the engine classic cannot make app: line 2"):
        make(request, list(engines.values()), Outputs(), threading.Event(), forced="classic")


def test_the_classic_builder_refuses_a_heredoc_in_a_stage_that_the_target_does_not_need(
    engines: dict[str, Refusing], tree: Tree
) -> None:
    request = tree.request(f"FROM {NAME} AS unused\nRUN <<EOF\nfalse\nEOF\nFROM {NAME}\n")

    assert str(engines["classic"].refusal(request)).startswith("line 2")
    assert engines["buildx"].refusal(request) is None


@pytest.mark.parametrize("feature", ["secret", "ssh", "syntax", "ignore-file"])
def test_what_needs_a_session_is_refused_without_buildx(
    feature: str, engines: dict[str, Refusing], tree: Tree
) -> None:
    request = tree.request(f"FROM {NAME}\n", features=frozenset({feature}))
    require_willing(engines["engine-api"], replace(request, features=frozenset()))

    assert "this engine lacks" in str(engines["engine-api"].refusal(request))
    assert "this engine lacks" in str(engines["classic"].refusal(request))


def test_buildx_says_why_it_cannot_be_used(daemon: Daemon, tree: Tree, tmp_path: Path) -> None:
    def with_docker(script: str | None) -> str | None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "docker"
        program.unlink(missing_ok=True)
        if script is not None:
            program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            program.chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(folder))
            engine = Buildx(daemon, {"PATH": str(folder)})
            return engine.refusal(tree.request(f"FROM {NAME}\n"))

    old = "echo github.com/docker/buildx v0.11.2 9872040"
    new = "echo github.com/docker/buildx v0.12.0 542e5d8"
    assert with_docker(None) == "the docker command is not installed"
    assert "no buildx plugin" in str(with_docker("exit 1"))
    assert with_docker(old) == "buildx 0.11 is too old, 0.12 is needed"
    assert with_docker(new) is None


def test_a_build_needing_an_ssh_agent_is_refused_without_one(daemon: Daemon, tree: Tree) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
    request = tree.request(f"FROM {NAME}\n", features=frozenset({"ssh"}))

    assert "ssh-agent" in str(Buildx(daemon, environ).refusal(request))


def test_buildx_builds_in_the_engine_of_the_docker_context_in_force(
    daemon: Daemon, tree: Tree, tmp_path: Path
) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    environ["DOCKER_CONFIG"] = str(tmp_path / "docker")
    docker(
        "--config", environ["DOCKER_CONFIG"], "context", "create", "here",
        "--docker", f"host={daemon.endpoint.url}",
    )  # fmt: skip
    environ["DOCKER_CONTEXT"] = "here"
    there = Daemon.connect(environ)
    try:
        result = build(Buildx(there, environ), tree.request(f"FROM {NAME}\nENV VIA=context\n"))
    finally:
        there.close()

    assert there.endpoint.context == "here"
    assert daemon.inspect(result.image_id) is not None
