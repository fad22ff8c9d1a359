"""Stacks as docker compose describes them and as a Docker Engine runs them.

The documents are those of ``docker compose config``, ``docker compose ps`` and ``docker inspect``:
https://github.com/compose-spec/compose-spec/blob/main/spec.md and
https://docs.docker.com/reference/api/engine/ (ContainerInspect).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from builder.core import codec
from builder.core.text import moment

# What ``docker compose config`` prints; only what is looked at here is checked.
Compose = Mapping[str, Any]

RUNNING = "running"
_COMPLETED = "service_completed_successfully"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
_ONE_OFF_LABEL = "com.docker.compose.oneoff"
# What has to be known of a service to tell whether its containers are as they should be.
_BONES = ("image", "restart", "network_mode", "depends_on", "scale")
_DEPLOY = ("replicas", "restart_policy")
# What the Docker Engine says of a container that never started, or never ended.
_NEVER = "0001-01-01T00:00:00Z"


# --- what is described ---------------------------------------------------------------------------


def images(compose: Compose) -> dict[str, str]:
    """The image of each service, profiles that are not asked for left out."""
    services: Mapping[str, Any] = compose.get("services", {})
    return {name: str(service["image"]) for name, service in services.items() if "image" in service}


def images_by_host(
    stacks: Mapping[str, Compose], hosts: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """The pinned images that each host runs, by its name; ``hosts`` says where stacks are."""
    wanted: dict[str, frozenset[str]] = {}
    for name, compose in stacks.items():
        pins = frozenset(text for text in images(compose).values() if "@" in text)
        wanted[hosts[name]] = wanted.get(hosts[name], frozenset()) | pins
    return dict(sorted(wanted.items()))


def mentioning(texts: Mapping[str, str], words: Iterable[str]) -> list[str]:
    """The stacks whose compose files, as they were written, ask for one of these variables."""
    words = tuple(words)
    return [name for name, text in texts.items() if any(word in text for word in words)]


def with_images(compose: Compose, pins: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with these images in the place of those of the services named."""
    services = {
        name: {**service, "image": pins[name]} if name in pins else service
        for name, service in compose["services"].items()
    }
    return {**compose, "services": services}


def with_images_of(compose: Compose, deployed: Compose) -> dict[str, Any] | None:
    """The compose file with the images of what was deployed; None if that had other services."""
    if deployed["services"].keys() != compose["services"].keys():
        return None
    return with_images(compose, images(deployed))


def skeleton(compose: Compose) -> dict[str, Any]:
    """What is needed to find, count and remove what was deployed; no environment, no command."""
    services = {
        name: _bones(service) | _volumes(service) for name, service in compose["services"].items()
    }
    bones: dict[str, Any] = {"name": str(compose.get("name", "")), "services": services}
    for kind in ("volumes", "networks"):
        if described := compose.get(kind):
            bones[kind] = {
                key: {word: one[word] for word in ("name", "external") if word in (one or {})}
                for key, one in described.items()
            }
    return bones


def _bones(service: Mapping[str, Any]) -> dict[str, Any]:
    bones = {key: service[key] for key in _BONES if key in service}
    if deploy := service.get("deploy"):
        bones["deploy"] = {word: deploy[word] for word in _DEPLOY if word in deploy}
    return bones


def _volumes(service: Mapping[str, Any]) -> dict[str, Any]:
    """Compose forgets volumes that no service uses, and would not remove them."""
    used = [
        {key: one[key] for key in ("type", "source", "target")}
        for one in service.get("volumes") or ()
        if one.get("type") == "volume" and one.get("source")
    ]
    return {"volumes": used} if used else {}


def external_networks(compose: Compose) -> dict[str, str]:
    """The networks that a rendered stack expects to be there: key to name."""
    networks: Mapping[str, Any] = compose.get("networks") or {}
    return {
        key: str(network.get("name") or key)
        for key, network in networks.items()
        if (network or {}).get("external")
    }


def may_end(compose: Compose, service: str) -> bool:
    """Whether the service may have done its work: the engine restarts whatever is to run on."""
    own = compose["services"][service]
    policy = own.get("restart") or "no"
    given = (own.get("deploy") or {}).get("restart_policy")
    if "restart" not in own and given is not None:
        policy = given.get("condition", "any")
    return str(policy).partition(":")[0] in ("no", "none", "on-failure")


