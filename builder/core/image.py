"""What an image of the tree is, how it is called, and which image a name in a Dockerfile means."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath

from msgspec import Struct, field

from builder.core.dockerfile.model import Dockerfile, Needs
from builder.core.errors import InputError, Location, UnknownBaseError, did_you_mean
from builder.core.reference import BadReferenceError, Reference

TAG_FIELDS = ("version", "commit", "date", "branch", "group", "name")
NAME_FIELDS = ("dir", "path")

_FIELD = re.compile(r"\{([^{}]*)\}")
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]+")


class BadRuleError(InputError):
    """A rule that cannot be applied, or whose result is no legal name or tag."""


def tag_rule(text: str) -> str:
    """The rule itself, once it is sure that it can be a tag rule.

    Raises:
        BadRuleError: unknown field, stray brace, or a character that no tag can have.

    """
    rest = _check_fields(text, TAG_FIELDS, kind="tag")
    bad = _NOT_IN_TAGS.search(rest)
    if bad:
        raise BadRuleError(
            f'the tag rule "{text}" has "{bad[0]}", which no tag can have',
            hint="a tag has letters, digits, '_', '.' and '-'",
        )
    return text


def name_rule(text: str) -> str:
    """The rule itself, once it is sure that it can be a naming rule.

    Raises:
        BadRuleError: unknown field, stray brace, or no field, so that all images share a name.

    """
    rest = _check_fields(text, NAME_FIELDS, kind="naming")
    if rest == text:
        raise BadRuleError(
            f'the naming rule "{text}" gives every image the same name',
            hint=f'use a field, for example: name = "{text}-{{dir}}"',
        )
    if "/" in rest:
        raise BadRuleError(
            f'the naming rule "{text}" has a "/"',
            hint='what stands before the name belongs in "namespace" of [project]',
        )
    return text


def used_fields(rule: str) -> frozenset[str]:
    return frozenset(_FIELD.findall(rule))


def render_tag(rule: str, fields: Mapping[str, str]) -> str:
    """The tag that the rule gives; a branch is made fit for tags first.

    Raises:
        BadRuleError: a field of the rule is not in ``fields`` or empty, or the result is no tag.

    """
    tag_rule(rule)
    values = {name: value for name, value in fields.items() if value}
    if "branch" in values:
        values["branch"] = branch_in_tag(values["branch"])
    for name in sorted(used_fields(rule) - values.keys()):
        raise BadRuleError(
            f'the tag rule "{rule}" uses {{{name}}}, and there is no {name} here',
            hint=f"give a {name}, or use a rule without {{{name}}}",
        )
    tag = _fill(rule, values)
    try:
        Reference(path="image").with_tag(tag)
    except BadReferenceError as error:
        raise BadRuleError(
            f'the tag rule "{rule}" gives "{tag}", which is no tag', hint=error.hint
        ) from error
    return tag


def branch_in_tag(branch: str) -> str:
    """``feature/x`` -> ``feature-x``."""
    return _NOT_IN_TAGS.sub("-", branch).strip("-.")


def image_name(rule: str, directory: PurePath, group_root: PurePath) -> str:
    """The name of the image in ``directory``, which is ``group_root`` or lies below it.

    Raises:
        BadRuleError: the result is no legal repository name.

    """
    name_rule(rule)
    below = directory.relative_to(group_root).parts or (directory.name,)
    name = _fill(rule, {"dir": directory.name, "path": "-".join(below)})
    remedy = "rename the folder, or give its group another naming rule"
    try:
        reference = Reference.parse(name)
    except BadReferenceError as error:
        remedy = error.hint or remedy
    else:
        if reference == Reference(path=name):
            return name
    raise BadRuleError(
        f'the folder "{directory}" gives the image name "{name}", which is not allowed', hint=remedy
    )


def _check_fields(rule: str, known: Sequence[str], *, kind: str) -> str:
    """The rule's text without its fields."""
    for name in _FIELD.findall(rule):
        if name not in known:
            fields = ", ".join(f"{{{field}}}" for field in known)
            raise BadRuleError(
                f'the {kind} rule "{rule}" has the unknown field {{{name}}}',
                hint=did_you_mean(name, known) or f"the fields are {fields}",
            )
    rest = _FIELD.sub("", rule)
    if "{" in rest or "}" in rest:
        raise BadRuleError(
            f'the {kind} rule "{rule}" has a brace without its partner',
            hint=f"a field looks like {{{known[0]}}}",
        )
    return rest


def _fill(rule: str, values: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: values[match[1]], rule)


class ImageSource(Struct, frozen=True, kw_only=True):
    """One image directory as it lies in the tree, its Dockerfile read but not yet understood.

    ``directory``, ``label`` (the Dockerfile) and ``context_label`` are relative to build.toml, for
    messages and JSON; ``context`` and ``dockerfile`` are where they really are.
    """

    name: str
    group: str
    directory: str
    label: str
    context_label: str
    context: Path
    dockerfile: Path
    parsed: Dockerfile
    args: Mapping[str, str]
    target: str | None = None
    platform: str | None = None

    @property
    def location(self) -> Location:
        return Location(self.label)


class Image(Struct, frozen=True, kw_only=True):
    """A source with its place in the graph.

    ``repository`` has no tag. ``links`` maps each name as the Dockerfile writes it (FROM,
    COPY --from, RUN --mount=from=) to the in-tree image that it means; ``external`` are the names
    that no image of the tree answers to. ``parents`` are in-tree and sorted. ``level`` is 0 for an
    image that is built on no other.
    """

    name: str
    source: ImageSource
    repository: Reference
    needs: Needs
    links: Mapping[str, str]
    external: tuple[str, ...]
    level: int

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.links.values())))

    @property
    def group(self) -> str:
        return self.source.group

    @property
    def base(self) -> str | None:
        """What the target stage starts from, as written; None for scratch."""
        return self.needs.base


class InTreeNames(Struct, frozen=True, kw_only=True):
    """Under which names Dockerfiles may speak of our images.

    ``registry`` is the host that the release is published to, ``aliases`` are other namespaces,
    ``redirects`` (the [contexts] of build.toml) are names that were pointed elsewhere by hand.
    """

    namespace: str
    registry: str = ""
    aliases: frozenset[str] = frozenset()
    redirects: Mapping[str, str] = field(default_factory=dict)

    def image_for(
        self, text: str, *, asked_by: str, images: Collection[str], where: Location
    ) -> str | None:
        """The in-tree image that ``text`` means, or None for an external one.

        The tag never decides. A name in our namespace that no image has is a mistake, because the
        registry would answer it with something that this tree no longer makes.

        Raises:
            UnknownBaseError: a name in our own namespace that is no image, or no reference at all.

        """
        if text in self.redirects:
            return None
        try:
            reference = Reference.parse(text)
        except BadReferenceError as error:
            raise UnknownBaseError(error.message, where=where, hint=error.hint) from error
        if not reference.namespace and not reference.registry:
            is_bare = not reference.tag and not reference.digest
            return text if is_bare and text in images and text != asked_by else None
        if not self._is_ours(reference):
            return None
        if reference.name in images:
            return reference.name
        raise UnknownBaseError(
            f'"{text}" is in our own namespace, but the tree has no image "{reference.name}"',
            where=where,
            hint=did_you_mean(reference.name, images)
            or "add a directory for it, or redirect the name under [contexts] in build.toml",
        )

    def _is_ours(self, reference: Reference) -> bool:
        if reference.namespace in self.aliases:
            return True
        return reference.namespace == self.namespace and reference.registry in ("", self.registry)
