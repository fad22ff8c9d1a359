"""What the kernel of this machine can do, found without asking it to do anything.

A trial would load modules, and they would stay; so what it was built with is read instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import platform
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from msgspec import Struct, field

from builder.system.process import ProgramMissingError, ProgramTimeoutError, run

_KVM_GET_API_VERSION = 0xAE00
_KVM_API_VERSION = 12
_TRIAL_SECONDS = 10.0


class Support(Enum):
    YES = "yes"
    MODULE = "as a module"
    NO = "no"
    UNKNOWN = "unknown"

    @property
    def there(self) -> bool:
        return self in (Support.YES, Support.MODULE)


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
OVERLAY_FS = Feature(name="overlay file systems", symbol="OVERLAY_FS", module="overlay")


class Kernel(Struct, frozen=True, kw_only=True):
    """``config`` is what it was built with, None where nobody kept that.

    ``loaded`` are modules in use, built-in ones among them as far as they show themselves;
    ``installed`` those that could be loaded, None where the machine has no folder of modules.
    """

    release: str
    config: Mapping[str, str] | None = None
    loaded: frozenset[str] = field(default_factory=frozenset)
    installed: frozenset[str] | None = None
    kvm: str = "no /dev/kvm"

    @classmethod
    def of_this_machine(cls, root: Path = Path("/")) -> Kernel:
        release = platform.release()
        modules = root / "lib/modules" / release
        return cls(
            release=release,
            config=_config(root, release),
            loaded=_loaded(root),
            installed=_installed(modules) if modules.is_dir() else None,
            kvm=_kvm(root),
        )

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


def tried(feature: Feature) -> Support:
    """Make such an interface in a network of its own, which is gone with the program.

    Only where there are neither a configuration nor modules: nothing can be loaded by it then.
    """
    if not feature.link:
        return Support.UNKNOWN
    kind, *more = feature.link.split()
    words = ["unshare", "--net", "ip", "link", "add", "ocbuild0", "type", kind, *more]
    try:
        done = run(words, timeout=_TRIAL_SECONDS)
    except (ProgramMissingError, ProgramTimeoutError):
        return Support.UNKNOWN
    if done.returncode == 0:
        return Support.YES
    said = done.complaint()
    # Anything else, such as a lack of rights, says nothing of the kernel.
    absent = "Unknown device type" in said or "not supported" in said
    return Support.NO if absent else Support.UNKNOWN


def _config(root: Path, release: str) -> dict[str, str] | None:
    text = None
    with contextlib.suppress(OSError, EOFError):
        text = gzip.decompress((root / "proc/config.gz").read_bytes()).decode()
    if text is None:
        for file in (root / f"boot/config-{release}", root / f"lib/modules/{release}/config"):
            with contextlib.suppress(OSError):
                text = file.read_text()
                break
    return None if text is None else read_config(text)


def read_config(text: str) -> dict[str, str]:
    """``CONFIG_X=y`` lines, without the prefix."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            found[name.removeprefix("CONFIG_")] = value
    return found


def _loaded(root: Path) -> frozenset[str]:
    found: set[str] = set()
    with contextlib.suppress(OSError):
        found |= {line.split()[0] for line in (root / "proc/modules").read_text().splitlines()}
    with contextlib.suppress(OSError):
        found |= {folder.name for folder in (root / "sys/module").iterdir()}
    return frozenset(found)


def _installed(modules: Path) -> frozenset[str]:
    found: set[str] = set()
    for name in ("modules.dep", "modules.builtin"):
        with contextlib.suppress(OSError):
            for line in (modules / name).read_text().splitlines():
                file = line.partition(":")[0].rpartition("/")[2]
                found.add(file.partition(".ko")[0].replace("-", "_"))
    return frozenset(found)


def _kvm(root: Path) -> str:
    """Why guests cannot use KVM, "" if they can: that /dev/kvm is there does not say so."""
    device = root / "dev/kvm"
    if not device.exists():
        return "there is no /dev/kvm"
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/kvm cannot be opened: {error.strerror}"
    try:
        version = fcntl.ioctl(descriptor, _KVM_GET_API_VERSION)
    except OSError as error:
        return f"/dev/kvm is none: {error.strerror}"
    finally:
        os.close(descriptor)
    if version != _KVM_API_VERSION:
        return f"/dev/kvm has version {version} of its interface, not {_KVM_API_VERSION}"
    if platform.machine() == "x86_64":
        loaded = _loaded(root)
        if not loaded & {"kvm_intel", "kvm_amd"}:
            kinds = ", ".join(sorted(name for name in loaded if name.startswith("kvm_")))
            return f"/dev/kvm is not that of Intel or AMD ({kinds or 'of nobody known'})"
    return ""
