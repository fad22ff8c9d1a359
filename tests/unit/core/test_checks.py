"""Warnings: allowed, but probably not meant."""

from __future__ import annotations

from pathlib import Path

from builder.core.errors import InputError
from builder.core.options import SelectOptions, TreeOptions
from builder.tree.read import Checked, check_tree
from tests.support.tree import Tree


def check(tree: Tree) -> tuple[Checked, list[InputError]]:
    errors: list[InputError] = []
    options = TreeOptions(config=tree.root / "build.toml")
    return check_tree(options, SelectOptions(targets=("all",)), errors), errors


def messages(checked: Checked) -> list[str]:
    return [f"{finding.where}: {finding.message}" for finding in checked.warnings]


def test_a_clean_tree_has_nothing_to_say(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"base": "FROM debian:12", "app": "FROM acme/base:1.0-abcdef0"})
    assert check(tree) == (Checked(images=2), [])


def test_a_tag_that_differs_from_the_trees_own_is_a_warning(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"base": "FROM debian:12", "app": "# x\nFROM acme/base:0.9"})
    [message] = messages(check(tree)[0])
    assert message == (
        'images/app/Dockerfile:2: FROM names the tag "0.9" of base,'
        ' but the tree gives it the tag "1.0-abcdef0"'
    )


def test_dirt_does_not_make_tags_differ(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"base": "FROM debian:12", "app": "FROM acme/base:1.0-abcdef0"})
    tree.commit()
    tree.write("images/app/Dockerfile", "FROM acme/base:1.0-abcdef0\nLABEL a=b")
    assert check(tree) == (Checked(images=2), [])


def test_untagged_external_bases_are_warnings(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"a": "FROM debian", "b": "FROM debian:latest\nCOPY --from=nginx / /n"})
    assert [line.partition(": ")[2] for line in messages(check(tree)[0])] == [
        "FROM debian takes whatever is newest on the day of the build",
        "FROM debian:latest takes whatever is newest on the day of the build",
        "COPY from nginx takes whatever is newest on the day of the build",
    ]


def test_files_that_nothing_copies_are_a_warning(tmp_path: Path) -> None:
    tree = Tree(
        tmp_path,
        {"a": {"Dockerfile": "FROM debian:12\nCOPY run /", "run": "", ".run.swp": "", "\\": ""}},
    )
    assert messages(check(tree)[0]) == ['images/a: no COPY or ADD of a reads ".run.swp", "\\"']


def test_every_mistake_of_every_context_is_found(tmp_path: Path) -> None:
    tree = Tree(
        tmp_path,
        {
            "a": {"Dockerfile": "FROM debian:12\nCOPY entrypiont.sh /", "entrypoint.sh": ""},
            "b": "FROM debian:12\nCOPY ../a/x /",
        },
    )
    _, errors = check(tree)
    text = "\n".join(str(error) for error in errors)
    assert "images/a/Dockerfile:2:" in text
    assert '"entrypoint.sh"' in text
    assert "images/b/Dockerfile:2:" in text


def test_a_tree_that_cannot_be_read_is_errors_not_a_crash(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"a": "FROM acme/nowhere\n"})
    checked, errors = check(tree)
    assert checked == Checked()
    assert "in our own namespace" in str(errors[0])


def test_a_label_that_the_run_replaces_is_a_warning(tmp_path: Path) -> None:
    kept = "org.opencontainers.image.title=x org.opencontainers.image.version=2"
    text = f"FROM debian:12\nLABEL {kept}\nLABEL org.opencontainers.image.revision=r\n"
    tree = Tree(tmp_path, {"base": text, "app": "FROM acme/base"})
    [message] = messages(check(tree)[0])
    assert message == (
        "images/base/Dockerfile:3: the label org.opencontainers.image.revision of base is replaced"
        " by what the run knows"
    )
