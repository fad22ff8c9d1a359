"""What a base image is put together from, and how mmdebstrap is told to do it.

mmdebstrap(1) unpacks the packages.
What comes out is laid out like the distribution's official image, and is the same to the byte for
the same state of the archives, so that its id says if a base moved. The file names are those of the
official images, so that Dockerfiles which edit or remove one of them ("rm -f
/etc/apt/apt.conf.d/docker-clean" before a cache mount, say) work on both.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct, structs

from builder.core.errors import BuildError
from builder.core.packages.sources import AptSource, derive, parse_one_line
from builder.core.reference import Reference
from builder.core.settings.sections import BootstrapSettings

KEY_LABEL = "ocbuild.bootstrap.key"
SUITE_LABEL = "ocbuild.bootstrap.suite"
HINT_MIRROR = 'set "mirror" in the bootstrap table of this base to an archive that can be reached'

_NETWORK_FAULTS = re.compile(
    r"resolv|connect|timed out|timeout|unreachable|hash sum mismatch|\b(?:429|50[0234])\b",
    re.IGNORECASE,
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Debian's words to those of https://github.com/opencontainers/image-spec/blob/main/config.md.
_OCI_ARCHITECTURES = {
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v5"),
    "i386": ("386", ""),
    "ppc64el": ("ppc64le", ""),
    "mips64el": ("mips64le", ""),
}
# Shell text that runs on the new root file system, "$1".
_BEFORE = r"""set -eu
mkdir -p "$1/etc/dpkg/dpkg.cfg.d" "$1/usr/sbin"
echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"
chmod 0755 "$1/usr/sbin/policy-rc.d"
"""

# What "-slim" images lack. dpkg's options keep it out of every layer above; what is there already
# goes afterwards, because mmdebstrap unpacks five times slower if it has to filter.
_SLIM = ("groff", "info", "linda", "lintian/overrides", "locale", "man")
_SLIM_BEFORE = f"""
for part in doc {" ".join(_SLIM)}; do
  echo "path-exclude=/usr/share/$part/*"
