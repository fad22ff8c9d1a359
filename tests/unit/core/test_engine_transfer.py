"""Pushes are added up over their layers, and what is wrong with a registry is told apart."""

from __future__ import annotations

from typing import Any

import pytest

from builder.core.engine.messages import Fault, Transfer, fault_of, pull_failure, push_failure
from builder.core.reference import Reference

DIGEST = "sha256:" + "ab" * 32
REFERENCE = Reference.parse("registry.example:5000/team/app:1")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # As Docker Engine 26.1.5 says it.
        ("no basic auth credentials", Fault.DENIED),
        ("denied: ", Fault.DENIED),
        ("unauthorized: authentication required", Fault.DENIED),
        ("denied: requested access to the resource is denied", Fault.DENIED),
        ("manifest unknown: manifest unknown", Fault.MISSING),
        ("manifest for r/x:1 not found: manifest unknown: manifest unknown", Fault.MISSING),
        (
            'Get "https://r/v2/": tls: first record does not look like a TLS handshake',
            Fault.INSECURE,
        ),
        ('Get "https://r/v2/": http: server gave HTTP response to HTTPS client', Fault.INSECURE),
        ("x509: certificate signed by unknown authority", Fault.INSECURE),
        ("received unexpected HTTP status: 503 Service Unavailable", Fault.PASSING),
        ("toomanyrequests: ", Fault.PASSING),
        # Two pushes of one layer to one repository at once: the second finds it the next time.
        (
            "errors: digest invalid manifest blob unknown: blob unknown to registry",
            Fault.PASSING,
        ),
        ('Get "http://r/v2/": EOF', Fault.PASSING),
        ('Get "https://r/v2/": dial tcp 1.2.3.4:443: i/o timeout', Fault.PASSING),
        ("write: connection reset by peer", Fault.PASSING),
        ('Get "http://r/v2/": dial tcp 1.2.3.4:1: connect: connection refused', Fault.UNREACHABLE),
        ('Get "https://r/v2/": dial tcp: lookup r on 1.2.3.4:53: no such host', Fault.UNREACHABLE),
        ("An image does not exist locally with the tag: r/x", Fault.UNTAGGED),
        # The same with the containerd image store.
        ("tag does not exist: r/x:1", Fault.UNTAGGED),
        ("unknown: ", Fault.OTHER),
    ],
)
def test_the_fault_is_read_from_the_text_of_the_engine(text: str, fault: Fault) -> None:
    assert fault_of(text) is fault
    error = push_failure(text, "cannot push", REFERENCE)
    assert error.fault is fault
    assert error.transient == (fault is Fault.PASSING)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("denied: ", "`docker login registry.example:5000`"),
        ("x509: unknown", 'add "registry.example:5000" to insecure-registries'),
        ("connection refused", "does registry.example:5000 run"),
        ("manifest unknown", "there is no registry.example:5000/team/app:1"),
    ],
)
def test_each_fault_has_its_remedy(text: str, hint: str) -> None:
    assert hint in str(push_failure(text, "cannot push", REFERENCE).hint)


def test_the_hub_is_logged_in_to_without_a_name() -> None:
    error = push_failure("denied: ", "cannot push", Reference.parse("team/app:1"))

    assert "`docker login`" in str(error.hint)


def test_a_failed_push_is_a_publishing_error_and_a_failed_pull_is_none() -> None:
    assert push_failure("x", "cannot push", REFERENCE).exit_code == 4
    assert pull_failure("x", "cannot pull", REFERENCE).exit_code == 1


def test_a_push_is_added_up_over_its_layers() -> None:
    transfer = Transfer()
    begin: tuple[dict[str, Any], ...] = (
        {"status": "The push refers to repository [r/x]"},
        {"status": "Preparing", "progressDetail": {}, "id": "a"},
        {"status": "Preparing", "progressDetail": {}, "id": "b"},
        {"status": "Layer already exists", "progressDetail": {}, "id": "c"},
        {"status": "Mounted from team/base", "progressDetail": {}, "id": "d"},
        {"status": "Pushing", "progressDetail": {"current": 10, "total": 100}, "id": "a"},
        {"status": "Pushing", "progressDetail": {"current": 7}, "id": "b"},
    )
    for message in begin:
        transfer.feed(message)
    assert (transfer.current, transfer.total) == (17, 107)

    end: tuple[dict[str, Any], ...] = (
        {"status": "Pushed", "progressDetail": {}, "id": "a"},
        {"status": "Pushed", "progressDetail": {}, "id": "b"},
        {"progressDetail": {}, "aux": {"Tag": "1", "Digest": DIGEST, "Size": 735}},
    )
    for message in end:
        transfer.feed(message)
    assert (transfer.current, transfer.total) == (107, 107)
    assert transfer.digest == DIGEST
    assert transfer.error is None


def test_an_old_engine_tells_the_digest_in_words() -> None:
    transfer = Transfer()
    transfer.feed({"status": f"1: digest: {DIGEST} size: 735"})

    assert transfer.digest == DIGEST


def test_an_error_in_the_stream_is_kept() -> None:
    transfer = Transfer()
    transfer.feed({"errorDetail": {"message": "denied: x"}, "error": "denied"})

    assert transfer.error == "denied: x"
