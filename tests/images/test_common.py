"""The services of common/ answer a real client, each started from its published image alone."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pika
import pytest
from cassandra.cluster import Cluster
from kazoo.client import KazooClient

from tests.support.containers import Containers

pytestmark = pytest.mark.images

SECRETS = {
    "MARIADB_ROOT_PASSWORD": "root-1",
    "MARIADB_DATABASES": "shop",
    "DATABASE_PASSWORD": "it's \\ 2",
    "RABBIT_PASSWORD": "rabbit 3",
    "REDIS_PASSWORD": "s3 cret",
}
# The user that each service runs as; libvirt's has to be root.
USERS = {
    "cassandra": "cassandra",
    "kafka": "kafka",
    "mariadb": "mysql",
    "memcached": "memcache",
    "rabbitmq": "rabbitmq",
    "redis": "redis",
    "zookeeper": "zookeeper",
}
# The Java machine ends by a signal with this code; what matters is that it was not killed.
GRACEFUL = {0, 143}


def test_redis_keeps_what_it_is_told_and_wants_its_password(containers: Containers) -> None:
    redis = containers.start("redis", env=SECRETS)
    redis.wait_healthy()
    assert "NOAUTH" in redis.run("redis-cli", "set", "colour", "blue")
    client = ("env", f"REDISCLI_AUTH={SECRETS['REDIS_PASSWORD']}", "redis-cli")
    assert redis.run(*client, "set", "colour", "blue").strip() == "OK"
    assert redis.run(*client, "get", "colour").strip() == "blue"


def test_memcached_remembers(containers: Containers) -> None:
    memcached = containers.start("memcached")
    memcached.wait_healthy()
    with socket.create_connection((memcached.address, 11211), 10) as connection:
        connection.sendall(b"set colour 0 60 4\r\nblue\r\nget colour\r\nquit\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer == b"STORED\r\nVALUE colour 0 4\r\nblue\r\nEND\r\n"


def test_rabbitmq_takes_a_message_and_gives_it_out(containers: Containers) -> None:
    rabbitmq = containers.start("rabbitmq", env=SECRETS)
    rabbitmq.wait_healthy()
    login = pika.PlainCredentials("openstack", SECRETS["RABBIT_PASSWORD"])
    place = pika.ConnectionParameters(rabbitmq.address, credentials=login)
    connection = pika.BlockingConnection(place)
    channel = connection.channel()
    channel.queue_declare("letters", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", "letters", b"hello", mandatory=True)
    method, _, body = channel.basic_get("letters")
    assert body == b"hello"
    channel.basic_ack(method.delivery_tag)
    connection.close()
    wrong = pika.PlainCredentials("openstack", "wrong")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(pika.ConnectionParameters(rabbitmq.address, credentials=wrong))


def test_mariadb_keeps_what_a_user_wrote_over_a_restart(containers: Containers) -> None:
    mariadb = containers.start("mariadb", env=SECRETS)
    mariadb.wait_healthy()
    password = f"MYSQL_PWD={SECRETS['DATABASE_PASSWORD']}"
    client = ("env", password, "mariadb", "--host=mariadb", "--user=shop", "--batch", "shop")
    write = "CREATE TABLE t (n INT); INSERT INTO t VALUES (42)"
    mariadb.run(*client, "--execute", write)
    mariadb.restart()
    mariadb.wait_until(*client, "--execute", "SELECT 1")
    read = mariadb.run(*client, "--skip-column-names", "--execute", "SELECT n FROM t")
    assert read.strip() == "42"


def test_zookeeper_keeps_a_node_for_a_session(containers: Containers) -> None:
    zookeeper = containers.start("zookeeper")
    zookeeper.wait_healthy()
    client = KazooClient(hosts=f"{zookeeper.address}:2181")
    client.start(timeout=30)
    client.create("/contrail/one", b"1", makepath=True)
    assert client.get("/contrail/one")[0] == b"1"
    client.stop()
    client.close()


def test_kafka_gives_out_what_was_produced(containers: Containers) -> None:
    kafka = containers.start("kafka")
    kafka.wait_healthy()
    place = ("--bootstrap-server", "127.0.0.1:9092", "--topic", "alarms")
    kafka.run("kafka-run", "kafka.tools.ConsoleProducer", *place, stdin="first\nsecond\n")
    consumer = ("kafka-run", "org.apache.kafka.tools.consumer.ConsoleConsumer", *place)
    got = kafka.run(*consumer, "--from-beginning", "--max-messages", "2", "--timeout-ms", "60000")
    assert got.split() == ["first", "second"]


def test_cassandra_reads_back_what_was_written(containers: Containers) -> None:
    cassandra = containers.start("cassandra")
    cassandra.wait_healthy()
    cluster = Cluster([cassandra.address], protocol_version=5)
    session = cluster.connect()
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    session.execute(f"CREATE KEYSPACE shop WITH replication = {replication}")
    session.execute("CREATE TABLE shop.t (n int PRIMARY KEY, colour text)")
    session.execute("INSERT INTO shop.t (n, colour) VALUES (1, 'blue')")
    assert session.execute("SELECT colour FROM shop.t WHERE n = 1").one().colour == "blue"
    cluster.shutdown()


def test_libvirt_answers_virsh_and_runs_a_guest(containers: Containers) -> None:
    libvirt = containers.start("libvirt", options=("--privileged", "--volume=/dev:/dev"))
    libvirt.wait_healthy()
    guest = (
        "<domain type='qemu'><name>guest</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64'>hvm</type></os></domain>"
    )
    virsh = ("virsh", "--connect", "qemu:///system")
    libvirt.run(*virsh, "create", "/dev/stdin", stdin=guest)
    assert libvirt.run(*virsh, "domstate", "guest").strip() == "running"
    libvirt.run(*virsh, "destroy", "guest")


@pytest.mark.parametrize(("image", "user"), USERS.items())
def test_a_service_runs_without_rights_and_ends_when_told(
    containers: Containers, image: str, user: str
) -> None:
    service = containers.start(image, env=SECRETS)
    service.wait_healthy()
    assert service.run("id", "--user", "--name").strip() == user
    assert service.stop() in GRACEFUL


@pytest.mark.parametrize("image", ["cassandra", "mariadb", "redis", "zookeeper"])
def test_a_service_that_hangs_is_not_healthy(containers: Containers, image: str) -> None:
    options = ("--health-retries=2", "--health-timeout=4s")
    service = containers.start(image, env=SECRETS, options=options)
    service.wait_until("true")
    service.wait_healthy()
    service.signal("STOP")
    service.wait_unhealthy()
    service.signal("CONT")


@pytest.mark.parametrize(
    ("image", "env", "missing"),
    [
        ("mariadb", {}, "MARIADB_ROOT_PASSWORD"),
        ("mariadb", {**SECRETS, "DATABASE_PASSWORD": ""}, "DATABASE_PASSWORD"),
        ("rabbitmq", {}, "RABBIT_PASSWORD"),
    ],
)
def test_what_is_missing_is_named_in_one_line(
    containers: Containers, image: str, env: Mapping[str, str], missing: str
) -> None:
    service = containers.start(image, env=env)
    assert service.exit_code() == 64
    assert service.logs().strip() == (
        f"{image}: variable {missing} (or {missing}_FILE) is required, but not set"
    )
