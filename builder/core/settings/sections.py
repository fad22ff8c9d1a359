"""The sections of build.toml as values; the annotations of their fields are its schema."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.errors import did_you_mean
from builder.core.image import BadRuleError, render_tag, used_fields
from builder.core.options import ENGINES
from builder.core.settings.forms import (
    Address,
    AnyText,
    ArgName,
    CaBundle,
    Commit,
    ContextSource,
    DockerHost,
    EnvironmentName,
    GroupName,
    HostAddress,
    HostName,
    ImageKey,
    ImageReference,
    LabelMatch,
    Mtu,
    NameRule,
    Namespace,
    NetworkName,
    PackageWord,
    Platform,
    ReferenceKey,
    RegistryHost,
    RelativePath,
    Seconds,
    SecretId,
    StackName,
    Subnet,
    TagRule,
    Variant,
    Version,
)
from builder.core.settings.readers import Choice, Place, WholeNumber
from builder.core.settings.schema import Spelled, TableName

Args = Mapping[ArgName, AnyText]


class Project(Struct, frozen=True, kw_only=True):
    """``[project]``; ``tag`` is None where each group without a rule gets the one that fits it."""

    namespace: Namespace
    name: str = ""
    registry: RegistryHost = "local"
    aliases: tuple[Namespace, ...] = ()
    tag: TagRule | None = None
    source: str | None = None
    args: Args = field(default_factory=dict)


class Group(Struct, frozen=True, kw_only=True):
    """``[groups.NAME]``; once loaded, ``path`` is absolute and ``tag`` the rule in force."""

    name: Annotated[str, TableName()]
    path: Path = Path()
    version: Version | None = None
    commit: Commit | None = None
    tag: TagRule = ""
    also: tuple[TagRule, ...] = ()
    exclude: tuple[str, ...] = ()
    naming: Annotated[NameRule, Spelled("name")] = "{dir}"
    args: Args = field(default_factory=dict)

    def check(self, place: Place) -> None:
        folder = place.root / (self.path if self.path != Path() else self.name)
        here = place.at("path")
        if not folder.is_relative_to(place.root):
            here.fault(
                f'the folder "{folder}" of group {self.name} lies outside of "{place.root}"',
                "put build.toml into a folder that holds all groups",
            )
        else:
            text = f'the folder "{place.shown(folder)}" of group {self.name}'
            remedy = (
                f"set path in [groups.{self.name}] to the folder that holds its image directories"
            )
            missing = here.mistake(f"{text} does not exist", remedy)
            here.demand(folder, "folder", missing, here.mistake(f"{text} is a file", remedy))
        if self.tag:
            self.check_rule(self.tag, place.at("tag"))
        for index, rule in enumerate(self.also):
            self.check_rule(rule, place.at("also", index))
            if rule == self.tag:
                place.at("also", index).fault(
                    f'"{rule}" is already the tag rule of group {self.name}',
                    "a moving tag has to differ from the tag of the release",
                )

    def check_rule(self, rule: str, place: Place) -> None:
        """Fault a rule that cannot give a legal tag, as far as that is known before a run."""
        if "version" in used_fields(rule) and not self.version:
            place.fault(
                f'group {self.name} has no version, but its tag rule "{rule}" uses it',
                f'add version = "1.0" to [groups.{self.name}], or use a rule without {{version}}',
            )
            return
        known = {"version": self.version or "", "commit": self.commit or "0123abc"}
        unknown = {"date": "20000101", "branch": "main", "name": "image"}
        try:
            render_tag(rule, {**known, **unknown, "group": self.name})
        except BadRuleError as error:
            place.fault(f"group {self.name}: {error.message}", error.hint)


class Secret(Struct, frozen=True, kw_only=True):
    """A build secret by its source, never by its value: exactly one of the two is set."""

    file: Path | None = None
    env: EnvironmentName | None = None

    def check(self, place: Place) -> None:
        if (self.file is None) == (self.env is None):
            place.fault(
                f'the secret "{place.path[-1]}" needs either a file or an env',
                f'for example: {place.path[-1]} = {{ file = "~/.netrc" }}',
            )


class ImageSettings(Struct, frozen=True, kw_only=True):
    """``[images.NAME]``; ``dockerfile`` and ``context`` start at the image's own folder."""

    name: Annotated[str, TableName()]
    args: Args = field(default_factory=dict)
    test: tuple[str, ...] = ()
    timeout: Seconds | None = None
    optional: bool = False
    dockerfile: RelativePath = "Dockerfile"
    context: RelativePath = "."
    platforms: tuple[Platform, ...] = ()
    secrets: Mapping[SecretId, Secret] = field(default_factory=dict)
    target: str | None = None

    def check(self, place: Place) -> None:
        if len(self.platforms) > 1:
            place.at("platforms").fault(
                f"the image {self.name} is for {len(self.platforms)} platforms, and more than one"
                " does not work yet",
                f'name one of them: platforms = ["{self.platforms[0]}"]',
            )


