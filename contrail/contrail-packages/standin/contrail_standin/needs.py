"""The servers that a daemon is configured to need, and how each of them is just now."""

import sys
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from contrail_standin import probes

SECONDS_BETWEEN = 3.0


@dataclass(frozen=True)
class Server:
    """One address; ``url`` is set instead of ``host`` where the configuration has an address of HTTP."""

    host: str
    port: int
    url: str = ""

    def __str__(self):
        return self.url or f"{self.host}:{self.port}"


class Need:
    """One kind of server, of which at least one has to answer."""

    def __init__(self, described, configuration):
        self.type = described["type"]
        self.name = described["name"]
        self._probe = getattr(probes, described["kind"])
        self._by_url = described["kind"] == "keystone"
        default = int(configuration.get(described.get("port_key", "")) or described.get("port", 0))
        texts = (configuration.get(described["servers"]) or "").replace(",", " ").split()
        self.servers = [self._server(text, default) for text in texts]
        logins = ("user", "password", "project")
        self._login = {
            key: value for key in logins if (value := configuration.get(described.get(key, "")))
        }
        self.state, self.description = "Initializing", "not asked yet"

    def ask(self):
        """Ask one server after the other until one answers."""
        problems = []
        for server in self.servers:
            try:
                if self._by_url:
                    self._probe(server.url, **self._login)
                else:
                    self._probe(server.host, server.port, **self._login)
            except (OSError, probes.NoAnswerError, ValueError) as error:
                problems.append(f"{server}: {error}")
            else:
                return self._became("Up", str(server))
        return self._became("Down", "; ".join(problems))

    def _became(self, state, description):
        if state != self.state:
            sys.stderr.write(f"{self.type} {self.name} is {state}: {description}\n")
        self.state, self.description = state, description

    def _server(self, text, default):
        if self._by_url:
            return Server("", 0, text.rstrip("/"))
        parts = urlsplit(text if "://" in text else f"//{text}")
        return Server(parts.hostname or "", parts.port or default)


class Watch(threading.Thread):
    """Asks all that is needed, again and again."""

    def __init__(self, needs):
        super().__init__(daemon=True)
        self._needs = needs
        self._stop = threading.Event()

    def run(self):
        while True:
            for need in self._needs:
                need.ask()
            if self._stop.wait(SECONDS_BETWEEN):
                return
