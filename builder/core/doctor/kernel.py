"""What the kernel of a machine can do, and which stacks cannot do without it.

The symbols are those of the kernel's Kconfig: https://docs.kernel.org/kbuild/kconfig-language.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum

from msgspec import Struct, field

from builder.core.doctor.findings import Finding, failure, ok, warning
from builder.core.errors import DeployError
from builder.core.settings.sections import DeploySettings

_OTHER = "another kernel"


class Support(Enum):
    YES = "yes"
    MODULE = "as a module"
    NO = "no"
    UNKNOWN = "unknown"


class Feature(Struct, frozen=True, kw_only=True):
    """A part of the kernel; ``link`` is the kind of interface by which it can be tried."""

    name: str
    symbol: str
    module: str
    link: str = ""


VXLAN = Feature(name="VXLAN", symbol="VXLAN", module="vxlan", link="vxlan id 5 dstport 4789")
MACVLAN = Feature(name="macvlan", symbol="MACVLAN", module="macvlan")
DUMMY = Feature(name="dummy interfaces", symbol="DUMMY", module="dummy", link="dummy")
BRIDGE = Feature(name="bridges", symbol="BRIDGE", module="bridge", link="bridge")
VETH = Feature(name="veth pairs", symbol="VETH", module="veth", link="veth")
IP_VS = Feature(name="IP_VS", symbol="IP_VS", module="ip_vs")
OPENVSWITCH = Feature(name="Open vSwitch's datapath", symbol="OPENVSWITCH", module="openvswitch")
BRIDGE_NETFILTER = Feature(name="br_netfilter", symbol="BRIDGE_NETFILTER", module="br_netfilter")


class Kernel(Struct, frozen=True, kw_only=True):
    """``config`` is what it was built with, None where nobody kept that.

    ``loaded`` are modules in use, built-in ones among them as far as they show themselves;
    ``installed`` those that could be loaded, None where the machine has no folder of modules.
    ``kvm`` is why guests cannot use KVM, "" if they can.
    """

    release: str
    config: Mapping[str, str] | None = None
    loaded: frozenset[str] = field(default_factory=frozenset)
    installed: frozenset[str] | None = None
    kvm: str = "no /dev/kvm"

    def has(self, feature: Feature) -> Support:
        if feature.module in self.loaded:
            return Support.YES
        installed = None if self.installed is None else feature.module in self.installed
        if self.config is not None:
            value = self.config.get(feature.symbol, "n")
            if value == "y":
                return Support.YES
            # Configured as a module, but removed, or in a package that is not installed.
            return Support.MODULE if value == "m" and installed else Support.NO
        if installed is not None:
            return Support.MODULE if installed else Support.NO
        return Support.UNKNOWN


def support_of_trial(returncode: int, said: str) -> Support:
    """What the end of ``ip link add`` tells of the kernel."""
    if returncode == 0:
        return Support.YES
    # Anything else, such as a lack of rights, says nothing of the kernel.
    absent = "Unknown device type" in said or "not supported" in said
    return Support.NO if absent else Support.UNKNOWN


def read_config(text: str) -> dict[str, str]:
    """``CONFIG_X=y`` lines, without the prefix."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {
        name.removeprefix("CONFIG_"): value
        for name, equals, value in pairs
        if equals and name.startswith("CONFIG_")
    }


def module_name(line: str) -> str:
    """The module of a line of modules.dep or modules.builtin."""
    file = line.partition(":")[0].rpartition("/")[2]
    return file.partition(".ko")[0].replace("-", "_")


def kvm_of_nobody(loaded: frozenset[str]) -> str:
    """Why /dev/kvm is not that of an x86 processor; "" if it is."""
    if loaded & {"kvm_intel", "kvm_amd"}:
        return ""
    kinds = ", ".join(sorted(name for name in loaded if name.startswith("kvm_")))
    return f"/dev/kvm is not that of Intel or AMD ({kinds or 'of nobody known'})"


# --- what stacks need ----------------------------------------------------------------------------


