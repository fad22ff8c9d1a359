"""The rules that give images their names and tags: text with fields in braces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from builder.core.errors import InputError, did_you_mean
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
