"""Images and what is built on what, derived from the Dockerfiles alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from graphlib import CycleError as GraphlibCycleError, TopologicalSorter
from typing import TYPE_CHECKING

from msgspec import Struct

from builder.core.dockerfile.evaluate import evaluate
from builder.core.dockerfile.model import Inherited, Needs
from builder.core.errors import (
    CycleError,
    DuplicateImageError,
    InputError,
    InputErrors,
    UnknownBaseError,
    raise_all,
)
from builder.core.image import Image, ImageSource, InTreeNames
from builder.core.reference import Reference

DEFAULT_PLATFORM = "linux/amd64"

if TYPE_CHECKING:
    import networkx as nx

    Digraph = nx.DiGraph[str]


class ImageGraph(Struct, frozen=True, dict=True):
    """All images by name, in build order: parents first, then by name."""

    images: Mapping[str, Image]

    @classmethod
    def of(
        cls,
        sources: Iterable[ImageSource],
        names: InTreeNames,
        platform: str = DEFAULT_PLATFORM,
    ) -> ImageGraph:
        """Derive the graph as an engine of this platform would build it.

        Raises:
            InputError: every duplicate, unknown base, cycle and Dockerfile error that was found,
                together.

        """
        by_name = _unique(sources)
        needs, links = _Evaluation(by_name, names, platform).all()
        order = _build_order(by_name, links)
        levels: dict[str, int] = {}
        images: dict[str, Image] = {}
        for name in order:
            parents = set(links[name].values())
            levels[name] = 1 + max((levels[parent] for parent in parents), default=-1)
            used = {base.text for base in needs[name].bases}
            images[name] = Image(
                name=name,
                source=by_name[name],
                repository=Reference(path=f"{names.namespace}/{name}", registry=names.registry),
                needs=needs[name],
                links=links[name],
                external=tuple(sorted(used - links[name].keys())),
                level=levels[name],
            )
        return cls(images)

    def __getitem__(self, name: str) -> Image:
        return self.images[name]

    def __contains__(self, name: object) -> bool:
        return name in self.images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(self.images)

    @cached_property
    def external(self) -> tuple[str, ...]:
        """Every external base, as written, sorted."""
        return tuple(sorted({text for image in self.images.values() for text in image.external}))

    @cached_property
    def _children(self) -> Mapping[str, tuple[str, ...]]:
        children: dict[str, list[str]] = {name: [] for name in self.images}
        for image in self.images.values():
            for parent in image.parents:
                children[parent].append(image.name)
        return {name: tuple(sorted(below)) for name, below in children.items()}

    def children(self, name: str) -> tuple[str, ...]:
        return self._children[name]

    def externals_of(self, names: Iterable[str]) -> frozenset[str]:
        """The external bases of the given images and of all that they are built on."""
        wanted = {*names, *self.ancestors(names)}
        return frozenset(text for name in wanted for text in self.images[name].external)

    def ancestors(self, names: Iterable[str]) -> frozenset[str]:
        """All that the given images are built on, themselves left out unless one needs another."""
        return _reach(names, lambda name: self.images[name].parents)

    def descendants(self, names: Iterable[str]) -> frozenset[str]:
        """All that is built on the given images."""
        return _reach(names, self.children)

    def in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """The given images in build order."""
        wanted = set(names)
        return tuple(name for name in self.images if name in wanted)


def _reach(names: Iterable[str], step: Callable[[str], Sequence[str]]) -> frozenset[str]:
    reached: set[str] = set()
    todo = [near for name in names for near in step(name)]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo.extend(step(name))
    return frozenset(reached)


def _unique(sources: Iterable[ImageSource]) -> dict[str, ImageSource]:
    by_name: dict[str, ImageSource] = {}
    errors: list[InputError] = []
    for source in sorted(sources, key=lambda source: (source.name, source.directory)):
        first = by_name.setdefault(source.name, source)
        if first is not source:
            errors.append(
                DuplicateImageError(
                    f'"{source.directory}" and "{first.directory}" both make the image'
                    f' "{source.name}"',
                    where=source.location,
                    hint="rename one of the directories, leave one out by `exclude`, or set a"
                    ' naming rule such as name = "{path}" for its group in build.toml',
                )
            )
    raise_all(errors)
    return by_name


class _ParentFirst(Exception):  # noqa: N818 - a signal, not an error
    """The evaluation of one image asked for an image that is not evaluated yet."""

    def __init__(self, parent: str) -> None:
        super().__init__(parent)
        self.parent = parent


class _Evaluation:
    """Evaluates every Dockerfile once its in-tree base is evaluated.

    A child takes over ENV, LABEL and ONBUILD of its base, so bases come first; which base that is,
    only the evaluation itself can tell. So each image is tried, and put off when it asks for a base
    that is still to come.
    """

    def __init__(
        self, sources: Mapping[str, ImageSource], names: InTreeNames, platform: str
    ) -> None:
        self.sources = sources
        self.names = names
        self.platform = platform
        self.needs: dict[str, Needs] = {}
        self.failed: set[str] = set()
        self.errors: list[InputError] = []

    def all(self) -> tuple[dict[str, Needs], dict[str, dict[str, str]]]:
        for name in self.sources:
            self._read_with_parents(name)
        links = {name: self._links(name) for name in self.needs}
        raise_all(self.errors)
        return self.needs, links

    def _read_with_parents(self, name: str) -> None:
        stack = [name]
        while stack:
            current = stack[-1]
            if current in self.needs or current in self.failed:
                stack.pop()
                continue
            try:
                self.needs[current] = self._evaluate(current)
            except _ParentFirst as signal:
                if signal.parent in stack:
                    cycle = [*stack[stack.index(signal.parent) :], signal.parent]
                    self._fail(current, _cycle_error(cycle, self.sources))
                else:
                    stack.append(signal.parent)
            except InputErrors as error:
                self._fail(current, *error.errors)
            except InputError as error:
                self._fail(current, error)

    def _fail(self, name: str, *errors: InputError) -> None:
        self.failed.add(name)
        self.errors.extend(errors)

    def _evaluate(self, name: str) -> Needs:
        source = self.sources[name]

        def inherited(text: str) -> Inherited | None:
            try:
                parent = self.names.image_for(
                    text, asked_by=name, images=self.sources, where=source.location
                )
            except UnknownBaseError:
                return None  # said by _links, which knows the line
            if parent is None:
                return None
            if parent in self.failed:
                return Inherited(env={}, labels={})
            if parent not in self.needs:
                raise _ParentFirst(parent)
            return self.needs[parent].inherited

        return evaluate(
            source.parsed,
            build_args=source.args,
            target=source.target,
            inherited=inherited,
            platform=(source.platform or self.platform).split(",")[0],
            build_platform=self.platform,
        )

    def _links(self, name: str) -> dict[str, str]:
        links: dict[str, str] = {}
        for base in self.needs[name].bases:
            try:
                parent = self.names.image_for(
                    base.text, asked_by=name, images=self.sources, where=base.location
                )
            except InputError as error:
                self.errors.append(error)
            else:
                if parent is not None:
                    links[base.text] = parent
        return links


def _build_order(
    sources: Mapping[str, ImageSource], links: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...]:
    """Parents first; among those that are free at the same time, by name."""
    parents = {name: set(links[name].values()) for name in sources}
    sorter = TopologicalSorter(parents)
    try:
        sorter.prepare()
    except GraphlibCycleError:  # it names one of them
        raise_all([*_cycles(sources, parents)])
    free: list[str] = []
    order: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(free, name)
        order.append(heapq.heappop(free))
        sorter.done(order[-1])
    return tuple(order)


def _cycles(
    sources: Mapping[str, ImageSource], parents: Mapping[str, Iterable[str]]
) -> Iterator[CycleError]:
    """One error for each knot of images that are built on each other."""
    import networkx as nx  # noqa: PLC0415 - 90 ms that only a tree with a cycle should pay

    graph: Digraph = nx.DiGraph()
    graph.add_nodes_from(sorted(sources))
    graph.add_edges_from(
        (parent, name) for name, needed in parents.items() for parent in sorted(needed)
    )
    for component in sorted(sorted(names) for names in nx.strongly_connected_components(graph)):
        within = graph.subgraph(component)
        if within.number_of_edges():
            edges = nx.find_cycle(within, source=component[0])
            path = [parent for parent, _ in reversed(edges)]
            first = path.index(min(path))
            yield _cycle_error([*path[first:], *path[:first], path[first]], sources)


def _cycle_error(cycle: Sequence[str], sources: Mapping[str, ImageSource]) -> CycleError:
    """``cycle`` goes from child to parent and ends where it began."""
    return CycleError(
        f"these images are built on each other: {' -> '.join(cycle)}",
        where=sources[cycle[0]].location,
        hint="each arrow is a FROM, COPY --from or RUN --mount=from= in the first image's"
        " Dockerfile that names the second; take one of them out",
    )
