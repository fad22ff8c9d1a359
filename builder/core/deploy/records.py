"""The records of deployments, as values and as JSON: those of this machine, and the shared ones.

Records of this machine hold whole compose files with their secrets. The shared record of a stack
lies in the registry and holds none: only what is needed to find containers again. The shared one is
right, except where this machine deployed something of which the registry could not be told.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core import codec
from builder.core.deploy.stack import Compose, skeleton, with_images_of
from builder.core.errors import DeployError, PublishError
from builder.core.release import DEPLOYED

SCHEMA = 1
# What a tag may be made of, and how many characters of it tell host and stack.
_BAD = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST = 100
# How many deployments a record knows that came before it.
_LONGEST_LINE = 20

# What an example of an environment file has in the place of a secret.
RANDOM = "<random>"

T = TypeVar("T")


class _Versioned(Struct, frozen=True):
    """What every version of a record begins with."""

    schema: int


class _Services(Struct, frozen=True):
    """The least that a compose file has; a service may have anything."""

    services: dict[str, dict[str, Any]]
    name: str = ""


class Deployment(Struct, frozen=True, kw_only=True):
    """One stack as it was brought up: of which release, when (RFC 3339), by whom, and all of it.

    ``id`` tells it from all others; ``line`` are the ids of those before it, the last one first,
    and so their order: the clocks of two machines have none. It is not ``complete`` if only the
    shared record knows of it; ``adopted``, if it was completed from the files of this machine.
    """

    release: str
    at: str
    host: str
    by: str = ""
    id: str = ""
    line: tuple[str, ...] = ()
    complete: bool = field(default=True, name="whole")
    adopted: bool = False
    compose: Mapping[str, Any]

    @property
    def images(self) -> dict[str, str]:
        """The image of each service."""
        return {name: str(one.get("image")) for name, one in self.compose["services"].items()}

    @property
    def is_ours(self) -> bool:
        """Whether this machine has brought it up itself."""
        return self.complete and not self.adopted

    @property
    def project(self) -> str:
        """The name of the compose project."""
        return str(self.compose.get("name", ""))

    def completed(self, rendered: Compose) -> Deployment:
        """The deployment with all that ``rendered``, its compose file of today, says beside images.

        It is returned as it is if nothing is missing, or if other services ran, or in another
        compose project: what is there would be left behind.
        """
        if self.complete or self.project not in ("", rendered.get("name")):
            return self
        compose = with_images_of(rendered, self.compose)
        if compose is None:
            return self
        return replace(self, compose=compose, complete=True, adopted=True)

    def checked(self, stack: str) -> Deployment:
        """The deployment, if it can be brought up again.

        Raises:
            DeployError: not all of it is known.

        """
        if self.complete:
            return self
        raise DeployError(
            f"{stack}: its compose file here does not describe what ran before,"
            f' {", ".join(sorted(self.images))} in the compose project "{self.project}"',
            hint="roll back from the commit that was deployed, or deploy that release",
        )

    def as_bytes(self) -> bytes:
        """The file that this machine keeps of it."""
        return codec.encode({"schema": SCHEMA, **codec.plain(self)}, indent=1) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Deployment:
        """Read what ``as_bytes`` wrote; ``where`` names the file.

        Raises:
            DeployError: it is no such record, or one of another schema.

        """
        try:
            _check_schema(
                data, lambda: DeployError(f"{where} was written by another version of ocbuild")
            )
            deployment = codec.decode(data, cls, what="it")
            codec.convert(deployment.compose, _Services, what="its compose file")
        except codec.MalformedError as error:
            raise DeployError(
                f"{where} is no record of a deployment: {error}",
                hint="remove it, and deploy the stack again",
            ) from error
        return deployment


class SharedDeployment(Struct, frozen=True, kw_only=True):
    """One deployment in a shared record; ``compose`` is its skeleton."""

    id: str
    release: str
    at: str
    by: str
    line: tuple[str, ...] = ()
    compose: Mapping[str, Any]

    @classmethod
    def of(cls, deployment: Deployment) -> SharedDeployment:
        """The part of a deployment that may be told to others."""
        return cls(
            id=deployment.id,
            release=deployment.release,
            at=deployment.at,
            by=deployment.by,
            line=deployment.line,
            compose=skeleton(deployment.compose),
        )

    def on(self, host: str) -> Deployment:
        """The deployment as this machine keeps it."""
        return Deployment(
            release=self.release,
            at=self.at,
            host=host,
            by=self.by,
            id=self.id,
            line=self.line,
            compose=self.compose,
            complete=False,
        )


class SharedRecord(Struct, frozen=True, kw_only=True):
    """What all machines know of a stack on the host whose Docker Engine has the id ``engine``.

    ``now`` is None where it was taken down, ``at`` (RFC 3339) and ``by`` say when and by whom this
    was written; ``data`` is False where its volumes were removed, too.
    """

    host: str
    stack: str
    engine: str
    project: str
    at: str
    by: str
    now: SharedDeployment | None = None
    before: SharedDeployment | None = None
    data: bool = True

    @property
    def tag(self) -> str:
        return tag_of(self.host, self.stack, self.engine, self.project)

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases that must stay: what runs, and what a rollback brings back."""
        if self.now is None:
            return ()
        return tuple(dict.fromkeys(one.release for one in (self.now, self.before) if one))

    @property
    def deployed_by(self) -> str:
        """Who brought up what runs, or wrote this where nothing does."""
        return self.now.by if self.now is not None else self.by

    def as_bytes(self) -> bytes:
        """The content of the artifact that the registry keeps."""
        document = {"schema": SCHEMA, **codec.plain(self)}
        return codec.encode(document, indent=1, sort_keys=True) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> SharedRecord:
        """Read what ``as_bytes`` wrote; ``where`` names the artifact.

        Raises:
            PublishError: it is no such record, or one of another schema.

        """
        try:
            _check_schema(
                data,
                lambda: PublishError(
                    f"{where} was written by another version of ocbuild",
                    hint="use the version that wrote it, or a newer one",
                ),
            )
            record = codec.decode(data, cls, what="it")
            for deployment in filter(None, (record.now, record.before)):
                codec.convert(deployment.compose, _Services, what="its compose file")
        except codec.MalformedError as error:
            raise PublishError(f"{where} holds no record of a deployment: {error}") from error
        return record


