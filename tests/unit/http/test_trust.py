"""Plain HTTP and certificates: what is decided before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import ConfigError
from builder.core.web import is_loopback
from builder.http.trust import Trust
from tests.support.certificates import make_authority, make_server


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:5000", True),
        ("127.8.9.10", True),
        ("[::1]:5000", True),
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("10.0.0.1:5000", False),
        ("[::2]", False),
        ("registry.example.com", False),
    ],
)
def test_only_the_loopback_is_spoken_to_by_plain_http(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert Trust().scheme(host) == ("http" if expected else "https")
    assert Trust().allows(f"http://{host}/v2/") is expected
    assert Trust().allows(f"https://{host}/v2/")


def test_a_registry_that_is_configured_for_plain_http_is_meant_with_its_port() -> None:
    trust = Trust(plain_http=frozenset({"registry.example.com:5000"}))
    assert trust.scheme("registry.example.com:5000") == "http"
    assert trust.scheme("registry.example.com") == "https"
    assert not trust.allows("http://registry.example.com/v2/")


def test_no_other_scheme_is_allowed() -> None:
    assert not Trust().allows("file:///etc/passwd")
    assert not Trust().allows("/v2/")


def test_a_folder_of_certificates_makes_a_registry_on_the_loopback_speak_tls(
    tmp_path: Path,
) -> None:
    (tmp_path / "127.0.0.1:5000").mkdir()
    trust = Trust(folders=(tmp_path,))
    assert trust.scheme("127.0.0.1:5000") == "https"
    assert trust.scheme("127.0.0.1:5001") == "http"


def test_what_is_believed_for_its_signature_may_come_from_anybody() -> None:
    trust = Trust(plain_to_anybody=True)
    assert trust.allows("http://archive.example.com/debian")
    assert not trust.allows("ftp://archive.example.com/debian")


def test_the_folders_of_the_system_can_be_named_as_openssl_has_it() -> None:
    trust = Trust.of({"SSL_CERT_DIR": "/a:/b"})
    assert trust.certificates("registry.example.com").folders == "/a:/b"


def test_what_docker_and_openssl_trust_is_found_by_the_environment(tmp_path: Path) -> None:
    trust = Trust.of({"SSL_CERT_FILE": "/x.pem", "HOME": str(tmp_path)}, ca=Path("/y.pem"))
    assert trust.authorities == (Path("/y.pem"), Path("/x.pem"))
    assert trust.folders == (
        Path("/etc/docker/certs.d"),
        tmp_path / ".config/docker/certs.d",
    )


def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.crt: No such file"):
        Trust(authorities=(tmp_path / "absent.crt",)).certificates("registry.example.com")
    empty = tmp_path / "registry.example.com" / "ca.crt"
    empty.parent.mkdir()
    empty.touch()
    with pytest.raises(ConfigError, match=r"ca\.crt holds no usable certificate"):
        Trust(folders=(tmp_path,)).certificates("registry.example.com")


def test_what_lies_in_a_hosts_folder_is_for_this_host_alone(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    own = make_server(tmp_path, authority)
    folder = tmp_path / "certs.d" / "registry.example.com:5000"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
    (folder / "client.cert").write_bytes(own.certificate.read_bytes())
    (folder / "client.key").write_bytes(own.key.read_bytes())
    trust = Trust(folders=(tmp_path / "certs.d",))
    certificates = trust.certificates("registry.example.com:5000")
    assert authority.certificate.read_bytes() in certificates.more
    assert (certificates.own, certificates.key) == (
        str(folder / "client.cert"),
        str(folder / "client.key"),
    )
    assert authority.certificate.read_bytes() in certificates.authorities()
    for other in ("registry.example.com", ""):
        assert trust.certificates(other).more == b""
        assert trust.certificates(other).own == ""


def test_a_certificate_of_ours_without_its_key_is_named(tmp_path: Path) -> None:
    own = make_server(tmp_path, make_authority(tmp_path))
    folder = tmp_path / "certs.d" / "registry.example.com"
    folder.mkdir(parents=True)
    (folder / "client.cert").write_bytes(own.certificate.read_bytes())
    with pytest.raises(ConfigError, match=r"client\.cert: No such file"):
        Trust(folders=(tmp_path / "certs.d",)).certificates("registry.example.com")
