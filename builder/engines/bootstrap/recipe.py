"""What a base image is put together from: settings, archives and the state they are in."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from builder.core.bases import bootstrap_reference
from builder.core.errors import BuildError
from builder.core.reference import Reference
from builder.core.settings.sections import BootstrapSettings
from builder.engines.bootstrap import hooks
from builder.engines.bootstrap.apt_sources import (
    AptSource,
    derive,
    parse_one_line,
    read_apt_sources,
)
from builder.system.process import ProgramMissingError, run

_NETWORK_FAULTS = re.compile(
    r"resolv|connect|timed out|timeout|unreachable|hash sum mismatch|\b(?:429|50[0234])\b",
    re.IGNORECASE,
)
_FETCH_SECONDS = 120.0
_HINT_MIRROR = 'set "mirror" in the bootstrap table of this base to an archive that can be reached'


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
        return (hooks.before_unpacking(slim=self.settings.slim),)

    @property
    def after(self) -> tuple[str, ...]:
        """Shell text to run when all is installed."""
        keyrings = sorted({path for source in self.sources for path in source.keyrings})
        slim = self.settings.slim
        return (hooks.copy_keyrings(keyrings), *hooks.after_installing(slim=slim))

    @property
    def include(self) -> tuple[str, ...]:
        """The packages on top of the variant's."""
        secure = any(uri.startswith("https:") for source in self.sources for uri in source.uris)
        # apt in the image has to be able to check the mirror's certificate.
        return (*self.settings.include, *(["ca-certificates"] if secure else []))


def read_recipe(base: Reference, settings: BootstrapSettings) -> Recipe:
    """Ask the archives in which state they are: a second's work, and nothing is made.

    Raises:
        BuildError: if there is no archive that has the suite; transient if one did not answer.

    """
    reference = bootstrap_reference(base)
    try:
        sources, epoch = _as_of_now(base, settings)
        architecture = run(["dpkg", "--print-architecture"], timeout=30).text.strip()
    except ProgramMissingError as error:
        raise BuildError(
            f"{base} cannot be put together: {error.message}",
            hint="install apt and mmdebstrap, or take the base from a mirror",
        ) from error
    return Recipe(
        reference=reference,
        settings=settings,
        sources=sources,
        epoch=epoch,
        architecture=architecture,
    )


def archives(settings: BootstrapSettings, *, etc: Path, keyrings: Path) -> tuple[AptSource, ...]:
    """The archives to take packages from: those of the settings, else this machine's own.

    Raises:
        BuildError: if neither says where packages are.

    """
    system = _os_release(etc / "os-release")
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
            read_apt_sources(etc / "apt"),
            releases=(system.get("VERSION_CODENAME", ""), "stable", "testing", "unstable", "sid"),
            suite=settings.suite,
            components=settings.components,
        )
    if not sources:
        raise BuildError(
            "there is no archive to take packages from: this machine's apt sources name none",
            hint=_HINT_MIRROR,
        )
    keyring = keyrings / f"{system.get('ID', '')}-archive-keyring.gpg"
    return tuple(_signed(source, keyring) for source in sources)


def is_network_fault(text: str) -> bool:
    """Whether what apt said sounds like something that may be over in a minute."""
    return _NETWORK_FAULTS.search(text) is not None


def _signed(source: AptSource, keyring: Path) -> AptSource:
    if source.signed_by or source.trusted or not keyring.exists():
        return source
    return structs.replace(source, signed_by=str(keyring))


def _as_of_now(base: Reference, settings: BootstrapSettings) -> tuple[tuple[AptSource, ...], int]:
    """The archives that have the suite, and when the one that changed last did so."""
    found = archives(settings, etc=Path("/etc"), keyrings=Path("/usr/share/keyrings"))
    dated = [(source, date) for source in found if (date := _release_date(source)) is not None]
    if not any(settings.suite in source.suites for source, _ in dated):
        raise BuildError(
            f'{base} cannot be put together: no archive has the suite "{settings.suite}"',
            hint='correct "suite" in the bootstrap table of this base, or set its "mirror"',
        )
    return tuple(source for source, _ in dated), max(date for _, date in dated)


def _release_date(source: AptSource) -> int | None:
    """When the archive last changed; None if it does not have the suite."""
    url = f"{source.uris[0].rstrip('/')}/dists/{source.suites[0]}/InRelease"
    with tempfile.TemporaryDirectory(prefix="ocbuild-release-") as folder:
        target = Path(folder) / "InRelease"
        # apt's own tool knows apt's proxies, credentials and certificates.
        done = run(
            ["/usr/lib/apt/apt-helper", "download-file", url, str(target)], timeout=_FETCH_SECONDS
        )
        if done.returncode == 0:
            return _date_field(url, target.read_text(encoding="utf-8", errors="replace"))
    complaint = done.complaint()
    if re.search(r"\b404\b", complaint):
        return None
    raise BuildError(
        f"{url} cannot be read: {complaint}",
        hint=f"check the network, or {_HINT_MIRROR}",
        transient=is_network_fault(complaint),
    )


def _date_field(url: str, text: str) -> int:
    match = re.search(r"^Date: (.+)$", text, re.MULTILINE)
    if match is None:
        raise BuildError(f"{url} is no index of packages: it has no date")
    return int(parsedate_to_datetime(match[1].strip().replace(" UTC", " +0000")).timestamp())


def _os_release(path: Path) -> Mapping[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines)
    return {name: value.strip("\"'") for name, _, value in pairs}
