"""What a daemon needs: each kind of server is spoken to in its own protocol, and has to answer."""

import base64
import json
import socket
import ssl
import struct
import urllib.error
import urllib.request

SECONDS = 5.0
_OPTIONS, _SUPPORTED = 0x05, 0x06


class NoAnswerError(Exception):
    """The server is not there, or does not say what it should."""


def cassandra(host: str, port: int, **_: str) -> None:
    """The native protocol, version 4: OPTIONS is answered by SUPPORTED."""
    with socket.create_connection((host, port), SECONDS) as connection:
        connection.sendall(struct.pack(">BBhBi", 4, 0, 0, _OPTIONS, 0))
        header = _exactly(connection, 9)
    if header[4] != _SUPPORTED:
        raise NoAnswerError("it speaks no CQL")


def redis(host: str, port: int, password: str = "", **_: str) -> None:
    with socket.create_connection((host, port), SECONDS) as connection:
        if password:
            connection.sendall(_resp("AUTH", password))
            _expect(connection, b"+OK")
        connection.sendall(_resp("PING"))
        _expect(connection, b"+PONG")


def zookeeper(host: str, port: int, **_: str) -> None:
    """A session of its own, which is opened and closed."""
    from kazoo.client import KazooClient

    client = KazooClient(hosts=f"{host}:{port}", timeout=SECONDS)
    try:
        client.start(timeout=SECONDS)
        client.exists("/")
    except Exception as error:  # kazoo's errors have no common root but this
        raise NoAnswerError(str(error) or type(error).__name__) from error
    finally:
        client.stop()
        client.close()


def amqp(host: str, port: int, user: str = "guest", password: str = "guest", **_: str) -> None:
    """A connection that the broker lets in, and a channel on it."""
    from amqp import Connection

    try:
        with Connection(
            f"{host}:{port}", userid=user, password=password, connect_timeout=SECONDS
        ) as connection:
            connection.channel().close()
    except OSError:
        raise
    except Exception as error:  # amqp's errors have no common root but this
        raise NoAnswerError(str(error) or type(error).__name__) from error


def kafka(host: str, port: int, **_: str) -> None:
    """ApiVersions, version 0: the answer has our correlation id."""
    client = b"contrail"
    body = struct.pack(">hhih", 18, 0, 4711, len(client)) + client
    with socket.create_connection((host, port), SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (answered,) = struct.unpack(">i", _exactly(connection, 8)[4:])
    if answered != 4711:
        raise NoAnswerError("it speaks no Kafka")


def http(host: str, port: int, **_: str) -> None:
    _get(f"http://{host}:{port}/")


def keystone(url: str, user: str = "", password: str = "", project: str = "", **_: str) -> None:
    """A token for the admin of the configuration."""
    domain = {"name": "Default"}
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": user, "password": password, "domain": domain}},
    }
    scope = {"project": {"name": project, "domain": domain}}
    request = urllib.request.Request(
        f"{url}/auth/tokens",
        data=json.dumps({"auth": {"identity": identity, "scope": scope}}).encode(),
        headers={"Content-Type": "application/json"},
    )
    _get(request)


def ifmap(host: str, port: int, user: str = "", password: str = "", **_: str) -> None:
    """TLS with a certificate that nobody signed, as irond has it, and a login."""
    trust_all = ssl.create_default_context()
    trust_all.check_hostname = False
    trust_all.verify_mode = ssl.CERT_NONE
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(
        f"https://{host}:{port}/", headers={"Authorization": f"Basic {login}"}
    )
    _get(request, trust_all)


def port(host: str, port: int, **_: str) -> None:
    """A daemon of ours says on any port what it is; a real one at least lets us in."""
    with socket.create_connection((host, port), SECONDS):
        pass


def nodestatus(host: str, port: int, **_: str) -> None:
    """The daemon whose status is asked for there is functional."""
    page = _get(f"http://{host}:{port}/Snh_SandeshUVECacheReq?x=NodeStatus")
    if b">Functional<" not in page:
        raise NoAnswerError("it is not functional")


def _get(request, context=None) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=context) as reply:
            return reply.read()
    except urllib.error.HTTPError as error:
        raise NoAnswerError(f"it answers {error.code} {error.reason}") from error


def _resp(*words: str) -> bytes:
    parts = [f"*{len(words)}".encode()]
    for word in words:
        data = word.encode()
        parts += [f"${len(data)}".encode(), data]
    return b"\r\n".join([*parts, b""])


def _expect(connection: socket.socket, wanted: bytes) -> None:
    line = connection.recv(512).split(b"\r\n")[0]
    if line != wanted:
        raise NoAnswerError(line.decode(errors="replace"))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = connection.recv(size - len(data))
        if not block:
            raise NoAnswerError("it closed the connection")
        data += block
    return data
