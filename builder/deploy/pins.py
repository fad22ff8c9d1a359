"""Which image of a release each service of a stack runs, as an override for docker compose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.core.errors import DeployError, InputError, did_you_mean
from builder.core.reference import Reference
from builder.core.release import Release

# What ``docker compose config`` prints; only what is looked at here is checked.
Compose = Mapping[str, Any]


def variables(release: Release, registry: str) -> dict[str, str]:
    """The environment in which compose files name images: registry, namespace, a tag per group."""
    found = {"REGISTRY": registry, "NAMESPACE": release.namespace}
    for image in release.images.values():
        found.setdefault(variable(image.group), image.tag)
    return found


def variable(group: str) -> str:
    """The variable by which compose files name the tag of a group."""
    return f"TAG_{group.upper().replace('-', '_')}"


def images(compose: Compose) -> dict[str, str]:
    """The image of each service, profiles that are not asked for left out."""
    services: Mapping[str, Any] = compose.get("services", {})
    return {name: str(service["image"]) for name, service in services.items() if "image" in service}


def pinned(stack: str, compose: Compose, release: Release, registry: str) -> dict[str, str]:
    """The digest reference for each service whose image is one of ours.

    Raises:
        DeployError: one that should be in the release is not; all such are named together.

    """
    by_path = {image.path: image for image in release.images.values()}
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for service, text in images(compose).items():
        try:
            reference = Reference.parse(text)
        except InputError as error:
            raise DeployError(
                f'stack {stack}: the image of {service} is "{text}", which is no reference',
                hint="is every variable in it set?",
            ) from error
        image = by_path.get(reference.path)
        if image is not None:
            found[service] = str(image.reference(registry))
        elif reference.namespace == release.namespace and reference.registry == registry:
            missing[service] = reference.name
    if missing:
        raise DeployError(_missing(stack, missing, release), hint=_advice(missing, release))
    return found


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


def override(pins: Mapping[str, str]) -> dict[str, object]:
    """A compose file that changes nothing but the images."""
    return {"services": {service: {"image": image} for service, image in sorted(pins.items())}}
