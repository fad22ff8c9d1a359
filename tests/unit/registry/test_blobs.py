"""Blobs and redirects against a registry that is odd or not well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.core.reference import Reference
from builder.core.registry_content import Content, Descriptor, digest_of
from builder.core.registry_faults import (
    DigestMismatchError,
    ProtocolError,
    QuotaError,
    UnreachableError,
)
from builder.docker.settings import Login
from builder.registry.blobs import Stored
from tests.support.client import make_client
from tests.support.clock import FakeClock
from tests.support.images import make_image
from tests.support.web import RESET, Asked, Say, Web, in_turn

MADE = make_image().manifest
ALICE = Login(username="alice", password="s3cret")


def image(web: Web) -> Reference:
    return Reference(registry=web.address, path="ns/app", tag="1")


DATA = b"0123456789" * 10_000
BLOB = Descriptor(media_type="application/x", digest=digest_of(DATA), size=len(DATA))


def test_a_small_blob_that_is_cut_off_is_read_again() -> None:
    cut, whole = Say(body=DATA, cut=500), Say(body=DATA)
    with Web(in_turn(cut, cut, whole)) as web, make_client() as client:
        assert client.blobs.read(image(web), BLOB) == DATA


@pytest.mark.parametrize("body", [DATA[:-1] + b"x", DATA + b"x", b""])
def test_a_blob_of_another_digest_is_refused(body: bytes) -> None:
    with Web(in_turn(Say(body=body))) as web, make_client() as client:
        with pytest.raises(DigestMismatchError):
            client.blobs.read(image(web), BLOB)
        with (
            client.blobs.open(image(web), BLOB.digest) as reader,
            pytest.raises(DigestMismatchError, match="what came has the digest"),
        ):
            reader.read()


def test_a_stream_that_is_cut_off_says_so_in_the_middle() -> None:
    with (
        Web(in_turn(Say(body=DATA, cut=500))) as web,
        make_client() as client,
        client.blobs.open(image(web), BLOB.digest) as reader,
        pytest.raises(UnreachableError, match="broke"),
    ):
        reader.read()


def uploads(fail: dict[str, list[Say]], stored: list[bytes]) -> Callable[[Asked], Say]:
    """A registry that takes uploads, after what ``fail`` has for a method was said."""

    def answer(asked: Asked) -> Say:
        if fail.get(asked.method):
            return fail[asked.method].pop(0)
        if asked.method == "HEAD":
            return Say(status=404)
        if asked.method == "POST":
            # A whole address, and a state that must come back as it is.
            place = f"http://{asked.headers['host']}/upload?_state=a%2Fb%3D&x="
            return Say(status=202, headers={"Location": place})
        stored.append(asked.body)
        return Say(status=201, headers={"Docker-Content-Digest": asked.query["digest"][0]})

    return answer


def test_an_upload_goes_where_the_registry_says_and_keeps_its_state() -> None:
    stored: list[bytes] = []
    with Web(uploads({}, stored)) as web, make_client() as client:
        assert client.blobs.put(image(web), Content.of(DATA)) is Stored.UPLOADED
        assert [asked.method for asked in web.asked] == ["HEAD", "POST", "PUT"]
        digest = BLOB.digest.replace(":", "%3A")
        assert web.asked[-1].target == f"/upload?_state=a%2Fb%3D&x=&digest={digest}"
        assert client.traffic.sent == len(DATA)
    assert stored == [DATA]


@pytest.mark.parametrize("fault", [RESET, Say(status=500)])
def test_a_broken_upload_starts_anew_from_the_first_byte(fault: Say) -> None:
    stored: list[bytes] = []
    with Web(uploads({"PUT": [fault]}, stored)) as web, make_client() as client:
        client.blobs.put(image(web), Content.of(DATA), look=False)
        assert [asked.method for asked in web.asked] == ["POST", "PUT", "POST", "PUT"]
    assert stored == [DATA]


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_where_a_mount_is_refused_the_blob_is_uploaded(status: int) -> None:
    stored: list[bytes] = []
    with Web(uploads({"POST": [Say(status=status)]}, stored)) as web, make_client() as client:
        source = Reference(registry=web.address, path="ns/base")
        done = client.blobs.put(image(web), Content.of(DATA), mount_from=source)
        assert done is Stored.UPLOADED
        assert web.asked[0].query == {"mount": [BLOB.digest], "from": ["ns/base"]}
    assert stored == [DATA]


def test_where_a_mount_becomes_an_upload_its_session_is_used() -> None:
    stored: list[bytes] = []
    with Web(uploads({}, stored)) as web, make_client() as client:
        source = Reference(registry=web.address, path="ns/base")
        client.blobs.put(image(web), Content.of(DATA), mount_from=source)
        assert [asked.method for asked in web.asked] == ["POST", "PUT"]
    assert stored == [DATA]


def test_a_blob_is_mounted_only_within_one_registry() -> None:
    with make_client() as client, pytest.raises(ValueError, match="nothing can be mounted"):
        client.blobs.put(
            Reference(registry="a.example.com", path="x"),
            Content.of(b""),
            mount_from=Reference(registry="b.example.com", path="x"),
        )


def test_artifactorys_403_for_an_absent_blob_does_not_keep_it_from_being_uploaded() -> None:
    stored: list[bytes] = []
    with Web(uploads({"HEAD": [Say(status=403)]}, stored)) as web, make_client() as client:
        assert client.blobs.put(image(web), Content.of(DATA)) is Stored.UPLOADED


def test_a_full_registry_is_not_asked_again() -> None:
    clock = FakeClock()
    full = Say(status=413, body=b"too large")
    with (
        Web(uploads({"PUT": [full]}, [])) as web,
        make_client(clock=clock) as client,
        pytest.raises(QuotaError, match="no room left"),
    ):
        client.blobs.put(image(web), Content.of(DATA))
    assert clock.waits == []


def test_a_source_that_ends_too_early_does_not_hang_the_upload() -> None:
    content = Content.of(DATA)
    short = Content(digest=content.digest, size=content.size + 1, open=content.open)
    with (
        Web(uploads({}, [])) as web,
        make_client() as client,
        pytest.raises(UnreachableError, match="its source ended 1 bytes too early"),
    ):
        client.blobs.put(image(web), short)


def test_an_upload_without_an_address_is_a_fault_of_the_registry() -> None:
    with (
        Web(in_turn(Say(status=202))) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match="does not say where"),
    ):
        client.blobs.put(image(web), Content.of(DATA), look=False)


# --- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_object_storage_never_sees_our_credentials(status: int) -> None:
    def ask_who(asked: Asked) -> Say:
        if "authorization" not in asked.headers:
            return Say(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
        return Say(status=status, headers={"Location": f"http://{storage.address}/b?sig=a%2Bb"})

    with (
        Web(in_turn(Say(body=DATA))) as storage,
        Web(ask_who) as web,
        make_client(login=ALICE) as client,
    ):
        assert client.blobs.read(image(web), BLOB) == DATA
        assert [asked.target for asked in storage.asked] == ["/b?sig=a%2Bb"]
        assert "authorization" not in storage.asked[0].headers
        assert web.asked[-1].headers["authorization"] == ALICE.basic


def test_within_the_registry_a_redirect_keeps_them() -> None:
    def answer(asked: Asked) -> Say:
        if "authorization" not in asked.headers:
            return Say(status=401, headers={"WWW-Authenticate": "Basic realm=r"})
        if asked.path.startswith("/v2/"):
            return Say(status=307, headers={"Location": "/elsewhere"})
        return Say(body=DATA)

    with Web(answer) as web, make_client(login=ALICE) as client:
        assert client.blobs.read(image(web), BLOB) == DATA


def test_after_a_fault_of_the_storage_the_registry_is_asked_for_a_new_address() -> None:
    with (
        Web(in_turn(Say(status=503), Say(body=DATA))) as storage,
        Web(in_turn(Say(status=307, headers={"Location": f"http://{storage.address}/b"}))) as web,
        make_client() as client,
    ):
        assert client.blobs.read(image(web), BLOB) == DATA
        assert len(web.asked) == 2


def test_a_circle_of_redirects_ends() -> None:
    with (
        Web(in_turn(Say(status=302, headers={"Location": "/v2/x"}))) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match="in a circle"),
    ):
        client.manifest(image(web))
    assert len(web.asked) == 5


def test_a_redirect_may_not_turn_a_push_into_something_else() -> None:
    with (
        Web(in_turn(Say(status=302, headers={"Location": "/login"}))) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match="redirects a PUT with 302"),
    ):
        client.put(image(web), MADE)


def test_a_redirect_that_keeps_the_method_sends_the_body_again() -> None:
    moved = Say(status=307, headers={"Location": "/moved"})
    stored = Say(status=201, headers={"Docker-Content-Digest": MADE.digest})
    with Web(in_turn(moved, stored)) as web, make_client() as client:
        client.put(image(web), MADE)
        assert [asked.body for asked in web.asked] == [MADE.body, MADE.body]


@pytest.mark.parametrize("place", ["http://storage.example.com/x", "ftp://storage.example.com/x"])
def test_a_redirect_to_where_there_is_no_tls_is_refused(place: str) -> None:
    with (
        Web(in_turn(Say(status=307, headers={"Location": place}))) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match=r"storage\.example\.com.* without TLS"),
    ):
        client.blobs.read(image(web), BLOB)


# --- what is too much -----------------------------------------------------------------------------


def test_a_blob_that_goes_on_after_its_size_is_given_up() -> None:
    endless = Say(body=DATA + bytes(4 << 20))
    with Web(in_turn(endless)) as web, make_client() as client:
        with pytest.raises(ProtocolError, match=f"sends more than {len(DATA) + 1} bytes"):
            client.blobs.read(image(web), BLOB)
        with (
            client.blobs.open(image(web), BLOB.digest, size=BLOB.size) as reader,
            pytest.raises(ProtocolError, match=f"sends more than {len(DATA) + 1} bytes"),
        ):
            reader.read()
        assert client.traffic.received < 3 * len(DATA) + (1 << 20)


def test_a_blob_that_is_said_to_be_huge_is_not_read_into_memory() -> None:
    huge = Descriptor(media_type="application/x", digest=BLOB.digest, size=1 << 40)
    with Web(in_turn(Say(body=DATA))) as web, make_client() as client:
        with pytest.raises(ProtocolError, match="what is read at once has"):
            client.blobs.read(image(web), huge)
        assert web.asked == []
