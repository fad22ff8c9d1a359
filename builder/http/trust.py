"""Which registries may be spoken to by plain HTTP, and which certificates the others may have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from builder.core.errors import ConfigError
from builder.core.web import is_loopback

# Where systems keep the authorities that they trust, as Go looks for them (crypto/x509):
# libcurl comes with an OpenSSL of its own, which knows none of these places.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # CentOS
    "/etc/ssl/cert.pem",  # Alpine
)
_FOLDERS = ("/etc/ssl/certs", "/etc/pki/tls/certs")


class Certificates(Struct, frozen=True, kw_only=True):
    """What a server is checked by: ``bundle`` and ``folders`` are the system's, "" for none.

    ``more`` are authorities beyond those, as PEM. ``own`` and ``key`` are files that prove who we
    are, "" for none.
    """

    bundle: str
    folders: str
    more: bytes = b""
    own: str = ""
    key: str = ""

    def authorities(self) -> bytes:
        """The bundle and what is trusted beyond it, as PEM."""
        return (Path(self.bundle).read_bytes() if self.bundle else b"") + b"\n" + self.more


class Trust(Struct, frozen=True, kw_only=True):
    """``plain_http`` holds host[:port] as references name them.

    ``authorities`` are files with CA certificates beyond those of the system. ``folders`` are laid
    out like docker's certs.d: HOST[:PORT]/*.crt are CAs for that host, *.cert and *.key are ours.
    ``plain_to_anybody`` is for what is believed for its signature. ``system`` replaces the folders
    in which the system has its authorities, joined by ":".
    """

    plain_http: frozenset[str] = frozenset()
    authorities: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    plain_to_anybody: bool = False
    system: str = ""

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
            system=environ.get("SSL_CERT_DIR", ""),
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
        return parts.scheme == "http" and (
            self.plain_to_anybody or is_loopback(authority) or authority in self.plain_http
        )

    def certificates(self, host: str) -> Certificates:
        """What a server is checked by, as it always is; for a proxy ``host`` is "".

        Raises:
            ConfigError: if a file of certificates cannot be used.

        """
        folders = self._own_folders(host)
        found = (path for folder in folders for path in sorted(folder.glob("*.crt")))
        more = b"".join(_read(path) + b"\n" for path in (*self.authorities, *found))
        own = [path for folder in folders for path in sorted(folder.glob("*.cert"))]
        if own:
            _check(own[-1], own[-1].with_suffix(".key"))
        return Certificates(
            bundle=next((place for place in _BUNDLES if Path(place).is_file()), ""),
            folders=self.system or next((place for place in _FOLDERS if Path(place).is_dir()), ""),
            more=more,
            own=str(own[-1]) if own else "",
            key=str(own[-1].with_suffix(".key")) if own else "",
        )

    def _own_folders(self, host: str) -> list[Path]:
        return [own for folder in self.folders if host and (own := folder / host).is_dir()]


def _read(path: Path) -> bytes:
    _check(path)
    return path.read_bytes()


def _check(path: Path, key: Path | None = None) -> None:
    """Have the file named that is no use, which libcurl would not do."""
    import ssl  # noqa: PLC0415 - 12 ms, and few have certificates of their own

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if key is None:
            context.load_verify_locations(cafile=path)
        else:
            context.load_cert_chain(path, key)
    except ssl.SSLError as error:
        raise ConfigError(f"{path} holds no usable certificate: {error.reason or error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the certificate {path}: {error.strerror}") from error
