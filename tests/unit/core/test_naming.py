"""Tag rules and naming rules."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from builder.core.image import (
    BadRuleError,
    image_name,
    name_rule,
    render_tag,
    tag_rule,
    used_fields,
)

FIELDS = {
    "version": "3.0.1",
    "commit": "e24cc66",
    "date": "20250131",
    "branch": "feature/x",
    "group": "contrail",
    "name": "vrouter",
}


@pytest.mark.parametrize(
    ("rule", "tag"),
    [
        ("{version}-{commit}", "3.0.1-e24cc66"),
        ("{date}_{group}.{name}", "20250131_contrail.vrouter"),
        ("{branch}", "feature-x"),
        ("latest", "latest"),
        ("v{version}", "v3.0.1"),
    ],
)
def test_fields_are_filled_in(rule: str, tag: str) -> None:
    assert render_tag(rule, FIELDS) == tag


@pytest.mark.parametrize(
    ("branch", "tag"),
    [
        ("main", "main"),
        ("user/jo/fix #12", "user-jo-fix-12"),
        ("-.x", "x"),
        ("release/3.0_x", "release-3.0_x"),
        ("größe", "gr-e"),
    ],
)
def test_branches_are_made_fit_for_tags(branch: str, tag: str) -> None:
    assert render_tag("{branch}", {"branch": branch}) == tag


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        ("{versoin}", "unknown field {versoin}", 'did you mean "version"?'),
        ("{}", "unknown field {}", "{version}, {commit}, {date}, {branch}, {group}, {name}"),
        ("{dir}", "unknown field {dir}", None),
        ("{version", "brace without its partner", "{version}"),
        ("version}", "brace without its partner", "{version}"),
        ("{version}:{commit}", '":"', "letters"),
        ("{version} {commit}", '" "', "letters"),
    ],
)
def test_a_rule_that_can_be_no_tag_rule_is_refused(
    rule: str, message: str, hint: str | None
) -> None:
    with pytest.raises(BadRuleError) as caught:
        tag_rule(rule)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


@pytest.mark.parametrize("fields", [{}, {"branch": ""}, {"branch": "///"}])
def test_a_field_without_a_value_is_no_tag(fields: dict[str, str]) -> None:
    with pytest.raises(BadRuleError, match="branch"):
        render_tag("{branch}", fields)


@pytest.mark.parametrize(
    ("version", "tag"), [(".1", ".1"), ("-1", "-1"), ("x" * 129, "x" * 129), ("1+2", "1+2")]
)
def test_a_tag_that_no_registry_takes_is_refused(version: str, tag: str) -> None:
    with pytest.raises(BadRuleError) as caught:
        render_tag("{version}", {"version": version})
    assert f'gives "{tag}", which is no tag' in caught.value.message
    assert "128 at most" in (caught.value.hint or "")


def test_the_longest_tag_is_a_tag() -> None:
    assert render_tag("{version}", {"version": "x" * 128}) == "x" * 128


def test_used_fields_are_those_in_braces() -> None:
    assert used_fields("v{version}-{commit}-version") == {"version", "commit"}


ROOT = PurePosixPath("/tree/contrail")


@pytest.mark.parametrize(
    ("rule", "directory", "name"),
    [
        ("{dir}", "analytics/api", "api"),
        ("{path}", "analytics/api", "analytics-api"),
        ("contrail-{path}", "analytics/api", "contrail-analytics-api"),
        ("{path}", "api", "api"),
        ("x-{dir}-{path}", "a/b", "x-b-a-b"),
        ("{dir}", ".", "contrail"),
        ("{path}", ".", "contrail"),
    ],
)
def test_images_are_named_by_their_folder(rule: str, directory: str, name: str) -> None:
    assert image_name(rule, ROOT / directory, ROOT) == name


@pytest.mark.parametrize(
    ("directory", "hint"),
    [
        ("Nova-API", '"nova-api"'),
        ("nova api", "rename the folder"),
        ("nova:1", "rename the folder"),
        ("nova@sha256:" + "0" * 64, "rename the folder"),
        ("_nova", "rename the folder"),
    ],
)
def test_a_folder_that_gives_no_legal_name_is_refused(directory: str, hint: str) -> None:
    with pytest.raises(BadRuleError) as caught:
        image_name("{dir}", ROOT / directory, ROOT)
    assert f'contrail/{directory}" gives the image name "{directory}"' in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("nova", "gives every image the same name"),
        ("contrail/{dir}", 'has a "/"'),
        ("{name}", "unknown field {name}"),
        ("{dir", "brace without its partner"),
    ],
)
def test_a_rule_that_can_be_no_naming_rule_is_refused(rule: str, message: str) -> None:
    with pytest.raises(BadRuleError) as caught:
        name_rule(rule)
    assert message in caught.value.message
    assert caught.value.hint
