"""Compose projects: which one a stack is, which images it is given, which containers are ours.

Nothing that is not ours is ever removed, whatever the files and records of others say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from builder.core.deploy.records import Deployment
from builder.core.deploy.stack import Compose, Container, images
from builder.core.errors import DeployError, InputError, did_you_mean
from builder.core.reference import Reference
from builder.core.release import Release

# ${NAME}, ${NAME:-default} and $NAME: what stands for a part of a text.
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?[^}]*\}|(\w+))")


def own_name(text: str) -> str:
    """What a compose file says of its compose project, as it is written; "" where it says nothing.

    https://github.com/compose-spec/compose-spec/blob/main/04-version-and-name.md
    """
    found = re.search(r"(?m)^[\"']?name[\"']?[ \t]*:[ \t]*(\S+)", text)
    return found[1].strip("\"'") if found else ""


def fits(project: str, written: str, values: Mapping[str, str]) -> bool:
    """Whether a name is what comes of another one with variables, as far as those are known."""

    def filled(found: re.Match[str]) -> str:
        name, default = found[1] or found[3], found[2]
        return re.escape(values[name] if values.get(name) else default or "") or ".*"

    pattern, end = "", 0
    for found in _VARIABLE.finditer(written):
        pattern, end = (
            pattern + re.escape(written[end : found.start()]) + filled(found),
            found.end(),
        )
    return re.fullmatch(pattern + re.escape(written[end:]), project) is not None


def final(rendered: Mapping[str, Any]) -> dict[str, Any]:
    """A rendered stack without what has done its part: extensions, and profiles.

    Left in, extensions would be differences that are none, and services of profiles would have to
    be asked for once more.
    """
    services = {
        name: {key: value for key, value in service.items() if key != "profiles"}
        for name, service in (rendered.get("services") or {}).items()
    }
    kept = {key: value for key, value in rendered.items() if not key.startswith("x-")}
    return {**kept, "services": services}


def with_own_volumes(compose: Compose, own: frozenset[str]) -> dict[str, Any]:
    """The stack with every volume that is not its ``own`` as one that it may not remove."""
    volumes: Mapping[str, Mapping[str, Any] | None] = compose.get("volumes") or {}
    kept = {
        key: one if (name := _volume(compose, key)) in own else {"name": name, "external": True}
        for key, one in volumes.items()
    }
    return {**compose, "volumes": kept} if volumes else dict(compose)


def _volume(compose: Compose, key: str) -> str:
    described = compose["volumes"][key] or {}
    return str(described.get("name") or f"{compose['name']}_{key}")


def project_name(namespace: str, stack: str) -> str:
    """The compose project of a stack whose file has no ``name:``."""
    return re.sub(r"[^a-z0-9_-]+", "-", f"{namespace}-{stack}".lower()).lstrip("-_")


def folder_project(folder: str) -> str:
    """What compose makes of the name of a folder; stacks used to be deployed in that."""
    return re.sub(r"[^a-z0-9_-]", "", folder.lower()).lstrip("-_")


def check_projects(projects: Mapping[str, tuple[str, str]]) -> None:
    """See that no two stacks share a compose project: each would remove the other's containers.

    ``projects`` are host and compose project of each stack.

    Raises:
        DeployError: two do.

    """
    owners: dict[tuple[str, str], str] = {}
    for stack, place in projects.items():
        other = owners.setdefault(place, stack)
        if other != stack:
            raise DeployError(
                f'the stacks {other} and {stack} have the same compose project "{place[1]}"',
                hint="give the compose file of each a `name:` of its own",
            )


def strangers(
    containers: Iterable[Container], project: str, known: Iterable[Deployment | None]
) -> list[str]:
    """The containers of a compose project that no deployment of ours has started."""
    ours = _services(project, known)
    return sorted(one.name for one in containers if one.service not in ours)


def leftovers(
    containers: Iterable[Container], compose: Compose, known: Iterable[Deployment | None]
) -> list[str]:
    """The containers of ours that have no place in what is wanted."""
    ours = _services(str(compose["name"]), known) - compose["services"].keys()
    return sorted(one.name for one in containers if one.service in ours)


def _services(project: str, known: Iterable[Deployment | None]) -> frozenset[str]:
    return frozenset(
        service
        for one in known
        if one is not None and one.project == project
        for service in one.compose["services"]
    )


def moved_project(stack: str, old: str, new: str) -> DeployError:
    """The error of a stack that would leave behind what runs of it in another compose project."""
    return DeployError(
        f'stack {stack} runs as the compose project "{old}", and is to run as "{new}":'
        " what runs would be left behind",
        hint=f"take it down first, which keeps its volumes: ocbuild down {stack}",
    )


def foreign_project(stack: str, project: str, host: str, names: Sequence[str]) -> DeployError:
    """The error of a compose project in which others have containers."""
    return DeployError(
        f'stack {stack}: the compose project "{project}" on host "{host}" has containers that were'
        f" not deployed from here: {', '.join(names)}",
        hint="give the compose file another `name:`, or take them down:"
        f" docker compose --project-name {project} down",
    )


# --- variables and pins --------------------------------------------------------------------------


def variables(release: Release, registry: str) -> dict[str, str]:
    """The environment in which compose files name images: registry, namespace, a tag per group."""
    values = {"REGISTRY": registry, "NAMESPACE": release.namespace}
    for image in release.images.values():
        values.setdefault(tag_variable(image.group), image.tag)
    return values


def stand_in_variables(registry: str, namespace: str, groups: Iterable[str]) -> dict[str, str]:
    """The same where images are pinned already, so that the tags only have to be something."""
    tags = dict.fromkeys(map(tag_variable, groups), "deployed")
    return {"REGISTRY": registry, "NAMESPACE": namespace, **tags}


def tag_variable(group: str) -> str:
    """The variable by which compose files name the tag of a group."""
    return f"TAG_{group.upper().replace('-', '_')}"


def pinned(stack: str, compose: Compose, release: Release, registry: str) -> dict[str, str]:
    """The digest reference for each service whose image is one of ours.

    Raises:
        DeployError: one that should be in the release is not; all such are named together.

    """
    by_path = {image.path: image for image in release.images.values()}
    pins: dict[str, str] = {}
    missing: dict[str, str] = {}
    for service, text in images(compose).items():
        try:
            reference = Reference.parse(text)
        except InputError as error:
            raise DeployError(
                f'stack {stack}: the image of {service} is "{text}", which is no reference',
                hint="is every variable in it set?",
            ) from error
        image = by_path.get(reference.path) if reference.registry == registry else None
        if image is not None:
            pins[service] = str(image.reference(registry))
        elif reference.namespace == release.namespace and reference.registry == registry:
            missing[service] = reference.name
    if missing:
        raise DeployError(_missing(stack, missing, release), hint=_advice(missing, release))
    return pins


def _missing(stack: str, missing: Mapping[str, str], release: Release) -> str:
    named = ", ".join(sorted(set(missing.values())))
    verb = "is" if len(set(missing.values())) == 1 else "are"
    return f"stack {stack}: {named} {verb} not in the release {release.tag}"


def _advice(missing: Mapping[str, str], release: Release) -> str | None:
    reasons = [
        f"{name} was left out: {release.missing[name]}"
        for name in sorted(set(missing.values()))
        if name in release.missing
    ]
    if reasons:
        return "\n".join(reasons)
    return did_you_mean(next(iter(missing.values())), release.images)
