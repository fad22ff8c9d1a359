"""The sections of build.toml, as values; the annotations of their fields are its schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct, field

from builder.config.deploy_sections import DeploySettings
from builder.config.forms import (
    AnyText,
    ArgName,
    CaBundle,
    Commit,
    ContextSource,
    CosignKey,
    EnvironmentName,
    GroupName,
    ImageKey,
    ImageReference,
    LabelMatch,
    NameRule,
    Namespace,
    PackageWord,
    Platform,
    ReferenceKey,
    RegistryHost,
    RelativePath,
    SchedulerAddress,
    Seconds,
    SecretId,
    TagRule,
    Variant,
    Version,
)
from builder.config.schema import Spelled, TableName
from builder.config.toml_values import Place, Whole
from builder.core.naming import BadRuleError, render_tag, used_fields

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
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            here.fault(
                f'the folder "{place.shown(folder)}" of group {self.name} {what}',
                f"set path in [groups.{self.name}] to the folder that holds its image directories",
            )
        elif not folder.is_relative_to(place.root):
            here.fault(
                f'the folder "{folder}" of group {self.name} lies outside of "{place.root}"',
                "put build.toml into a folder that holds all groups",
            )
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

    jobs: Annotated[int, Whole(minimum=1)] | None = None
    retries: Annotated[int, Whole(minimum=0)] = 2
    timeout: Seconds = 3600.0
    engine: Literal["assembler", "buildx", "engine-api", "classic"] | None = None
    ca_bundle: Annotated[CaBundle, Spelled("ca-bundle")] | None = None
    cache: bool = True
    proxies: bool = True


class PublishSettings(Struct, frozen=True, kw_only=True):
    """``[publish]``; ``plain_http`` are the registries that are spoken to without TLS."""

    immutable: bool = True
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    sign: CosignKey | None = None
    plain_http: Annotated[tuple[RegistryHost, ...], Spelled("plain-http")] = ()


class RefreshSettings(Struct, frozen=True, kw_only=True):
    """``[refresh]``: what makes an image stale."""

    bases: bool = True
    packages: bool = True


class PruneSettings(Struct, frozen=True, kw_only=True):
    """``[prune]``: what is kept; ``branch`` None: the newest commits, whatever branch has them."""

    keep_commits: Annotated[int, Whole(minimum=0), Spelled("keep-commits")] = 10
    keep_days: Annotated[int, Whole(minimum=0), Spelled("keep-days")] = 14
    branch: str | None = None


class FarmSettings(Struct, frozen=True, kw_only=True):
    """``[farm]``: the scheduler of many build hosts, and how many of them a run waits for."""

    scheduler: SchedulerAddress | None = None
    workers: Annotated[int, Whole(minimum=1)] = 1


class Document(Struct, frozen=True, kw_only=True):
    """The sections of build.toml."""

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
    farm: FarmSettings = field(default_factory=FarmSettings)
