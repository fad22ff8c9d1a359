"""Gathers what a plan follows from: keys of the tree, and what engine and registry have of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core import reasons
from builder.core.assemble.obstacles import all_assembled, all_obstacles, quick_to_make
from builder.core.bases import Pin, Resolution, ResolvedBase, digests, released_pins
from builder.core.context import ContextListing, ReadContext
from builder.core.engine.request import promised_bases, proxy_args
from builder.core.errors import ContextError, PublishError
from builder.core.events import ASSEMBLER
from builder.core.graph import DEFAULT_PLATFORM
from builder.core.image import Image
from builder.core.keys import Identity, identify_image, key_tag
from builder.core.new_release import Renewal
from builder.core.options import BuildOptions
from builder.core.plan import AvailableImage, ImageFacts, Plan, RunFacts, decide
from builder.core.published import Published, Question, Sought, answered, consult
from builder.core.reference import Reference
from builder.core.release import EarlierReleases, Inputs
from builder.core.select import Selection
from builder.docker.daemon import Daemon
from builder.engines import bases
from builder.publish.images import key_of
from builder.publish.write import ReleaseWriter
from builder.registry.client import Registry
from builder.system.files import known_images
from builder.system.process import in_threads
from builder.tree.discover import with_contents
from builder.tree.read import Tree, context_of, for_engine, read_contexts

Provide = Callable[[frozenset[str], Mapping[str, Pin]], Resolution]
"""Has these bases in the engine, those that are pinned as the pin says."""


class Sources(Struct, frozen=True, kw_only=True):
    """What a run is about, and who is asked for it.

    ``daemon`` is None where no engine answers, ``registry`` where nothing is published;
    ``platform`` is the engine's. ``generations`` count how often each image was refreshed;
    ``refresh`` are the reasons of those that a refresh makes anew. ``listings`` are the contexts as
    they were when the run began. ``known``: ids of images that were made here, by tags of keys.
    """

    tree: Tree
    selection: Selection
    options: BuildOptions
    daemon: Daemon | None = None
    platform: str = DEFAULT_PLATFORM
    registry: Registry | None = None
    earlier: EarlierReleases = EarlierReleases()
    generations: Mapping[str, int] = field(default_factory=dict)
    refresh: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listings: Mapping[str, ContextListing] = field(default_factory=dict)
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    proxies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tree: Tree,
        selection: Selection,
        options: BuildOptions,
        renewal: Renewal | None,
    ) -> Sources:
        """A run whose contexts are as they are now; with ``renewal`` it is a refresh.

        Raises:
            InputError: all that is missing of the contexts.

        """
        return cls(
            tree=tree,
            selection=selection,
            options=options,
            generations=renewal.generations if renewal else {},
            refresh={name: renewal.reasons(name) for name in renewal.images} if renewal else {},
            listings=read_contexts(tree, selection.images),
        )

    def with_engine(self, daemon: Daemon, environ: Mapping[str, str]) -> Sources:
        """With an engine, what was made in it here, and the proxies that builds get there."""
        passed = environ if self.tree.config.build.proxies else {}
        proxies = proxy_args(passed, daemon.config_proxies)
        known, platform = known_images(environ).ids(), daemon.info().platform
        tree = for_engine(self.tree, proxies, platform)
        listings = self.listings if tree is self.tree else {}
        found = replace(self, daemon=daemon, platform=platform, known=known, proxies=proxies)
        return replace(found, tree=tree, listings=listings)

    def with_releases(self, writer: ReleaseWriter) -> Sources:
        return replace(
            self,
            registry=writer.registry,
            earlier=writer.earlier,
            generations=writer.generations,
        )

    @property
    def texts(self) -> frozenset[str]:
        """The external bases that the run needs; a lock that is written has all of the tree."""
        graph = self.tree.graph
        if self.options.lock:
            return frozenset(graph.external)
        return graph.externals_of(self.selection.images)

    @property
    def names(self) -> tuple[str, ...]:
        """The selected images and all that they are built on, parents first."""
        graph, selected = self.tree.graph, self.selection.images
        return graph.in_order({*selected, *graph.ancestors(selected)})

    @property
    def forced(self) -> str | None:
        """The engine that was asked for."""
        return self.options.engine or self.tree.config.build.engine

    @property
    def asks_registry(self) -> bool:
        """Whether it counts what is published."""
        anew = self.options.no_reuse or self.options.no_cache
        return self.registry is not None and not anew

    @property
    def immutable(self) -> bool:
        """Whether release tags stay; a tree with edits has no commit that promises anything."""
        return self.tree.config.publish.immutable and not self.tree.dirty


class Gathered(Struct, frozen=True, kw_only=True):
    """The facts of a run, and what they were made from.

    ``identities`` are those of the images whose keys are known.
    """

    facts: RunFacts
    resolution: Resolution
    identities: Mapping[str, Identity]

    @property
    def inputs(self) -> dict[str, Inputs]:
        return {name: identity.inputs for name, identity in self.identities.items()}

    @property
    def contexts(self) -> dict[str, ReadContext]:
        return {name: identity.context for name, identity in self.identities.items()}


def plan_run(sources: Sources, pins: Mapping[str, Pin], provide: Provide) -> tuple[Plan, Gathered]:
    """The plan of a run, with the bases that it needs in the engine.

    ``pins`` are what external bases are locked to. A base that only the last
    release knows is not fetched until an image has to be built on it: ``provide`` then does so. If
    it turns out to be another one by now, what stands on it is planned anew.
    """
    remembered = _remembered(sources, sources.texts - pins.keys())
    asked = sources.texts - remembered.keys()
    resolution = {**remembered, **provide(asked, pins)}
    # A base can take minutes to fetch, and engines make images of what the contexts hold then:
    # the keys have to be made of the same. So what was listed before is not believed after.
    listings = {} if asked else sources.listings
    while True:
        gathered = gather(sources, resolution, listings)
        plan = decide(gathered.facts)
        wanted = promised_bases(plan, sources.tree.graph, resolution)
        if not wanted:
            return plan, gathered
        resolution = {**resolution, **_fetched(wanted, provide)}
        listings = {}


def look_ahead(sources: Sources, resolution: Resolution, texts: frozenset[str]) -> Plan:
    """The plan with what is known now; nothing is fetched for it."""
    known = {**resolution, **_remembered(sources, texts)}
    return decide(gather(sources, known, sources.listings).facts)


def gather(
    sources: Sources, resolution: Resolution, listings: Mapping[str, ContextListing]
) -> Gathered:
    """The facts with these bases.

    Raises:
        InputError: a context that cannot be read.
        PublishError: a release tag would have to change what it names.

    """
    tree, names = sources.tree, sources.names
    identities: Mapping[str, Identity] = {}
    if sources.daemon is not None:
        identities = identify(sources, resolution, listings)
    obstacles = None
    if sources.forced in (None, ASSEMBLER):
        obstacles = all_obstacles(tree.graph, names, resolution, sources.platform)
    published = _published(sources, identities, obstacles or {})
    in_engine = not all_assembled(sources.selection, obstacles, published)
    changes: Mapping[str, tuple[str, ...]] = {}
    if sources.asks_registry:
        changes = reasons.changes(
            tree.graph,
            [name for name in sources.selection.images if name not in published],
            sources.earlier.before,
            {name: identity.inputs for name, identity in identities.items()},
            generations=sources.generations,
            published=published,
        )
    unmade = [name for name in names if name not in published]
    find = partial(_available, sources, identities, in_engine=in_engine)
    available = dict(zip(unmade, in_threads(find, unmade), strict=True))
    images = {
        name: ImageFacts(
            key=identities[name].key if name in identities else "",
            tag=tree.tags[name],
            moving=tree.moving[name],
            optional=tree.config.image(name).optional,
            tested=bool(tree.config.image(name).test),
            available=available.get(name),
            published=published.get(name),
            changes=changes.get(name, ()),
        )
        for name in names
    }
    facts = RunFacts(
        graph=tree.graph,
        selection=sources.selection,
        images=images,
        commit=tree.revision.commit if tree.revision else "",
        dirty=tree.dirty,
        no_reuse=sources.options.no_reuse,
        push=sources.options.push,
        obstacles=obstacles,
        remarks=tree.config.remarks,
        refresh=sources.refresh,
        released=sources.earlier.images,
    )
    return Gathered(facts=facts, resolution=resolution, identities=identities)


# -- bases ---------------------------------------------------------------------------------------


def _remembered(sources: Sources, texts: frozenset[str]) -> Resolution:
    """The bases as the last release has them; a lock that is written has what they are now."""
    if sources.daemon is None or not sources.asks_registry or sources.options.lock:
        return {}
    config = sources.tree.config
    pins = released_pins(sources.earlier.images.values(), config.contexts).items()
    return bases.remembered({t: pin for t, pin in pins if t in texts}, config, sources.daemon)


def _fetched(wanted: Mapping[str, Pin], provide: Provide) -> Resolution:
    """By digest where some registry still has it, else as a first run would do."""
    exact = provide(frozenset(wanted), wanted)
    lost = frozenset(text for text, base in exact.items() if not isinstance(base, ResolvedBase))
    return {**exact, **provide(lost, {})} if lost else exact


# -- keys ----------------------------------------------------------------------------------------


def identify(
    sources: Sources,
    resolution: Resolution,
    listings: Mapping[str, ContextListing] | None = None,
) -> dict[str, Identity]:
    """The keys of all images whose bases are known; ``listings`` were made before.

    Raises:
        InputError: a context that cannot be read.

    """
    tree, identities = sources.tree, dict[str, Identity]()
    engine_class = "classic" if sources.forced == "classic" else "buildkit"
    for name in sources.names:
        image = tree.graph[name]
        externals = digests(image.external, resolution)
        if externals is None or not all(parent in identities for parent in image.parents):
            continue
        context = _read(image, (listings or {}).get(name))
        identities[name] = identify_image(
            image,
            context,
            externals=externals,
            parents={parent: identities[parent].key for parent in image.parents},
            platform=image.source.platform or sources.platform,
            engine_class=engine_class,
            generation=sources.generations.get(name, 0),
            tests=tree.config.image(name).test,
            redirects=tree.config.contexts,
        )
    return identities


def _read(image: Image, listing: ContextListing | None) -> ReadContext:
    context, reads = image.source.context, image.needs.reads
    if listing is not None:
        with suppress(ContextError):  # a file is gone by now, perhaps from a folder that is copied
            return with_contents(context, reads, listing)
    return with_contents(context, reads, context_of(image))


# -- what is there -------------------------------------------------------------------------------


def _published(
    sources: Sources, identities: Mapping[str, Identity], obstacles: Mapping[str, str]
) -> dict[str, Published]:
    """The selected images that the registry has; those that are quick to make, in a release."""
    tree, registry = sources.tree, sources.registry
    if registry is None or not sources.asks_registry:
        return {}
    tested = [name for name in sources.names if tree.config.image(name).test]
    quick = quick_to_make(tree.graph, obstacles, tested)
    known = {
        name: consult(
            Sought(
                image=name,
                repository=tree.graph[name].repository,
                key=identities[name].key,
                tag=tree.tags[name],
                tests=identities[name].inputs.tests,
                by_key=name not in quick,
                release=sources.earlier.same.tag if sources.earlier.same else "",
            ),
            sources.earlier,
        )
        for name in sources.selection.images
        if name in identities
    }

    def ask(answer: Published | Question | None) -> Published | None:
        while isinstance(answer, Question):
            named = registry.head(answer.reference)
            digest = named.digest if named else ""
            other = digest if digest != answer.digest and answer.digest else ""
            key = key_of(registry, answer.reference.at(other)) if other else ""
            lost = answer.reference.at(answer.digest) if answer.digest and not digest else None
            gone = lost is not None and not registry.head(lost)
            answer = answered(answer, digest, immutable=sources.immutable, key=key, gone=gone)
        return answer

    answers = dict(zip(known, in_threads(ask, known.values()), strict=True))
    return {name: fact for name, fact in answers.items() if fact is not None}


def _available(
    sources: Sources, identities: Mapping[str, Identity], name: str, *, in_engine: bool
) -> AvailableImage | None:
    """Where an image is that need not be made; one that is selected has to be in the engine.

    The engine has what this machine knows to have made there, the registry what a release or the
    tag of the key names. No label counts: a child inherits it, and anybody can write one.
    """
    identity = identities.get(name)
    if identity is None or sources.options.no_reuse:
        return None
    if name in sources.selection.because:
        return None if sources.options.no_cache else _made_here(sources, name, identity)
    repository = sources.tree.graph[name].repository
    release = sources.earlier.having(name, identity.key, identity.inputs.tests)
    if release is not None and not in_engine:
        place = repository.at(release.images[name].digest)
        return AvailableImage(reference=str(place), place="the registry")
    return _made_here(sources, name, identity) or _under_key(sources, repository, identity)


def _made_here(sources: Sources, name: str, identity: Identity) -> AvailableImage | None:
    """The image in the engine, rather that which has the name already."""
    ids = sources.known.get(key_tag(identity.key, identity.inputs.tests), ())
    if sources.daemon is None or not ids:
        return None
    reference = sources.tree.refs(name)[0]
    for each in (reference, *reversed(ids)):
        image = sources.daemon.inspect(each)
        if image is not None and image.id in ids:
            return AvailableImage(reference=reference, place="the engine", image_id=image.id)
    return None


def _under_key(
    sources: Sources, repository: Reference, identity: Identity
) -> AvailableImage | None:
    """The image in the registry, which the engine asks."""
    if sources.daemon is None:
        return None
    place = repository.with_tag(key_tag(identity.key, identity.inputs.tests))
    try:
        digest = sources.daemon.remote_digest(str(place))
    except PublishError:
        return None  # a registry that does not answer has nothing to offer; it is no duty here
    if digest is None:
        return None
    return AvailableImage(reference=str(place.at(digest)), place="the registry")
