"""The Docker Engine of one host, by the docker command: stacks are rendered, started, looked at.

That command knows contexts, TLS and ssh. Rendered stacks hold secrets and go in by its stdin:
https://docs.docker.com/reference/cli/docker/compose/.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, field

from builder.core import codec
from builder.core.deploy.projects import final, own_name, with_own_volumes
from builder.core.deploy.stack import (
    PROJECT_LABEL,
    Compose,
    Container,
    InspectedContainer,
    external_networks,
    ids_of_projects,
    inspected_containers,
    listed_containers,
    lost_networks,
)
from builder.core.errors import DeployError
from builder.core.settings.sections import Host
from builder.core.text import LineSplitter, moment
from builder.docker.settings import HostEngine
from builder.system.process import Completed, ProgramTimeoutError, run, stream

# How many seconds an engine may take to answer a question; starting and pulling have limits of
# their own.
_PATIENCE = 120.0
# And to answer at all: ssh gives up after 30 s.
_REACH = 40.0
# What compose warns of, for people: level=warning msg="The \\"X\\" variable is not set. …".
_UNSET = re.compile(r'The \\?"(\w+)\\?" variable is not set')
# Variables by which compose takes other files, services or containers than it is told of:
# https://docs.docker.com/compose/how-tos/environment-variables/envvars/.
_DECIDING = frozenset(
    f"COMPOSE_{name}"
    for name in (
        "FILE",
        "ENV_FILES",
        "PROFILES",
        "REMOVE_ORPHANS",
        "IGNORE_ORPHANS",
        "DISABLE_ENV_FILE",
    )
)
# The facts that are asked of a container to see whether it runs again.
_FACTS = 3
# The last lines of a container may be noted just after its end; it starts again 0.1 s later.
_DRAIN = 0.05
# More lines than a container writes between two of its ends.
_SINCE = 1000
# How many seconds a container holds a network: longer than compose may work. It is removed before,
# unless we are killed.
_HOLD = 3600


class DockerCommand(Struct, frozen=True, kw_only=True, dict=True):
    """The Docker Engine of a host."""

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

    def uncancelled(self, *words: str) -> Completed:
        """The same for what must not be left half done, though the run has been cancelled."""
        return run([*self._docker(), *words], env=self.environ, timeout=_PATIENCE)

    @cached_property
    def api(self) -> HostEngine:
        """Its HTTP API, for what must not be in words that other users of this machine may read."""
        return HostEngine(self.host.name, self.host.docker, self.environ)

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
        self,
        file: Path,
        env_file: Path | None,
        variables: Mapping[str, str],
        *,
        project: str,
        say: Callable[[str], None],
    ) -> dict[str, Any]:
        """A compose file with all variables filled in.

        ``project`` is the compose project of a file that does not name its own; nothing else
        decides it. ``say`` is told which variables have no value.

        Raises:
            DeployError: it is no compose file, or a variable is missing.

        """
        words = ["--env-file", str(env_file)] if env_file is not None else []
        if not own_name(file.read_text("utf-8", "replace")):
            words += ["--project-name", project]
        done = run(
            [*self._docker(), "compose", *words, "--file", str(file), "config", "--format", "json"],
            env={**self._environ, **_profiles(self.environ), **variables},
            timeout=_PATIENCE,
        )
        for name in dict.fromkeys(_UNSET.findall(done.stderr.decode("utf-8", "replace"))):
            say(f"note: {file.name}: the variable {name} is not set, so it is empty")
        if done.returncode != 0:
            raise DeployError(f"{file}: {done.complaint(lines=3)}")
        try:
            rendered = codec.decode(done.text, dict[str, Any], what="the rendered stack")
        except codec.MalformedError as error:
            raise DeployError(f"{file}: {error}") from error
        return final(rendered)

    def pull(self, stack: Compose, on_line: Callable[[str], None], timeout: float) -> bool:
        """Fetch the images that the host does not have."""
        words = ("pull", "--policy", "missing", "--quiet")
        return self._compose(stack, words, on_line, timeout) == 0

    def up(self, stack: Compose, on_line: Callable[[str], None], timeout: float) -> bool:
        """Start what differs from what runs; whether all of it is well within ``timeout``."""
        seconds = str(max(1, int(timeout)))
        words = ("up", "--detach", "--wait", "--wait-timeout", seconds, "--quiet-pull")
        with external_networks_held(self.uncancelled, stack, f'on host "{self.host.name}"'):
            # Compose does not hold its own limit while one container waits for another.
            return self._compose(stack, words, on_line, timeout + 30) == 0

    def down(
        self, stack: Compose, on_line: Callable[[str], None], *, volumes: bool = False
    ) -> bool:
        words = ("down", *(("--volumes",) if volumes else ()))
        if volumes:
            stack = with_own_volumes(stack, self._volumes(str(stack["name"])))
        return self._compose(stack, words, on_line, 300.0) == 0

    def _volumes(self, project: str) -> frozenset[str]:
        """The volumes that compose has made for a project.

        Raises:
            DeployError: the engine does not tell.

        """
        label = f"label={PROJECT_LABEL}={project}"
        listed = self.docker("volume", "ls", "--filter", label, "--format", "{{.Name}}")
        if listed.returncode != 0:
            raise DeployError(f'host "{self.host.name}": {listed.complaint(lines=2)}')
        return frozenset(listed.text.split())

    def remove(self, containers: Sequence[str]) -> None:
        """Stop and remove containers; their volumes stay.

        Raises:
            DeployError: that cannot be done.

        """
        self._each(containers, "stop")
        self._each(containers, "rm", "--force")

    def restart(self, containers: Sequence[str]) -> None:
        """Stop containers and start them again; raises as ``remove`` does."""
        self._each(containers, "restart")

    def without_network(self, stack: Compose) -> list[str]:
        """The containers of the stack that run in a network that is gone.

        Raises:
            DeployError: the engine does not tell.

        """
        name = str(stack["name"])
        return sorted(lost_networks(stack, look(self, [name])[name]))

    def _each(self, containers: Sequence[str], *words: str) -> None:
        done = self.docker(*words, *containers) if containers else None
        if done is not None and done.returncode != 0 and not self.cancelled():
            raise DeployError(f'host "{self.host.name}": {done.complaint(lines=2)}')

    def containers(self, stack: Compose) -> tuple[Container, ...]:
        """All containers of the stack, those that have ended too, by service.

        Raises:
            DeployError: the engine does not tell.

        """
        done = run(
            [*self._with(stack), "ps", "--all", "--format", "json"],
            input=json.dumps(stack).encode(),
            env=self._environ,
            timeout=_PATIENCE,
        )
        if done.returncode != 0:
            raise DeployError(f"stack {stack['name']}: {done.complaint(lines=3)}")
        try:
            return listed_containers(done.text)
        except codec.MalformedError as error:
            raise DeployError(f"stack {stack['name']}: {error}") from error

    def logs(self, container: str, *, tail: int) -> list[str]:
        """The last lines that a container wrote, oldest first.

        Of one that ended and was started again, those before that: they say why it ended.
        """
        asked = "{{.RestartCount}} {{.State.Running}} {{.State.FinishedAt}}"
        state = self.docker("inspect", "--format", asked, container).text.split()
        if len(state) == _FACTS and state[0] != "0" and state[1] == "true":
            ended = moment(state[2])
            until = f"{ended.timestamp() + _DRAIN:.6f}" if ended is not None else "0"
            # The engine counts the lines before it looks at their time.
            lines = self._logs("--tail", str(tail + _SINCE), "--until", until, container)
            if lines:
                return lines[-tail:]
        return self._logs("--tail", str(tail), container)

    def _logs(self, *words: str) -> list[str]:
        done = self.docker("logs", *words)
        return (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()

    def follow(self, stack: Compose, words: Sequence[str], say: Callable[[str], None]) -> int:
        """``docker compose logs`` with ``words``."""
        return self._compose(stack, ("logs", "--no-color", *words), say, None)

    def _compose(
        self,
        stack: Compose,
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
            env=self._environ,
            stdin=json.dumps(stack).encode(),
        )
        lines.end()
        return ended.returncode or int(ended.timed_out or ended.cancelled)

    def _with(self, stack: Compose) -> list[str]:
        name = str(stack["name"])
        words = ("--ansi", "never", "--progress", "plain", "--project-name", name, "--file", "-")
        return [*self._docker(), "compose", *words]

    @property
    def _environ(self) -> dict[str, str]:
        """The environment for compose, in which nothing else says what belongs to a project."""
        kept = {name: text for name, text in self.environ.items() if name not in _DECIDING}
        return {**kept, "COMPOSE_PROJECT_NAME": ""}  # empty, it outweighs that of an --env-file

    def _docker(self) -> list[str]:
        return ["docker", *self._where()]

    def _where(self) -> tuple[str, ...]:
        place = self.host.docker
        if place == "local":
            return ()
        return ("--host", place) if "://" in place else ("--context", place)


def _profiles(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: environ[key] for key in ("COMPOSE_PROFILES",) if key in environ}


class Docker(Protocol):
    """What a look at a host needs of its engine."""

    def docker(self, *words: str) -> Completed: ...


def look(engine: Docker, projects: Iterable[str]) -> dict[str, tuple[InspectedContainer, ...]]:
    """The containers of each of these compose projects, by two questions however many there are.

    Raises:
        DeployError: the engine does not answer.

    """
    projects = tuple(projects)
    listed = engine.docker(
        *("ps", "--all", "--no-trunc", "--filter", f"label={PROJECT_LABEL}"),
        *("--format", f'{{{{.ID}}}} {{{{.Label "{PROJECT_LABEL}"}}}}'),
    )
    if listed.returncode != 0:
        raise DeployError(listed.complaint(lines=2))
    ids = ids_of_projects(listed.text, projects)
    if not ids:
        return dict.fromkeys(projects, ())
    # One that went since the list was made is an error to docker; the others are told all the same.
    inspected = engine.docker("inspect", "--type", "container", *ids)
    try:
        return inspected_containers(inspected.text, projects)
    except codec.MalformedError as error:
        said = inspected.complaint(lines=2) if inspected.stderr.strip() else str(error)
        raise DeployError(said) from error


@contextmanager
def external_networks_held(
    docker: Callable[..., Completed], stack: Compose, where: str
) -> Iterator[None]:
    """Have the engine know the external networks of a rendered stack, whose images it has.

    A worker does not know the overlays of its swarm until a container is in one. docker compose
    looks for each external network before it makes a container, and gives up where there is none,
    while the engine by itself would have asked the swarm. So there is a container first: one that
    sleeps in the network for as long as compose is at work.

    Raises:
        DeployError: one of them is neither here nor in the swarm.

    """
    holders: list[str] = []
    try:
        for name in external_networks(stack).values():
            if docker("network", "inspect", "--format", "{{.Id}}", name).returncode == 0:
                continue
            holder = f"ocbuild-{uuid.uuid4().hex[:12]}"
            holders.append(holder)
            words = ("--detach", "--rm", "--init", "--pull", "never", "--network", name)
            image = str(next(iter(stack["services"].values()))["image"])
            begun = docker(
                *("run", *words, "--name", holder, "--entrypoint", "sleep", image, str(_HOLD))
            )
            if begun.returncode != 0:
                raise DeployError(
                    f"the network {name} is not to be had {where}: {begun.complaint(lines=2)}"
                )
        yield
    finally:
        if holders:
            docker("rm", "--force", *holders)