done > "$1/etc/dpkg/dpkg.cfg.d/docker"
echo 'path-include=/usr/share/doc/*/copyright' >> "$1/etc/dpkg/dpkg.cfg.d/docker"
"""
_SLIM_AFTER = f"""set -eu
for part in {" ".join(_SLIM)}; do
  rm -rf "$1/usr/share/$part"/*
done
find "$1/usr/share/doc" -mindepth 1 ! -type d ! -name copyright -delete
find "$1/usr/share/doc" -mindepth 1 -type d -empty -delete
"""

# hostname and resolv.conf are this machine's: an engine mounts its own over them.
_AFTER = r"""set -eu
apt="$1/etc/apt"
. "$1/etc/os-release"
mv "$apt"/sources.list.d/0000*.sources "$apt/sources.list.d/$ID.sources"
clean='"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb'
clean="$clean /var/cache/apt/*.bin || true\";"
{
  echo "DPkg::Post-Invoke { $clean };"
  echo "APT::Update::Post-Invoke { $clean };"
  echo 'Dir::Cache::pkgcache "";'
  echo 'Dir::Cache::srcpkgcache "";'
} > "$apt/apt.conf.d/docker-clean"
echo 'Apt::AutoRemove::SuggestsImportant "false";' > "$apt/apt.conf.d/docker-autoremove-suggests"
echo 'Acquire::GzipIndexes "true";' > "$apt/apt.conf.d/docker-gzip-indexes"
echo 'Acquire::Languages "none";' > "$apt/apt.conf.d/docker-no-languages"
rm -f "$1"/var/lib/dpkg/*-old "$1"/var/cache/debconf/*-old "$1"/var/cache/ldconfig/*
rm -f "$1"/var/cache/apt/*.bin
for file in hostname resolv.conf; do
  rm -f "$1/etc/$file"
  : > "$1/etc/$file"
  chmod 0644 "$1/etc/$file"
done
"""


class Recipe(Struct, frozen=True, kw_only=True):
    """All that decides what is in a base image.

    ``reference`` is the substitute's name; ``epoch`` is when the archives last changed, in seconds;
    ``architecture`` is Debian's word for it.
    """

    reference: Reference
    settings: BootstrapSettings
    sources: tuple[AptSource, ...]
    epoch: int
    architecture: str

    @property
    def key(self) -> str:
        """The hash of it all: an image that was made by this key need not be made again."""
        facts = [msgspec.to_builtins(self), self.before, self.after]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def before(self) -> tuple[str, ...]:
        """Shell text to run before anything is unpacked."""
        return (before_unpacking(slim=self.settings.slim),)

    @property
    def after(self) -> tuple[str, ...]:
        """Shell text to run when all is installed."""
        keyrings = sorted({path for source in self.sources for path in source.keyrings})
        slim = self.settings.slim
        return (copy_keyrings(keyrings), *after_installing(slim=slim))

    @property
    def include(self) -> tuple[str, ...]:
        """The packages on top of the variant's."""
        secure = any(uri.startswith("https:") for source in self.sources for uri in source.uris)
        # apt in the image has to be able to check the mirror's certificate.
        return (*self.settings.include, *(["ca-certificates"] if secure else []))


def archives_for(
    settings: BootstrapSettings, system: Mapping[str, str], own: Iterable[AptSource]
) -> tuple[AptSource, ...]:
    """The archives to take packages from: those of the settings, else this machine's ``own``.

    ``system`` is the machine's os-release.

    Raises:
        BuildError: if neither says where packages are.

    """
    if settings.mirror.startswith("deb "):
        sources = parse_one_line(settings.mirror)
    elif settings.mirror:
        sources = (
            AptSource(
                uris=(settings.mirror,), suites=(settings.suite,), components=settings.components
            ),
        )
    else:
        sources = derive(
            own,
            releases=(system.get("VERSION_CODENAME", ""), "stable", "testing", "unstable", "sid"),
            suite=settings.suite,
            components=settings.components,
        )
    if not sources:
        raise BuildError(
            "there is no archive to take packages from: this machine's apt sources name none",
            hint=HINT_MIRROR,
        )
    return sources


def signed_by(source: AptSource, keyring: str) -> AptSource:
    """The source with a keyring, if it says nothing of how it is signed."""
    if source.signed_by or source.trusted or not keyring:
        return source
    return structs.replace(source, signed_by=keyring)


def os_release(text: str) -> Mapping[str, str]:
    """The fields of os-release(5)."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value.strip("\"'") for name, _, value in pairs}


def is_network_fault(text: str) -> bool:
    """Whether what apt said sounds like something that may be over in a minute."""
    return _NETWORK_FAULTS.search(text) is not None


def mmdebstrap_command(recipe: Recipe) -> list[str]:
    return [
        "mmdebstrap",
        "--verbose",
        # For root, too: mounts made in a namespace of its own are gone with mmdebstrap, however it
        # ends, and the result is the same to the byte.
        "--mode=unshare",
        f"--variant={recipe.settings.variant}",
        f"--architectures={recipe.architecture}",
        "--format=tar",
        # An engine gives every container a /dev of its own; and unlike mmdebstrap's, our
        # policy-rc.d stays in the image.
        "--skip=output/dev",
        "--skip=chroot/policy-rc.d",
        *(f"--setup-hook={text}" for text in recipe.before),
        *(f"--customize-hook={text}" for text in recipe.after),
        *([f"--include={','.join(recipe.include)}"] if recipe.include else []),
        recipe.settings.suite,
        "-",
        "-",
    ]


def mmdebstrap_failure(recipe: Recipe, said: Sequence[str]) -> BuildError:
    """The error with the end of what mmdebstrap said; transient where a mirror did not answer."""
    errors = [
        line for line in said if line.startswith(("E: ", "W: ", "Err:", "dpkg: error"))
    ] or said
    text = "\n".join(errors[-8:])
    return BuildError(
        f"{recipe.reference} could not be put together:\n{text}", transient=is_network_fault(text)
    )


def image_config(recipe: Recipe, diff_id: str) -> Mapping[str, object]:
    """The image's configuration; all of it follows from the recipe, so its digest does too."""
    created = datetime.fromtimestamp(recipe.epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    suite, variant = recipe.settings.suite, recipe.settings.variant
    architecture, level = _OCI_ARCHITECTURES.get(recipe.architecture, (recipe.architecture, ""))
    return {
        "architecture": architecture,
        **({"variant": level} if level else {}),
        "os": "linux",
        "created": created,
        "config": {
            "Cmd": ["bash"],
            "Env": [f"PATH={_PATH}"],
            "Labels": {
                "org.opencontainers.image.title": recipe.reference.name,
                "org.opencontainers.image.ref.name": str(recipe.reference),
                SUITE_LABEL: suite,
                KEY_LABEL: recipe.key,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": f"mmdebstrap --variant={variant} {suite}"}],
    }


# -- shell text --------------------------------------------------------------------------------


def before_unpacking(*, slim: bool) -> str:
    """What dpkg has to find when it installs the first package."""
    return _BEFORE + _SLIM_BEFORE if slim else _BEFORE


def after_installing(*, slim: bool) -> tuple[str, ...]:
    """What makes layers on top small, and the result free of this machine's traces."""
    return (_SLIM_AFTER, _AFTER) if slim else (_AFTER,)


def copy_keyrings(paths: Iterable[str]) -> str:
    """Bring along the key files of the archives that are not part of the distribution."""
    lines = ["set -eu"]
    for path in paths:
        source, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
        lines += [
            f'if [ ! -e "$1"{source} ]; then',
            f'  mkdir -p "$1"{folder}',
            f'  cp {source} "$1"{source}',
            f'  chmod 0644 "$1"{source}',
            "fi",
        ]
    return "\n".join(lines) + "\n"
