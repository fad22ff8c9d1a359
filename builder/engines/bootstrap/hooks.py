"""Shell text that mmdebstrap runs on a new root file system, "$1", to make it like an official one.

The file names are those of the official images, so that Dockerfiles which edit or remove one of
them ("rm -f /etc/apt/apt.conf.d/docker-clean" before a cache mount, say) work on both.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

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
