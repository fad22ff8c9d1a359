"""Walks the groups' folders and reads every Dockerfile in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.core.dockerfile.parse import parse
from builder.core.errors import (
    ContextError,
    InputError,
    Location,
    TreeError,
    did_you_mean,
    raise_all,
)
from builder.core.image import ImageSource
from builder.core.match.globs import BadPatternError
from builder.core.match.ignore import Ignore
from builder.core.naming import image_name
from builder.core.settings.config import Config
from builder.core.settings.sections import Group, ImageSettings

DOCKERFILE = "Dockerfile"


def discover(config: Config) -> tuple[ImageSource, ...]:
    """All image directories of all groups, sorted by directory.

    Folders with and without a Dockerfile are walked through, so that an image directory may lie
    inside another; symbolic links to folders and hidden folders are not followed.

    Raises:
        InputError: all that is wrong with any Dockerfile, name or folder, together.

    """
    errors: list[InputError] = []
    sources: list[ImageSource] = []
    for group in config.groups.values():
        exclude = _exclude(group, config)
        for folder in _folders(group.path, exclude, config.root, errors):
            try:
                source = _source(folder, group, config)
            except InputError as error:
                errors.append(error)
            else:
                if source is not None:
                    sources.append(source)
    errors.extend(_settings_without_image(config, sources))
    raise_all(errors)
    return tuple(sorted(sources, key=lambda source: source.directory))


def _exclude(group: Group, config: Config) -> Ignore:
    try:
        return Ignore.of_patterns(group.exclude, Location(config.path.name))
    except BadPatternError as error:  # only now it pays to look for the line
        where = config.locate("groups", group.name, "exclude")
        raise BadPatternError(error.message, where=where, hint=error.hint) from error


def _folders(top: Path, exclude: Ignore, root: Path, errors: list[InputError]) -> Iterator[Path]:
    todo = [top]
    while todo:
        folder = todo.pop()
        yield folder
        try:
            with os.scandir(folder) as entries:
                below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            where = Location(os.path.relpath(folder, root))
            errors.append(ContextError(f"cannot be read: {error.strerror}", where=where))
            continue
        todo.extend(
            folder / name
            for name in sorted(below, reverse=True)
            if not name.startswith(".")
            and not exclude.excludes((folder / name).relative_to(top).as_posix())
        )


def _source(folder: Path, group: Group, config: Config) -> ImageSource | None:
    settings = _settings(folder, group, config)
    dockerfile = folder / (settings.dockerfile if settings is not None else DOCKERFILE)
    if not dockerfile.is_file():
        return None
    label = os.path.relpath(dockerfile, config.root)
    try:
        name = image_name(group.naming, folder, group.path)
        data = dockerfile.read_bytes()
    except InputError as error:
        raise TreeError(error.message, where=Location(label), hint=error.hint) from error
    except OSError as error:
        raise TreeError(f"cannot be read: {error.strerror}", where=Location(label)) from error
    context = _context(folder, settings, label)
    args = {**config.project.args, **group.args, **(settings.args if settings else {})}
    return ImageSource(
        name=name,
        group=group.name,
        directory=os.path.relpath(folder, config.root),
        label=label,
        context_label=os.path.relpath(context, config.root),
        context=context,
        dockerfile=dockerfile,
        parsed=parse(data, label),
        args=args,
        target=settings.target if settings else None,
        platform=",".join(settings.platforms) or None if settings else None,
    )


def _settings(folder: Path, group: Group, config: Config) -> ImageSettings | None:
    """``[images.NAME]`` of the image that the folder would make."""
    if not config.images:
        return None
    try:
        return config.images.get(image_name(group.naming, folder, group.path))
    except InputError:
        return None  # no image can have such a name; said later, if it has a Dockerfile


def _context(folder: Path, settings: ImageSettings | None, label: str) -> Path:
    if settings is None or settings.context == ".":
        return folder
    context = Path(os.path.normpath(folder / settings.context))
    if not context.is_dir():
        raise TreeError(
            f'the context "{settings.context}" is no folder',
            where=Location(label),
            hint=f"set context in [images.{settings.name}] to a folder, relative to its Dockerfile",
        )
    return context


def _settings_without_image(config: Config, sources: list[ImageSource]) -> Iterator[InputError]:
    names: Mapping[str, ImageSource] = {source.name: source for source in sources}
    for name in config.images:
        if name not in names:
            yield TreeError(
                f"there is no image {name}",
                where=config.locate("images", name),
                hint=did_you_mean(name, names) or "`ocbuild list` shows all images",
            )