def is_job(compose: Compose, service: str) -> bool:
    """Whether others wait until the service has done its work."""
    needs = (other.get("depends_on") or {} for other in compose["services"].values())
    conditions = (one.get(service) for one in needs if isinstance(one, Mapping))
    return any((one or {}).get("condition") == _COMPLETED for one in conditions)


def replicas(compose: Compose, service: str) -> int:
    """How many containers the service is to have."""
    own = compose["services"][service]
    count = own.get("scale", (own.get("deploy") or {}).get("replicas"))
    return 1 if count is None else int(count)


def changed_services(now: Compose, before: Compose | None) -> tuple[str, ...]:
    """Services that are new or described differently; with the owner of a group, all of it."""
    services: Mapping[str, Any] = now["services"]
    old: Mapping[str, Any] = before["services"] if before else {}
    changed = {name for name, service in services.items() if old.get(name) != service}
    for name, service in services.items():
        owner = str(service.get("network_mode", "")).removeprefix("service:")
        if owner in changed:
            changed.add(name)
    return tuple(sorted(changed))


# --- what runs -----------------------------------------------------------------------------------


class Container(Struct, frozen=True, kw_only=True):
    """One container of a stack, as the engine has it now; ``image`` is as it was asked for."""

    service: str
    name: str
    state: str
    health: str
    exit_code: int
    image: str

    def is_well(self, compose: Compose) -> bool:
        """Whether it does its work in this stack, or has done it."""
        if self.service not in compose["services"]:
            return False
        if self.state == RUNNING:
            return self.health in ("", "healthy") and not is_job(compose, self.service)
        return self.has_ended_well and may_end(compose, self.service)

    @property
    def has_ended_well(self) -> bool:
        return self.state == "exited" and self.exit_code == 0

    @property
    def condition(self) -> str:
        """Its state in a word or two."""
        if self.state == RUNNING:
            return self.health or RUNNING
        if self.state == "exited":
            return f"exited with {self.exit_code}"
        return self.state


class InspectedContainer(Struct, frozen=True, kw_only=True):
    """A container with what only an inspection tells; ``since`` is RFC 3339, "" if never.

    ``network_of`` is the id of the container whose network it shares, "" if it has its own.
    """

    container: Container
    since: str
    restarts: int
    id: str = ""
    network_of: str = ""


def is_well(compose: Compose, containers: Sequence[Container]) -> bool:
    """Whether every service of the stack has its containers, each of them as it should be."""
    return not lacking(compose, containers) and all(one.is_well(compose) for one in containers)


def may_become_well(compose: Compose, containers: Sequence[Container]) -> bool:
    """Whether all that a stack needs to be well is some time."""
    sick = [one for one in containers if not one.is_well(compose)]
    return (
        not lacking(compose, containers)
        and bool(sick)
        and all(one.condition == "starting" for one in sick)
    )


def lost_networks(compose: Compose, inspected: Sequence[InspectedContainer]) -> dict[str, str]:
    """The containers that run in a network that is gone, with the service that they shared it with.

    A container gets another network whenever it starts; whoever shared the old one stays in it,
    without a way out, until it is started again, too.
    """
    by_id = {one.id: one for one in inspected}
    lost: dict[str, str] = {}
    for one in inspected:
        service = compose["services"].get(one.container.service, {})
        mode, _, owner = str(service.get("network_mode", "")).partition(":")
        if mode != "service" or one.container.state != RUNNING or not one.network_of:
            continue
        other = by_id.get(one.network_of)
        if other is None or _started_after(other, one):
            lost[one.container.name] = owner
    return lost


def _started_after(one: InspectedContainer, other: InspectedContainer) -> bool:
    mine, others = moment(one.since), moment(other.since)
    return (
        one.container.state == RUNNING and mine is not None and others is not None and mine > others
    )


def lacking(compose: Compose, containers: Iterable[Container]) -> list[str]:
    """The services of a stack that have fewer containers than they should."""
    count = Counter(one.service for one in containers)
    return sorted(name for name in compose["services"] if count[name] < replicas(compose, name))