def _check_schema(data: bytes, other: Callable[[], Exception]) -> None:
    if codec.decode(data, _Versioned, what="it").schema != SCHEMA:
        raise other()


def tag_of(host: str, stack: str, engine: str, project: str) -> str:
    """The tag of a shared record.

    Engines tell apart what has the same name in two places, such as "local" on two desks.
    """
    which = hashlib.sha256(f"{engine}\0{project}".encode()).hexdigest()[:8]
    return _BAD.sub("_", f"{DEPLOYED}{host}.{stack}")[:_LONGEST] + f".{which}"


def is_record_tag(tag: str) -> bool:
    """Whether a tag of the releases' repository is that of a shared record."""
    return tag.startswith(DEPLOYED)


def with_volumes(records: Iterable[SharedRecord]) -> SharedRecord | None:
    """A stack that was brought up with secrets that are in its volumes still."""
    return next((record for record in records if record.data), None)


class History(Struct, frozen=True, kw_only=True):
    """What this machine knows of one stack: what runs, and what ran before."""

    current: Deployment | None = None
    previous: Deployment | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it has to be completed from the files of this machine."""
        return all(one is None or one.complete for one in (self.current, self.previous))

    def completed(self, rendered: Compose) -> History:
        """The history with the parts that only ``rendered``, the compose file of today, tells."""
        current, previous = (
            None if one is None else one.completed(rendered)
            for one in (self.current, self.previous)
        )
        return History(current=current, previous=previous)

    def deployed(self, now: Deployment) -> History:
        """``now`` runs; what ran until now becomes the previous one."""
        before, last = self.current, self.current or self.previous
        if last is not None and last.id:
            now = replace(now, line=(last.id, *last.line)[:_LONGEST_LINE])
        # To deploy once more what was deployed from elsewhere brings up nothing new.
        again = before is not None and before.adopted and before.images == now.images
        return History(current=now, previous=self.previous if again else before or self.previous)

    def renamed(self, release: str) -> History:
        """What runs is in this release, too; it was not touched."""
        if self.current is None:
            return self
        return replace(self, current=replace(self.current, release=release))

    def removed(self) -> History:
        """Nothing runs; what ran last can be brought back."""
        return History(previous=self.current or self.previous)

    def informed(self, record: SharedRecord) -> History:
        """The history after the shared record was read, which is right where it is newer."""
        now, before, current = record.now, record.before, self.current
        if now is None:
            history = self
            if current is not None and not _follows(current, before, current.at > record.at):
                history = self.removed()
            if history == History() and before is not None:
                return History(previous=before.on(record.host))
            return history
        if current is not None and current.id == now.id:
            return self.renamed(now.release)
        # What was done here and the registry could not be told of is newer than what it knows.
        if current is not None and _follows(current, now, current.at > now.at):
            return self
        if current is None and self.previous is not None and self.previous.id == now.id != "":
            return self
        previous = None if before is None else before.on(record.host)
        # What ran here before it was deployed from elsewhere is known here in full.
        if current is not None and before is not None and current.id == before.id:
            previous = current
        return History(current=now.on(record.host), previous=previous)

    def differs_from(self, record: SharedRecord | None) -> bool:
        """Whether the shared record has to be told what runs."""
        return record is None or (record.now, record.before) != self.shared()

    def shared(self) -> tuple[SharedDeployment | None, SharedDeployment | None]:
        """What others may know of it: what runs, and what ran before."""
        current, previous = (
            None if one is None else SharedDeployment.of(one)
            for one in (self.current, self.previous)
        )
        return current, previous


def _follows(current: Deployment, told: SharedDeployment | None, is_later: bool) -> bool:  # noqa: FBT001
    """Whether what this machine has deployed came after what the registry tells of.

    ``is_later`` is what clocks say; they are asked where records of older versions know no order.
    """
    if told is None or not (current.line or told.line):
        return is_later
    return told.id in current.line


def secrets_lost(file: str, record: SharedRecord) -> DeployError:
    """The error where the environment file is missing with which a stack was deployed elsewhere."""
    return DeployError(
        f"{file} is missing here, and {record.stack} was deployed with one, by"
        f" {record.deployed_by}: new secrets would open nothing of what is in its volumes",
        hint="copy it from there, or name it by --env-file",
    )


def filled(example: str, new_secret: Callable[[], str]) -> str:
    """An environment file from its example; comments keep ``<random>``, for they explain it."""
    lines: list[str] = []
    for line in example.splitlines(keepends=True):
        before, *rest = [line] if line.lstrip().startswith("#") else line.split(RANDOM)
        lines.append(before + "".join(new_secret() + after for after in rest))
    return "".join(lines)


def unfilled(text: str) -> list[int]:
    """The numbers, from 1, of the lines of an environment file that still lack a secret."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if RANDOM in line.partition(" #")[0] and not line.lstrip().startswith("#")
    ]


def assignments(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}
