"""What a bootstrapped base is made from, and what it is called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from msgspec import structs

from builder.core.bases import bootstrap_reference
from builder.core.bootstrap import (
    Recipe,
    after_installing,
    before_unpacking,
    copy_keyrings,
    is_network_fault,
)
from builder.core.errors import BuildError, InputError
from builder.core.packages.sources import (
    AptSource,
    derive,
    parse_deb822,
    parse_one_line,
    render_deb822,
)
from builder.core.reference import Reference
from builder.core.settings.sections import BootstrapSettings
from builder.engines.bootstrap import archives, read_apt_sources

DEB822 = """\
# how images ship it
Types: deb deb-src
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
# a comment inside
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def source(uri: str, *suites: str, signed_by: str = "", trusted: bool = False) -> AptSource:
    return AptSource(
        uris=(uri,), suites=suites, components=("main",), signed_by=signed_by, trusted=trusted
    )


def settings(mirror: str = "") -> BootstrapSettings:
    return BootstrapSettings(suite="trixie", mirror=mirror)


# --- reading apt's sources --------------------------------------------------------------------


def test_deb822_stanzas_are_read_around_comments() -> None:
    first, second = parse_deb822(DEB822)

    assert first.uris == ("http://mirror.test/debian",)
    assert first.suites == ("bookworm", "bookworm-updates")
    assert first.components == ("main", "contrib")
    assert second.suites == ("bookworm-security",)
    assert second.keyrings == (KEYRING,)


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb-src\nURIs: http://a\nSuites: s\nComponents: main\n",
        "Enabled: no\nTypes: deb\nURIs: http://a\nSuites: s\nComponents: main\n",
        "# Types: deb\n",
        "",
    ],
)
def test_deb822_source_only_disabled_and_empty_stanzas_are_left_out(text: str) -> None:
    assert parse_deb822(text) == ()


def test_deb822_field_names_ignore_case_and_values_may_be_folded() -> None:
    (only,) = parse_deb822("types: deb\nuris:\n http://a\n http://b\nSUITES: s\ncomponents: main")

    assert only.uris == ("http://a", "http://b")


def test_an_inline_key_is_kept_and_is_no_key_file() -> None:
    text = (
        "Types: deb\nURIs: http://a\nSuites: s\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n -----END\n"
    )
    (only,) = parse_deb822(text)

    assert only.keyrings == ()
    assert parse_deb822(render_deb822([only])) == (only,)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://a/debian s main", source("http://a/debian", "s")),
        ("deb\thttp://a  s   main # why", source("http://a", "s")),
        (
            f"deb [arch=amd64 signed-by={KEYRING}] http://a s main",
            source("http://a", "s", signed_by=KEYRING),
        ),
        ("deb [ trusted=yes ] http://a s main", source("http://a", "s", trusted=True)),
    ],
)
def test_one_line_entries(line: str, expected: AptSource) -> None:
    assert parse_one_line(line) == (expected,)


@pytest.mark.parametrize(
    "line",
    [
        "deb-src http://a s main",
        "# deb http://a s main",
        "deb http://a",
        "deb cdrom:[Debian 12 _Bookworm_]/ bookworm main",
        "",
    ],
)
def test_lines_that_are_no_binary_archive_are_left_out(line: str) -> None:
    assert parse_one_line(line) == ()


def test_both_formats_are_read_from_all_files_and_mirror_lists_are_resolved(
    tmp_path: Path,
) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("# nearest first\nhttps://near.test/debian\nhttps://far.test/debian\n")
    (tmp_path / "sources.list").write_text("deb http://a s main\n")
    (parts / "b.list").write_text(f"deb mirror+file:{mirrors} t main\n")
    (parts / "c.sources").write_text(
        f"Types: deb\nURIs: mirror+file://{mirrors}\nSuites: u\nComponents: main\n"
    )
    (parts / "d.sources.disabled").write_text("deb http://disabled s main\n")

    assert read_apt_sources(tmp_path) == (
        source("http://a", "s"),
        source("https://near.test/debian", "t"),
        source("https://near.test/debian", "u"),
    )


def test_a_machine_without_apt_has_no_sources(tmp_path: Path) -> None:
    assert read_apt_sources(tmp_path) == ()


# --- another suite from the same archives -----------------------------------------------------


def test_main_updates_and_security_are_derived_for_the_other_suite() -> None:
    derived = derive(
        parse_deb822(DEB822), releases=["bookworm"], suite="trixie", components=["main"]
    )

    assert render_deb822(derived) == (
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie trixie-updates\n"
        f"Components: main\nSigned-By: {KEYRING}\n\n"
        "Types: deb\nURIs: http://mirror.test/debian-security\nSuites: trixie-security\n"
        f"Components: main\nSigned-By: {KEYRING}\n"
    )


def test_other_repositories_backports_and_cds_are_left_out() -> None:
    machine = [
        source("https://packages.test/node", "nodistro"),
        source("http://a", "bookworm", "bookworm-backports"),
        source("file:/srv/debian", "bookworm"),
    ]

    assert derive(machine, releases=["bookworm"], suite="trixie", components=["main"]) == (
        source("http://a", "trixie"),
    )


def test_a_rolling_suite_has_no_pockets() -> None:
    derived = derive(parse_deb822(DEB822), releases=["bookworm"], suite="sid", components=["main"])

    assert [entry.suites for entry in derived] == [("sid",)]


