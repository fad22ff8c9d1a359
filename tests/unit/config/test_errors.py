"""What build.toml can have wrong: each mistake with its line and its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.config.load import load
from builder.core.errors import ConfigError, InputError, InputErrors

HEAD = '[project]\nnamespace = "acme"\n'  # so that what is added starts on line 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("common/inner", "openstack", "images"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "stack.yml").write_text("services: {}\n")
    return tmp_path.resolve()


def errors_of(root: Path, text: str | bytes, *sets: str) -> tuple[InputError, ...]:
    path = root / "build.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError) as caught:
        load(path, sets)
    assert caught.value.exit_code == 2
    return caught.value.errors if isinstance(caught.value, InputErrors) else (caught.value,)


def error_of(root: Path, text: str | bytes, *sets: str) -> ConfigError:
    (error,) = errors_of(root, text, *sets)
    assert isinstance(error, ConfigError)
    return error


def mistakes() -> Iterator[tuple[str, str]]:
    """The cases of build_toml_mistakes.txt: what is written, and what is said about it."""
    cases = (Path(__file__).parent / "build_toml_mistakes.txt").read_text(encoding="utf-8")
    for case in cases.split("\n\n")[1:]:
        lines = case.splitlines()
        written = [line for line in lines if not line.startswith("> ")]
        yield "\n".join(written), "\n\n".join(line[2:] for line in lines[len(written) :])


@pytest.mark.parametrize(("written", "said"), [*mistakes()])
def test_a_mistake_is_told_with_its_line_and_remedy(root: Path, written: str, said: str) -> None:
    assert str(error_of(root, HEAD + written)) == said


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('registry = "https://x.y"', '"https://x.y" is more than a registry host', "the host only"),
        ('registry = "x.y/z"', '"x.y/z" is more than a registry host', "namespace"),
        ('registry = "myhost"', '"myhost" would be read as a namespace', '"myhost:5000"'),
        ('registry = "a b.c"', '"a b.c" is no registry host', ""),
        ('aliases = ["ok", "Bad"]', '"Bad" is no namespace', "lower case"),
        ('aliases = ["x.y"]', '"x.y" would be read as a registry host', '"registry"'),
        ('aliases = ["a:b"]', '"a:b" is no namespace', ""),
        ('tag = "{versoin}"', "unknown field {versoin}", 'did you mean "version"?'),
    ],
)
def test_a_value_of_the_project_that_gives_no_legal_reference_is_refused(
    root: Path, line: str, message: str, hint: str
) -> None:
    error = error_of(root, HEAD + line)
    assert str(error.where) == "build.toml:3"
    assert message in error.message
    assert hint in (error.hint or "")


@pytest.mark.parametrize("registry", ["local", "localhost", "127.0.0.1:5000", "[::1]:5000", "x.y"])
def test_legal_registries_are_taken(root: Path, registry: str) -> None:
    (root / "build.toml").write_text(f'{HEAD}registry = "{registry}"\n')
    assert load(root / "build.toml").project.registry == registry


@pytest.mark.parametrize(
    ("text", "where"), [("", "build.toml"), ("# x\n[project]\nname = 'x'\n", "build.toml:2")]
)
def test_a_missing_namespace_says_which_line_to_add(root: Path, text: str, where: str) -> None:
    error = error_of(root, text)
    assert str(error.where) == where
    assert error.message == '[project] has no "namespace"'
    assert error.hint == 'add the line: namespace = "opencontrail"'


def test_a_misspelt_namespace_is_one_mistake(root: Path) -> None:
    error = error_of(root, '[project]\nnamespce = "x"\n')
    assert error.message == '[project] has no key "namespce"'
    assert (error.hint or "").startswith('did you mean "namespace"')


def test_all_mistakes_are_told_together_in_the_order_of_their_lines(root: Path) -> None:
    text = """\
[build]
jobs = 0
colour = "red"
[project]
registry = "x/y"
[groups.common]
version = 1
[groups.b]
path = "nowhere"
[deploy.stacks.x]
file = 3
"""
    errors = errors_of(root, text)
    lines = [error.where.line for error in errors if error.where]
    assert lines == [2, 3, 4, 5, 7, 9, 11]
    assert all(error.hint for error in errors)


def test_rules_between_sections_are_checked_though_another_section_is_wrong(root: Path) -> None:
    text = HEAD + '[build]\njobs = 0\n[groups.a]\npath = "common"\n[groups.b]\npath = "common"\n'
    assert [str(error.where) for error in errors_of(root, text)] == ["build.toml:4", "build.toml:8"]


def test_the_project_rule_is_checked_for_each_group_that_takes_it(root: Path) -> None:
    text = HEAD + 'tag = "{version}"\n[groups.common]\n[groups.images]\nversion = "1"\n'
    error = error_of(root, text)
    assert str(error.where) == "build.toml:4"
    assert error.message == 'group common has no version, but its tag rule "{version}" uses it'


# --- files that are no TOML ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("[project]\nname = acme\n", 2, "not TOML: invalid value, column 8", "quotes"),
        ("[project\n", 1, "not TOML: expected ']'", "[section]"),
        ('[project]\na = """\n\n', 3, "not TOML: unterminated string", "[section]"),
        ("[build]\n[build]\n", 2, "not TOML: cannot declare", "only once"),
        ("a = 1\na = 2\n", 2, "not TOML: cannot overwrite", "only once"),
    ],
)
def test_broken_toml_is_told_with_line_and_column(
    root: Path, text: str, where: int, message: str, hint: str
) -> None:
    error = error_of(root, text)
    assert str(error.where) == f"build.toml:{where}"
    assert error.message.startswith(message)
    assert hint in (error.hint or "")


def test_a_thousand_brackets_are_no_crash(root: Path) -> None:
    assert error_of(root, "a = " + "[" * 5000).message.startswith(("values are nested", "not TOML"))


def test_bytes_that_are_no_utf8_are_told_with_their_line(root: Path) -> None:
    error = error_of(root, b'[project]\nname = "caf\xe9"\n')
    assert str(error) == (
        f"{root}/build.toml:2: byte 21 is 0xe9, which is no UTF-8\n\nhint: save the file as UTF-8"
    )


def test_a_missing_file_says_how_to_get_one(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file") as caught:
        load(root / "none.toml")
    assert "ocbuild init" in (caught.value.hint or "")


def test_what_cannot_be_read_says_why(root: Path) -> None:
    with pytest.raises(ConfigError, match="common: cannot be read: Is a directory"):
        load(root / "common")


# --- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("build.jbs=4", '[build] has no key "jbs"', 'did you mean "jobs"?'),
        ("bild.jobs=4", 'build.toml has no key "bild"', 'did you mean "build"?'),
        ("build.jobs=x", "build.jobs is a string", "jobs = 4"),
        ("groups.common.version=1 2", 'groups.common.version is "1 2"', "version ="),
        ("build.jobs", "there is no value", "--set build.jobs=4"),
        ("project.namespace.x=1", "project.namespace is no table", ""),
    ],
)
def test_a_mistake_of_set_is_told_by_its_text(
    root: Path, override: str, message: str, hint: str
) -> None:
    error = error_of(root, HEAD, override)
    assert str(error.where) == f"--set {override}"
    assert error.message.startswith(message)
    assert hint in (error.hint or "")
