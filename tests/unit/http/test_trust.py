"""Plain HTTP, proxies and certificates: what is decided before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import ConfigError
from builder.http.proxies import proxy_for
from builder.http.trust import Trust, is_loopback


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


def test_what_docker_and_openssl_trust_is_found_by_the_environment(tmp_path: Path) -> None:
    trust = Trust.of({"SSL_CERT_FILE": "/x.pem", "HOME": str(tmp_path)}, ca=Path("/y.pem"))
    assert trust.authorities == (Path("/y.pem"), Path("/x.pem"))
    assert trust.folders == (
        Path("/etc/docker/certs.d"),
        tmp_path / ".config/docker/certs.d",
    )


def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.crt: No such file"):
        Trust(authorities=(tmp_path / "absent.crt",)).context("registry.example.com")
    empty = tmp_path / "registry.example.com" / "ca.crt"
    empty.parent.mkdir()
    empty.touch()
    with pytest.raises(ConfigError, match=r"ca\.crt holds no usable certificate"):
        Trust(folders=(tmp_path,)).context("registry.example.com")


@pytest.mark.parametrize(
    ("exempt", "authority", "direct"),
    [
        ("", "registry.example.com", False),
        ("*", "registry.example.com", True),
        ("example.com", "registry.example.com", True),
        ("example.com", "example.com", True),
        (".example.com", "registry.example.com", True),
        (".example.com", "example.com", False),
        ("*.example.com", "registry.example.com", True),
        ("ample.com", "example.com", False),
        ("other.org, REGISTRY.example.com", "registry.example.com", True),
        ("registry.example.com:443", "registry.example.com", True),
        ("registry.example.com:5000", "registry.example.com", False),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.1.2.3", "10.1.2.3:5000", True),
        ("10.1.2.4", "10.1.2.3:5000", False),
        ("fd00::/8", "[fd00::1]:5000", True),
    ],
)
def test_no_proxy_exempts_names_networks_and_ports(
    exempt: str, authority: str, *, direct: bool
) -> None:
    environ = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": exempt}
    expected = None if direct else "http://proxy:3128"
    assert proxy_for("https", authority, environ) == expected


def test_the_loopback_has_no_proxy_and_a_bare_proxy_is_one_by_http() -> None:
    environ = {"http_proxy": "proxy:3128"}
    assert proxy_for("http", "127.0.0.1:5000", environ) is None
    assert proxy_for("https", "registry.example.com", environ) is None
    assert proxy_for("http", "registry.example.com", environ) == "http://proxy:3128"
