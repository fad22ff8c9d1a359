"""The headers of registries and token servers, as they really write them."""

from __future__ import annotations

import pytest

from builder.core.web import challenges, media_type, next_page, retry_after

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([""], []),
        (['Basic realm="Registry Realm"'], [("basic", {"realm": "Registry Realm"})]),
        (
            [f'{HUB},scope="repository:a/b:pull,push"'],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        # Several in one header, and one without any parameter.
        (
            ['Negotiate, Basic realm="a, b", Bearer realm=https://t/x , service=s'],
            [
                ("negotiate", {}),
                ("basic", {"realm": "a, b"}),
                ("bearer", {"realm": "https://t/x", "service": "s"}),
            ],
        ),
        (["Negotiate", "Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (['BEARER Realm="a\\"b\\\\c"'], [("bearer", {"realm": 'a"b\\c'})]),
        (['Basic realm="never closed'], [("basic", {"realm": ""})]),
        (['realm="of nothing"'], []),
    ],
)
def test_challenges_are_read_in_all_their_forms(
    values: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    found = challenges(values)
    assert [(each.scheme, dict(each.parameters)) for each in found] == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("", None),
        ('</v2/_catalog?last=b&n=2>; rel="next"', "https://r/v2/_catalog?last=b&n=2"),
        ("<tags?last=b>; rel=next", "https://r/v2/x/tags?last=b"),
        ('<https://r/a>; rel="prev", <https://r/b>; rel="next"', "https://r/b"),
        ('<https://r/a>; title="x"; rel="last next"', "https://r/a"),
        ('</v2/x>; rel="nextish"', None),
        ("no link at all", None),
    ],
)
def test_the_next_page_is_found_where_there_is_one(link: str, expected: str | None) -> None:
    assert next_page(link, "https://r/v2/x/list?n=2") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str | None, expected: float | None) -> None:
    assert retry_after(text, 1_700_000_000.0) == expected


def test_a_media_type_has_no_parameters() -> None:
    assert media_type("Application/JSON; charset=utf-8") == "application/json"
    assert media_type(None) == ""
