"""Whatever the docker SDK or requests raise comes out as one of our errors, with a remedy."""

from __future__ import annotations

import inspect

import docker.errors
import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound

from builder.core.engine.answers import Endpoint
from builder.core.engine.failure import MEANINGS, NoAnswerError, translate
from builder.core.errors import Bug, BuildError, EngineUnavailableError, OcbuildError, PublishError
from builder.docker.client import Client

HERE = "unix:///run/here.sock"
CLIENT = Client(Endpoint(url=HERE), {})


def wrapped(cause: OSError) -> requests.ConnectionError:
    """How requests hands on an error of the operating system."""
    inner = urllib3.exceptions.ProtocolError("Connection aborted.", cause)
    return requests.ConnectionError(inner)


def test_every_exception_class_of_the_sdk_has_a_meaning() -> None:
    classes = {
        name
        for name, kind in inspect.getmembers(docker.errors, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == docker.errors.__name__
    }

    assert set(MEANINGS) == classes


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_every_exception_of_the_sdk_becomes_an_error_of_ours(name: str) -> None:
    kind = getattr(docker.errors, name)
    error = kind.__new__(kind)
    Exception.__init__(error, "text of theirs")
    error.msg = "text of theirs"
    error.param = error.name = "text of theirs"
    error.response = error.explanation = None

    found = translate(error, "cannot do it", raises=PublishError)

    assert isinstance(found, (MEANINGS[name].raises or PublishError,))
    assert "cannot do it" in found.message
    assert "text of theirs" in found.message


@pytest.mark.parametrize(
    ("cause", "message", "hint"),
    [
        (FileNotFoundError(2, "No such file"), "there is no Docker Engine at", "systemctl start"),
        (PermissionError(13, "Permission denied"), "no permission", "usermod -aG docker"),
        (ConnectionRefusedError(111, "Connection refused"), "nobody answers at", "running"),
    ],
)
def test_an_engine_out_of_reach_is_told_with_its_address_and_a_remedy(
    cause: OSError, message: str, hint: str
) -> None:
    outer = DockerException("Error while fetching server API version")
    outer.__cause__ = wrapped(cause)

    found = translate(outer, "x", raises=BuildError, url=HERE)

    assert isinstance(found, EngineUnavailableError)
    assert found.exit_code == 3
    assert message in found.message
    assert "unix:///run/here.sock" in found.message
    assert hint in str(found.hint)


def test_what_a_program_on_the_way_says_is_told_with_the_address() -> None:
    outer = requests.ConnectionError(
        urllib3.exceptions.ProtocolError("Connection aborted.", NoAnswerError("Permission denied"))
    )

    found = translate(outer, "x", raises=BuildError, url="ssh://far")

    assert isinstance(found, EngineUnavailableError)
    assert found.message == "no Docker Engine answers at ssh://far: Permission denied"


def test_what_the_engine_says_is_the_message_and_tells_whether_it_passes() -> None:
    passing = APIError("500", explanation='Get "https://r/v2/": net/http: TLS handshake timeout')
    staying = ImageNotFound("404", explanation="No such image: x")

    assert translate(passing, "cannot pull", raises=BuildError).transient
    found = translate(staying, "cannot push", raises=PublishError)
    assert (found.message, found.transient) == ("cannot push: No such image: x", False)


@pytest.mark.parametrize(
    "error",
    [
        wrapped(ConnectionResetError(104, "reset")),
        requests.ReadTimeout("timed out"),
        requests.exceptions.ChunkedEncodingError("ended prematurely"),
        urllib3.exceptions.ProtocolError("broken"),
        ConnectionError("unreadable answer"),
    ],
)
def test_a_connection_that_breaks_half_way_may_be_tried_again(error: Exception) -> None:
    found = translate(error, "cannot build", raises=BuildError, url=HERE)

    assert type(found) is BuildError
    assert found.transient


def test_a_wrong_call_of_the_sdk_is_our_bug() -> None:
    found = translate(docker.errors.InvalidArgument("x"), "x", raises=BuildError)

    assert isinstance(found, Bug)
    assert found.exit_code == 70


def test_translation_keeps_the_cause_and_lets_other_errors_through() -> None:
    cause = APIError("500", explanation="said")
    with (
        pytest.raises(PublishError, match="cannot push: said") as caught,
        CLIENT.errors("cannot push", PublishError),
    ):
        raise cause
    assert caught.value.__cause__ is cause

    with pytest.raises(ZeroDivisionError), CLIENT.errors("x", PublishError):
        raise ZeroDivisionError


def test_what_the_engine_says_can_be_explained_by_the_caller() -> None:
    def explain(text: str) -> OcbuildError:
        return PublishError(f"explained {text}")

    with (
        pytest.raises(PublishError, match="explained said"),
        CLIENT.errors("x", BuildError, explain),
    ):
        raise APIError("500", explanation="said")


def test_the_error_of_the_operating_system_is_found_below_all_wrappers() -> None:
    outer = DockerException("x")
    outer.__context__ = wrapped(FileNotFoundError(2, "No such file"))

    assert "there is no Docker" in translate(outer, "x", raises=BuildError, url=HERE).message
    assert translate(DockerException("y"), "x", raises=BuildError).message == "x: y"
