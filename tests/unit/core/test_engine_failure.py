"""A failed build is told as a fact with a place, a remedy, and whether to try again."""

from __future__ import annotations

import pytest

from builder.core.dockerfile.parse import parse
from builder.core.engine.failure import (
    describe,
    exit_status,
    is_transient,
    remedy,
    reported_error,
    reported_line,
    span,
    timed_out,
)
from builder.core.engine.place import line_of_command, line_of_feature, line_of_step
from builder.core.errors import Location

HEAD = 'failed to resolve source metadata for x: failed to do request: Head "https://r/v2/": '


@pytest.mark.parametrize(
    "message",
    [
        f"{HEAD}dial tcp 10.0.0.1:443: i/o timeout",
        f"{HEAD}net/http: TLS handshake timeout",
        f"{HEAD}EOF",
        f"{HEAD}context deadline exceeded",
        f"{HEAD}read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer",
        f"{HEAD}dial tcp: lookup r: Temporary failure in name resolution",
        f"{HEAD}dial tcp: lookup r on 10.0.0.1:53: server misbehaving",
        f"{HEAD}dial tcp 10.0.0.1:443: connect: no route to host",
        "unexpected status from HEAD request to https://r/v2/x: 503 Service Unavailable",
        "received unexpected HTTP status: 502 Bad Gateway",
        "toomanyrequests: You have reached your pull rate limit",
        "failed to copy: httpReadSeeker: failed open: unexpected status code 504",
        "failed to fetch oauth token: unexpected status: 500 Internal Server Error",
        "failed to copy: unexpected EOF",
        "stream error: stream ID 5; INTERNAL_ERROR; received from peer",
    ],
)
def test_a_fault_of_network_or_server_passes(message: str) -> None:
    assert is_transient(message)


@pytest.mark.parametrize(
    "message",
    [
        f"{HEAD}dial tcp: lookup nosuch.example: no such host",
        "docker.io/library/nope:1: not found",
        "pull access denied, repository does not exist or may require authorization",
        "failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized",
        f"{HEAD}x509: certificate signed by unknown authority",
        f"{HEAD}http: server gave HTTP response to HTTPS client",
        f"{HEAD}dial tcp 127.0.0.1:1: connect: connection refused",
        "write /var/lib/docker/x: no space left on device",
        "write /x: no space left on device: unexpected EOF",
        '"/nothing": not found',
        "unknown instruction: RUNN",
        'target stage "x" could not be found',
    ],
)
def test_a_mistake_or_a_refusal_stays(message: str) -> None:
    assert not is_transient(message)


@pytest.mark.parametrize(
    "line",
    [
        "Temporary failure resolving 'deb.debian.org'",
        "E: Failed to fetch http://deb.example/x.deb  503  Service Unavailable [IP: 1.2.3.4 80]",
        "E: Failed to fetch http://deb.example/x.deb  Connection timed out [IP: 1.2.3.4 80]",
        "E: Failed to fetch http://m/x  Hash Sum mismatch",
        "W: Could not connect to deb.debian.org:80 (1.2.3.4), connection timed out",
        "ReadTimeoutError: HTTPSConnectionPool(host='pypi.org', port=443): Read timed out.",
        "ERROR: HTTP error 503 while getting https://index.example.org/simple/x/",
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)'",
        "npm ERR! code ETIMEDOUT",
        "npm error code E503",
        "[ERROR] Could not transfer artifact a:b:jar:1 from/to central: Connection reset",
        "> Received status code 502 from server: Bad Gateway",
        "curl: (28) Operation timed out after 30000 milliseconds",
        "curl: (22) The requested URL returned error: 503",
        "wget: unable to resolve host address 'x.example'",
        "fatal: unable to access 'https://g/x.git/': Could not resolve host: g",
        "error: RPC failed; curl 56 GnuTLS recv error",
        "ERROR: https://dl-cdn.example/x: temporary error (try again later)",
        "dial tcp 1.2.3.4:443: i/o timeout",
    ],
)
def test_a_command_that_failed_for_its_mirror_may_be_tried_again(line: str) -> None:
    assert is_transient("exit code: 100", ["before", line, "after"], status=100)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["make: *** [Makefile:3: all] Error 2"],
        ["E: Unable to locate package nosuch"],
        ["E: Failed to fetch http://deb.example/x.deb  404  Not Found [IP: 1.2.3.4 80]"],
        ["ERROR: No matching distribution found for nosuch"],
        ["npm ERR! code E404"],
        ["[ERROR] Could not transfer artifact a:b:jar:1: status code: 401, Unauthorized"],
        ["curl: (22) The requested URL returned error: 404"],
        ["cc1: out of memory", "Temporary failure resolving 'x'", "No space left on device"],
    ],
)
def test_a_command_that_failed_by_itself_stays_failed(lines: list[str]) -> None:
    assert not is_transient("exit code: 1", lines, status=1)


def test_what_a_registry_says_does_not_make_a_failing_command_pass() -> None:
    assert not is_transient("exit code: 1: i/o timeout", [], status=1)


def test_a_command_that_was_killed_is_not_tried_again_and_memory_is_suspected() -> None:
    assert not is_transient("exit code: 137", ["Read timed out"], status=137)
    assert "memory" in str(remedy("exit code: 137", [], status=137))


