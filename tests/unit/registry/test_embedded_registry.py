"""What can be known of the embedded registry without starting it."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import UsageError
from builder.registry.embedded import EmbeddedRegistry, configuration


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5000", "127.8.8.8:1", "localhost:65535", "[::1]:5000"]
)
def test_loopback_addresses_are_taken(tmp_path: Path, address: str) -> None:
    assert EmbeddedRegistry(state=tmp_path, address=address).address == address


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0:5000",
        "10.0.0.1:5000",
        "[::]:5000",
        "registry.example.com:5000",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:http",
        "",
    ],
)
def test_an_address_open_to_the_network_or_without_port_is_refused(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(UsageError, match="is no loopback address with a port"):
        EmbeddedRegistry(state=tmp_path, address=address)


def test_every_port_has_its_own_folder_and_container(tmp_path: Path) -> None:
    one = EmbeddedRegistry(state=tmp_path, address="127.0.0.1:5001")
    two = EmbeddedRegistry(state=tmp_path, address="127.0.0.1:5002")

    assert one.data == tmp_path / "registry" / "5001" / "data"
    assert one.container == "ocbuild-registry-5001"
    assert {one.folder, one.container}.isdisjoint({two.folder, two.container})


def test_the_configuration_allows_deletion_and_caches_blob_descriptors(tmp_path: Path) -> None:
    storage = configuration("127.0.0.1:5000", tmp_path)["storage"]

    assert storage == {
        "filesystem": {"rootdirectory": str(tmp_path)},
        "delete": {"enabled": True},
        "cache": {"blobdescriptor": "inmemory"},
    }


def test_every_start_has_a_secret_of_its_own(tmp_path: Path) -> None:
    one, two = (configuration("127.0.0.1:5000", tmp_path) for _ in range(2))

    assert one["http"] != two["http"]
