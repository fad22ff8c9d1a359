"""A daemon: reads its configuration, listens on its ports, and says how what it needs is."""

import argparse
import base64
import json
import signal
import socketserver
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

from contrail_standin.configuration import Configuration
from contrail_standin.needs import Need, Watch

DESCRIPTIONS = "/usr/share/contrail-standin"


def main(name):
    with open(f"{DESCRIPTIONS}/{name}.json", encoding="utf-8") as file:
        described = json.load(file)
    options = arguments(described)
    if options.version:
        print(described["version"])
        return
    paths = options.files or [described.get("config", f"/etc/contrail/{name}.conf")]
    try:
        configuration = Configuration(paths)
    except OSError as error:
        sys.exit(f"{name}: cannot read its configuration: {error}")
    Daemon(described, configuration).run()


def arguments(described):
    parser = argparse.ArgumentParser(prog=described["name"], description="a stand-in")
    parser.add_argument(
        "--conf_file", "--config_file", "-c", dest="files", action="append", metavar="FILE"
    )
    parser.add_argument("--nodetype", help="as contrail-nodemgr has it; of no effect")
    parser.add_argument("--version", action="store_true")
    return parser.parse_args()


class Daemon:
    def __init__(self, described, configuration):
        self.name = described["name"]
        self._described = described
        self._configuration = configuration
        needs = [Need(need, configuration) for need in described["needs"]]
        # What the configuration names no server for is not needed.
        self.needs = [need for need in needs if need.servers]

    @property
    def functional(self):
        return all(need.state == "Up" for need in self.needs)

    def run(self):
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        for server in self._servers():
            threading.Thread(target=server.serve_forever, daemon=True).start()
        Watch(self.needs).start()
        ended.wait()

    def _servers(self):
        described = self._described
        yield self._listen(HttpServer, described["http"], status_handler(self))
        if "rest" in described:
            yield self._listen(HttpServer, described["rest"], document_handler(self))
        for place in described.get("ports", ()):
            yield self._listen(LineServer, place, line_handler(self))
        if "tls" in described:
            yield self._tls(described["tls"])

    def _listen(self, server, place, handler):
        port = int(self._configuration.get(place["key"]) or place["default"])
        sys.stderr.write(f"{self.name} listens on port {port}\n")
        return server(("0.0.0.0", port), handler)

    def _tls(self, place):
        with open(place["user_file"], encoding="utf-8") as file:
            users = dict(line.strip().split(":", 1) for line in file if ":" in line)
        server = self._listen(HttpServer, place, document_handler(self, users))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._configuration.get(place["certificate"]))
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        return server

    def document(self):
        """The status as JSON."""
        return {
            "name": self.name,
            "version": self._described["version"],
            "stand-in": True,
            "state": "Functional" if self.functional else "Non-Functional",
            "connections": [
                {
                    "type": need.type,
                    "name": need.name,
                    "servers": [str(server) for server in need.servers],
                    "status": need.state,
                    "description": need.description,
                }
                for need in self.needs
            ],
        }

    def node_status(self):
        """The status as the real daemons give it."""
        connections = "".join(
            f"<ConnectionInfo><type>{escape(need.type)}</type><name>{escape(need.name)}</name>"
            f"<server_addrs><list>{_elements(need.servers)}</list></server_addrs>"
            f"<status>{need.state}</status><description>{escape(need.description)}</description>"
            "</ConnectionInfo>"
            for need in self.needs
        )
        down = ", ".join(f"{need.type}:{need.name}" for need in self.needs if need.state != "Up")
        state = "Functional" if self.functional else "Non-Functional"
        why = f"{escape(down)} connection down" if down else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<__NodeStatusUVE_list type="slist"><NodeStatusUVE type="sandesh"><data><NodeStatus>'
            f"<name>{escape(self.name)}</name><process_status><list><ProcessStatus>"
            f"<module_id>{escape(self.name)}</module_id><instance_id>0</instance_id>"
            f"<state>{state}</state>"
            f"<connection_infos><list>{connections}</list></connection_infos>"
            f"<description>{why}</description></ProcessStatus></list></process_status>"
            "</NodeStatus></data></NodeStatusUVE></__NodeStatusUVE_list>\n"
        )


def _elements(servers):
    return "".join(f"<element>{escape(str(server))}</element>" for server in servers)


class HttpServer(ThreadingHTTPServer):
    daemon_threads = True


class LineServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Handler(BaseHTTPRequestHandler):
    timeout = 30

    def reply(self, status, kind, text, headers=()):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Checks of health come every few seconds; they are no news."""


def status_handler(daemon):
    class Status(Handler):
        def do_GET(self):
            if self.path.startswith("/Snh_SandeshUVECacheReq"):
                self.reply(200, "text/xml", daemon.node_status())
            elif self.path == "/":
                self.reply(200, "application/json", json.dumps(daemon.document()) + "\n")
            else:
                self.reply(404, "text/plain", "a stand-in has no such page\n")

    return Status


def document_handler(daemon, users=None):
    class Document(Handler):
        def do_GET(self):
            if users is not None and not self._let_in():
                self.reply(401, "text/plain", "", [("WWW-Authenticate", "Basic")])
            elif self.path == "/":
                self.reply(200, "application/json", json.dumps(daemon.document()) + "\n")
            else:
                self.reply(501, "text/plain", "a stand-in does not know more than its status\n")

        def _let_in(self):
            word, _, login = self.headers.get("Authorization", "").partition(" ")
            try:
                user, _, password = base64.b64decode(login).decode().partition(":")
            except ValueError:
                return False
            return word == "Basic" and users.get(user) == password

    return Document


def line_handler(daemon):
    class Line(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(json.dumps(daemon.document()).encode() + b"\n")
            # Who is connected stays so, as with the real one.
            while self.request.recv(4096):
                pass

    return Line
