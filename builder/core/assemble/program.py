"""A Dockerfile as a program: what each needed stage does to its config, and to its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from builder.core.assemble import Refused
from builder.core.assemble.config import ImageConfig
from builder.core.assemble.copy import destination
from builder.core.assemble.obstacles import find_run, foreign_platform
from builder.core.dockerfile.arguments import opens_heredoc
from builder.core.dockerfile.evaluate import Findings, StageRun, Surroundings
from builder.core.dockerfile.grammar import switched_on
from builder.core.dockerfile.model import (
    ContextRead,
    Dockerfile,
    Inherited,
    Instruction,
    Via,
    is_remote,
)
from builder.core.dockerfile.parse import parse
from builder.core.dockerfile.scope import Scope
from builder.core.dockerfile.stages import SCRATCH, GlobalArgs, StageGraph, bases_of, global_args
from builder.core.errors import DockerfileError
from builder.core.globs import clean

_MODE = re.compile(r"[0-7]{1,4}")
# Flags of COPY and ADD whose effect is known here exactly; what --link does is looked at later.
_FLAGS = ("chown", "chmod", "link", "from")
_MAY_CHANGE_FILES = ("ADD", "COPY", "WORKDIR")


class MakeWorkdir(Struct, frozen=True, kw_only=True):
    path: str
    user: str


class Copy(Struct, frozen=True, kw_only=True):
    """``origin`` is a stage, an image, or None for the context, of which ``read`` counts the reads;
    ``documents`` are here-documents by name.
    """

    origin: int | str | None
    read: int | None
    sources: tuple[str, ...]
    documents: tuple[tuple[str, bytes], ...]
    target: str
    chown: str
    mode: int | None
    link: bool
    unpacks: bool


Change = MakeWorkdir | Copy


class StageProgram(Struct, kw_only=True):
    """``base``: an earlier stage, an image, or None for scratch."""

    base: int | str | None
    config: ImageConfig
    changes: list[Change] = field(default_factory=list)


class Program(Struct, frozen=True, kw_only=True):
    """``stages`` are those that are needed, in order; ``reads`` what they read of the context."""

    target: int
    stages: Mapping[int, StageProgram]
    reads: tuple[ContextRead, ...]


def read_program(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str],
    target: str | None,
    platform: str,
    build_platform: str,
    config_of: Callable[[str], ImageConfig],
) -> Program:
    """The program for one target; ``config_of`` gives the config of an image that a FROM names.

    ``platform`` is what the image is for, ``build_platform`` what an engine would run on.

    Raises:
        Refused: it has a step that only an engine can take.

    """
    try:
        args = global_args(dockerfile, build_args, platform, build_platform)
        return _ProgramReader(dockerfile, build_args, platform, args, config_of).read(target)
    except DockerfileError as error:
        raise Refused(error.message) from error


class _ProgramReader:
    def __init__(
        self,
        dockerfile: Dockerfile,
        build_args: Mapping[str, str],
        platform: str,
        args: GlobalArgs,
        config_of: Callable[[str], ImageConfig],
    ) -> None:
        self._dockerfile = dockerfile
        self._platform = platform
        self._args = args
        self._build_args = build_args
        self._bases = bases_of(dockerfile, self._args)
        self._images: dict[str, ImageConfig] = {}
        self._config_of = config_of
        self._graph = StageGraph(dockerfile, self._bases, self._inherited)
        self._findings = Findings()

    def read(self, target: str | None) -> Program:
        goal = self._graph.names.target(target)
        stages: dict[int, StageProgram] = {}
        scopes: dict[int, Scope] = {}
        around = Surroundings(
            path=self._dockerfile.path,
            build_args=self._build_args,
            global_args=self._args.values,
            names=self._graph.names,
            findings=self._findings,
        )
        needed = self._graph.needed(goal)
        line = find_run(self._dockerfile, needed)
        if line is not None:
            raise Refused(f"line {line} is a RUN")
        for index in needed:
            foreign = foreign_platform(self._dockerfile, index, self._args, self._platform)
            if foreign:
                raise Refused(foreign)
            base = self._bases[index]
            if base.stage is not None:
                config = stages[base.stage].config.child()
                scope = scopes[base.stage].child()
            else:
                config = (
                    ImageConfig.scratch(self._platform)
                    if base.text is None
                    else self._image(base.text).child()
                )
                scope = Scope(self._graph.image(base), self._dockerfile.escape)
            config.take_triggers()
            stage = StageProgram(
                base=base.text if base.stage is None else base.stage, config=config
            )
            run = StageRun(index, scope, around)
            reader = _StageReading(stage, scope, self._graph, self._findings)
            for step in self._graph.steps(index):
                reader.before(step.instruction)
                run.run([step])
                reader.after(step.instruction)
            stages[index], scopes[index] = stage, scope
        return Program(target=goal, stages=stages, reads=tuple(self._findings.reads))

    def _image(self, text: str) -> ImageConfig:
        if text not in self._images:
            self._images[text] = self._config_of(text)
        return self._images[text]

    def _inherited(self, text: str) -> Inherited:
        config = self._image(text)
        return Inherited(
            env=config.env,
            labels=config.config.get("Labels", {}),
            onbuild=tuple(_trigger(each) for each in config.config.get("OnBuild", ())),
            complete=True,
        )


def _trigger(text: str) -> Instruction:
    """A trigger of a base, which has it as text."""
    parsed = parse(f"FROM scratch\n{text}\n".encode("utf-8", "surrogateescape"), "ONBUILD")
    instructions = parsed.stages[0].instructions
    if len(parsed.stages) != 1 or len(instructions) != 1:
        raise Refused("a trigger of the base is more than one instruction")
    [instruction] = instructions
    if instruction.keyword == "RUN":
        raise Refused("a trigger of the base is a RUN")
    if instruction.heredocs or any(flag.name == "from" for flag in instruction.flags):
        raise Refused("a trigger of the base has a here-document or a --from")
    return instruction


class _StageReading:
    """Reads one stage: ``before`` the instruction takes effect in the scope, and ``after``."""

    def __init__(
        self, stage: StageProgram, scope: Scope, graph: StageGraph, findings: Findings
    ) -> None:
        self._stage = stage
        self._config = stage.config
        self._scope = scope
        self._graph = graph
        self._findings = findings
        self._names: tuple[str, ...] = ()
        self._reads = 0
        self._effects: Mapping[str, Callable[[Instruction], None]] = {
            "ADD": self._copy,
            "ARG": self._arg,
            "CMD": stage.config.set_command,
            "COPY": self._copy,
            "ENTRYPOINT": stage.config.set_entrypoint,
            "ENV": self._env,
            "EXPOSE": self._expose,
            "HEALTHCHECK": stage.config.set_health,
            "LABEL": self._label,
            "MAINTAINER": self._maintainer,
            "ONBUILD": self._onbuild,
            "SHELL": self._shell,
            "STOPSIGNAL": self._stop_signal,
            "USER": self._user,
            "VOLUME": self._volume,
            "WORKDIR": self._workdir,
        }

    def before(self, instruction: Instruction) -> None:
        self._reads = len(self._findings.reads)
        if instruction.keyword == "ENV":
            self._names = tuple(
                self._expand(word.partition("=")[0]) for word in instruction.arguments
            )

    def after(self, instruction: Instruction) -> None:
        effect = self._effects.get(instruction.keyword)
        if effect is None:
            raise Refused(f"{instruction.keyword} is not done here")
        effect(instruction)
        if instruction.keyword != "ONBUILD":
            text = " ".join(instruction.source.split())
            self._config.note(text, layer=instruction.keyword in _MAY_CHANGE_FILES)

    def _env(self, _instruction: Instruction) -> None:
        for name in self._names:
            self._config.set_env(name, self._scope.env[name])

    def _label(self, _instruction: Instruction) -> None:
        self._config.set_labels(self._scope.labels)

    def _user(self, instruction: Instruction) -> None:
        self._config.set_user(self._expand(instruction.arguments[0]))

    def _expose(self, instruction: Instruction) -> None:
        words = instruction.arguments
        self._config.expose([port for word in words for port in self._split(word)])

    def _volume(self, instruction: Instruction) -> None:
        self._config.add_volumes([self._expand(word.strip()) for word in instruction.arguments])

    def _stop_signal(self, instruction: Instruction) -> None:
        self._config.set_stop_signal(self._expand(instruction.arguments[0]))

    def _shell(self, instruction: Instruction) -> None:
        self._config.set_shell(instruction.arguments)

    def _maintainer(self, instruction: Instruction) -> None:
        self._config.top["author"] = instruction.arguments[0]

    def _arg(self, instruction: Instruction) -> None:
        """The scope has it already; but of proxies the docker command knows more than we do."""
        for word in instruction.arguments:
            if word.partition("=")[0].lower().endswith("_proxy"):
                raise Refused(f'ARG declares the proxy "{word.partition("=")[0]}"')

    def _expand(self, text: str) -> str:
        value = self._scope.expand(text)
        if not value.known:
            raise Refused(f'"{text}" depends on what is not known')
        return value.text

    def _split(self, word: str) -> Sequence[str]:
        expanded = self._expand(word)
        if '"' in word or "'" in word or len(expanded.split()) > 1:
            raise Refused(f'EXPOSE "{word}" is more than one plain word')
        return expanded.split()

    def _workdir(self, instruction: Instruction) -> None:
        text = self._expand(instruction.arguments[0])
        before = self._config.directory or "/"
        path = text if text.startswith("/") else clean(f"{before}/{text}")
        if clean(path) != path:
            raise Refused(f'engines write WORKDIR "{path}" down in different ways')
        self._config.config["WorkingDir"] = path
        if path != "/":
            self._stage.changes.append(MakeWorkdir(path=path, user=self._config.user))

    def _onbuild(self, instruction: Instruction) -> None:
        trigger = instruction.trigger
        if trigger is None or trigger.heredocs:
            raise Refused("ONBUILD has a here-document")
        self._config.add_trigger(trigger.source)

    def _copy(self, instruction: Instruction) -> None:
        flags = {flag.name: flag for flag in instruction.flags}
        for name in flags:
            if name not in _FLAGS:
                raise Refused(f"{instruction.keyword} has --{name}")
        mode = (flags["chmod"].value or "") if "chmod" in flags else ""
        if mode and not _MODE.fullmatch(mode):
            raise Refused(f'--chmod="{mode}" is no octal number')
        *written, target = instruction.arguments
        sources = tuple(self._expand(word) for word in written if not opens_heredoc(word))
        if any(is_remote(source) for source in sources):
            raise Refused(f"{instruction.keyword} takes something from the network")
        origin = self._origin((flags["from"].value or "") if "from" in flags else "")
        self._stage.changes.append(
            Copy(
                origin=origin,
                read=self._reads if origin is None and sources else None,
                sources=sources,
                documents=tuple(self._documents(instruction)),
                target=destination(self._config.directory, self._expand(target)),
                chown=self._expand((flags["chown"].value or "") if "chown" in flags else ""),
                mode=int(mode, 8) if mode else None,
                link="link" in flags and switched_on(flags["link"]),
                unpacks=instruction.keyword == Via.ADD.value,
            )
        )

    def _origin(self, text: str) -> int | str | None:
        if not text:
            return None
        stage = self._graph.names.by_name_or_number(text)
        if stage is None and text == SCRATCH:
            raise Refused("COPY takes something from scratch")
        return text if stage is None else stage

    def _documents(self, instruction: Instruction) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        for document in instruction.heredocs:
            if "/" in document.name or document.name in (".", ".."):
                raise Refused(f'a here-document is called "{document.name}"')
            content = document.content
            if document.expand:
                value = self._scope.expand_document(content)
                if not value.known:
                    raise Refused("a here-document depends on what is not known")
                content = value.text
            found.append((document.name, content.encode("utf-8", "surrogateescape")))
        return found
