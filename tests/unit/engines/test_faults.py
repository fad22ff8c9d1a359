"""A fault that passes is no reason to have an image made in another way."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import pytest

from builder.core.assemble import Refused
from builder.core.dockerfile.parse import parse
from builder.core.engine.failure import BuildFailedError
from builder.core.reference import Reference
from builder.core.registry_content import Manifest
from builder.core.registry_faults import RegistryError, ServerFaultError, UnreachableError
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest
from builder.engines.assembler import Assembler
from builder.engines.layer_cache import LayerIndexes
from builder.registry.client import Registry

BASE = f"registry.example/acme/base@sha256:{'b' * 64}"


class Faulty:
    """A registry that fails whatever it is asked."""

    def __init__(self, error: RegistryError) -> None:
        self._error = error

    def manifest(self, _reference: Reference) -> Manifest:
        raise self._error


def assemble(error: RegistryError, *, published: bool) -> None:
    registry = cast("Registry", Faulty(error))
    engine = Assembler(
        cast("Daemon", None), registry, LayerIndexes(registry, None), platform="linux/amd64"
    )
    request = BuildRequest(
        image="app",
        context=Path("/tree"),
        dockerfile=Path("/tree/Dockerfile"),
        dockerfile_label="app/Dockerfile",
        tags=("registry.example/acme/app:1",),
        parsed=parse(b"FROM base\nCMD app\n", "app/Dockerfile"),
        contexts={"base": f"docker-image://{BASE}"},
        in_engine=False,
        published=published,
    )
    engine.build(request, lambda _output: None, threading.Event())


PASSES = ServerFaultError("503 Service Unavailable", status=503, transient=True)


def test_what_is_published_is_tried_again_after_a_fault_that_passes() -> None:
    with pytest.raises(BuildFailedError, match="503 Service Unavailable") as caught:
        assemble(PASSES, published=True)
    assert caught.value.transient


@pytest.mark.parametrize(
    ("error", "published"),
    [
        (PASSES, False),
        (UnreachableError("nobody listens", transient=True), True),
        (ServerFaultError("500", status=500), True),
    ],
)
def test_else_an_engine_may_have_what_the_registry_does_not_give(
    error: RegistryError, *, published: bool
) -> None:
    with pytest.raises(Refused):
        assemble(error, published=published)
