"""Runs mmdebstrap by a recipe and packs the result as an image that an engine can load."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

from msgspec import Struct

from builder.core.errors import BuildError, InterruptedRunError
from builder.core.reference import Reference
from builder.core.settings.sections import BootstrapSettings
from builder.core.text import LineSplitter
from builder.engines.bootstrap.apt_sources import render_deb822
from builder.engines.bootstrap.recipe import Recipe, is_network_fault, read_recipe
from builder.system.process import ProgramMissingError, run, stream

KEY_LABEL = "ocbuild.bootstrap.key"
SUITE_LABEL = "ocbuild.bootstrap.suite"

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OCI_ARCHITECTURES = {
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v5"),
    "i386": ("386", ""),
    "ppc64el": ("ppc64le", ""),
    "mips64el": ("mips64le", ""),
}
_LOAD_SECONDS = 600.0


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
        config = json.dumps(_config(recipe, diff_id), sort_keys=True).encode()
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
                _command(recipe),
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
        raise _failure(recipe, said)
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


def _command(recipe: Recipe) -> list[str]:
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


def _failure(recipe: Recipe, said: Sequence[str]) -> BuildError:
    errors = [
        line for line in said if line.startswith(("E: ", "W: ", "Err:", "dpkg: error"))
    ] or said
    text = "\n".join(errors[-8:])
    return BuildError(
        f"{recipe.reference} could not be put together:\n{text}", transient=is_network_fault(text)
    )


def _config(recipe: Recipe, diff_id: str) -> Mapping[str, object]:
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


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member
