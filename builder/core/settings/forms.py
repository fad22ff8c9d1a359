"""The forms that single values of build.toml take, as annotations for its structs."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from builder.core.errors import ConfigError
from builder.core.image import name_rule, tag_rule
from builder.core.reference import BadReferenceError, Reference
from builder.core.settings.readers import Duration, Text, WholeNumber, WordOrPath

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def _registry(text: str) -> str:
    if text == "local":
        return text
    if "://" in text or "/" in text:
        raise ConfigError(
            f'"{text}" is more than a registry host',
            hint='write the host only, such as "registry.example.com:5000"; '
            'what follows it belongs in "namespace"',
        )
    try:
        reference = Reference.parse(f"{text}/image")
    except BadReferenceError as error:
        raise ConfigError(f'"{text}" is no registry host', hint=error.hint) from error
    if reference.registry != text:
        raise ConfigError(
            f'"{text}" would be read as a namespace, not as a registry',
            hint=f'write "local" for the embedded registry, or add the port: "{text}:5000"',
        )
    return text


def _namespace(text: str) -> str:
    try:
        reference = Reference.parse(f"{text}/image")
    except BadReferenceError as error:
        raise ConfigError(f'"{text}" is no namespace', hint=error.hint) from error
    if reference.registry:
        raise ConfigError(
            f'"{text}" would be read as a registry host',
            hint='the host belongs in "registry"; a namespace looks like "opencontrail"',
        )
    return text


def _reference(text: str) -> str:
    Reference.parse(text)
    return text


def _subnet(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(str(error), hint='a subnet looks like "10.0.0.0/24"') from error
    return text


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ConfigError(str(error), hint='an address looks like "10.0.0.1"') from error
    return text


def _relative(text: str) -> str:
    if text.startswith(("/", "~")):
        raise ConfigError(
            f'"{text}" is no relative path', hint="the path starts at the folder of the image"
        )
    return text


def _named(what: str, example: str, pattern: str = _WORD) -> Text:
    return Text(wanted=what, example=example, pattern=pattern)


AnyText = Annotated[str, Text(may_be_empty=True, example='"value"')]
Seconds = Annotated[float, Duration()]
RegistryHost = Annotated[
    str, Text(wanted="a registry host", example='"registry.example.com:5000"', convert=_registry)
]
Namespace = Annotated[str, Text(wanted="a namespace", example='"opencontrail"', convert=_namespace)]
TagRule = Annotated[
    str, Text(wanted="a tag rule", example='"{version}-{commit}"', convert=tag_rule)
]
NameRule = Annotated[str, Text(wanted="a naming rule", example='"{dir}"', convert=name_rule)]
Version = Annotated[
    str,
    Text(
        wanted="a version of letters, digits, '.', '_' and '-'",
        example='"3.0.1"',
        pattern=r"[A-Za-z0-9_.-]+",
    ),
]
Commit = Annotated[
    str,
    Text(wanted="a commit of hexadecimal digits", example='"e24cc66"', pattern="[0-9a-f]{4,64}"),
]
ImageReference = Annotated[
    str,
    Text(
        wanted="an image reference",
        example='"registry.example.com/library/debian:trixie-slim"',
        convert=_reference,
    ),
]
ReferenceKey = Annotated[
    str,
    Text(wanted="an image reference", example='"debian:trixie-slim"', convert=_reference),
]
ArgName = Annotated[
    str, _named("a build argument's name", "HTTP_PORT", pattern="[A-Za-z_][A-Za-z0-9_]*")
]
GroupName = Annotated[
    str,
    _named(
        "a group's name (letters, digits, '.', '_', '-'; not \"all\")",
        "contrail",
        pattern=f"(?!all$){_WORD}",
    ),
]
ImageKey = Annotated[
    str, _named("an image's name", "nova-api", pattern=r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
]
LabelMatch = Annotated[
    str,
    _named("a label, KEY or KEY=VALUE", '"com.example.state=trial"', pattern=r"[^\s=]+(?:=.*)?"),
]
SecretId = Annotated[str, _named("a secret's id", "apt")]
HostName = Annotated[str, _named("a host's name", "controller")]
NetworkName = Annotated[str, _named("a network's name", "internal")]
StackName = Annotated[
    str,
    _named(
        'a stack\'s name (lower case; neither "init" nor "join")',
        "keystone",
        pattern="(?!(?:init|join)$)[a-z0-9][a-z0-9_-]*",
    ),
]
EnvironmentName = Annotated[
    str, _named("a variable's name", '"APT_TOKEN"', pattern="[A-Za-z_][A-Za-z0-9_]*")
]
Platform = Annotated[
    str, _named("a platform", '"linux/amd64"', pattern="[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")
]
Subnet = Annotated[str, Text(wanted="a subnet", example='"10.0.0.0/24"', convert=_subnet)]
Address = Annotated[str, Text(wanted="an address", example='"10.0.0.1"', convert=_address)]
DockerHost = Annotated[
    str,
    _named(
        '"local", a docker context, or an address such as "ssh://root@10.0.0.1"',
        '"local"',
        pattern=rf"{_WORD}|(?:ssh|unix|tcp|http|https)://\S+",
    ),
]
# What every host of IPv4 has to take in one piece.
Mtu = Annotated[int, WholeNumber(minimum=576)]
HostAddress = Annotated[
    str, _named("an address or an interface", '"10.0.0.1"', pattern=r"[A-Za-z0-9][A-Za-z0-9.:_-]*")
]
CaBundle = Annotated[
    str,
    WordOrPath(form="host", wanted='"host" or the path of a file', example='"host"'),
]
ContextSource = Annotated[
    str,
    WordOrPath(
        form=r"(?:docker-image|oci-layout|https?|git|ssh)://\S+|git@\S+",
        wanted="a folder or an address (docker-image://, oci-layout://, https://, git://, ssh://)",
        example='"docker-image://debian:trixie-slim"',
    ),
]
RelativePath = Annotated[
    str, Text(wanted="a path below the image's folder", example='"Dockerfile"', convert=_relative)
]
PackageWord = Annotated[
    str,
    _named(
        "the name of a suite, a component or a package",
        '"trixie"',
        pattern="[a-z0-9][a-z0-9.+:~=_/-]*",
    ),
]
Variant = Literal["minbase", "essential", "apt", "required", "buildd", "important", "standard"]
