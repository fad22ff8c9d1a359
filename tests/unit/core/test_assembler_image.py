"""A Dockerfile put together on a base: config, layer and manifest, without registry or engine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from builder.core.assemble import Content, InContext, InLayer, Refused
from builder.core.assemble.assemble import Assembled, BaseManifest, World, assemble
from builder.core.assemble.config import ImageConfig, nanoseconds
from builder.core.assemble.copy import ArchiveMember, CopySource
from builder.core.assemble.files import Below, Node
from builder.core.assemble.index import LayerEntry, LayerIndex, Layers
from builder.core.assemble.obstacles import obstacle
from builder.core.assemble.program import read_program
from builder.core.dockerfile.evaluate import evaluate
from builder.core.dockerfile.model import Dockerfile, Instruction, Needs
from builder.core.dockerfile.parse import parse

OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
BASE: dict[str, Any] = {
    "os": "linux",
    "architecture": "amd64",
    "container": "of the classic builder",
    "config": {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "Labels": {"one": "1"}},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:base"]},
    "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "base"}],
}
ENTRIES = {
    "etc": LayerEntry("dir", 0o755, 0, 0),
    "etc/issue": LayerEntry("file", 0o644, 1, 2, 5),
    "tmp": LayerEntry("dir", 0o1777, 0, 0),
    "home": LayerEntry("dir", 0o755, 0, 0),
    "home/u": LayerEntry("dir", 0o700, 9, 9),
}
FILE = CopySource("f", Node("file", 0o640, 0, 0, 3, content=InContext(path="f")))


class Contents:
    def __init__(self) -> None:
        self.wanted: list[InLayer] = []

    def want(self, contents: Sequence[InLayer]) -> None:
        self.wanted.extend(contents)

    def read(self, content: Content) -> bytes:
        if isinstance(content, bytes):
            return content
        if isinstance(content, InLayer):
            assert content in self.wanted
        return content.path.encode()


def make(
    text: str,
    *,
    base: Mapping[str, Any] | None = None,
    target: str | None = None,
    labels: Mapping[str, str] | None = None,
    members: Sequence[ArchiveMember] | None = None,
    media_type: str = DOCKER,
    created: int = 0,
) -> Assembled:
    """The image of a Dockerfile in which `base` is an image, and every read of the context is f."""
    content = {**BASE, **(base or {})}
    program = read_program(
        parse(text.encode(), "Dockerfile"),
        build_args={"GIVEN": "given"},
        target=target,
        platform="linux/amd64",
        build_platform="linux/amd64",
        config_of=lambda _name: ImageConfig.of(content),
    )
    layers = Layers([LayerIndex(entries=ENTRIES)])
    world = World(
        below=lambda _name: Below(lambda: layers, ["sha256:blob"]),
        context=[[FILE] for _ in program.reads],
        reader=Contents(),
        members=lambda _node: members,
    )
    from_base = BaseManifest(media_type=media_type, layers=({"digest": "sha256:blob", "size": 1},))
    goal = program.stages[program.target].base
    return assemble(
        program,
        world,
        base=BaseManifest() if goal is None else from_base,
        labels=labels or {},
        created=created,
    )


def config(text: str, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(make(text, **how).config)["config"]
    return found


def layer(made: Assembled) -> dict[str, tarfile.TarInfo]:
    assert made.layer is not None
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(made.layer.data))) as archive:
        return {member.name: member for member in archive}


# -- config ----------------------------------------------------------------------------------------


def test_env_is_changed_in_place_and_expanded() -> None:
    text = "FROM base\nENV B=$A A=2\nENV C=${A}3 D='$A'\n"
    assert config(text)["Env"] == ["PATH=/bin", "A=2", "B=1", "C=23", "D=$A"]


def test_a_base_without_a_path_gets_one() -> None:
    env = config("FROM base\n", base={"config": {}})["Env"]
    assert env == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def test_args_are_seen_by_env_but_stay_out_of_the_image() -> None:
    text = "FROM base\nARG GIVEN=x\nARG OTHER=y\nENV E=$GIVEN$OTHER\n"
    assert config(text)["Env"][-1] == "E=giveny"


def test_an_entrypoint_drops_the_command_of_the_base_only() -> None:
    assert "Cmd" not in config('FROM base\nENTRYPOINT ["e"]\n')
    assert config('FROM base\nCMD ["c"]\nENTRYPOINT ["e"]\n')["Cmd"] == ["c"]
    text = 'FROM base AS a\nCMD ["c"]\nFROM a\nENTRYPOINT ["e"]\n'
    assert "Cmd" not in config(text)


def test_a_command_in_shell_form_runs_in_the_shell_that_is_set() -> None:
    assert config("FROM base\nCMD a $B\n")["Cmd"] == ["/bin/sh", "-c", "a $B"]
    assert config('FROM base\nSHELL ["/b", "-e"]\nCMD a\n')["Cmd"] == ["/b", "-e", "a"]


def test_labels_of_the_request_come_last() -> None:
    found = config("FROM base\nLABEL one=2 two=x\n", labels={"two": "y"})
    assert found["Labels"] == {"one": "2", "two": "y"}


def test_ports_volumes_signal_user_and_author() -> None:
    made = make(
        "FROM base\nMAINTAINER me\nEXPOSE 80 53/UDP 7-8/tcp $NO\nVOLUME /v\nSTOPSIGNAL 9\nUSER u\n"
    )
    content = json.loads(made.config)
    assert content["author"] == "me"
    found = content["config"]
    assert sorted(found["ExposedPorts"]) == ["53/udp", "7/tcp", "8/tcp", "80/tcp"]
    assert found["Volumes"] == {"/v": {}}
    assert (found["StopSignal"], found["User"]) == ("9", "u")


def test_a_health_check_has_its_times_in_nanoseconds() -> None:
    text = "FROM base\nHEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD probe it\n"
    assert config(text)["Healthcheck"] == {
        "Test": ["CMD-SHELL", "probe it"],
        "Interval": 90_000_000_000,
        "Timeout": 1_500_000_000,
        "Retries": 3,
    }
    assert config("FROM base\nHEALTHCHECK NONE\n")["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("", 0), ("+1s", 10**9), ("1h2ms", 3_600_002_000_000)]
)
def test_durations_are_read_like_go_s(text: str, number: int) -> None:
    assert nanoseconds(text) == number


def test_triggers_run_once_and_are_replaced_by_new_ones() -> None:
    base = {"config": {"OnBuild": ["ENV T=$A", "COPY f /t/"]}}
    made = make("FROM base\nONBUILD ENV NEXT=1\n", base=base)
    found = json.loads(made.config)["config"]
    assert "T=" in found["Env"]
    assert found["OnBuild"] == ["ENV NEXT=1"]
    assert "t/f" in layer(made)


def test_what_buildkit_does_not_take_over_is_left_out() -> None:
    assert "container" not in json.loads(make("FROM base\n").config)


def test_scratch_has_a_path_and_a_folder_to_work_in() -> None:
    found = json.loads(make("FROM scratch\nLABEL a=b\n").config)
    assert found["config"]["WorkingDir"] == "/"
    assert found["rootfs"]["diff_ids"] == []
    assert (found["os"], found["architecture"]) == ("linux", "amd64")


def test_the_history_has_one_item_with_files_for_each_layer() -> None:
    made = make("FROM base\nCOPY f /a\nWORKDIR /w\nCOPY f /b\nENV X=1\n", created=86400)
    content = json.loads(made.config)
    kept = [item for item in content["history"] if not item.get("empty_layer")]
    assert [item["created_by"] for item in kept] == ["base", "COPY f /b"]
    assert len(content["rootfs"]["diff_ids"]) == 2
    assert content["created"] == kept[1]["created"] == "1970-01-02T00:00:00Z"
    assert kept[0]["created"] == "2020-01-01T00:00:00Z"


# -- layer -----------------------------------------------------------------------------------------


def test_a_layer_names_the_folders_that_lead_to_its_files_as_the_base_has_them() -> None:
    found = layer(make("FROM base\nCOPY f /home/u/x\nCOPY f /tmp/y\n"))
    assert list(found) == ["home", "home/u", "home/u/x", "tmp", "tmp/y"]
    assert (found["home/u"].mode, found["home/u"].uid) == (0o700, 9)
    assert found["tmp"].mode == 0o1777


def test_a_layer_is_the_same_each_time_and_its_digests_are_its_own() -> None:
    first, second = (make("FROM base\nCOPY f /a\n", created=5) for _ in range(2))
    assert first.layer is not None
    assert second.layer is not None
    assert first.layer.data == second.layer.data
    assert first.layer.digest == "sha256:" + hashlib.sha256(first.layer.data).hexdigest()
    plain = gzip.decompress(first.layer.data)
    assert first.layer.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert {member.mtime for member in layer(first).values()} == {5}


def test_no_change_of_files_makes_no_layer() -> None:
    made = make("FROM base\nENV A=2\nWORKDIR /tmp\n")
    assert made.layer is None
    assert len(json.loads(made.manifest)["layers"]) == 1


def test_a_document_is_a_file_and_is_expanded_unless_quoted() -> None:
    made = make("FROM base\nCOPY <<A <<'B' /d/\nx$A\nA\nx$A\nB\n")
    assert made.layer is not None
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(made.layer.data))) as archive:
        texts = {name: archive.extractfile(f"d/{name}") for name in ("A", "B")}
        read = {name: file.read() for name, file in texts.items() if file is not None}
    assert read == {"A": b"x1\n", "B": b"x$A\n"}


def test_a_stage_gives_another_its_files_with_their_owners() -> None:
    text = "FROM base AS a\nCOPY --chown=5:6 f /d/\nFROM scratch\nCOPY --from=a /d /e\n"
    found = layer(make(text))
    assert (found["e/f"].uid, found["e/f"].gid) == (5, 6)


def test_a_file_of_a_layer_below_can_be_copied() -> None:
    found = layer(make("FROM scratch\nCOPY --from=base /etc/issue /x\n"))
    assert (found["x"].uid, found["x"].size) == (1, len("etc/issue"))


def test_an_earlier_stage_can_be_the_target() -> None:
    text = "FROM base AS a\nENV A=2\nFROM a AS b\nENV A=3\nRUN no\n"
    assert "A=2" in config(text, target="a")["Env"]


# -- manifest --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "layer_type"),
    [
        (OCI, "application/vnd.oci.image.layer.v1.tar+gzip"),
        (DOCKER, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ],
)
def test_a_manifest_is_of_the_kind_of_its_base(kind: str, layer_type: str) -> None:
    made = make("FROM base\nCOPY f /a\n", media_type=kind)
    content = json.loads(made.manifest)
    assert content["mediaType"] == made.media_type == kind
    assert [each.get("mediaType") for each in content["layers"]] == [None, layer_type]
    assert content["config"]["digest"] == made.config_digest


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM base\nRUN x\n", "line 2 is a RUN"),
        ("FROM base AS a\nRUN x\nFROM base\nCOPY --from=a /x /\n", "line 2 is a RUN"),
        ("FROM --platform=linux/arm64 base\n", "another platform"),
        ("FROM base\nADD https://example.org/x /\n", "network"),
        ("FROM base\nCOPY --chmod=u+x f /\n", "no octal number"),
        ("FROM base\nCOPY --exclude=x f /\n", "--exclude"),
        ("FROM base\nWORKDIR /a/../b\n", "WORKDIR"),
        ("FROM base\nEXPOSE 80:80\n", "port"),
        ("FROM base\nSTOPSIGNAL NONSENSE\n", "signal"),
        ("FROM base\nVOLUME $NO\n", "empty path"),
        ("FROM base\nCOPY --link f /tmp/x\n", "--link"),
        ("FROM scratch\nCOPY --chown=u f /x\n", "empty image"),
        ("FROM base\nCMD\n", "no command"),
        ("FROM base\nARG http_proxy\n", "proxy"),
        ("FROM base\nENV A=${NO:?needed}\n", "needed"),
    ],
)
def test_what_only_an_engine_can_do_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        make(text)


def test_link_is_taken_where_it_makes_no_difference() -> None:
    assert "new/f" in layer(make("FROM base\nCOPY --link f /new/\n"))


def test_add_unpacks_an_archive_and_copy_does_not() -> None:
    held = [ArchiveMember("in/it", Node("file", 0o600, 5, 6, 1, content=b"x"))]
    added = layer(make("FROM base\nADD f /x\n", members=held))
    assert {path: (each.mode, each.uid) for path, each in added.items()} == {
        "x": (0o755, 0),
        "x/in": (0o755, 0),
        "x/in/it": (0o600, 5),
    }
    assert layer(make("FROM base\nCOPY f /x\n", members=held))["x"].isreg()
    assert layer(make("FROM base\nADD f /x\n"))["x"].isreg()


@pytest.mark.parametrize("flag", ["--chown=1", "--chmod=700", "--link"])
def test_a_flag_on_an_archive_is_refused(flag: str) -> None:
    with pytest.raises(Refused, match="with a flag"):
        make(f"FROM base\nADD {flag} f /x\n", members=[])


@pytest.mark.parametrize("trigger", ["RUN x", "COPY --from=other /x /y"])
def test_a_trigger_that_is_no_plain_one_is_refused(trigger: str) -> None:
    with pytest.raises(Refused, match="trigger"):
        make("FROM base\n", base={"config": {"OnBuild": [trigger]}})


def test_a_config_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(Refused, match="no kind"):
        make("FROM base\n", base={"rootfs": {"type": "other"}})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM base\nCOPY f /\nENV A=1\n", ""),
        ("FROM base AS unused\nRUN x\nFROM base\n", ""),
        ("FROM base\nRUN x\n", "line 2 is a RUN"),
        ("FROM base\nADD https://example.org/x /\n", "ADD takes https://example.org/x"),
        ("FROM base\nCOPY --parents f /\n", "only an engine does COPY --parents"),
        ("FROM --platform=$BUILDPLATFORM base\n", ""),
        ("FROM --platform=linux/arm64 base AS unused\nFROM base\n", ""),
        ("FROM --platform=arm64 base\n", "line 1 is for another platform, arm64"),
        ("ARG P=linux/s390x\nFROM --platform=$P base\n", "line 2 is for another platform, "),
    ],
)
def test_a_plan_sees_what_keeps_a_dockerfile_from_being_put_together(
    text: str, reason: str
) -> None:
    dockerfile = parse(text.encode(), "Dockerfile")
    needs = evaluate(dockerfile, build_args={}, inherited=lambda _name: None)
    found = seen(dockerfile, needs)
    assert found.startswith(reason)
    assert bool(found) is bool(reason)


def seen(
    dockerfile: Dockerfile,
    needs: Needs,
    triggers: Sequence[Instruction] = (),
    platform: str = "linux/amd64",
) -> str:
    return obstacle(
        dockerfile,
        needs,
        triggers,
        build_args={},
        platform=platform,
        build_platform="linux/amd64",
    )


def test_a_plan_sees_that_a_stage_is_for_the_machine_that_builds_alone() -> None:
    text = "FROM --platform=$BUILDPLATFORM base AS tool\nFROM base\nCOPY --from=tool /x /\n"
    dockerfile = parse(text.encode(), "Dockerfile")
    needs = evaluate(dockerfile, build_args={}, inherited=lambda _name: None)
    assert seen(dockerfile, needs) == ""
    foreign = seen(dockerfile, needs, platform="linux/arm64")
    assert foreign == "line 1 is for another platform, linux/amd64"
    several = seen(dockerfile, needs, platform="linux/amd64,linux/arm64")
    assert several == "it is for several platforms"


def test_a_plan_sees_a_trigger_that_is_a_run() -> None:
    dockerfile = parse(b"FROM base\n", "Dockerfile")
    needs = evaluate(dockerfile, build_args={}, inherited=lambda _name: None)
    trigger = parse(b"FROM base\nRUN x\n", "Dockerfile").stages[0].instructions[0]
    assert seen(dockerfile, needs, [trigger]) == "a trigger of the base is a RUN"
