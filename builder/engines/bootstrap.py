"""Makes a base image from a distribution's packages where the image itself cannot be pulled.

builder.core.bootstrap has the recipe; mmdebstrap is run by it, and the result packed as an image
that an engine can load.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path

from msgspec import Struct

from builder.core.bases import bootstrap_reference
from builder.core.bootstrap import (
    HINT_MIRROR,
    Recipe,
    archives_for,
    image_config,
    is_network_fault,
    mmdebstrap_command,
    mmdebstrap_failure,
    os_release,
    signed_by,
)
from builder.core.errors import BuildError, InterruptedRunError
from builder.core.packages.sources import (
    AptSource,
    mirror_lists,
    parse_deb822,
    parse_one_line,
    render_deb822,
    resolve_mirrors,
)
from builder.core.reference import Reference
from builder.core.settings.sections import BootstrapSettings
from builder.core.text import LineSplitter
from builder.system.process import ProgramMissingError, run, stream

_LOAD_SECONDS = 600.0
_FETCH_SECONDS = 120.0


class BootstrappedBase(Struct, frozen=True, kw_only=True):
    """A base image that the engine now has; ``image_id`` is the digest of its configuration."""

    reference: Reference
    image_id: str
    key: str


def bootstrap(
    base: Reference,
    settings: BootstrapSettings,
    *,
    load: Callable[[Path], None] | None = None,
    on_line: Callable[[str], None],
    cancel: threading.Event,
    timeout: float | None = None,
) -> BootstrappedBase:
    """Make the substitute for ``base`` and give it to the engine.

    ``load`` takes the path of an archive of the kind that ``docker save`` writes; without it the
    docker command line does.

    Raises:
        BuildError: with the end of mmdebstrap's log; transient where a mirror did not answer.
        InterruptedRunError: on cancel.

    """
    recipe = read_recipe(base, settings)
    with tempfile.TemporaryDirectory(prefix="ocbuild-bootstrap-") as folder:
        archive = Path(folder) / "image.tar"
        image_id = make_archive(recipe, archive, on_line=on_line, cancel=cancel, timeout=timeout)
        (load or load_with_docker)(archive)
    return BootstrappedBase(reference=recipe.reference, image_id=image_id, key=recipe.key)


def make_archive(
    recipe: Recipe,
    archive: Path,
    *,
    on_line: Callable[[str], None],
    cancel: threading.Event,
    timeout: float | None = None,
) -> str:
    """Write the archive and return the id that the image will have in an engine.

    The same recipe gives the same bytes.
    """
    layer = archive.with_suffix(".layer")
    try:
        diff_id = _make_layer(recipe, layer, on_line=on_line, cancel=cancel, timeout=timeout)
        config = json.dumps(image_config(recipe, diff_id), sort_keys=True).encode()
        digest = hashlib.sha256(config).hexdigest()
        names = {"Config": f"{digest}.json", "Layers": ["layer.tar"]}
        manifest = json.dumps([{**names, "RepoTags": [str(recipe.reference)]}]).encode()
        with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
            with layer.open("rb") as content:
                tar.addfile(_member("layer.tar", layer.stat().st_size), content)
            tar.addfile(_member(f"{digest}.json", len(config)), BytesIO(config))
            tar.addfile(_member("manifest.json", len(manifest)), BytesIO(manifest))
    finally:
        layer.unlink(missing_ok=True)
    return f"sha256:{digest}"


def load_with_docker(archive: Path) -> None:
    """Give the archive to the engine that the docker command line talks to."""
    done = run(["docker", "load", "--quiet", "--input", str(archive)], timeout=_LOAD_SECONDS)
    if done.returncode != 0:
        raise BuildError(f"the engine did not take the base image: {done.complaint()}")


def _make_layer(
    recipe: Recipe,
    layer: Path,
    *,
    on_line: Callable[[str], None],
    cancel: threading.Event,
    timeout: float | None,
) -> str:
    """Run mmdebstrap into ``layer`` and return the layer's digest."""
    said: list[str] = []

    def on_log(line: str) -> None:
        said.append(line)
        on_line(line)

    _check_rights()
    log, checksum = LineSplitter(on_log), hashlib.sha256()
    with layer.open("wb") as file, _scratch() as scratch:

        def on_tar(chunk: bytes) -> None:
            checksum.update(chunk)
            file.write(chunk)

        try:
            result = stream(
                mmdebstrap_command(recipe),
                on_stdout=on_tar,
                on_stderr=log,
                cancel=cancel,
                timeout=timeout,
                env=_environment(recipe.epoch, scratch),
                stdin=render_deb822(recipe.sources).encode(),
            )
        except ProgramMissingError as error:
            raise BuildError(
                f"{recipe.reference} cannot be put together: {error.message}",
                hint="`apt-get install mmdebstrap`, or take the base from a mirror",
            ) from error
    log.end()
    if result.cancelled:
        raise InterruptedRunError(f"{recipe.reference}: cancelled while it was put together")
    if result.timed_out:
        raise BuildError(
            f"{recipe.reference}: mmdebstrap did not end within {timeout:g} s", transient=True
        )
    if result.returncode != 0:
        raise mmdebstrap_failure(recipe, said)
    return f"sha256:{checksum.hexdigest()}"


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for the new root; what an interrupted mmdebstrap leaves in it is removed.

    As far as it can be, that is: without root some of the files belong to other ids.
    """
    with tempfile.TemporaryDirectory(
        prefix="ocbuild-rootfs-", ignore_cleanup_errors=True
    ) as folder:
        # Without root the new root's owner is another id, which has to get there.
        Path(folder).chmod(0o755)
        yield Path(folder)


def _check_rights() -> None:
    """Whoever is not root needs a range of ids to give to the files of the image.

    Raises:
        BuildError: there is none.

    """
    if os.geteuid() == 0:
        return
    user = os.environ.get("USER", "")
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        if not {line.partition(":")[0] for line in lines} & {user, str(os.getuid())}:
            raise BuildError(
                f"mmdebstrap needs root, or a range of ids for this user in {file}",
                hint="as root: apt-get install uidmap; usermod --add-subuids 100000-165535 "
                f"--add-subgids 100000-165535 {user or 'USER'}",
            )


def _environment(epoch: int, scratch: Path) -> Mapping[str, str]:
    return {
        **os.environ,
        "TMPDIR": str(scratch),
        # An ordinary user's PATH may lack the folders of administration, where chroot is.
        "PATH": f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin",
        "SOURCE_DATE_EPOCH": str(epoch),
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


# -- archives ----------------------------------------------------------------------------------


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
    system = os_release(_read(etc / "os-release"))
    own = () if settings.mirror else read_apt_sources(etc / "apt")
    keyring = keyrings / f"{system.get('ID', '')}-archive-keyring.gpg"
    name = str(keyring) if keyring.exists() else ""
    return tuple(signed_by(source, name) for source in archives_for(settings, system, own))


def read_apt_sources(etc_apt: Path) -> tuple[AptSource, ...]:
    """What apt on this machine uses, mirror lists resolved to the first mirror they name."""
    parts = etc_apt / "sources.list.d"
    sources: list[AptSource] = []
    for path in (etc_apt / "sources.list", *sorted(parts.glob("*.list"))):
        sources.extend(parse_one_line(_read(path)))
    for path in sorted(parts.glob("*.sources")):
        sources.extend(parse_deb822(_read(path)))
    lists = {path: _read(Path(path)) for path in mirror_lists(sources)}
    return resolve_mirrors(sources, lists)


def _as_of_now(base: Reference, settings: BootstrapSettings) -> tuple[tuple[AptSource, ...], int]:
    """The archives that have the suite, and when the one that changed last did so."""
    sources = archives(settings, etc=Path("/etc"), keyrings=Path("/usr/share/keyrings"))
    dated = [(source, date) for source in sources if (date := _release_date(source)) is not None]
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
        hint=f"check the network, or {HINT_MIRROR}",
        transient=is_network_fault(complaint),
    )


def _date_field(url: str, text: str) -> int:
    match = re.search(r"^Date: (.+)$", text, re.MULTILINE)
    if match is None:
        raise BuildError(f"{url} is no index of packages: it has no date")
    return int(parsedate_to_datetime(match[1].strip().replace(" UTC", " +0000")).timestamp())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, PermissionError):
        return ""
