"""What holds for all manifests, lists and challenges."""

from __future__ import annotations

import json

from hypothesis import given, settings, strategies as st

from builder.core.reference import Reference
from builder.core.registry_content import MANIFESTS, Content, Manifest, digest_of
from builder.core.registry_faults import ProtocolError
from builder.core.web import challenges
from tests.support.client import make_client
from tests.support.web import Asked, Say, Web

# A few letters of every kind: all of Unicode takes a second to be listed.
TEXT = st.text('a0 "\\/é☃\0', max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8)
NAMES = st.lists(st.text("abcdefgh/_-&?=é ", min_size=1, max_size=8), unique=True, max_size=30)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A media type and a manifest of it, with whatever else may stand there, in any layout."""
    kind = draw(st.sampled_from(MANIFESTS))
    parts = [
        {"mediaType": "application/x", "digest": digest_of(data), "size": len(data)}
        for data in draw(st.lists(st.binary(max_size=5), max_size=4))
    ]
    key = "manifests" if "index" in kind or "list" in kind else "layers"
    content = draw(st.dictionaries(st.text("uvwxyz", min_size=1), JSON, max_size=3))
    content |= {"schemaVersion": 2, key: parts}
    if draw(st.booleans()):
        content["mediaType"] = kind
    indent = draw(st.sampled_from([None, 0, 3]))
    text = json.dumps(content, indent=indent, ensure_ascii=draw(st.booleans()))
    return kind, draw(st.sampled_from(["", " ", "\n"])).join(["", text, ""]).encode()


@given(bodies())
def test_a_manifest_is_the_bytes_that_it_was_read_from(made: tuple[str, bytes]) -> None:
    kind, body = made
    manifest = Manifest.of(body, kind)
    assert (manifest.media_type, manifest.body) == made
    assert manifest.digest == digest_of(body)
    assert Manifest.of(manifest.body, manifest.media_type, digest=manifest.digest) == manifest
    named = [part["digest"] for part in json.loads(body).get("layers", [])]
    assert [layer.digest for layer in manifest.layers] == named


@given(JSON)
def test_what_is_no_manifest_raises_only_our_own_errors(content: object) -> None:
    try:
        Manifest.of(json.dumps({"schemaVersion": 2, "layers": content}).encode())
    except ProtocolError:
        assert content is not None
    else:
        assert not content


@given(
    st.lists(
        st.tuples(TOKENS, st.dictionaries(TOKENS, st.text('ab ,="\\:/', max_size=8), max_size=3)),
        max_size=3,
    )
)
def test_challenges_are_read_as_they_were_written(made: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(
        f"{scheme} {', '.join(f'{name}={quoted(value)}' for name, value in given.items())}"
        for scheme, given in made
    )
    found = [(each.scheme, dict(each.parameters)) for each in challenges([text])]
    assert found == made


@settings(max_examples=25, deadline=None)
@given(NAMES, st.integers(1, 7))
def test_pages_of_any_size_hold_every_name_once(names: list[str], size: int) -> None:
    def answer(asked: Asked) -> Say:
        start = int(asked.query.get("last", ["0"])[0])
        page, more = names[start : start + size], start + size < len(names)
        # Relative to the page that it comes with, as the distribution project writes it.
        link = {"Link": f'</v2/ns/app/tags/list?last={start + size}>; rel="next"'} if more else {}
        return Say(body=json.dumps({"tags": page or None}).encode(), headers=link)

    with Web(answer) as web, make_client() as client:
        found = list(client.tags(Reference(registry=web.address, path="ns/app")))
        assert found == names
        assert len(web.asked) == max(1, -(-len(names) // size))


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=100_000))
def test_bytes_arrive_as_they_were_sent(data: bytes) -> None:
    stored: list[bytes] = []

    def answer(asked: Asked) -> Say:
        if asked.method == "POST":
            return Say(status=202, headers={"Location": "/upload"})
        if asked.method == "PUT":
            stored.append(asked.body)
            return Say(status=201)
        return Say(body=stored[0])

    content = Content.of(data)
    with Web(answer) as web, make_client() as client:
        image = Reference(registry=web.address, path="ns/app")
        client.blobs.put(image, content, look=False)
        with client.blobs.open(image, content.digest) as reader:
            assert reader.read() == data
    assert stored == [data]
