"""What docker prints becomes values, and what compose files say is asked of them in one place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.core.codec import MalformedError
from builder.core.deploy.projects import stand_in_variables
from builder.core.deploy.records import assignments, filled
from builder.core.deploy.stack import (
    external_networks,
    ids_of_projects,
    images_by_host,
    inspected_containers,
    listed_containers,
    mentioning,
    present_references,
    skeleton,
    with_images,
    with_images_of,
)

ONE = {"Service": "b", "Name": "x-b-1", "State": "Running", "Health": "Healthy", "ExitCode": 0}
TWO = {"Service": "a", "Name": "x-a-1", "State": "exited", "ExitCode": 3, "Image": "i", "More": []}


@pytest.mark.parametrize(
    "text",
    [
        f"{json.dumps(ONE)}\n\n{json.dumps(TWO)}\n",
        # Before compose 2.21.
        json.dumps([ONE, TWO]),
    ],
)
def test_both_forms_of_a_list_of_containers_are_read(text: str) -> None:
    containers = listed_containers(text)
    assert [(one.service, one.condition) for one in containers] == [
        ("a", "exited with 3"),
        ("b", "healthy"),
    ]
    assert containers[0].image == "i"


@pytest.mark.parametrize("text", ["x", "{}", "[{}]", '{"Service": 1}', "3", "null"])
def test_what_is_no_list_of_containers_is_one_error(text: str) -> None:
    with pytest.raises(MalformedError, match="the list of containers"):
        listed_containers(text)


@pytest.mark.parametrize("document", [{}, [{}], [{"Name": "x", "State": {}}], None, [None]])
def test_what_is_no_inspection_is_one_error(document: object) -> None:
    with pytest.raises(MalformedError, match="the list of containers"):
        inspected_containers(json.dumps(document), ["p"])


def test_containers_of_others_are_not_ours() -> None:
    one = {"Name": "/x", "State": {"Status": "running"}, "Config": {"Image": "i", "Labels": None}}
    assert inspected_containers(json.dumps([one]), ["p"]) == {"p": ()}
    assert ids_of_projects("a p\nb q\nc \nd", ["p"]) == ["a"]


def test_the_images_of_hosts_are_those_that_are_pinned() -> None:
    stacks: dict[str, Any] = {
        name: {"services": {"x": {"image": image}, "build": {}}}
        for name, image in (("a", "r/a@1"), ("b", "r/b@1"), ("c", "debian:trixie"))
    }
    hosts = {"a": "h2", "b": "h2", "c": "h1"}
    assert images_by_host(stacks, hosts) == {"h1": frozenset(), "h2": {"r/a@1", "r/b@1"}}


def test_images_are_replaced_only_in_a_copy() -> None:
    compose: dict[str, Any] = {"name": "n", "services": {"a": {"image": "1", "k": 1}, "b": {}}}
    pinned = with_images(compose, {"a": "2"})
    assert pinned["services"] == {"a": {"image": "2", "k": 1}, "b": {}}
    assert compose["services"]["a"]["image"] == "1"
    assert with_images_of(compose, {"services": {"a": {"image": "2"}}}) is None
    assert with_images_of(compose, {"services": {"a": {"image": "2"}, "b": {}}}) == pinned


def test_only_external_networks_have_to_be_there() -> None:
    networks = {"a": {"external": True}, "b": {"name": "n", "external": True}, "c": None, "d": {}}
    assert external_networks({"networks": networks}) == {"a": "a", "b": "n"}
    assert external_networks({"networks": None}) == external_networks({}) == {}


def test_a_skeleton_holds_no_more_than_names() -> None:
    compose = {
        "name": "n",
        "services": {"a": {"image": "i", "secret": "s"}},
        "networks": {"x": None},
    }
    assert skeleton(compose) == {
        "name": "n",
        "services": {"a": {"image": "i"}},
        "networks": {"x": {}},
    }


def test_compose_files_are_asked_for_the_variables_that_they_mention() -> None:
    assert mentioning({"a": "${MTU_X:-1}", "b": "MTU"}, {"MTU_X": "1"}) == ["a"]
    assert stand_in_variables("r", "n", ["my-group"]) == {
        "REGISTRY": "r",
        "NAMESPACE": "n",
        "TAG_MY_GROUP": "deployed",
    }


def test_an_engine_knows_an_image_by_many_digests_or_none() -> None:
    document = [{"RepoDigests": ["r/a@1", "r/b@1"]}, {"RepoDigests": None}, {"Id": "x"}]
    assert present_references(document) == {"r/a@1", "r/b@1"}
    shapes: list[object] = [None, {}, [1], [{"RepoDigests": 1}]]
    for odd in shapes:
        with pytest.raises(MalformedError, match="the list of images"):
            present_references(odd)


def test_each_place_of_a_secret_gets_its_own() -> None:
    secrets = iter("abc")
    text = "# X=<random>\nX=<random>:<random>\nY=1\nZ=<random>"
    assert filled(text, lambda: next(secrets)) == "# X=<random>\nX=a:b\nY=1\nZ=c"
    assert assignments("# A=1\n B = 2=3 \nC\nD=\n") == {"B": "2=3", "D": ""}
