"""Platforms such as ``linux/arm64/v8``, and the build args that BuildKit derives from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from builder.core.errors import DockerfileError, did_you_mean

_SPECIFIER = re.compile(r"([\w-]+)(?:\([\w.+-]*\))?(?:/([\w-]+))?(?:/([\w.-]+))?", re.ASCII)
_SYSTEMS = (
    *("aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux"),
    *("nacl", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows", "zos"),
)
_ARCHITECTURES = (
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64"),
    *("ppc64le", "riscv64", "s390x", "wasm"),
)
_SAME = {
    "i386": "386",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "macos": "darwin",
}
# The variant that goes without saying.
_PLAIN_VARIANTS = {("amd64", "v1"), ("arm64", "8"), ("arm64", "v8")}


# The kernel's word for an architecture, and OCI's.
_KERNELS = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "loongarch64": "loong64",
}


class Platform(NamedTuple):
    system: str
    architecture: str
    variant: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def parse_platform(text: str) -> Platform:
    """The normal form of ``os/arch[/variant]``.

    Raises:
        DockerfileError: without a place; it is no platform.

    """
    match = _SPECIFIER.fullmatch(text)
    if match is None:
        raise DockerfileError(
            f'"{text}" is no platform', hint="write it like linux/amd64 or linux/arm/v7"
        )
    first, second, variant = (_same(part or "") for part in match.groups())
    if not second:
        return _from_one_word(text, first)
    return Platform(first, *_normal(second, variant))


def engine_platform(system: str, architecture: str) -> str:
    """What a Docker Engine builds for by default, as OCI names it, e.g. linux/amd64."""
    return f"{system}/{_KERNELS.get(architecture, architecture)}"


def _same(part: str) -> str:
    return _SAME.get(part.lower(), part.lower())


def _from_one_word(text: str, word: str) -> Platform:
    if word in _SYSTEMS:
        return Platform(word, "amd64", "")
    architecture, variant = _normal(word, "")
    if architecture in _ARCHITECTURES:
        return Platform("linux", architecture, variant)
    raise DockerfileError(
        f'"{text}" is no operating system or architecture',
        hint=did_you_mean(word, (*_SYSTEMS, *_ARCHITECTURES)) or "write it like linux/amd64",
    )


def _normal(architecture: str, variant: str) -> tuple[str, str]:
    if architecture in ("armhf", "armel"):
        return "arm", "v7" if architecture == "armhf" else "v6"
    if architecture == "arm":
        variant = variant or "v7"
    if (architecture, variant) in _PLAIN_VARIANTS:
        return architecture, ""
    return architecture, f"v{variant}" if variant.isdigit() else variant


@lru_cache(maxsize=64)
def platform_args(platform: str, build_platform: str, stage: str) -> Mapping[str, str]:
    """The args that are there without ``ARG`` before FROM, and by ``ARG NAME`` in a stage."""
    build, target = parse_platform(build_platform), parse_platform(platform)
    return {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.system,
        "BUILDOSVERSION": "",
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.system,
        "TARGETOSVERSION": "",
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": stage or "default",
    }
