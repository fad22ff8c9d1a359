"""What stacks need of the kernel and of the interfaces of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from builder.core.errors import DeployError
from builder.core.settings.sections import DeploySettings
from builder.doctor import kernel
from builder.doctor.finding import Finding, failure, ok, warning
from builder.doctor.kernel import Feature, Kernel, Support

_OTHER = "another kernel"


class Need(Struct, frozen=True):
    """Without the feature it is ``so``; ``fatal``: then the stacks of build.toml cannot run."""

    feature: Feature
    so: str
    remedy: str
    fatal: bool = False


def needs(settings: DeploySettings) -> Iterator[Need]:
    drivers = {network.driver for network in settings.networks.values()}
    yield Need(kernel.BRIDGE, "docker has no networks", _OTHER, fatal=True)
    yield Need(kernel.VETH, "docker has no networks", _OTHER, fatal=True)
    if "overlay" in drivers:
        several = len(settings.hosts) > 1
        yield Need(kernel.VXLAN, "no overlay joins containers of two hosts", _OTHER, fatal=several)
        yield Need(
            kernel.IP_VS,
            "the virtual addresses of swarm services lead nowhere; stacks of ocbuild use none",
            "--endpoint-mode dnsrr for services of your own",
        )
    if "macvlan" in drivers:
        yield Need(kernel.MACVLAN, "no macvlan network can be made", _OTHER, fatal=True)
        yield Need(
            kernel.DUMMY,
            "a macvlan network needs a parent, and can be neither internal nor without one",
            "none, for build.toml asks for a parent anyway",
        )
    yield Need(
        kernel.BRIDGE_NETFILTER,
        "iptables does not see what goes over a bridge from container to container",
        "none, unless you filter that",
    )


def check(
    settings: DeploySettings,
    found: Kernel,
    cloud: Mapping[str, str],
    interfaces: frozenset[str],
    trial: Callable[[Feature], Support] = kernel.tried,
) -> Iterator[Finding]:
    """``cloud`` is what common.env says."""

    def has(feature: Feature) -> Support:
        told = found.has(feature)
        return trial(feature) if told is Support.UNKNOWN else told

    for need in needs(settings):
        yield _judge(need, has(need.feature), found.release)
    for network in settings.networks.values():
        if network.parent is not None:
            yield _parent(network.name, network.parent, interfaces)
    yield _switch(has(kernel.OPENVSWITCH), cloud)
    yield _virtual(found.kvm, cloud)


def _judge(need: Need, has: Support, release: str) -> Finding:
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
