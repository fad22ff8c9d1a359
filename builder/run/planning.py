"""From a tree and what exists to a plan: bases, keys, look-ups, and the reasons for builds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from msgspec import Struct, field

from builder.core.assemble.obstacles import all_assembled, obstacle, quick_to_make
from builder.core.bases import Pin, Resolution, ResolvedBase, unreadable
from builder.core.context import ContextListing, ReadContext
from builder.core.events import ASSEMBLER
from builder.core.graph import DEFAULT_PLATFORM
from builder.core.image import Image
from builder.core.options import BuildOptions
from builder.core.plan import (
    Assemble,
    AvailableImage,
    Build,
    Plan,
    RunFacts,
    decide,
)
from builder.core.published import Published
from builder.core.release import Inputs
from builder.core.renewal import Renewal
from builder.core.select import Selection
from builder.engines import bases
from builder.publish.publication import Publication
from builder.run.machine import Machine
from builder.run.prepare import Identities, identify, image_facts
from builder.tree.read import Tree

Provide = Callable[[frozenset[str], Mapping[str, Pin]], Resolution]


class Planned(Struct, frozen=True, kw_only=True):
    """A plan, and what it was made from.

    ``inputs`` and ``contexts`` are empty where the keys are not known.
    """

    plan: Plan
    resolution: Resolution
    inputs: Mapping[str, Inputs]
    contexts: Mapping[str, ReadContext]


class Planner(Struct, frozen=True, kw_only=True):
    """Makes the plan of one run; ``machine`` is None where no engine answers.

    ``listings`` are the contexts as they were when the run began.
    """

    tree: Tree
    selection: Selection
    options: BuildOptions
    machine: Machine | None
    publication: Publication | None = None
    renewal: Renewal | None = None
    generations: Mapping[str, int] | None = None
    listings: Mapping[str, ContextListing] = field(default_factory=dict)

    def plan(self, texts: frozenset[str], pins: Mapping[str, Pin], provide: Provide) -> Planned:
        """The plan.

        ``texts`` are the external bases and ``pins`` what they are locked to. A base that only the
        last release knows is not fetched until an image has to be built on it: ``provide`` then
        does so. If it turns out to be another one by now, what stands on it is planned anew.
        """
        remembered = self._remembered(texts - pins.keys())
        asked = texts - remembered.keys()
        resolution = {**remembered, **provide(asked, pins)}
        # A base can take minutes to fetch, and engines make images of what the contexts hold then:
        # the keys have to be made of the same. So what was listed before is not believed after.
        listings = {} if asked else self.listings
        while True:
            planned = self._with(resolution, listings)
            wanted = self._promised(planned)
            if not wanted:
                return planned
            resolution = {**resolution, **self._fetched(wanted, provide)}
            listings = {}

    def look_ahead(self, resolution: Resolution, texts: frozenset[str]) -> Planned:
        """The plan with what is known now; nothing is fetched for it."""
        return self._with({**resolution, **self._remembered(texts)}, self.listings)

    def _remembered(self, texts: frozenset[str]) -> Resolution:
        # A lock that is written has what the bases are now, not what they were.
        if self.publication is None or self.machine is None or self._anew or self.options.lock:
            return {}
        pins = {text: pin for text, pin in self.publication.pins.items() if text in texts}
        return bases.remembered(pins, self.tree.config, self.machine.daemon)

    @property
    def _forced(self) -> str | None:
        return self.options.engine or self.tree.config.build.engine

    @property
    def _anew(self) -> bool:
        """Whether what is published is to be passed over."""
        return self.options.no_reuse or self.options.no_cache

    def _promised(self, planned: Planned) -> dict[str, Pin]:
        found: dict[str, Pin] = {}
        for step in planned.plan.steps:
            if isinstance(step, Build | Assemble):
                for text in self.tree.graph[step.image].external:
                    base = planned.resolution[text]
                    if isinstance(base, ResolvedBase) and base.digest_only:
                        found[text] = Pin(digest=base.digest)
        return found

    @staticmethod
    def _fetched(wanted: Mapping[str, Pin], provide: Provide) -> Resolution:
        """By digest where some registry still has it, else as a first run would do."""
        exact = provide(frozenset(wanted), wanted)
        lost = frozenset(text for text, base in exact.items() if not isinstance(base, ResolvedBase))
        return {**exact, **provide(lost, {})} if lost else exact

    def _with(self, resolution: Resolution, listings: Mapping[str, ContextListing]) -> Planned:
        tree, selection, options = self.tree, self.selection, self.options
        graph = tree.graph
        names = graph.in_order({*selection.images, *graph.ancestors(selection.images)})
        known_as = self._identities(names, resolution, listings)
        obstacles = self._obstacles(names, resolution)
        tested = [name for name in names if tree.config.image(name).test]
        published: Mapping[str, Published] = {}
        changes: dict[str, tuple[str, ...]] = {}
        if self.publication is not None and not self._anew:
            published = self.publication.look_up(
                selection.images,
                known_as.keys,
                known_as.inputs,
                quick_to_make(graph, obstacles or {}, tested),
            )
            changes = {
                name: self.publication.reasons(name, known_as.inputs.get(name), published)
                for name in selection.images
                if name not in published
            }
        assembled = all_assembled(selection, obstacles, published)
        facts = RunFacts(
            graph=graph,
            selection=selection,
            images=image_facts(
                tree,
                frozenset(selection.images),
                known_as.keys,
                partial(self._existing, in_engine=not assembled),
                published=published,
                changes=changes,
            ),
            commit=tree.revision.commit if tree.revision else "",
            dirty=tree.dirty,
            no_reuse=options.no_reuse,
            push=options.push,
            obstacles=obstacles,
            remarks=tree.config.remarks,
            refresh={name: self.renewal.reasons(name) for name in self.renewal.images}
            if self.renewal
            else {},
            released=self.publication.released if self.publication else {},
        )
        return Planned(
            plan=decide(facts),
            resolution=resolution,
            inputs=known_as.inputs,
            contexts=known_as.contexts,
        )

    def _existing(self, image: Image, key: str, *, in_engine: bool) -> AvailableImage | None:
        """Where an image is that is not selected, but needed."""
        if self.options.no_reuse:
            return None
        if self.publication is not None and not in_engine:
            released = self.publication.find(image, key)
            if released is not None:
                return AvailableImage(reference=str(released), place="the registry")
        if self.machine is None:
            return None
        return self.machine.existing(image, key, self.tree.refs(image.name)[0])

    def _obstacles(self, names: Iterable[str], resolution: Resolution) -> dict[str, str] | None:
        """Why the assembler cannot make an image, "" where it can; None where it must not."""
        if self._forced not in (None, ASSEMBLER):
            return None
        found: dict[str, str] = {}
        machine = self.machine.platform if self.machine else DEFAULT_PLATFORM
        for name in names:
            image = self.tree.graph[name]
            base = image.links.get(image.base or "")
            triggers = self.tree.graph[base].needs.onbuild if base else ()
            own = obstacle(
                image.source.parsed,
                image.needs,
                triggers,
                build_args=image.source.args,
                platform=image.source.platform or machine,
                build_platform=machine,
            )
            found[name] = own or unreadable(image.external, resolution)
        return found

    def _identities(
        self,
        names: tuple[str, ...],
        resolution: Resolution,
        listings: Mapping[str, ContextListing],
    ) -> Identities:
        if self.machine is None:
            return Identities(keys=dict.fromkeys(names, ""), inputs={}, contexts={})
        return identify(
            self.tree,
            names,
            bases=resolution,
            platform=self.machine.platform,
            engine_class=self.machine.engine_class(self._forced),
            generations=self.generations,
            listings=listings,
        )


def externals(tree: Tree, selection: Selection) -> frozenset[str]:
    """The external bases of the selected images and of all that they are built on."""
    names = {*selection.images, *tree.graph.ancestors(selection.images)}
    return frozenset(text for name in names for text in tree.graph[name].external)


def all_externals(tree: Tree) -> frozenset[str]:
    """Those of every image of the tree."""
    return frozenset(text for image in tree.graph.images.values() for text in image.external)
