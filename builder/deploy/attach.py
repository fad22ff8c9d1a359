"""Brings a swarm's overlays to a worker, which does not know them until a container is in one.

docker compose looks for each external network before it makes a container, and gives up where
there is none, while the engine by itself would have asked the swarm. So there is a container first:
one that sleeps in the network for as long as compose is at work.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from builder.core.errors import DeployError
from builder.system.process import Completed

# Longer than compose may work; it is removed before, unless we are killed.
_SECONDS = 3600


@contextmanager
def attached(
    docker: Callable[..., Completed], stack: Mapping[str, Any], where: str
) -> Iterator[None]:
    """Have the engine know the external networks of a rendered stack, whose images it has.

    Raises:
        DeployError: one of them is neither here nor in the swarm.

    """
    holders: list[str] = []
    try:
        for name in _external(stack):
            if docker("network", "inspect", "--format", "{{.Id}}", name).returncode == 0:
                continue
            holder = f"ocbuild-{uuid.uuid4().hex[:12]}"
            holders.append(holder)
            words = ("--detach", "--rm", "--init", "--pull", "never", "--network", name)
            image = str(next(iter(stack["services"].values()))["image"])
            begun = docker(
                *("run", *words, "--name", holder, "--entrypoint", "sleep", image, str(_SECONDS))
            )
            if begun.returncode != 0:
                raise DeployError(
                    f"the network {name} is not to be had {where}: {begun.complaint(lines=2)}"
                )
        yield
    finally:
        if holders:
            docker("rm", "--force", *holders)


def _external(stack: Mapping[str, Any]) -> list[str]:
    networks: Mapping[str, Any] = stack.get("networks") or {}
    return [
        str(network.get("name") or key)
        for key, network in networks.items()
        if network.get("external")
    ]
