"""What of this machine a build may need: its proxies and the authorities that it trusts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.core.engine.request import config_proxies, proxies_to_pass
from builder.core.errors import ConfigError
from builder.docker.endpoint import docker_config

HOST = "host"
# As Go looks for them: https://go.dev/src/crypto/x509/root_linux.go.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, BSD, macOS
)


def proxy_args(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies of this machine as build args."""
    known = config_proxies(docker_config(environ), environ.get("DOCKER_HOST", ""))
    return proxies_to_pass(environ, known)


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
