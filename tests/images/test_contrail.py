"""Contrail's processes, from their published images, need what they are configured to need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.containers import Containers, References, published
from tests.support.engines import docker, soon

pytestmark = pytest.mark.images
STATUS = ("curl", "-fsS", "http://127.0.0.1:8090/Snh_SandeshUVECacheReq?x=NodeStatus")


def test_the_label_finds_the_contrail_set(references: References) -> None:
    contrail = {path.parent.name for path in Path("contrail").rglob("Dockerfile")}
    for name in contrail:
        assert published(references[name])
    found = docker(
        "images", "--filter", "label=net.juniper.contrail", "--format", "{{.Repository}}:{{.Tag}}"
    ).splitlines()
    # Images of other tags may lie about; of ours it is exactly the group, none missing, none more.
    ours = {reference: name for name, reference in references.items()}
    assert {ours[reference] for reference in found if reference in ours} == contrail


def test_named_answers_dig(containers: Containers) -> None:
    named = containers.start(
        "control-named", env={"DNS_DOMAIN": "example.test", "DNS_RECORDS": "www=192.0.2.7"}
    )
    named.wait_healthy()
    answer = named.run("dig", "+short", "@127.0.0.1", "www.example.test")
    assert answer.strip() == "192.0.2.7"
    assert named.stop() == 0


def test_a_process_is_functional_as_long_as_what_it_needs_is_there(containers: Containers) -> None:
    redis = containers.start("redis", env={"REDIS_PASSWORD": "s3cret"})
    api = containers.start(
        "analytics-api",
        env={"REDIS_PASSWORD": "s3cret", "COLLECTORS": "none", "DISCOVERY_HOST": "none"},
    )
    api.wait_healthy()
    assert api.run("id", "-un").strip() == "contrail"
    document = json.loads(api.run("curl", "-fsS", "http://127.0.0.1:8081/"))
    assert document["state"] == "Functional"
    assert document["stand-in"] is True
    redis.stop()
    assert soon(lambda: ">Non-Functional<" in api.run(*STATUS), within=60)
    assert api.stop() == 0


def test_the_configuration_api_wants_zookeeper_the_broker_and_ifmap(containers: Containers) -> None:
    secrets = {"RABBIT_PASSWORD": "rabbit-2", "IFMAP_PASSWORD": "ifmap-3"}
    for image in ("zookeeper", "rabbitmq", "ifmap"):
        containers.start(image, env=secrets)
    api = containers.start("config-api", env={**secrets, "DISCOVERY_HOST": "none"})
    document = ("curl", "-fsS", "http://127.0.0.1:8082/")

    def connections() -> dict[str, str]:
        answer = json.loads(api.run(*document))
        return {f"{each['type']}:{each['name']}": each["status"] for each in answer["connections"]}

    api.wait_until(*document)
    # There is no Cassandra here, and so it says.
    wanted = {
        "Database:Cassandra": "Down",
        "Zookeeper:Zookeeper": "Up",
        "Database:RabbitMQ": "Up",
        "IFMap:IfMap": "Up",
    }
    assert soon(lambda: connections() == wanted, within=120), f"{connections()} {api.logs()}"


def test_a_missing_secret_is_named_in_one_line(containers: Containers) -> None:
    api = containers.start("config-api")
    assert api.exit_code() == 64
    assert api.logs().strip() == (
        "config-api: variable RABBIT_PASSWORD (or RABBIT_PASSWORD_FILE) is required, but not set"
    )


def test_the_console_answers_over_tls_and_leads_there(containers: Containers) -> None:
    containers.start("redis")
    console = containers.start(
        "webui-server", env={"CONFIG_API_HOST": "none", "ANALYTICS_API_HOST": "none"}
    )
    console.wait_healthy()
    head = console.run("curl", "-sI", "-o", "-", "http://127.0.0.1:8080/")
    assert "https://127.0.0.1:8143/" in head
    assert console.stop() == 0
