"""Proxies and certificates of this machine reach a build once, and only where they help."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.engine.request import config_proxies, proxy_args
from builder.core.errors import ConfigError
from builder.engines.choose import ca_bundle


def test_proxies_of_the_environment_become_build_args() -> None:
    environ = {
        "HOME": "/root",
        "HTTP_PROXY": "http://proxy:3128",
        "no_proxy": "localhost,.example",
        "https_proxy": "",
        "OTHER": "x",
    }

    assert proxy_args(environ, {}) == {
        "HTTP_PROXY": "http://proxy:3128",
        "no_proxy": "localhost,.example",
    }


@pytest.mark.parametrize("address", ["http://127.0.0.1:3128", "localhost:3128", "http://[::1]:1"])
def test_a_proxy_on_the_loopback_is_left_out(address: str) -> None:
    assert proxy_args({"HTTP_PROXY": address}, {}) == {}


def test_what_the_docker_command_adds_by_itself_goes_before_the_environment() -> None:
    environ = {"HTTP_PROXY": "http://ours:1", "HTTPS_PROXY": "http://ours:2"}

    assert proxy_args(environ, {"HTTP_PROXY": "http://127.0.0.1:1"}) == {
        "HTTP_PROXY": "http://127.0.0.1:1",
        "HTTPS_PROXY": "http://ours:2",
    }


def test_the_docker_config_may_name_proxies_for_one_engine() -> None:
    config = {
        "proxies": {
            "default": {"httpProxy": "http://d:1"},
            "tcp://build:2375": {"noProxy": "x"},
        }
    }

    assert config_proxies(config, "tcp://build:2375") == {"no_proxy": "x", "NO_PROXY": "x"}
    assert config_proxies(config, "") == {"http_proxy": "http://d:1", "HTTP_PROXY": "http://d:1"}
    assert config_proxies({}, "") == {}


def test_no_setting_means_no_bundle() -> None:
    assert ca_bundle(None, {}) is None


def test_a_bundle_may_be_named(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("x", encoding="utf-8")

    assert ca_bundle(str(bundle), {}) == bundle
    with pytest.raises(ConfigError, match="there is no file"):
        ca_bundle(str(tmp_path / "missing"), {})


def test_the_hosts_bundle_is_what_the_environment_names_first(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("x", encoding="utf-8")

    assert ca_bundle("host", {"SSL_CERT_FILE": str(bundle)}) == bundle
    found = ca_bundle("host", {"SSL_CERT_FILE": "/nonexistent", "CURL_CA_BUNDLE": str(bundle)})
    assert found == bundle