class BootstrapSettings(Struct, frozen=True, kw_only=True):
    """How mmdebstrap makes a base that cannot be pulled.

    ``mirror`` is the URL of an archive, or complete ``deb …`` lines; "" takes this machine's own
    archives. ``slim`` leaves out manuals, translations and documents, as the "-slim" images do.
    """

    suite: PackageWord
    variant: Variant = "minbase"
    mirror: AnyText = ""
    components: tuple[PackageWord, ...] = ("main",)
    include: tuple[PackageWord, ...] = ()
    slim: bool = True


class BaseSettings(Struct, frozen=True, kw_only=True):
    """``[bases."REFERENCE"]``: where an external base comes from; ``name`` as it is written."""

    name: Annotated[str, TableName()]
    mirror: ImageReference | None = None
    bootstrap: BootstrapSettings | None = None

    def check(self, place: Place) -> None:
        if self.mirror is None and self.bootstrap is None:
            place.fault(
                f'the base "{self.name}" has neither a mirror nor a bootstrap',
                'for example: bootstrap = { suite = "trixie" }',
            )


class BuildSettings(Struct, frozen=True, kw_only=True):
    """``[build]``; ``jobs`` None: as many as the machine can bear, ``engine`` None: the best."""

    jobs: Annotated[int, WholeNumber(minimum=1)] | None = None
    retries: Annotated[int, WholeNumber(minimum=0)] = 2
    timeout: Seconds = 3600.0
    engine: Annotated[str, Choice(words=ENGINES)] | None = None
    ca_bundle: Annotated[CaBundle, Spelled("ca-bundle")] | None = None
    cache: bool = True
    proxies: bool = True


class PublishSettings(Struct, frozen=True, kw_only=True):
    """``[publish]``; ``plain_http`` are the registries that are spoken to without TLS."""

    PLANNED: ClassVar = {
        "compression": "take the line out: layers that ocbuild packs are compressed by gzip",
        "sign": "take the line out: `ocbuild release show` has the digests that can be signed",
    }

    immutable: bool = True
    plain_http: Annotated[tuple[RegistryHost, ...], Spelled("plain-http")] = ()


class RefreshSettings(Struct, frozen=True, kw_only=True):
    """``[refresh]``: what makes an image stale."""

    bases: bool = True
    packages: bool = True


class PruneSettings(Struct, frozen=True, kw_only=True):
    """``[prune]``: what is kept; ``branch`` None: the newest commits, whatever branch has them."""

    keep_commits: Annotated[int, WholeNumber(minimum=0), Spelled("keep-commits")] = 10
    keep_days: Annotated[int, WholeNumber(minimum=0), Spelled("keep-days")] = 14
    branch: str | None = None


class Host(Struct, frozen=True, kw_only=True):
    """``[deploy.hosts.NAME]``; ``docker`` is "local", a docker context or an address.

    ``address`` is where the other hosts of a swarm reach it, ``data_address`` the same for the
    traffic of overlays; each an address or an interface, None for what its engine finds.
    """

    name: Annotated[str, TableName()]
    docker: DockerHost = "local"
    address: HostAddress | None = None
    data_address: HostAddress | None = None


