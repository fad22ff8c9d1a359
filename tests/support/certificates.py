"""A certificate authority for tests, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

from tests.support.registry import require

_KEY = ("-newkey", "rsa:2048", "-nodes", "-days", "2")


class Certificate(Struct, frozen=True, kw_only=True):
    """A certificate and its private key, in PEM."""

    certificate: Path
    key: Path


def make_authority(folder: Path) -> Certificate:
    """A CA that nobody trusts yet."""
    made = Certificate(certificate=folder / "ca.crt", key=folder / "ca.key")
    _request(made, "tests' own authority", "basicConstraints=critical,CA:TRUE")
    return made


def make_server(folder: Path, authority: Certificate) -> Certificate:
    """A certificate for 127.0.0.1, signed by the authority."""
    made = Certificate(certificate=folder / "server.crt", key=folder / "server.key")
    signer = ("-CA", str(authority.certificate), "-CAkey", str(authority.key))
    _request(made, "127.0.0.1", "subjectAltName=IP:127.0.0.1", *signer)
    return made


def sign(data: bytes, key: Path) -> bytes:
    """An RS256 signature."""
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(key)],
        input=data,
        capture_output=True,
        check=True,
    )
    return done.stdout


def _request(made: Certificate, name: str, extension: str, *more: str) -> None:
    require(shutil.which("openssl"), "the program openssl")
    argv = ["openssl", "req", "-x509", *_KEY, "-subj", f"/CN={name}", "-addext", extension]
    argv += ["-keyout", str(made.key), "-out", str(made.certificate), *more]
    subprocess.run(argv, check=True, capture_output=True)
