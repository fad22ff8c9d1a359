"""What a claim is made of: names under tags, pretended, simulated and in registries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.core.reference import Reference
from builder.publish.claim import CLAIMS, Marks, RegistryMarks
from builder.registry.embedded import EmbeddedRegistry
from tests.contract.conftest import real
from tests.support.client import make_client
from tests.support.marks import Process, Tags, World
from tests.support.memory_registry import MemoryRegistry
from tests.support.registry import free_address

# Lets a test use the marks of two runs.
Given = Callable[[Callable[[Marks, Marks], None]], None]


def pretended(test: Callable[[Marks, Marks], None]) -> None:
    tags = Tags()
    test(tags, tags)


def simulated(test: Callable[[Marks, Marks], None]) -> None:
    """In a world where each request takes its time; the test is its only process."""
    world = World(itertools.cycle([0.1, 0.3, 0.0]))
    ours, theirs = Process(world, "ours"), Process(world, "theirs")
    thread = world.start(0.0, lambda: test(ours, theirs))
    world.run()
    thread.join(10)
    for error in world.errors:
        raise error


def of_registry(address: str) -> Given:
    def given(test: Callable[[Marks, Marks], None]) -> None:
        place = Reference(registry=address, path="acme/release")
        with make_client() as ours, make_client() as theirs:
            test(RegistryMarks(ours, place), RegistryMarks(theirs, place))

    return given


@pytest.fixture(params=["pretended", "simulated", "memory", *real("embedded")])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Given]:
    if request.param == "memory":
        with MemoryRegistry() as registry:
            yield of_registry(registry.address)
    elif request.param == "embedded":
        embedded = EmbeddedRegistry(state=tmp_path, address=free_address())
        embedded.start()
        try:
            yield of_registry(embedded.address)
        finally:
            embedded.stop()
    else:
        yield pretended if request.param == "pretended" else simulated


def test_nobody_is_there_before_anybody_writes(given: Given) -> None:
    def test(ours: Marks, theirs: Marks) -> None:
        assert [marks.read(tag) for marks in (ours, theirs) for tag in CLAIMS] == [""] * 6

    given(test)


def test_what_one_writes_the_other_reads_until_it_is_written_anew(given: Given) -> None:
    names = ("run 1 on désk", "run 2", "", "run 1 on désk")

    def test(ours: Marks, theirs: Marks) -> None:
        for writer, reader, name in zip(itertools.cycle((ours, theirs)), (theirs, ours) * 2, names):
            writer.write(CLAIMS[0], name)
            assert reader.read(CLAIMS[0]) == writer.read(CLAIMS[0]) == name

    given(test)


def test_each_tag_has_its_own_name(given: Given) -> None:
    def test(ours: Marks, theirs: Marks) -> None:
        for tag in CLAIMS:
            ours.write(tag, f"of {tag}")
        assert [theirs.read(tag) for tag in CLAIMS] == [f"of {tag}" for tag in CLAIMS]

    given(test)