class Network(Struct, frozen=True, kw_only=True):
    """``[deploy.networks.NAME]``; only a macvlan has a parent interface."""

    name: Annotated[str, TableName()]
    driver: Literal["bridge", "overlay", "macvlan"] = "bridge"
    parent: str | None = None
    subnet: Subnet | None = None
    ip_range: Subnet | None = None
    gateway: Address | None = None
    mtu: Mtu | None = None

    def check(self, place: Place) -> None:
        if (self.driver == "macvlan") != (self.parent is not None):
            fact = "needs a parent" if self.parent is None else "can have no parent"
            place.at("parent").fault(
                f"the {self.driver} network {self.name} {fact}",
                'a macvlan network, and no other, has a line such as: parent = "eth0"',
            )
        inside = {"ip_range": self.ip_range, "gateway": self.gateway}
        for key, text in inside.items():
            if text is None:
                continue
            if self.subnet is None:
                place.at(key).fault(
                    f"the network {self.name} has the {key} {text}, but no subnet",
                    'add a line such as: subnet = "10.0.0.0/24"',
                )
            elif not _lies_in(text, self.subnet):
                place.at(key).fault(
                    f"the {key} {text} of network {self.name} is not in its subnet {self.subnet}",
                    "make the one a part of the other",
                )


def _lies_in(text: str, subnet: str) -> bool:
    inner, outer = ipaddress.ip_network(text), ipaddress.ip_network(subnet)
    return inner.network_address in outer and inner.broadcast_address in outer


class Stack(Struct, frozen=True, kw_only=True):
    """``[deploy.stacks.NAME]``; once loaded, ``host`` is the name of one of the hosts."""

    name: Annotated[str, TableName()]
    file: Path
    host: str = ""
    needs: tuple[StackName, ...] = ()

    def check(self, place: Place) -> None:
        missing = place.at("file").mistake(
            f'the compose file "{place.shown(self.file)}" of stack {self.name} does not exist',
            "its path starts at the folder of build.toml",
        )
        place.demand(self.file, "file", missing, missing)


class DeploySettings(Struct, frozen=True, kw_only=True):
    """``[deploy]``; without any host there is one, "local"."""

    hosts: Mapping[HostName, Host] = field(default_factory=dict)
    networks: Mapping[NetworkName, Network] = field(default_factory=dict)
    stacks: Mapping[StackName, Stack] = field(default_factory=dict)

    def check(self, place: Place) -> None:
        for name, stack in self.stacks.items():
            here = place.at("stacks", name)
            self._check_host(stack, here)
            for index, needed in enumerate(stack.needs):
                if needed == name or needed not in self.stacks:
                    fact = "itself" if needed == name else f'the stack "{needed}", which is unknown'
                    others = self.stacks.keys() - {name}
                    here.at("needs", index).fault(
                        f"the stack {name} needs {fact}",
                        did_you_mean(needed, others) or _choose_from("stacks", others),
                    )

    def _check_host(self, stack: Stack, here: Place) -> None:
        hosts = self.hosts or {"local"}
        if stack.host and stack.host not in hosts:
            here.at("host").fault(
                f'the stack {stack.name} is for the host "{stack.host}", which is unknown',
                did_you_mean(stack.host, hosts) or _choose_from("hosts", hosts),
            )
        elif not stack.host and len(hosts) > 1:
            here.fault(
                f"the stack {stack.name} has no host, and there are several",
                _choose_from("hosts", hosts),
            )

    def resolved(self) -> DeploySettings:
        """The same with the defaults that depend on other keys filled in."""
        hosts = self.hosts or {"local": Host(name="local")}
        only = next(iter(hosts))
        stacks = {
            name: replace(stack, host=stack.host or only) for name, stack in self.stacks.items()
        }
        return replace(self, hosts=hosts, stacks=stacks)


def _choose_from(what: str, names: Iterable[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in sorted(names))
    return f"the {what} are {listed}" if listed else f"there are no other {what}"


class Document(Struct, frozen=True, kw_only=True):
    """The sections of build.toml."""

    PLANNED: ClassVar = {"farm": "take the section out: all images are built on one machine"}

    project: Project
    groups: Mapping[GroupName, Group] = field(default_factory=dict)
    images: Mapping[ImageKey, ImageSettings] = field(default_factory=dict)
    bases: Mapping[ReferenceKey, BaseSettings] = field(default_factory=dict)
    contexts: Mapping[ReferenceKey, ContextSource] = field(default_factory=dict)
    remarks: Mapping[LabelMatch, AnyText] = field(default_factory=dict)
    build: BuildSettings = field(default_factory=BuildSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)
    refresh: RefreshSettings = field(default_factory=RefreshSettings)
    prune: PruneSettings = field(default_factory=PruneSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)