@pytest.mark.parametrize(
    ("message", "lines", "status", "hint"),
    [
        ("write: no space left on device", (), None, "docker builder prune"),
        ("x", ("tar: write error: No space left on device",), 1, "docker builder prune"),
        ("dial tcp: lookup r: no such host", (), None, "mirror"),
        ("http: server gave HTTP response to HTTPS client", (), None, "insecure-registries"),
        ("pull access denied", (), None, "docker login"),
        ("x", ("E: /var/lib/apt: Permission denied",), 100, None),
        ("x509: certificate signed by unknown authority", (), None, "certs.d"),
        ("x", ("curl: (60) SSL certificate problem",), 60, "ca-bundle"),
        ("x", ("make: *** Error 1",), 2, None),
    ],
)
def test_a_common_fault_comes_with_its_remedy(
    message: str, lines: tuple[str, ...], status: int | None, hint: str | None
) -> None:
    found = remedy(message, lines, status=status)
    assert (found is None) if hint is None else (hint in str(found))


SAID = """\
time="2026" level=warning msg="x"
Dockerfile:3
--------------------
   2 |     FROM x
   3 | >>> RUN echo hello \\
   4 | >>>     exit 7
--------------------
ERROR: failed to solve: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7"""


def test_line_and_error_are_read_from_the_report_of_buildx() -> None:
    assert reported_line(SAID) == 3
    assert reported_error(SAID) == (
        'failed to solve: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7'
    )


def test_the_report_may_have_windows_line_ends() -> None:
    assert reported_line(SAID.replace("\n", "\r\n")) == 3


def test_the_line_of_a_parse_error_is_read_from_its_text() -> None:
    assert reported_line("dockerfile parse error on line 12: unknown instruction: X") == 12
    assert reported_line("Dockerfile parse error line 4: x") == 4


def test_a_report_without_a_place_gives_none() -> None:
    assert reported_line("ERROR: no\nsomething:12\n") is None
    assert reported_error("nothing") is None


def test_exit_status_is_read_from_both_builders() -> None:
    assert exit_status("did not complete successfully: exit code: 7") == 7
    assert exit_status("The command 'x' returned a non-zero code: 9") == 9
    assert exit_status("not found") is None


def test_a_failed_command_is_told_with_place_code_and_tail() -> None:
    error = describe(
        'failed to solve: process "/bin/sh -c a" did not complete successfully: exit code: 7',
        label="common/x/Dockerfile",
        line=3,
        command="RUN a   && b",
        log=["one", "two"],
    )

    assert str(error) == "common/x/Dockerfile:3: RUN a && b: failed with exit code 7"
    assert (error.command, error.status, error.log_tail) == ("RUN a   && b", 7, ("one", "two"))
    assert error.exit_code == 1
    assert not error.transient


def test_a_long_command_is_cut_in_the_message_and_kept_whole_beside_it() -> None:
    command = "RUN " + "x" * 500
    error = describe("exit code: 1", label="D", command=command)

    assert len(error.message) < 150
    assert error.command == command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            (
                "failed to solve: failed to compute cache key: failed to calculate checksum of ref "
                'a::b: "/nothing": not found'
            ),
            'COPY nothing /: there is no "/nothing" to copy',
        ),
        ("failed to solve: unable to find user x", "COPY nothing /: unable to find user x"),
    ],
)
def test_what_the_engine_did_for_its_own_sake_is_left_out(text: str, message: str) -> None:
    assert describe(text, label="D", command="COPY nothing /").message == message


def test_an_error_of_no_instruction_is_told_as_it_is() -> None:
    error = describe(f"failed to solve: {HEAD}dial tcp 1.2.3.4:443: i/o timeout", label="D")

    assert error.message.startswith("failed to resolve source metadata for x")
    assert error.where == Location("D")
    assert error.transient


def test_a_time_out_says_how_long_it_was() -> None:
    error = timed_out(1200, label="D", log=["x"])

    assert error.message == "timed out after 20m"
    assert (error.transient, error.log_tail) == (False, ("x",))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (90, "1m30s"), (1200, "20m"), (7200, "2h"), (3661, "1h1m1s"), (0.5, "0.5s")],
)
def test_durations_read_as_in_build_toml(seconds: float, text: str) -> None:
    assert span(seconds) == text


DOCKERFILE = parse(
    b"""\
# comment
ARG BASE=debian
FROM ${BASE} AS builder
ENV GREETING=hello
RUN echo $GREETING \\
 && echo world
RUN --mount=type=secret,id=a <<EOF
cat /run/secrets/a
EOF
COPY --chmod=755 a b
FROM --platform=linux/amd64 builder
RUN echo one
RUN echo two
RUN echo one
""",
    "Dockerfile",
)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("RUN echo hello  && echo world", 5),
        ("COPY --chmod=755 a b", 10),
        ("RUN echo two", 13),
        ("RUN echo one", 12),
        ("RUN something that is nowhere in this file", None),
        ("WORKDIR /x", None),
    ],
)
def test_an_instruction_is_found_though_its_variables_are_expanded(
    command: str, line: int | None
) -> None:
    assert line_of_command(command, DOCKERFILE) == line


def test_two_instructions_that_are_equally_near_give_no_line() -> None:
    dockerfile = parse(b"FROM a\nRUN echo $A\nRUN echo $B\n", "D")

    assert line_of_command("RUN echo x", dockerfile) is None


@pytest.mark.parametrize(
    ("number", "line"), [(1, 2), (2, 3), (4, 5), (9, 13), (10, 14), (11, None), (0, None)]
)
def test_the_classic_builder_counts_every_instruction(number: int, line: int | None) -> None:
    assert line_of_step(number, DOCKERFILE) == line


@pytest.mark.parametrize(
    ("feature", "line"),
    [
        ("heredoc", 7),
        ("mount", 7),
        ("secret", 7),
        ("ssh", None),
        ("chmod", 10),
        ("platform", 11),
        ("syntax", None),
    ],
)
def test_a_feature_is_found_where_it_is_used_first(feature: str, line: int | None) -> None:
    assert line_of_feature(feature, DOCKERFILE) == line