def test_two_names_for_this_release_do_not_give_the_archive_twice() -> None:
    machine = [source("http://a", "bookworm", "stable")]

    assert derive(
        machine, releases=["bookworm", "stable"], suite="trixie", components=["main"]
    ) == (source("http://a", "trixie"),)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The /etc of a machine with Debian's archives and no key named in its sources."""
    etc = tmp_path / "etc"
    (etc / "apt").mkdir(parents=True)
    (etc / "apt" / "sources.list").write_text("deb http://a bookworm main\n")
    (etc / "os-release").write_text('NAME="Debian"\nID=debian\nVERSION_CODENAME=bookworm\n')
    return etc


def test_without_a_mirror_the_machines_own_archives_serve(etc: Path, tmp_path: Path) -> None:
    assert archives(settings(), etc=etc, keyrings=tmp_path) == (source("http://a", "trixie"),)


def test_the_distributions_keyring_is_named_where_nothing_else_is(
    etc: Path, tmp_path: Path
) -> None:
    keyring = tmp_path / "debian-archive-keyring.gpg"
    keyring.touch()

    (only,) = archives(settings(), etc=etc, keyrings=tmp_path)
    (trusted,) = archives(
        settings("deb [trusted=yes] http://b trixie main"), etc=etc, keyrings=tmp_path
    )

    assert only.signed_by == str(keyring)
    assert trusted.signed_by == ""


def test_a_mirror_may_be_a_url_or_complete_lines(etc: Path, tmp_path: Path) -> None:
    lines = "deb http://b trixie main\ndeb http://c trixie-security main"

    assert archives(settings("http://b"), etc=etc, keyrings=tmp_path) == (
        source("http://b", "trixie"),
    )
    assert archives(settings(lines), etc=etc, keyrings=tmp_path) == (
        source("http://b", "trixie"),
        source("http://c", "trixie-security"),
    )


def test_no_archive_at_all_is_an_error_that_asks_for_a_mirror(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no archive to take packages from") as caught:
        archives(settings(), etc=tmp_path, keyrings=tmp_path)

    assert '"mirror"' in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "Temporary failure resolving 'mirror.test'",
        "Could not connect to 127.0.0.1:1 (127.0.0.1). - connect (111: Connection refused)",
        "503  Service Unavailable [IP: 10.0.0.1 80]",
    ],
)
def test_faults_of_the_network_are_worth_another_attempt(text: str) -> None:
    assert is_network_fault(text)


@pytest.mark.parametrize("text", ["E: Unable to locate package nosuch", "404  Not Found"])
def test_other_faults_are_not(text: str) -> None:
    assert not is_network_fault(text)


# --- names and keys ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("debian:trixie-slim", "ocbuild-bootstrap/debian:trixie-slim"),
        ("docker.io/library/debian:12", "ocbuild-bootstrap/debian:12"),
        ("debian", "ocbuild-bootstrap/debian:latest"),
        ("someone/base:1", "ocbuild-bootstrap/someone-base:1"),
        ("registry.test:5000/a/b:1", "ocbuild-bootstrap/registry.test-5000-a-b:1"),
        ("localhost/b:1", "ocbuild-bootstrap/localhost-b:1"),
    ],
)
def test_the_substitute_never_has_the_name_of_the_original(base: str, expected: str) -> None:
    reference = bootstrap_reference(Reference.parse(base))

    assert reference == Reference.parse(expected)


def test_a_base_pinned_by_digest_has_no_substitute() -> None:
    with pytest.raises(InputError, match="pinned by digest"):
        bootstrap_reference(Reference.parse("debian@sha256:" + "0" * 64))


RECIPE = Recipe(
    reference=Reference.parse("ocbuild-bootstrap/debian:trixie-slim"),
    settings=settings(),
    sources=(source("http://a", "trixie", signed_by=KEYRING),),
    epoch=1_700_000_000,
    architecture="amd64",
)


@pytest.mark.parametrize(
    "other",
    [
        structs.replace(RECIPE, epoch=RECIPE.epoch + 1),
        structs.replace(RECIPE, architecture="arm64"),
        structs.replace(RECIPE, sources=(source("http://b", "trixie"),)),
        structs.replace(RECIPE, settings=structs.replace(settings(), slim=False)),
        structs.replace(RECIPE, settings=structs.replace(settings(), include=("curl",))),
    ],
)
def test_whatever_decides_the_content_is_in_the_key(other: Recipe) -> None:
    assert other.key != RECIPE.key


def test_the_same_recipe_has_the_same_key() -> None:
    assert structs.replace(RECIPE).key == RECIPE.key


def test_certificates_are_included_for_https_archives_only() -> None:
    secure = structs.replace(RECIPE, sources=(source("https://a", "trixie"),))

    assert RECIPE.include == ()
    assert secure.include == ("ca-certificates",)


@pytest.mark.parametrize(
    "text",
    [
        before_unpacking(slim=True),
        *after_installing(slim=True),
        copy_keyrings([]),
        copy_keyrings(["/it's/a key"]),
    ],
)
def test_the_hooks_are_shell_that_parses(text: str) -> None:
    assert subprocess.run(["/bin/sh", "-n"], input=text.encode(), check=False).returncode == 0


def test_a_key_file_that_the_image_lacks_is_copied_and_one_it_has_is_kept(tmp_path: Path) -> None:
    lacking, present = tmp_path / "my key.gpg", tmp_path / "theirs.gpg"
    lacking.write_text("mine")
    present.write_text("mine")
    root = tmp_path / "root"
    kept = Path(f"{root}{present}")
    kept.parent.mkdir(parents=True)
    kept.write_text("theirs")

    text = copy_keyrings([str(lacking), str(present)])
    subprocess.run(["/bin/sh", "-c", text, "sh", str(root)], check=True)

    assert Path(f"{root}{lacking}").read_text() == "mine"
    assert kept.read_text() == "theirs"
