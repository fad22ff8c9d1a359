"""The command ``init``: looks for image directories and writes a build.toml that fits them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from builder.core.dockerfile.parse import parse
from builder.core.errors import ConfigError, InputError, Location, UsageError
from builder.core.options import InitOptions
from builder.core.proposal import FoundImage, proposal
from builder.core.reference import BadReferenceError, Reference


def init(options: InitOptions, _environ: Mapping[str, str]) -> int:
    text = propose(options.folder.resolve())
    if options.show:
        sys.stdout.write(text)
        return 0
    file = options.folder / "build.toml"
    if file.exists() and not options.force:
        raise UsageError(f"{file} exists", hint="--force overwrites it, --print only shows it")
    file.write_text(text)
    sys.stdout.write(f"wrote {file}\n")
    return 0


def propose(root: Path) -> str:
    """The text of a build.toml for the image directories below ``root``; it loads as it is.

    Raises:
        ConfigError: there is no Dockerfile.

    """
    images = find_images(root)
    if not images:
        raise ConfigError(
            "there is no Dockerfile in this folder or below it",
            where=Location(str(root)),
            hint="an image is a folder with a Dockerfile; run `ocbuild init` at the top of them",
        )
    return proposal(images, root.resolve().name)


def find_images(root: Path) -> tuple[FoundImage, ...]:
    """Every folder with a Dockerfile; hidden folders and symbolic links are passed by."""
    images = []
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name[0] != "." and _is_text(name))
        if "Dockerfile" in files:
            path = Path(folder)
            relative = PurePosixPath(path.relative_to(root).as_posix())
            images.append(FoundImage(folder=relative, bases=_bases(path / "Dockerfile")))
    return tuple(images)


def _is_text(name: str) -> bool:
    """Whether build.toml can name it: bytes that are no UTF-8 come as lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


def _bases(dockerfile: Path) -> tuple[Reference, ...]:
    try:
        stages = parse(dockerfile.read_bytes(), str(dockerfile)).stages
    except (InputError, OSError):
        return ()  # the build will say what is wrong with it; a proposal needs no more than hints
    bases = []
    for stage in stages:
        try:
            bases.append(Reference.parse(stage.base))
        except BadReferenceError:
            continue  # a base with a variable in it
    return tuple(bases)