class KernelNeed(Struct, frozen=True):
    """Without the feature it is ``so``; ``fatal``: then the stacks of build.toml cannot run."""

    feature: Feature
    so: str
    remedy: str
    fatal: bool = False


def needs(settings: DeploySettings) -> Iterator[KernelNeed]:
    drivers = {network.driver for network in settings.networks.values()}
    yield KernelNeed(BRIDGE, "docker has no networks", _OTHER, fatal=True)
    yield KernelNeed(VETH, "docker has no networks", _OTHER, fatal=True)
    if "overlay" in drivers:
        several = len(settings.hosts) > 1
        yield KernelNeed(VXLAN, "no overlay joins containers of two hosts", _OTHER, fatal=several)
        yield KernelNeed(
            IP_VS,
            "the virtual addresses of swarm services lead nowhere; stacks of ocbuild use none",
            "--endpoint-mode dnsrr for services of your own",
        )
    if "macvlan" in drivers:
        yield KernelNeed(MACVLAN, "no macvlan network can be made", _OTHER, fatal=True)
        yield KernelNeed(
            DUMMY,
            "a macvlan network needs a parent, and can be neither internal nor without one",
            "none, for build.toml asks for a parent anyway",
        )
    yield KernelNeed(
        BRIDGE_NETFILTER,
        "iptables does not see what goes over a bridge from container to container",
        "none, unless you filter that",
    )


def check(
    settings: DeploySettings,
    kernel: Kernel,
    cloud: Mapping[str, str],
    interfaces: frozenset[str],
    trial: Callable[[Feature], Support],
) -> Iterator[Finding]:
    """What stacks need of the kernel and of the interfaces of this machine.

    ``cloud`` is what common.env says; ``trial`` is asked where nothing can be read.
    """

    def has(feature: Feature) -> Support:
        support = kernel.has(feature)
        return trial(feature) if support is Support.UNKNOWN else support

    for need in needs(settings):
        yield _judge(need, has(need.feature), kernel.release)
    for network in settings.networks.values():
        if network.parent is not None:
            yield _parent(network.name, network.parent, interfaces)
    yield _switch(has(OPENVSWITCH), cloud)
    yield _virtual(kernel.kvm, cloud)


def _judge(need: KernelNeed, has: Support, release: str) -> Finding:
    name = need.feature.name
    if has is Support.NO:
        fact = f"no {name} in {release}: {need.so}"
        if need.fatal:
            return failure("kernel", fact, need.remedy, DeployError)
        return warning("kernel", fact, need.remedy)
    if has is Support.UNKNOWN:
        return warning("kernel", f"{release} does not tell whether it has {name}")
    return ok("kernel", f"{name}, as a module" if has is Support.MODULE else name)


def _parent(network: str, parent: str, interfaces: frozenset[str]) -> Finding:
    fact = f"the interface {parent}, parent of the network {network}"
    if parent in interfaces:
        return ok("kernel", fact)
    listed = ", ".join(sorted(interfaces - {"lo"}))
    return failure(
        "kernel",
        f"{fact}, is not on this machine",
        f"change [deploy.networks.{network}]; there are {listed or 'none'}",
        DeployError,
    )


def _switch(has: Support, cloud: Mapping[str, str]) -> Finding:
    if has is not Support.NO:
        return ok("kernel", "Open vSwitch's datapath")
    if cloud.get("DATAPATH_TYPE") == "netdev":
        return ok("kernel", "no Open vSwitch's datapath, and DATAPATH_TYPE=netdev does without")
    return warning(
        "kernel",
        "no Open vSwitch's datapath: the switch of a compute host does not start",
        "DATAPATH_TYPE=netdev in common.env: a switch in user space, slower",
    )


def _virtual(trouble: str, cloud: Mapping[str, str]) -> Finding:
    if not trouble:
        return ok("kernel", "KVM")
    if cloud.get("VIRT_TYPE") == "qemu":
        return ok("kernel", f"no KVM ({trouble}), and VIRT_TYPE=qemu does without")
    return warning(
        "kernel",
        f"no KVM for guests: {trouble}",
        "VIRT_TYPE=qemu in common.env: guests are emulated, much slower",
    )
