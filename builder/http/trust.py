"""Which registries may be spoken to by plain HTTP, and which certificates the others may have."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from builder.core.errors import ConfigError

if TYPE_CHECKING:
    import ssl


class Trust(Struct, frozen=True, kw_only=True):
    """``plain_http`` holds host[:port] as references name them.

    ``authorities`` are files with CA certificates beyond those of the system. ``folders`` are laid
    out like docker's certs.d: HOST[:PORT]/*.crt are CAs for that host, *.cert and *.key are ours.
    """

    plain_http: frozenset[str] = frozenset()
    authorities: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        *,
        plain_http: frozenset[str] = frozenset(),
        ca: Path | None = None,
    ) -> Trust:
        """What docker and OpenSSL trust on this machine, and what was configured besides."""
        named = environ.get("SSL_CERT_FILE")
        own = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/root"), ".config"))
        return cls(
            plain_http=plain_http,
            authorities=tuple(path for path in (ca, Path(named) if named else None) if path),
            folders=(Path("/etc/docker/certs.d"), own / "docker/certs.d"),
        )

    def scheme(self, host: str) -> str:
        """``http`` for the loopback and for what was configured, else ``https``: never a guess.

        A registry on the loopback that has a folder of certificates speaks TLS all the same.
        """
        if host in self.plain_http:
            return "http"
        return "http" if is_loopback(host) and not self._own_folders(host) else "https"

    def allows(self, url: str) -> bool:
        """Whether anything at all may be sent to the address."""
        parts = urlsplit(url)
        if parts.scheme == "https":
            return bool(parts.netloc)
        authority = parts.netloc.rpartition("@")[2]
        return parts.scheme == "http" and (is_loopback(authority) or authority in self.plain_http)

    def context(self, host: str) -> ssl.SSLContext:
        """Certificates are always checked.

        Raises:
            ConfigError: if a file of certificates cannot be used.

        """
        import ssl  # noqa: PLC0415 - of no use to who speaks plain HTTP

        context = ssl.create_default_context()
        # Many requests over few connections: HTTP/2 gains nothing here, and uploads lose by it.
        context.set_alpn_protocols(["http/1.1"])
        for path in self.authorities:
            _load(path, context)
        for folder in self._own_folders(host):
            for path in sorted(folder.glob("*.crt")):
                _load(path, context)
            for path in sorted(folder.glob("*.cert")):
                _load(path, context, path.with_suffix(".key"))
        return context

    def _own_folders(self, host: str) -> list[Path]:
        return [own for folder in self.folders if (own := folder / host).is_dir()]


@functools.lru_cache(maxsize=256)
def is_loopback(authority: str) -> bool:
    """Whether host[:port] is this machine itself, without asking DNS."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _load(path: Path, context: ssl.SSLContext, key: Path | None = None) -> None:
    import ssl  # noqa: PLC0415 - as above

    try:
        if key is None:
            context.load_verify_locations(cafile=path)
        else:
            context.load_cert_chain(path, key)
    except ssl.SSLError as error:
        raise ConfigError(f"{path} holds no usable certificate: {error.reason or error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the certificate {path}: {error.strerror}") from error
