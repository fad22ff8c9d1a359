"""What of a Dockerfile is seen to need an engine, without a look at any file or image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from builder.core.bases import Resolution, clashing, familiar, unreadable
from builder.core.dockerfile.model import FEATURES, Dockerfile, Instruction, Needs
from builder.core.dockerfile.stages import GlobalArgs, global_args, parse_platform
from builder.core.dockerfile.words import expand
from builder.core.graph import ImageGraph
from builder.core.image import Image
from builder.core.select import Selection

_ENGINES_ONLY = frozenset({"git", "parents", "exclude", "syntax", "checksum", "unpack"})


def obstacle(
    dockerfile: Dockerfile,
    needs: Needs,
    triggers: Sequence[Instruction],
    *,
    build_args: Mapping[str, str],
    platform: str,
    build_platform: str,
) -> str:
    """Why a Dockerfile cannot be put together, "" where it can as far as one sees.

    ``triggers`` are those of its base, whose files are not looked at here.
    """
    if any(trigger.keyword == "RUN" for trigger in triggers):
        return "a trigger of the base is a RUN"
    if "," in platform:
        return "it is for several platforms"
    line = find_run(dockerfile, needs.stages)
    if line is not None:
        return f"line {line} is a RUN"
    if needs.remote:
        return f"ADD takes {needs.remote[0]} from the network"
    feature = min(needs.features & _ENGINES_ONLY, default="")
    if feature:
        return f"only an engine does {FEATURES[feature]}"
    args = global_args(dockerfile, build_args, platform, build_platform)
    foreign = (foreign_platform(dockerfile, index, args, platform) for index in needs.stages)
    return next(filter(None, foreign), "")


def foreign_platform(dockerfile: Dockerfile, index: int, args: GlobalArgs, platform: str) -> str:
    """Why the files of a stage are not for the platform of the image; "" where they are."""
    written = dockerfile.stages[index].platform
    if not written:
        return ""
    text = expand(written, args.values, dockerfile.escape).text
    if parse_platform(text) == parse_platform(platform):
        return ""
    return f"line {dockerfile.stages[index].line} is for another platform, {text}"


def find_run(dockerfile: Dockerfile, stages: Sequence[int]) -> int | None:
    """The line of the first RUN in these stages, which is reason enough for an engine."""
    for index in stages:
        for instruction in dockerfile.stages[index].instructions:
            if instruction.keyword == "RUN":
                return instruction.line
    return None


def quick_to_make(
    graph: ImageGraph, obstacles: Mapping[str, str], tested: Collection[str]
) -> frozenset[str]:
    """What is assembled of images of this tree alone, and nobody has to test."""
    return frozenset(
        name
        for name, obstacle in obstacles.items()
        if not obstacle and not graph[name].external and name not in tested
    )


def all_assembled(
    selection: Selection, obstacles: Mapping[str, str] | None, published: Collection[str]
) -> bool:
    """Whether no selected image needs an engine.

    Then what they stand on is read in the registry; what an engine builds on is best in the engine.
    """
    if obstacles is None:
        return False
    return not any(obstacles[name] for name in selection.images if name not in published)


def _clash(image: Image) -> str:
    """Why the names in a Dockerfile have to be told from each other, which is for an engine."""
    meanings = {text: f"image {name}" for text, name in image.links.items()}
    meanings |= {text: familiar(text) for text in image.external}
    clash = min(
        clashing((stage.name for stage in image.source.parsed.stages), meanings), default=""
    )
    return f'"{clash}" is an image and a stage, or two images' if clash else ""


def all_obstacles(
    graph: ImageGraph, names: Iterable[str], resolution: Resolution, platform: str
) -> dict[str, str]:
    """Why an image cannot be put together, "" where it can; ``platform`` is the engine's."""
    obstacles: dict[str, str] = {}
    for name in names:
        image = graph[name]
        base = image.links.get(image.base or "")
        own = obstacle(
            image.source.parsed,
            image.needs,
            graph[base].needs.onbuild if base else (),
            build_args=image.source.args,
            platform=image.source.platform or platform,
            build_platform=platform,
        )
        obstacles[name] = own or _clash(image) or unreadable(image.external, resolution)
    return obstacles
