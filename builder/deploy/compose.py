"""docker compose on one host: render, start, look, stop. Rendered stacks go in by its stdin."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from builder.core.errors import DeployError
from builder.core.settings.sections import Host
from builder.core.text import LineSplitter
from builder.deploy.attach import attached
from builder.docker.host_api import EngineApi
from builder.system.process import Completed, ProgramTimeoutError, run, stream

# How long an engine may take to answer a question; starting and pulling have limits of their own.
# The facts that are asked of a container to see whether it runs again.
_FACTS = 3
# The last lines of a container may be noted just after its end; it starts again 0.1 s later.
_DRAIN = 0.05
# More lines than a container writes between two of its ends.
_SINCE = 1000
_PATIENCE = 120.0
# And to answer at all: ssh gives up after 30 s.
_REACH = 40.0
_RUNNING = "running"


class Container(Struct, frozen=True, kw_only=True):
    """One container of a stack, as the engine has it now; ``image`` is as it was asked for."""

    service: str
    name: str
    state: str
    health: str
    exit_code: int
    image: str
    status: str

    def well(self, *, once: bool) -> bool:
        """It does its work; one that runs ``once`` has done it."""
        if once:
            return self.state == "exited" and self.exit_code == 0
        return self.state == _RUNNING and self.health in ("", "healthy")

    @property
    def condition(self) -> str:
        if self.state == _RUNNING:
            return self.health or _RUNNING
        if self.state == "exited":
            return f"exited with {self.exit_code}"
        return self.state


class Engine(Struct, frozen=True, kw_only=True, dict=True):
    """The Docker Engine of a host, spoken to by the command line, which knows contexts and ssh."""

    host: Host
    environ: Mapping[str, str]
    cancel: threading.Event = field(default_factory=threading.Event)

    def cancelled(self) -> bool:
        return self.cancel.is_set()

    def docker(self, *words: str) -> Completed:
        """One short question; its failure is the caller's to judge."""
        return run(
            [*self._docker(), *words], env=self.environ, timeout=_PATIENCE, cancel=self.cancel
        )

    @cached_property
    def api(self) -> EngineApi:
        """For what must not be said in words that other users of this machine may read."""
        return EngineApi(self._docker(), self.environ, f'host "{self.host.name}"')

    def reach(self) -> None:
        """Make sure that the engine answers.

        Raises:
            DeployError: it does not, with what docker says.

        """
        words = [*self._docker(), "version", "--format", "{{.Server.Version}}"]
        try:
            asked = run(words, env=self.environ, timeout=_REACH)
            said = None if asked.returncode == 0 else asked.complaint(lines=2)
        except ProgramTimeoutError:
            said = f"it does not answer within {_REACH:g} s"
        if said is not None:
            raise DeployError(
                f'the Docker Engine of host "{self.host.name}" cannot be reached: {said}',
                hint=f"is `docker {' '.join(self._where())} version` well?".replace("  ", " "),
            )

    def render(
        self, file: Path, env_file: Path | None, variables: Mapping[str, str]
    ) -> dict[str, Any]:
        """A compose file with all variables filled in.

        Raises:
            DeployError: it is no compose file, or a variable is missing.

        """
        words = ["--env-file", str(env_file)] if env_file is not None else []
        done = run(
            [*self._docker(), "compose", *words, "--file", str(file), "config", "--format", "json"],
            env={**self.environ, **variables},
            timeout=_PATIENCE,
        )
        if done.returncode != 0:
            raise DeployError(f"{file}: {done.complaint(lines=3)}")
        rendered: dict[str, Any] = json.loads(done.text)
        # Extensions have done their part by now; left in, they would be differences that are none.
        return {key: value for key, value in rendered.items() if not key.startswith("x-")}

    def pull(
        self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float
    ) -> bool:
        """Fetch the images that the host does not have."""
        words = ("pull", "--policy", "missing", "--quiet")
        return self._compose(stack, words, on_line, timeout) == 0

    def up(self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float) -> bool:
        """Start what is to run and differs from what runs; whether all of it is well in time."""
        seconds = str(max(1, int(timeout)))
        words = ("up", "--detach", "--wait", "--wait-timeout", seconds, "--quiet-pull")
        with attached(self.docker, stack, f'on host "{self.host.name}"'):
            # Compose does not hold its own limit while one container waits for another.
            return self._compose(stack, (*words, "--remove-orphans"), on_line, timeout + 30) == 0

    def down(
        self, stack: Mapping[str, Any], on_line: Callable[[str], None], *, volumes: bool = False
    ) -> bool:
        words = ("down", "--remove-orphans", *(("--volumes",) if volumes else ()))
        return self._compose(stack, words, on_line, 300.0) == 0

    def containers(self, stack: Mapping[str, Any]) -> tuple[Container, ...]:
        """All containers of the stack, those that have ended too."""
        done = run(
            [*self._with(stack), "ps", "--all", "--format", "json"],
            input=json.dumps(stack).encode(),
            env=self.environ,
            timeout=_PATIENCE,
        )
        if done.returncode != 0:
            raise DeployError(f"stack {stack['name']}: {done.complaint(lines=3)}")
        return tuple(sorted(_containers(done.text), key=lambda one: one.service))

    def logs(self, container: str, *, tail: int) -> list[str]:
        """The last lines that a container wrote, oldest first.

        Of one that ended and was started again, those before that: they say why it ended.
        """
        asked = "{{.RestartCount}} {{.State.Running}} {{.State.FinishedAt}}"
        state = self.docker("inspect", "--format", asked, container).text.split()
        if len(state) == _FACTS and state[0] != "0" and state[1] == "true":
            until = f"{_seconds(state[2]) + _DRAIN:.6f}"
            # The engine counts the lines before it looks at their time.
            lines = self._logs("--tail", str(tail + _SINCE), "--until", until, container)
            if lines:
                return lines[-tail:]
        return self._logs("--tail", str(tail), container)

    def _logs(self, *words: str) -> list[str]:
        done = self.docker("logs", *words)
        return (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()

    def follow(
        self, stack: Mapping[str, Any], words: Sequence[str], say: Callable[[str], None]
    ) -> int:
        """``docker compose logs`` with ``words``."""
        return self._compose(stack, ("logs", "--no-color", *words), say, None)

    def _compose(
        self,
        stack: Mapping[str, Any],
        words: Sequence[str],
        on_line: Callable[[str], None],
        timeout: float | None,
    ) -> int:
        lines = LineSplitter(on_line)
        ended = stream(
            [*self._with(stack), *words],
            on_stdout=lines,
            on_stderr=lines,
            cancel=self.cancel,
            timeout=timeout,
            env=self.environ,
            stdin=json.dumps(stack).encode(),
        )
        lines.end()
        return ended.returncode or int(ended.timed_out or ended.cancelled)

    def _with(self, stack: Mapping[str, Any]) -> list[str]:
        name = str(stack["name"])
        words = ("--ansi", "never", "--progress", "plain", "--project-name", name, "--file", "-")
        return [*self._docker(), "compose", *words]

    def _docker(self) -> list[str]:
        return ["docker", *self._where()]

    def _where(self) -> tuple[str, ...]:
        place = self.host.docker
        if place == "local":
            return ()
        return ("--host", place) if "://" in place else ("--context", place)


def _seconds(text: str) -> float:
    """RFC 3339, of which Docker writes nanoseconds, as seconds since the epoch."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{rest or 0}")


def _containers(text: str) -> list[Container]:
    """One JSON object a line, or, before compose 2.21, one list of them."""
    found: list[Container] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        value = json.loads(line)
        found += [_container(one) for one in (value if isinstance(value, list) else [value])]
    return found


def _container(found: Mapping[str, Any]) -> Container:
    return Container(
        service=str(found["Service"]),
        name=str(found["Name"]),
        state=str(found["State"]).lower(),
        health=str(found.get("Health", "")).lower(),
        exit_code=int(found.get("ExitCode", 0)),
        image=str(found.get("Image", "")),
        status=str(found.get("Status", "")),
    )
