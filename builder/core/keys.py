"""Content keys and labels: what can change an image, and what an image says of where it is from.

A key is the hash of everything that can change what an image holds, and of nothing else. The labels
are those of https://github.com/opencontainers/image-spec/blob/main/annotations.md. They are given
to the engine beside the Dockerfile, so they change the image's configuration and none of its
layers: a child's layer cache does not notice them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from builder.core.context import ReadContext
from builder.core.dockerfile.model import Instruction, Stage
from builder.core.image import Image
from builder.core.release import Inputs

SCHEMA = 1
TAG_DIGITS = 40
# Enough to see that a part changed; the key alone decides.
INPUT_DIGITS = 12
# A context of more files is remembered as a whole, for the release must stay small.
MOST_FILES = 300
ALL_FILES = "(any of the context)"


class FileIdentity(Struct, frozen=True, kw_only=True):
    """A context file as far as an image can tell: no mtime, no owner.

    ``content`` is the sha256 of a regular file, "" for folders and links.
    """

    path: str
    kind: str
    mode: int
    link: str
    content: str


class Identity(Struct, frozen=True, kw_only=True):
    """The key of an image, what it was made of, and the context that was read for it."""

    key: str
    inputs: Inputs
    context: ReadContext


def identify_image(
    image: Image,
    context: ReadContext,
    *,
    externals: Mapping[str, str],
    parents: Mapping[str, str],
    platform: str,
    engine_class: str,
    generation: int,
    tests: Sequence[str],
    redirects: Mapping[str, str],
) -> Identity:
    """Key and inputs of an image; ``externals``, ``parents`` and so on as for these."""
    files = [
        FileIdentity(
            path=file.path,
            kind=file.kind,
            mode=file.mode,
            link=file.link,
            content=context.contents.get(file.path, ""),
        )
        for file in context.listing.files
    ]
    return Identity(
        key=content_key(
            image,
            files=files,
            externals=externals,
            parents=parents,
            platform=platform,
            engine_class=engine_class,
            generation=generation,
        ),
        inputs=inputs_of(
            image,
            files=files,
            externals=externals,
            platform=platform,
            engine_class=engine_class,
            tests=tests,
            redirects=redirects,
        ),
        context=context,
    )


def content_key(
    image: Image,
    *,
    files: Sequence[FileIdentity],
    externals: Mapping[str, str],
    parents: Mapping[str, str],
    platform: str,
    engine_class: str,
    generation: int = 0,
) -> str:
    """The key as 64 hexadecimal digits; ``generation`` counts how often it was refreshed.

    ``externals`` maps each external base, as written, to its digest; ``parents`` each in-tree image
    to its key. Commit, date, tag and the labels that ocbuild adds are left out on purpose: two
    commits with equal content share a key.
    """
    document = {
        "schema": SCHEMA,
        "engine": engine_class,
        "platform": platform,
        "args": dict(image.needs.args),
        **_recipe(image),
        "files": [
            [file.path, file.kind, file.mode, file.link, file.content]
            for file in sorted(files, key=lambda file: file.path)
        ],
        "externals": {text: externals[text] for text in image.external},
        "parents": {text: parents[name] for text, name in image.links.items()},
    }
    if generation:
        document["generation"] = generation
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def inputs_of(
    image: Image,
    *,
    files: Sequence[FileIdentity],
    externals: Mapping[str, str],
    platform: str,
    engine_class: str,
    tests: Sequence[str] = (),
    redirects: Mapping[str, str] | None = None,
) -> Inputs:
    """What the key is made of, part by part, so that it can be said later which part changed."""
    recipe = [*_recipe(image).values()]
    hashes = {
        file.path: _short_hash([file.kind, file.mode, file.link, file.content]) for file in files
    }
    if len(hashes) > MOST_FILES:
        hashes = {ALL_FILES: _short_hash(sorted(hashes.items()))}
    return Inputs(
        recipe=_short_hash(recipe),
        setting=_short_hash([engine_class, platform]),
        files=hashes,
        args={name: _short_hash(value) for name, value in image.needs.args.items()},
        bases={text: externals[text] for text in image.external},
        parents=image.parents,
        tests=_short_hash(list(tests)) if tests else "",
        redirects={text: to for text, to in (redirects or {}).items() if text in image.external},
    )


def _short_hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:INPUT_DIGITS]


def key_tag(key: str, tests: str = "") -> str:
    """The tag under which every published image can be found by its key.

    ``tests`` are those that it has passed, as the hash of its inputs: what is found by its key is
    not tested again.
    """
    return f"key-{key[:TAG_DIGITS]}-{tests}" if tests else f"key-{key[:TAG_DIGITS]}"


def _recipe(image: Image) -> dict[str, object]:
    """What the Dockerfile says, stages that nobody needs left out unless others are numbered.

    Directives are there where they say something: an escape other than the backslash, another
    frontend, checks that can fail a build.
    """
    needs, dockerfile = image.needs, image.source.parsed
    stages = [dockerfile.stages[index] for index in needs.stages]
    numbers = {index: index for index in needs.stages}
    if not any(map(_is_numbered, stages)):
        numbers = {index: number for number, index in enumerate(needs.stages)}
    directives = {
        "escape": dockerfile.escape.removeprefix("\\"),
        "syntax": dockerfile.syntax,
        "check": dockerfile.check,
    }
    return {
        "target": numbers[needs.target],
        "global_args": [_instruction(argument) for argument in dockerfile.args],
        "stages": [_stage(stage, numbers[stage.index]) for stage in stages],
        **{name: value for name, value in directives.items() if value},
    }


def _is_numbered(stage: Stage) -> bool:
    """Whether it names another stage by its number."""
    flags = (flag for instruction in stage.instructions for flag in instruction.flags)
    return any(flag.name == "from" and (flag.value or "").isdigit() for flag in flags)


def _stage(stage: Stage, number: int) -> list[object]:
    steps = [_instruction(instruction) for instruction in stage.instructions]
    return [number, stage.name, stage.base, stage.platform, steps]


def _instruction(instruction: Instruction) -> list[object]:
    """All that BuildKit would act on; comments, blanks and line numbers are gone."""
    return [
        instruction.keyword,
        [[flag.name, flag.value] for flag in instruction.flags],
        list(instruction.arguments),
        instruction.json,
        [[heredoc.name, heredoc.content, heredoc.expand] for heredoc in instruction.heredocs],
        None if instruction.trigger is None else _instruction(instruction.trigger),
    ]


# -- labels ------------------------------------------------------------------------------------


KEY = "ocbuild.key"
RUN = "ocbuild.run"
_OCI = "org.opencontainers.image."
BASE_DIGEST = f"{_OCI}base.digest"
# What a run says of an image whatever its Dockerfile says, where it knows it.
KNOWN_BY_RUN = frozenset(
    {f"{_OCI}revision", f"{_OCI}created", f"{_OCI}base.name", BASE_DIGEST, KEY}
)


def oci_labels(
    *,
    title: str,
    key: str,
    version: str = "",
    revision: str = "",
    source: str = "",
    created: datetime | None = None,
    base_name: str = "",
    base_digest: str = "",
    own: Collection[str] = (),
) -> dict[str, str]:
    """Labels of the OCI image specification (annotations.md), empty ones set to "".

    ``own`` are the labels that the Dockerfile sets. They stay, but for what only the run knows: the
    commit, its time and the base. All others are always there: one that were left out would be
    inherited from the parent and speak of the wrong image. ``created`` is the commit's time, not
    the clock's, so that a commit gives the same image twice.
    """
    labels = {
        f"{_OCI}title": title,
        f"{_OCI}version": version,
        f"{_OCI}revision": revision,
        f"{_OCI}source": source,
        f"{_OCI}created": created.strftime("%Y-%m-%dT%H:%M:%SZ") if created else "",
        f"{_OCI}base.name": base_name,
        BASE_DIGEST: base_digest,
        KEY: key,
    }
    return {
        name: text
        for name, text in labels.items()
        if name not in own or (text and name in KNOWN_BY_RUN)
    }
