"""A finding follows from the facts alone, whoever gathered them."""

from __future__ import annotations

import pytest

from builder.core.doctor.findings import (
    Finding,
    Level,
    Space,
    as_document,
    failure,
    finding_lines,
    of_base_made_here,
    of_blocked_state,
    of_buildx,
    of_disk,
    of_host,
    of_inotify,
    of_memory,
    of_open_files,
    of_silent_host,
    of_state,
    of_unobtainable_base,
    ok,
    sum_line,
    swarm_overlays,
    version_in,
    warning,
)
from builder.core.doctor.kernel import (
    Support,
    kvm_of_nobody,
    module_name,
    read_config,
    support_of_trial,
)
from builder.core.errors import DeployError, EngineUnavailableError
from builder.core.settings.sections import DeploySettings, Host, Network

GIB = 2**30


@pytest.mark.parametrize(
    ("space", "level", "fact"),
    [
        (Space(free=GIB - 1), "failure", "1.1 GB free for images (/d)"),
        (Space(free=GIB), "warning", "1.1 GB free for images (/d)"),
        (Space(free=20 * GIB - 1, inodes=10**6), "warning", "21.5 GB free for images (/d)"),
        (Space(free=20 * GIB, inodes=10**6), "ok", "21.5 GB free for images (/d)"),
        (Space(free=20 * GIB, inodes=99_999), "warning", "only 99999 inodes free for images (/d)"),
        (Space(free=20 * GIB, inodes=None), "ok", "21.5 GB free for images (/d)"),
    ],
)
def test_a_disk_is_judged_by_its_room(space: Space, level: str, fact: str) -> None:
    found = of_disk(space, "/d", "images", least=GIB)
    assert (found.level.value, found.fact) == (level, fact)


@pytest.mark.parametrize(
    ("free", "exists", "level", "fact"),
    [
        (GIB, True, "ok", "/s can be written, 1.1 GB free"),
        (GIB, False, "ok", "/s can be made, 1.1 GB free"),
        (GIB - 1, True, "warning", "/s can be written, 1.1 GB free"),
    ],
)
def test_the_state_folder_is_judged_by_its_room(
    free: int, *, exists: bool, level: str, fact: str
) -> None:
    found = of_state("/s", Space(free=free), exists=exists)
    assert (found.level.value, found.fact) == (level, fact)


@pytest.mark.parametrize(
    ("finding", "level", "code"),
    [
        (of_blocked_state("/s", "no"), "failure", EngineUnavailableError.exit_code),
        (of_inotify("max_user_watches", 8191), "warning", 0),
        (of_inotify("max_user_watches", 8192), "ok", 0),
        (of_buildx(None), "warning", 0),
        (of_buildx("v0.20"), "ok", 0),
        (of_unobtainable_base("debian", "no"), "failure", 1),
        (of_base_made_here("debian", "no", None), "failure", 1),
        (of_base_made_here("debian", "no", "mmdebstrap 1"), "ok", 0),
        (of_silent_host(EngineUnavailableError("no")), "failure", DeployError.exit_code),
    ],
)
def test_a_fact_is_in_the_way_of_what_needs_it(finding: Finding, level: str, code: int) -> None:
    assert (finding.level.value, finding.exit_code) == (level, code)


def test_memory_is_judged_only_where_it_is_known() -> None:
    assert not list(of_memory(None, least=2))
    assert [one.level for one in of_memory(1, least=2)] == [Level.WARNING]
    assert [one.level for one in of_memory(2, least=2)] == [Level.OK]


@pytest.mark.parametrize("text", ["", "Max open files", "Max open files  x  y  files", "Max cpu 1"])
def test_odd_limits_say_nothing(text: str) -> None:
    assert not list(of_open_files(text))


@pytest.mark.parametrize(
    ("overlays", "state", "levels"),
    [
        ([], "inactive", ["ok"]),
        (["internal"], "active", ["ok"]),
        (["internal"], "pending", ["ok", "failure"]),
    ],
)
def test_a_host_has_to_be_in_a_swarm_for_an_overlay(
    overlays: list[str], state: str, levels: list[str]
) -> None:
    assert [one.level.value for one in of_host("h", "28", state, overlays)] == levels


def test_one_host_needs_no_swarm() -> None:
    networks = {
        "a": Network(name="a", driver="overlay"),
        "b": Network(name="b", driver="bridge"),
    }
    hosts = {name: Host(name=name) for name in ("x", "y")}
    assert swarm_overlays(DeploySettings(networks=networks, hosts=hosts)) == ["a"]
    assert swarm_overlays(DeploySettings(networks=networks, hosts={"x": hosts["x"]})) == []


@pytest.mark.parametrize(
    ("code", "said", "support"),
    [
        (0, "", Support.YES),
        (2, "Error: Unknown device type.", Support.NO),
        (2, "RTNETLINK answers: Operation not supported", Support.NO),
        (2, "RTNETLINK answers: Operation not permitted", Support.UNKNOWN),
        (1, "", Support.UNKNOWN),
    ],
)
def test_a_trial_that_fails_for_a_lack_of_rights_tells_nothing(
    code: int, said: str, support: Support
) -> None:
    assert support_of_trial(code, said) is support


def test_what_kernels_keep_of_themselves_is_read() -> None:
    text = "CONFIG_A=y\n# CONFIG_B is not set\nOTHER=y\nCONFIG_C=\n"
    assert read_config(text) == {"A": "y", "C": ""}
    assert module_name("kernel/net/br-netfilter.ko.xz: kernel/x.ko") == "br_netfilter"
    assert kvm_of_nobody(frozenset({"kvm", "kvm_amd"})) == ""
    assert kvm_of_nobody(frozenset({"kvm_odd"})) == "/dev/kvm is not that of Intel or AMD (kvm_odd)"
    assert kvm_of_nobody(frozenset()).endswith("(of nobody known)")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("github.com/docker/buildx v0.20.0 abc", "v0.20.0"),
        ("Docker Compose version 2.22.0-x\n", "2.22.0-x"),
        (" dev\n", "dev"),
    ],
)
def test_the_version_of_a_plugin_is_found_in_what_it_says(text: str, version: str) -> None:
    assert version_in(text) == version


def test_findings_are_shown_with_their_remedy_and_nothing_that_a_terminal_obeys() -> None:
    found = failure("x", "bad\x1b[2J\nmore", "do this\nor that", DeployError)
    assert finding_lines(found) == [
        "x         FAILURE  bad",
        f"{'':19}more",
        f"{'':19}-> do this",
        f"{'':22}or that",
    ]
    assert finding_lines(ok("x", "")) == ["x         ok       "]


def test_findings_are_summed_up() -> None:
    findings = [failure("x", "f", "r", DeployError), warning("y", "w"), ok("z", "o")]
    assert sum_line(findings) == "1 failure, 1 warning"
    assert as_document(findings) == {
        "findings": [
            {"area": "x", "level": "failure", "fact": "f", "remedy": "r"},
            {"area": "y", "level": "warning", "fact": "w", "remedy": None},
            {"area": "z", "level": "ok", "fact": "o", "remedy": None},
        ],
        "failures": 1,
        "warnings": 1,
        "exit_code": 5,
    }
