"""What of this machine a build may need: its proxies and the authorities that it trusts."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builder.core.errors import ConfigError
from builder.docker.endpoint import docker_config

# Docker defines these build args by itself: they need no ARG and leave no trace in the history.
_WORDS = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
PROXY_NAMES = frozenset(name for word in _WORDS for name in (word, word.upper()))
# The keys of `proxies` in docker's config.json.
_CONFIG_KEYS = {
    "httpProxy": "http_proxy",
    "httpsProxy": "https_proxy",
    "ftpProxy": "ftp_proxy",
    "noProxy": "no_proxy",
    "allProxy": "all_proxy",
}
HOST = "host"
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, BSD, macOS
)


def proxy_args(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies of this machine as build args.

    Those that docker's own config.json sets are left out, for the docker command adds them; so are
    those on the loopback of this machine, which a build cannot reach.
    """
    known = config_proxies(docker_config(environ), environ.get("DOCKER_HOST", ""))
    return {
        name: value
        for name in sorted(PROXY_NAMES)
        if (value := environ.get(name)) and name not in known and not _is_loopback(name, value)
    }


def config_proxies(config: Mapping[str, Any], host: str) -> dict[str, str]:
    """The build args that the docker command makes of ``proxies`` in its config.json."""
    proxies = config.get("proxies") or {}
    chosen = proxies.get(host) or proxies.get("default") or {}
    found: dict[str, str] = {}
    for key, word in _CONFIG_KEYS.items():
        if value := chosen.get(key):
            found[word] = found[word.upper()] = str(value)
    return found


def ca_bundle(setting: str | None, environ: Mapping[str, str]) -> Path | None:
    """The file of CA certificates that builds get as the secret "ca-bundle".

    ``setting`` is ``ca-bundle`` of build.toml: a file, or "host" for what this machine trusts.

    Raises:
        ConfigError: if there is no such file.

    """
    if not setting:
        return None
    if setting != HOST:
        path = Path(setting).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"ca-bundle: there is no file {path}",
                hint='name a PEM file, or write ca-bundle = "host"',
            )
        return path
    named = [environ[name] for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE") if environ.get(name)]
    for candidate in (*named, *_BUNDLES):
        if Path(candidate).is_file():
            return Path(candidate)
    raise ConfigError(
        'ca-bundle = "host": this machine has no file of CA certificates in a known place',
        hint="install the package ca-certificates, or set SSL_CERT_FILE",
    )


def _is_loopback(name: str, value: str) -> bool:
    if name.lower() == "no_proxy":
        return False
    host = urlsplit(value if "://" in value else f"//{value}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
