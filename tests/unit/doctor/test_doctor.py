"""What the doctor says of machines that are not at hand: old, bare, or without this and that."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from builder.commands.doctor import examine
from builder.core.doctor import kernel
from builder.core.doctor.findings import (
    Finding,
    Level,
    exit_code,
    failure,
    of_compose,
    ok,
    warning,
)
from builder.core.doctor.kernel import Feature, Kernel, Support
from builder.core.engine.answers import EngineInfo
from builder.core.errors import (
    BuildError,
    ConfigError,
    DeployError,
    EngineUnavailableError,
    OcbuildError,
    PublishError,
)
from builder.core.options import TreeOptions
from builder.core.settings.sections import DeploySettings, Host, Network
from builder.doctor import facts
from builder.doctor.facts import made_here, of_info

RELEASE = "6.1.0-x"


def told(findings: Sequence[Finding] | Finding) -> list[tuple[str, str]]:
    some = [findings] if isinstance(findings, Finding) else findings
    return [(one.level.value, one.fact) for one in some]


# --- the verdict ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ([], 0),
        ([DeployError], 5),
        ([PublishError, BuildError], 1),
        ([DeployError, PublishError, EngineUnavailableError], 3),
        ([EngineUnavailableError, ConfigError], 2),
    ],
)
def test_the_exit_code_is_that_of_what_a_run_would_fail_by_first(
    kinds: Sequence[type[OcbuildError]], code: int
) -> None:
    found = [failure("x", "fact", "remedy", kind) for kind in kinds]
    assert exit_code([ok("x", "well"), warning("x", "hm"), *found]) == code


# --- the kernel -----------------------------------------------------------------------------------


def root(tmp_path: Path, *, config: str | None = None, modules: str | None = None) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/module/vxlan").mkdir(parents=True)
    if config is not None:
        (tmp_path / "proc/config.gz").write_bytes(gzip.compress(config.encode()))
    if modules is not None:
        folder = tmp_path / f"lib/modules/{RELEASE}"
        folder.mkdir(parents=True)
        (folder / "modules.dep").write_text(modules)
        (folder / "modules.builtin").write_text("kernel/net/bridge/bridge.ko\n")
    return tmp_path


def read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr("platform.release", lambda: RELEASE)
    return facts.read_kernel(folder)


def test_a_kernel_is_what_it_was_built_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "CONFIG_MACVLAN=y\n# CONFIG_DUMMY is not set\nCONFIG_IP_VS=m\nCONFIG_VETH=m\n"
    found = read(
        root(tmp_path, config=config, modules="kernel/drivers/net/veth.ko.xz: \n"), monkeypatch
    )
    assert found.has(kernel.MACVLAN) is Support.YES
    assert found.has(kernel.DUMMY) is Support.NO
    assert found.has(kernel.VETH) is Support.MODULE
    # Configured as a module, which is not installed.
    assert found.has(kernel.IP_VS) is Support.NO
    # What is in use is there, whatever the configuration says.
    assert found.has(kernel.VXLAN) is Support.YES


def test_a_kernel_without_a_configuration_is_known_by_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = "kernel/net/bridge/br_netfilter.ko.zst: kernel/net/bridge/bridge.ko.zst\n"
    found = read(root(tmp_path, modules=modules), monkeypatch)
    assert found.has(kernel.BRIDGE_NETFILTER) is Support.MODULE
    assert found.has(kernel.BRIDGE) is Support.MODULE
    assert found.has(kernel.OPENVSWITCH) is Support.NO


def test_a_kernel_that_tells_nothing_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(root(tmp_path), monkeypatch).has(kernel.DUMMY) is Support.UNKNOWN


def test_a_device_that_is_no_kvm_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root(tmp_path)
    assert read(folder, monkeypatch).kvm == "there is no /dev/kvm"
    (folder / "dev").mkdir()
    (folder / "dev/kvm").write_text("")
    assert "/dev/kvm is none" in read(folder, monkeypatch).kvm


OVERLAY = Network(name="internal", driver="overlay")
MACVLAN = Network(name="ext", driver="macvlan", parent="eth7")
BARE = Kernel(release=RELEASE, config={"BRIDGE": "y", "VETH": "y"})


def kernel_told(
    *networks: Network,
    found: Kernel = BARE,
    hosts: int = 1,
    cloud: Mapping[str, str] | None = None,
    trial: Support = Support.UNKNOWN,
) -> dict[str, str]:
    """Fact to level."""
    settings = DeploySettings(
        hosts={f"h{at}": Host(name=f"h{at}") for at in range(hosts)},
        networks={one.name: one for one in networks},
    )
    interfaces = frozenset({"lo", "eth0"})
    seen: list[Feature] = []

    def tried(feature: Feature) -> Support:
        seen.append(feature)
        return trial

    findings = kernel.check(settings, found, cloud or {}, interfaces, tried)
    shown = {one.fact.partition(":")[0]: one.level.value for one in findings}
    assert not seen or found.config is None, "nothing is tried that can be read"
    return shown


def test_an_overlay_over_several_hosts_cannot_do_without_vxlan() -> None:
    fact = f"no VXLAN in {RELEASE}"
    assert kernel_told(OVERLAY, hosts=1)[fact] == "warning"
    assert kernel_told(OVERLAY, hosts=2)[fact] == "failure"
    assert fact not in kernel_told()


def test_a_macvlan_needs_its_driver_and_its_parent() -> None:
    found = kernel_told(MACVLAN)
    assert found[f"no macvlan in {RELEASE}"] == "failure"
    assert found[f"no dummy interfaces in {RELEASE}"] == "warning"
    parent = "the interface eth7, parent of the network ext, is not on this machine"
    assert found[parent] == "failure"


def test_what_common_env_does_without_is_not_missed() -> None:
    bare = kernel_told()
    assert bare["no Open vSwitch's datapath"] == "warning"
    assert bare["no KVM for guests"] == "warning"
    ready = kernel_told(cloud={"DATAPATH_TYPE": "netdev", "VIRT_TYPE": "qemu"})
    assert "warning" not in {
        level for fact, level in ready.items() if "KVM" in fact or "Open" in fact
    }


def test_what_cannot_be_read_is_tried() -> None:
    silent = Kernel(release=RELEASE)
    assert kernel_told(found=silent, trial=Support.NO)[f"no bridges in {RELEASE}"] == "failure"
    assert kernel_told(found=silent, trial=Support.YES)["bridges"] == "ok"
    unknown = f"{RELEASE} does not tell whether it has bridges"
    assert kernel_told(found=silent, trial=Support.UNKNOWN)[unknown] == "warning"


# --- the machine ----------------------------------------------------------------------------------


def proc(tmp_path: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("instances", "level"), [("127", "warning"), ("128", "ok"), ("8192", "ok")]
)
def test_few_inotify_instances_are_a_warning(tmp_path: Path, instances: str, level: str) -> None:
    folder = proc(tmp_path, {"proc/sys/fs/inotify/max_user_instances": instances})
    (found,) = facts.limits(folder)
    assert found.level.value == level
    assert "max_user_instances" in found.fact


@pytest.mark.parametrize(
    ("soft", "level"), [("1024", "warning"), ("1048576", "ok"), ("unlimited", "warning")]
)
def test_too_few_and_too_many_open_files_are_a_warning(
    tmp_path: Path, soft: str, level: str
) -> None:
    limits = f"Limit  Soft  Hard  Units\nMax open files            {soft}   unlimited   files\n"
    folder = proc(tmp_path, {"var/run/docker.pid": "77", "proc/77/limits": limits})
    (found,) = facts.limits(folder)
    assert (found.level.value, found.fact) == (level, f"containers may open {soft} files")


def test_the_state_folder_is_tried_and_not_made(tmp_path: Path) -> None:
    later = tmp_path / "a/b"
    assert facts.state(later).level is Level.OK
    assert not later.exists()
    later.mkdir(parents=True)
    assert facts.state(later).level is not Level.FAILURE
    assert not list(later.iterdir())
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = facts.state(blocked)
    assert (found.level, found.exit_code) == (Level.FAILURE, 3)


def test_a_disk_that_is_not_there_is_no_failure(tmp_path: Path) -> None:
    assert facts.disk(tmp_path / "none", "images").level is Level.WARNING


@pytest.mark.parametrize(("available", "level"), [(100 * 2**20, "warning"), (2**33, "ok")])
def test_little_memory_is_a_warning(available: int, level: str) -> None:
    assert [one.level.value for one in facts.memory(available)] == [level]
    assert not list(facts.memory(None))


# --- the engine -----------------------------------------------------------------------------------


def info(**more: object) -> EngineInfo:
    values: dict[str, object] = {
        "version": "28.0",
        "api_version": "1.48",
        "os": "linux",
        "architecture": "x86_64",
        "storage_driver": "overlay2",
        "containerd_store": False,
        "root": "/var/lib/docker",
        "cpus": 2,
        "memory": 2**33,
        "insecure_registries": ("127.0.0.0/8",),
    }
    return EngineInfo(**{**values, **more})  # type: ignore[arg-type]


def levels(engine: EngineInfo, plain: str = "") -> list[str]:
    return [one.level.value for one in of_info(engine, "unix:///s", plain=plain)]


def test_an_engine_is_judged_by_what_it_says_of_itself() -> None:
    assert levels(info()) == ["ok"]
    assert levels(info(os="windows")) == ["ok", "failure"]
    assert levels(info(storage_driver="vfs")) == ["ok", "warning"]


def test_an_engine_has_to_know_which_registries_have_no_tls() -> None:
    assert levels(info(), plain="127.0.0.1:5000") == ["ok"]
    assert levels(info(), plain="registry:5000") == ["ok", "failure"]
    assert levels(info(insecure_registries=("registry:5000",)), plain="registry:5000") == ["ok"]


@pytest.mark.parametrize(
    ("version", "level"),
    [(None, "failure"), ("2.21.0", "failure"), ("v2.22.0", "ok"), ("v5.0.1", "ok"), ("dev", "ok")],
)
def test_compose_has_to_be_new_enough(version: str | None, level: str) -> None:
    assert of_compose(version).level.value == level


def test_a_base_that_can_neither_be_pulled_nor_made_is_a_failure(tmp_path: Path) -> None:
    found = made_here("debian:trixie-slim", "no network", {"PATH": str(tmp_path)})
    assert (found.level, found.exit_code) == (Level.FAILURE, 1)
    assert "mmdebstrap is missing" in found.fact


def test_without_a_tree_all_else_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {
        "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
        "OCBUILD_STATE": str(tmp_path),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    found = list(examine(TreeOptions(registry="127.0.0.1:9"), environ))
    assert [one.area for one in found if one.level is Level.FAILURE] == ["engine", "registry"]
    assert next(one.area for one in found if one.level is Level.WARNING) == "tree"
    assert exit_code(found) == 3
