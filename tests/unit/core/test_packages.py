"""dpkg's status, apt's indexes and the version that apt would take, read from text."""

from __future__ import annotations

import pytest
from msgspec import structs

from builder.core.errors import PublishError
from builder.core.packages.inventory import (
    DEFAULT,
    NEVER,
    Inventory,
    Offers,
    Package,
    PackageSource,
    installed,
    read_packages,
    read_release,
)
from builder.core.packages.sources import is_newer, unsigned

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.41-12
Description: GNU C Library
 Version: 9 is no field here
 .
 Package: neither

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: kept
Status: hold ok installed
Architecture: amd64
Version: 3

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Source: gcc-14 (14.2.0-19)
Version: 14.2.0-19+b1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2025b-4
"""


def package(name: str, version: str = "1", architecture: str = "amd64") -> Package:
    return Package(
        name=name,
        version=version,
        architecture=architecture,
        source=name,
        source_version=version,
    )


def test_what_is_installed_is_listed_with_what_it_was_built_from() -> None:
    found = {one.name: one for one in installed(STATUS)}
    assert sorted(found) == ["kept", "libc6", "libstdc++6", "tzdata"]
    assert found["libc6"].version == "2.41-12"
    assert (found["libc6"].source, found["libc6"].source_version) == ("glibc", "2.41-12")
    gcc = found["libstdc++6"]
    assert (gcc.source, gcc.source_version) == ("gcc-14", "14.2.0-19")
    assert found["tzdata"].source == "tzdata"


INVENTORY = Inventory(
    dpkg=True,
    packages=installed(STATUS),
    sources=(PackageSource(uri="http://a", suite="s", component="main", trusted=True),),
    pinned=True,
)


def test_an_inventory_comes_back_as_it_was_written() -> None:
    assert Inventory.from_bytes(INVENTORY.as_bytes(), "here") == INVENTORY
    empty = Inventory(dpkg=False)
    assert Inventory.from_bytes(empty.as_bytes(), "here") == empty


def test_equal_inventories_have_equal_bytes_whatever_their_order() -> None:
    turned = structs.replace(INVENTORY, packages=INVENTORY.packages[::-1])
    assert turned.as_bytes() == INVENTORY.as_bytes()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"schema": 1}', b'{"schema": 2}'])
def test_what_is_no_inventory_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(PublishError, match="reg/acme/nova"):
        Inventory.from_bytes(data, "reg/acme/nova@sha256:1")


def test_own_packages_are_those_that_the_parent_lacks_at_that_version() -> None:
    parent = Inventory(dpkg=True, packages=(package("a"), package("b", "1")))
    child = Inventory(dpkg=True, packages=(package("a"), package("b", "2"), package("c")))
    assert child.own(parent) == (package("b", "2"), package("c"))
    assert child.own(None) == child.packages


def test_the_architecture_is_that_of_most_packages() -> None:
    assert INVENTORY.architecture == "amd64"
    mixed = (package("x", architecture="i386"), *INVENTORY.packages)
    found = structs.replace(INVENTORY, packages=mixed)
    assert found.architecture == "amd64"
    assert found.architectures == ("amd64", "i386")
    assert Inventory(dpkg=True, packages=(package("x", architecture="all"),)).architecture == ""


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("1.10", "1.9"),
        ("1:0.1", "9.9"),
        ("1.0", "1.0~rc1"),
        ("1.0-1+deb13u1", "1.0-1"),
        ("1.0-1", "1.0-1~bpo12+1"),
        ("1.0+b1", "1.0"),
        ("2.0-0", "1.0-99"),
    ],
)
def test_the_newer_version_is_the_one_of_the_policy_manual(newer: str, older: str) -> None:
    assert is_newer(newer, older)
    assert not is_newer(older, newer)


PACKAGES = b"""\
Package: redis-server
Source: redis
Version: 5:8.0.2-3
Installed-Size: 1
Description: store
 Version: 7 of nothing

Package: two
Version: 1
Architecture: amd64

Package: two
Version: 2
Architecture: amd64
"""


def test_an_index_is_read_for_names_and_versions_only() -> None:
    assert read_packages(PACKAGES) == {"redis-server": ("5:8.0.2-3",), "two": ("1", "2")}
    assert read_packages(b"") == {}


RELEASE = """\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Origin: Debian
Suite: stable
Valid-Until: Sat, 28 Nov 2026 09:15:44 UTC
Acquire-By-Hash: yes
Architectures: all amd64
No-Support-for-Architecture-all: Packages
MD5Sum:
 0000 10 main/binary-amd64/Packages.xz
SHA256:
 aaaa 10 main/binary-amd64/Packages
 bbbb  5 main/binary-amd64/Packages.xz
-----BEGIN PGP SIGNATURE-----

nonsense
-----END PGP SIGNATURE-----
"""


def test_a_table_of_contents_gives_hashes_and_the_rules_of_the_suite() -> None:
    found = read_release(RELEASE)
    assert found.indexes == {
        "main/binary-amd64/Packages": "aaaa",
        "main/binary-amd64/Packages.xz": "bbbb",
    }
    assert found.by_hash
    assert not found.separate_all
    assert found.priority == DEFAULT
    assert found.valid_until.startswith("Sat, 28 Nov 2026")


def test_only_what_was_signed_counts() -> None:
    smuggled = RELEASE.replace("nonsense", "\nSHA256:\n evil 1 main/binary-amd64/Packages.gz")
    assert read_release(smuggled) == read_release(RELEASE)
    assert "Hash: SHA256" not in unsigned(RELEASE).splitlines()


@pytest.mark.parametrize("text", ["", "<html>", "Origin: x\n"])
def test_a_page_that_is_no_table_of_contents_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SHA256"):
        read_release(text)


def test_an_archive_may_ask_to_be_used_less() -> None:
    backports = RELEASE.replace("Suite: stable", "NotAutomatic: yes\nButAutomaticUpgrades: yes")
    assert read_release(backports).priority == 100
    assert read_release(backports.replace("ButAutomaticUpgrades: yes\n", "")).priority == NEVER


def offers(*indexes: tuple[int, str]) -> Offers:
    return Offers(indexes=tuple((priority, {"p": (version,)}) for priority, version in indexes))


@pytest.mark.parametrize(
    ("indexes", "installed", "candidate"),
    [
        ([], "1", "1"),
        ([(500, "1")], "1", "1"),
        ([(500, "2")], "1", "2"),
        ([(500, "2"), (500, "3")], "1", "3"),
        ([(500, "1")], "2", "2"),  # apt takes nothing older
        ([(500, "2"), (100, "3")], "1", "2"),  # backports bring nothing new ...
        ([(500, "1"), (100, "3")], "2", "3"),  # ... but update what came from there
        ([(1, "3")], "1", "1"),  # experimental does not even do that
        ([(500, "1"), (100, "3")], "1", "1"),
    ],
)
def test_the_candidate_is_the_one_that_apt_would_take(
    indexes: list[tuple[int, str]], installed: str, candidate: str
) -> None:
    assert offers(*indexes).candidate("p", installed) == candidate
