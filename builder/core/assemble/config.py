"""The config of an image, and what the instructions that change nothing else make of it.

The fields are those of https://github.com/opencontainers/image-spec/blob/main/config.md, in the
order and form in which BuildKit writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.codec import MalformedError, convert
from builder.core.dockerfile.model import Instruction
from builder.core.dockerfile.scope import DEFAULT_PATH

_DEFAULT_SHELL = ("/bin/sh", "-c")
_COMMENT = "ocbuild"
# What BuildKit takes over from the config of a base; anything else it drops.
_TOP = ("author", "architecture", "variant", "os", "os.version", "os.features")
_CONFIG = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"),
    *("StopSignal", "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"),
)
_HEALTH = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_PORT = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_HIGHEST_PORT = 65535
_MOST_PORTS = 4096
_SIGNALS = frozenset(
    (
        *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT"),
        *("KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT"),
        *("STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2"),
        *("VTALRM", "WINCH", "XCPU", "XFSZ"),
    )
)
_MOST_SIGNALS = 64
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")


class _RootFs(Struct, frozen=True):
    type: str = ""
    diff_ids: list[str] | None = None


class _Container(Struct, frozen=True, rename="pascal"):
    env: list[str] | None = None
    labels: dict[str, str] | None = None
    on_build: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    shell: list[str] | None = None
    volumes: dict[str, Any] | None = None
    exposed_ports: dict[str, Any] | None = None
    user: str | None = None
    working_dir: str | None = None


class _ConfigShape(Struct, frozen=True):
    """The types of what is looked at in the config of a base; all else is passed on as it is."""

    os: str | None = None
    architecture: str | None = None
    rootfs: _RootFs | None = None
    config: _Container | None = None
    history: list[dict[str, Any]] | None = None


class ImageConfig(Struct, kw_only=True):
    """Grows with the instructions of a stage. ``command_set``: this stage has had a CMD."""

    top: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    diff_ids: tuple[str, ...] = ()
    command_set: bool = False

    @classmethod
    def scratch(cls, platform: str) -> ImageConfig:
        system, architecture, *variant = platform.split("/")
        top = {"architecture": architecture, "os": system}
        if variant:
            top["variant"] = variant[0]
        return cls(top=top, config={"WorkingDir": "/", "Env": [f"PATH={DEFAULT_PATH}"]})

    @classmethod
    def read(cls, data: bytes) -> ImageConfig:
        """The config of a base from its blob.

        Raises:
            Refused: it is none that we know.

        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Refused("the config of the base is no JSON") from error
        return cls.of(content)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ImageConfig:
        """The config of a base, as a stage starts with it.

        Raises:
            Refused: it is none that we know.

        """
        try:
            convert(content, _ConfigShape, what="the config of the base")
        except MalformedError as error:
            raise Refused(str(error)) from error
        rootfs = content.get("rootfs") or {}
        if rootfs.get("type") != "layers" or not content.get("os"):
            raise Refused("the config of the base is of no kind that is known")
        config = content.get("config") or {}
        found = cls(
            top={key: content[key] for key in _TOP if content.get(key)},
            config={key: config[key] for key in _CONFIG if config.get(key)},
            history=[dict(item) for item in content.get("history") or ()],
            diff_ids=tuple(rootfs.get("diff_ids") or ()),
        )
        if "Env" not in found.config or "PATH" not in found.env:
            found.config["Env"] = [*found.config.get("Env", ()), f"PATH={DEFAULT_PATH}"]
        directory = found.config.get("WorkingDir", "")
        if directory and not directory.startswith("/"):
            raise Refused(f'the working directory "{directory}" of the base is not absolute')
        return found

    def child(self) -> ImageConfig:
        """What a stage starts with that is built on this one."""
        copied: ImageConfig = replace(
            self,
            top=dict(self.top),
            config=json.loads(json.dumps(self.config)),
            history=list(self.history),
            command_set=False,
        )
        return copied

    @property
    def env(self) -> dict[str, str]:
        pairs = (text.partition("=") for text in self.config.get("Env", ()))
        return {name: value for name, _, value in pairs}

    @property
    def user(self) -> str:
        return str(self.config.get("User", ""))

    @property
    def directory(self) -> str:
        return str(self.config.get("WorkingDir", ""))

    def take_triggers(self) -> tuple[str, ...]:
        """The ONBUILD triggers, which are gone once a stage has run them."""
        return tuple(self.config.pop("OnBuild", ()))

    def note(self, text: str, *, layer: bool = False) -> None:
        """Add to the history; ``layer`` marks what may have changed files."""
        item: dict[str, Any] = {"created_by": text, "comment": _COMMENT}
        if not layer:
            item["empty_layer"] = True
        self.history.append(item)

    # -- instructions --------------------------------------------------------------------------

    def set_env(self, name: str, value: str) -> None:
        env = self.config.setdefault("Env", [])
        for number, text in enumerate(env):
            if text.partition("=")[0] == name:
                env[number] = f"{name}={value}"
                return
        env.append(f"{name}={value}")

    def set_command(self, instruction: Instruction) -> None:
        self._set("Cmd", self._command_line(instruction))
        self.config["ArgsEscaped"] = True
        self.command_set = True

    def set_entrypoint(self, instruction: Instruction) -> None:
        self._set("Entrypoint", self._command_line(instruction))
        if not self.command_set:
            self.config.pop("Cmd", None)

    def set_health(self, instruction: Instruction) -> None:
        kind, *words = instruction.arguments
        if kind.upper() == "NONE":
            self.config["Healthcheck"] = {"Test": ["NONE"]}
            return
        health: dict[str, Any] = {
            "Test": ["CMD", *words] if instruction.json else ["CMD-SHELL", " ".join(words)]
        }
        for flag in instruction.flags:
            value = flag.value or ""
            key = "".join(part.capitalize() for part in flag.name.split("-"))
            number = int(value or 0) if flag.name == "retries" else nanoseconds(value)
            if number:
                health[key] = number
        self.config["Healthcheck"] = {key: health[key] for key in _HEALTH if key in health}

    def expose(self, words: Sequence[str]) -> None:
        ports = self.config.setdefault("ExposedPorts", {})
        for word in words:
            for port in _ports(word):
                ports[port] = {}
        if not ports:
            self.config.pop("ExposedPorts")

    def add_volumes(self, paths: Sequence[str]) -> None:
        volumes = self.config.setdefault("Volumes", {})
        for path in paths:
            if not path:
                raise Refused("VOLUME has an empty path")
            volumes[path] = {}

    def set_stop_signal(self, name: str) -> None:
        bare = name.upper().removeprefix("SIG")
        number = int(name) if name.isascii() and name.isdecimal() else 0
        if bare not in _SIGNALS and not 0 < number <= _MOST_SIGNALS:
            raise Refused(f'the signal "{name}" is not known here')
        self.config["StopSignal"] = name

    def set_shell(self, words: Sequence[str]) -> None:
        self._set("Shell", list(words))

    def add_trigger(self, text: str) -> None:
        self.config.setdefault("OnBuild", []).append(text)

    def set_user(self, name: str) -> None:
        self._set("User", name)

    def set_labels(self, labels: Mapping[str, str]) -> None:
        self._set("Labels", dict(labels))

    def _set(self, key: str, value: object) -> None:
        if value:
            self.config[key] = value
        else:
            self.config.pop(key, None)

    def _command_line(self, instruction: Instruction) -> list[str]:
        words = list(instruction.arguments)
        if instruction.json:
            return words
        if not words:
            raise Refused(f"{instruction.keyword} has no command")
        return [*self.config.get("Shell", _DEFAULT_SHELL), " ".join(words)]

    # -- the result ----------------------------------------------------------------------------

    def encode(self, *, diff_id: str | None, created: str) -> bytes:
        """The config as a blob; ``diff_id`` is that of the one layer that is added, if one is.

        ``created`` is the time of all that is new.
        """
        history = [dict(item) for item in self.history]
        for item in history:
            item.setdefault("created", created)
        _mark_layers(history, len(self.diff_ids) + (diff_id is not None))
        content = {
            **self.top,
            "config": self.config,
            "created": created,
            "history": history,
            "rootfs": {
                "type": "layers",
                "diff_ids": [*self.diff_ids, *([] if diff_id is None else [diff_id])],
            },
        }
        return json.dumps(
            content, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode("utf-8", "surrogateescape")


def _mark_layers(history: list[dict[str, Any]], layers: int) -> None:
    """Have as many items without ``empty_layer`` as there are layers: the last ones keep theirs."""
    marked = [item for item in history if not item.get("empty_layer")]
    ours = [item for item in marked if item.get("comment") == _COMMENT]
    for item in ours[: max(0, len(marked) - layers)]:
        item["empty_layer"] = True
    missing = layers - len(marked)
    for item in reversed(history):
        if missing <= 0:
            break
        if item.get("comment") == _COMMENT and item.get("empty_layer"):
            del item["empty_layer"]
            missing -= 1


def nanoseconds(text: str) -> int:
    """A duration as Go's ``time.ParseDuration`` reads it, in whole nanoseconds."""
    text = text.removeprefix("+")
    total, at = 0, 0
    while found := _PART.match(text, at):
        whole, fraction, unit = found[1], found[2] or "", _UNITS[found[3]]
        total += int(whole) * unit
        if fraction:
            total += int(fraction) * unit // 10 ** len(fraction)
        at = found.end()
    if at != len(text) and text != "0":
        raise Refused(f'the duration "{text}" is not read here')
    return total


def _ports(word: str) -> list[str]:
    found = _PORT.fullmatch(word)
    if found is None:
        raise Refused(f'the port "{word}" is not read here')
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last <= _HIGHEST_PORT or last - first > _MOST_PORTS:
        raise Refused(f'the port "{word}" is out of range')
    protocol = (found[3] or "tcp").lower()
    return [f"{port}/{protocol}" for port in range(first, last + 1)]