class _Listed(Struct, frozen=True, rename="pascal"):
    """A container as ``docker compose ps --format json`` tells of it."""

    service: str
    name: str
    state: str
    health: str = ""
    exit_code: int = 0
    image: str = ""


def listed_containers(text: str) -> tuple[Container, ...]:
    """What ``docker compose ps`` printed, by service.

    Since compose 2.21 it is one JSON object a line, before it was one list.

    Raises:
        MalformedError: it is neither.

    """
    documents: list[_Listed] = []
    for line in filter(str.strip, text.splitlines()):
        if line.lstrip().startswith("["):
            documents += codec.decode(line, list[_Listed], what="the list of containers")
        else:
            documents.append(codec.decode(line, _Listed, what="the list of containers"))
    containers = (
        Container(
            service=one.service,
            name=one.name,
            state=one.state.lower(),
            health=one.health.lower(),
            exit_code=one.exit_code,
            image=one.image,
        )
        for one in documents
    )
    return tuple(sorted(containers, key=lambda one: one.service))


class _Health(Struct, frozen=True, rename="pascal"):
    status: str = ""


class _State(Struct, frozen=True, rename="pascal"):
    status: str
    started_at: str = ""
    finished_at: str = ""
    exit_code: int = 0
    health: _Health | None = None


class _Settings(Struct, frozen=True, rename="pascal"):
    image: str
    labels: dict[str, str] | None = None


class _HostConfig(Struct, frozen=True, rename="pascal"):
    network_mode: str = ""


class _Inspected(Struct, frozen=True, rename="pascal"):
    """A container as ``docker inspect`` tells of it."""

    name: str
    state: _State
    config: _Settings
    id: str = ""
    host_config: _HostConfig | None = None
    restart_count: int = 0

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.labels or {}

    @property
    def value(self) -> InspectedContainer:
        state = self.state
        mode = self.host_config.network_mode if self.host_config is not None else ""
        kind, _, owner = mode.partition(":")
        is_up = state.status in (RUNNING, "paused")
        since = state.started_at if is_up else state.finished_at
        health = state.health.status if state.health is not None else ""
        return InspectedContainer(
            container=Container(
                service=self.labels.get(SERVICE_LABEL, ""),
                name=self.name.removeprefix("/"),
                state=state.status,
                health="" if health == "none" else health,
                exit_code=state.exit_code,
                image=self.config.image,
            ),
            since="" if since == _NEVER else since,
            restarts=self.restart_count,
            id=self.id,
            network_of=owner if kind == "container" else "",
        )


def ids_of_projects(text: str, projects: Iterable[str]) -> list[str]:
    """The ids of the containers of these compose projects, out of lines of "ID PROJECT"."""
    wanted = frozenset(projects)
    pairs = (line.partition(" ") for line in text.splitlines())
    return [id_ for id_, _, project in pairs if project in wanted]


def inspected_containers(
    text: str, projects: Iterable[str]
) -> dict[str, tuple[InspectedContainer, ...]]:
    """What ``docker inspect`` printed, by compose project; without what was run once by hand.

    Raises:
        MalformedError: it is no list of containers.

    """
    by_project: dict[str, tuple[InspectedContainer, ...]] = dict.fromkeys(projects, ())
    for one in codec.decode(text, list[_Inspected], what="the list of containers"):
        project = one.labels.get(PROJECT_LABEL, "")
        if project in by_project and one.labels.get(_ONE_OFF_LABEL, "False") != "True":
            by_project[project] += (one.value,)
    return by_project


class _PresentImage(Struct, frozen=True, rename="pascal"):
    repo_digests: list[str] | None = None


def present_references(document: object) -> set[str]:
    """The digest references under which an engine knows images, out of ``GET /images/json``.

    Raises:
        MalformedError: it is no list of images.

    """
    images = codec.convert(document, list[_PresentImage], what="the list of images")
    return {reference for image in images for reference in image.repo_digests or ()}


def last_lines(lines: Sequence[str], count: int) -> list[str]:
    """The last lines that say something, indented for a list of reasons."""
    return [f"  {line}" for line in lines if line.strip()][-count:]
