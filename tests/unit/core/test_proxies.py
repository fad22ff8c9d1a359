"""Which proxy a host is asked through, by the rules of Go's programs."""

from __future__ import annotations

import pytest

from builder.core.web import proxy_for


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
        ("fd00::1", "[fd00::1]:5000", True),
        ("[fd00::1]", "[fd00::1]:5000", True),
        ("[fd00::1]:5000", "[fd00::1]:5000", True),
        ("[fd00::1]:443", "[fd00::1]:5000", False),
        ("10.1.2.3:5000", "10.1.2.3:5000", True),
        ("10.1.2.3:443", "10.1.2.3:5000", False),
        ("*.example.com", "example.com", False),
        (" , ,", "registry.example.com", False),
        (".", "registry.example.com", False),
        ("example.com", "registry.example.com:port", False),
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


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:1"}, "http://a:1"),
        ({"https_proxy": "http://b:1"}, "http://b:1"),
        ({"HTTP_PROXY": "http://a:1"}, None),
        ({"ALL_PROXY": "http://a:1"}, None),
        ({"HTTPS_PROXY": "https://user:p%40ss@a:1"}, "https://user:p%40ss@a:1"),
        ({"HTTPS_PROXY": "socks5://a:1"}, "socks5://a:1"),
        ({"HTTPS_PROXY": "http://a:1", "no_proxy": "example.com"}, None),
    ],
)
def test_the_variables_are_read_in_their_order(
    environ: dict[str, str], expected: str | None
) -> None:
    assert proxy_for("https", "registry.example.com", environ) == expected


def test_to_a_cgi_program_a_client_does_not_name_the_proxy() -> None:
    environ = {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}
    assert proxy_for("http", "registry.example.com", environ) is None
    environ["http_proxy"] = "http://own:1"
    assert proxy_for("http", "registry.example.com", environ) == "http://own:1"
