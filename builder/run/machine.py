"""The engine, the registry and the bootstrap of this machine, as the main job needs them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from builder.core.errors import PublishError
from builder.core.events import Note, Report
from builder.core.image import Image
from builder.core.labels import KEY
from builder.core.plan import AvailableImage
from builder.core.reference import Reference
from builder.core.settings.config import LOCAL
from builder.core.settings.sections import BootstrapSettings
from builder.docker.daemon import Daemon
from builder.engines import Engine
from builder.engines.choose import assembler, available
from builder.run.prepare import staged_reference
from builder.system.files import state_dir
from builder.tree.read import Tree

if TYPE_CHECKING:
    from builder.engines.assembler import Assembler

# The kernel's word for an architecture, and OCI's.
ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "loongarch64": "loong64",
}


class Machine(Struct, frozen=True, kw_only=True):
    """What was found here: an engine that answers, and what can be done with it.

    ``platform`` is what the engine builds for by default, as OCI names it, e.g. linux/amd64.
    """

    daemon: Daemon
    assembler: Assembler
    platform: str
    environ: Mapping[str, str]

    @classmethod
    def connect(
        cls, environ: Mapping[str, str], *, plain_http: frozenset[str] = frozenset()
    ) -> Machine:
        """Find the engine; ``plain_http`` are registries that are spoken to without TLS.

        Raises:
            EngineUnavailableError: none answers.

        """
        daemon = Daemon.connect(environ)
        info = daemon.info()
        platform = f"{info.os}/{ARCHITECTURES.get(info.architecture, info.architecture)}"
        return cls(
            daemon=daemon,
            assembler=assembler(daemon, environ, platform=platform, plain_http=plain_http),
            platform=platform,
            environ=environ,
        )

    def engines(self) -> Sequence[Engine]:
        """The engines that there are besides the assembler, to be asked for once a run."""
        return available(self.daemon, self.environ)

    @staticmethod
    def engine_class(forced: str | None) -> str:
        """Engines of one class make the same image of the same input."""
        return "classic" if forced == "classic" else "buildkit"

    def existing(self, image: Image, key: str, release: str) -> AvailableImage | None:
        """The image of this key, in the engine or else in the registry."""
        # An engine with many images takes long to look through them all.
        local = self.daemon.inspect(release)
        if local is None or local.labels.get(KEY) != key:
            local = self.daemon.find_labelled(KEY, key)
        if local is not None:
            return AvailableImage(reference=release, place="the engine", image_id=local.id)
        try:
            digest = self.daemon.remote_digest(staged_reference(image, key))
        except PublishError:
            return None  # a registry that does not answer has nothing to offer; it is no duty here
        if digest is None:
            return None
        return AvailableImage(reference=str(image.repository.at(digest)), place="the registry")

    def start_registry(self, tree: Tree, report: Report) -> None:
        """Start the embedded registry, if that is the one to publish to.

        Raises:
            PublishError: it cannot be started.

        """
        if tree.config.project.registry == LOCAL:
            from builder.registry.embedded import EmbeddedRegistry  # noqa: PLC0415 - only for this

            embedded = EmbeddedRegistry(state=state_dir(self.environ))
            if not embedded.status().running:
                report(Note(text=f"starting the embedded registry at {embedded.address}"))
                embedded.start()

    @staticmethod
    def bootstrap(base: Reference, settings: BootstrapSettings, cancel: threading.Event) -> None:
        """Make a base with mmdebstrap and give it to the engine."""
        from builder.engines.bootstrap import bootstrap  # noqa: PLC0415 - 10 ms that few runs need

        bootstrap(base, settings, on_line=lambda _line: None, cancel=cancel)
