"""build.toml, Dockerfiles and git read together: tags, dirt, what changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.core.errors import InputError, RevisionError, UsageError
from builder.core.options import SelectOptions, TreeOptions
from builder.system.files import own_folder
from builder.tree.read import Tree as ReadTree, choose_images, read_contexts, read_tree
from tests.support.tree import Tree

TOML = """\
[project]
namespace = "acme"

[groups.images]
version = "1.0"
also = ["{version}", "{branch}"]
"""
IMAGES: dict[str, str | Mapping[str, str]] = {
    "base": {"Dockerfile": "FROM debian:12\nCOPY run lib /\n", "run": "", "lib/a": "", "x": ""},
    "app": "FROM base\n",
    "other": "FROM debian:12\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path, IMAGES, toml=TOML)
    tree.commit()
    return tree


def read(tree: Tree, *sets: str, commit: str | None = None) -> ReadTree:
    return read_tree(TreeOptions(config=tree.root / "build.toml", sets=sets, commit=commit))


def changed(tree: Tree, target: str = "@changed", since: str | None = "HEAD") -> set[str]:
    options = SelectOptions(targets=(target,), since=since)
    return set(choose_images(read(tree), options).images)


def test_a_clean_tree_is_tagged_by_version_and_commit(tree: Tree) -> None:
    whole = read(tree)
    short = tree.git("rev-parse", "HEAD")[:7]
    assert whole.refs("app") == (
        f"127.0.0.1:5000/acme/app:1.0-{short}",
        "127.0.0.1:5000/acme/app:1.0",
        "127.0.0.1:5000/acme/app:main",
    )
    assert not whole.dirty


def test_a_dirty_tree_says_so_in_every_tag_and_moves_none(tree: Tree) -> None:
    tree.write("images/app/Dockerfile", "FROM base\nLABEL a=b\n")
    whole = read(tree)
    assert whole.dirty
    assert whole.tags["other"].endswith("-dirty")
    assert whole.moving["other"] == ()


def test_a_commit_can_be_given(tree: Tree) -> None:
    assert read(tree, commit="1234567").tags["app"] == "1.0-1234567"


def test_without_git_a_tag_that_needs_a_commit_is_an_error(tmp_path: Path) -> None:
    tree = Tree(tmp_path, IMAGES, toml=TOML)
    with pytest.raises(RevisionError, match="--commit"):
        read(tree)


def test_registry_and_namespace_can_be_set_from_outside(tree: Tree) -> None:
    options = TreeOptions(
        config=tree.root / "build.toml", registry="r.example.org:5001", namespace="team/cloud"
    )
    repository = read_tree(options).graph["app"].repository
    assert str(repository) == "r.example.org:5001/team/cloud/app"


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ("images/base/run", {"base"}),
        ("images/base/lib/new", {"base"}),
        ("images/base/x", set()),
        ("images/base/unknown", set()),
        ("images/app/Dockerfile", {"app"}),
        ("README", set()),
    ],
)
def test_changed_is_what_an_image_reads(tree: Tree, path: str, images: set[str]) -> None:
    content = "FROM base\nLABEL a=b\n" if path.endswith("Dockerfile") else "new"
    tree.write(path, content)
    assert changed(tree) == images


def test_changed_plus_adds_what_is_built_on_it(tree: Tree) -> None:
    tree.write("images/base/run", "new")
    assert changed(tree, "@changed+") == {"base", "app"}


def test_a_deleted_file_counts(tree: Tree) -> None:
    (tree.root / "images/base/lib/a").unlink()
    tree.write("images/base/lib/b", "")
    assert changed(tree) == {"base"}


def test_what_no_image_reads_is_no_dirt(tree: Tree) -> None:
    tree.write("images/base/lib/b", "")
    tree.write("images/base/y", "")
    tree.commit()
    tree.write("images/base/x", "new")
    tree.write("images/base/z", "new")
    (tree.root / "images/base/y").unlink()
    assert not read(tree).dirty
    assert changed(tree) == set()
    (tree.root / "images/base/lib/b").unlink()
    assert read(tree).dirty
    assert changed(tree) == {"base"}


CONTEXTS = """\
[images.app]
context = "../../shared"

[contexts]
files = "given"
"""


def test_contexts_outside_of_the_groups_and_named_ones_are_read(tree: Tree) -> None:
    tree.write("build.toml", TOML + CONTEXTS)
    tree.write("images/app/Dockerfile", "FROM scratch\nCOPY f /\n")
    tree.write("images/other/Dockerfile", "FROM scratch\nCOPY --from=files / /\n")
    for path in ("shared/f", "shared/unread", "given/f"):
        tree.write(path, "")
    tree.commit()
    assert not read(tree).dirty
    for path, images in {"shared/unread": set(), "shared/f": {"app"}, "given/f": {"other"}}.items():
        tree.write(path, "new")
        assert (read(tree).dirty, changed(tree)) == (bool(images), images)
        tree.git("checkout", "--", ".")
    tree.write("given/new", "")
    (tree.root / "shared/f").unlink()
    assert read(tree).dirty
    assert changed(tree) == {"app", "other"}


def test_a_context_outside_of_the_repository_is_in_no_commit(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree", IMAGES, toml=TOML)
    tree.commit()
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/f").write_text("")
    tree.write("build.toml", TOML + '[images.app]\ncontext = "../../../beside"\n')
    tree.write("images/app/Dockerfile", "FROM scratch\nCOPY f /\n")
    tree.commit()
    assert read(tree).dirty
    assert changed(tree) == {"app"}


def test_an_ignored_file_that_is_copied_is_in_no_commit(tree: Tree) -> None:
    tree.write(".gitignore", "built\n")
    tree.commit()
    tree.write("images/base/lib/built", "")
    assert read(tree).dirty
    assert changed(tree) == {"base"}
    tree.write("images/base/.dockerignore", "**/built\n")
    tree.commit()
    assert not read(tree).dirty
    (tree.root / "images/base/.dockerignore").unlink()
    assert changed(tree) == {"base"}


def test_a_linked_dockerfile_counts_with_the_link_and_its_end(tree: Tree) -> None:
    tree.write("files/one", "FROM scratch\n")
    tree.write("files/two", "FROM scratch\n")
    (tree.root / "images/other/Dockerfile").unlink()
    (tree.root / "images/other/Dockerfile").symlink_to("../../files/one")
    tree.commit()
    assert not read(tree).dirty
    tree.write("files/two", "FROM scratch\nLABEL a=b\n")
    assert not read(tree).dirty
    tree.write("files/one", "FROM scratch\nLABEL a=b\n")
    assert read(tree).dirty
    assert changed(tree) == {"other"}
    tree.git("checkout", "--", ".")
    (tree.root / "images/other/Dockerfile").unlink()
    (tree.root / "images/other/Dockerfile").symlink_to("../../files/two")
    assert changed(tree) == {"other"}


def test_an_image_that_is_gone_is_an_edit(tree: Tree) -> None:
    (tree.root / "images/other/Dockerfile").unlink()
    assert read(tree).dirty


def test_what_ocbuild_keeps_in_a_tree_is_no_content_and_no_edit(tree: Tree) -> None:
    tree.write("images/app/Dockerfile", "FROM scratch\nCOPY . /\n")
    tree.commit()
    for root in (tree.root, tree.root / "images/app"):
        (own_folder(root) / "report").write_text("")
        assert own_folder(root) == root / ".ocbuild"
    whole = read(tree)
    assert not whole.dirty
    assert tree.git("status", "--short", "--untracked-files=all") == ""
    listing = read_contexts(whole, ["app"])["app"]
    assert [file.path for file in listing.files] == ["Dockerfile"]
    tree.write("images/app/Dockerfile", "FROM scratch\nCOPY .ocbuild/report /\n")
    with pytest.raises(InputError, match="is not in the build context"):
        read_contexts(read(tree), ["app"])


def test_a_new_build_lock_is_an_edit_and_may_change_any_image(tree: Tree) -> None:
    tree.write("build.lock", "version = 1\n")
    assert read(tree).dirty
    assert changed(tree) == set(IMAGES)


def test_an_edited_build_toml_may_change_any_image(tree: Tree) -> None:
    tree.write("build.toml", TOML + "# a word\n")
    assert changed(tree) == set(IMAGES)


def test_changes_of_earlier_commits_count_since_a_ref(tree: Tree) -> None:
    first = tree.git("rev-parse", "HEAD")
    tree.write("images/other/Dockerfile", "FROM debian:12\nLABEL a=b\n")
    tree.commit()
    assert changed(tree, since="HEAD") == set()
    assert changed(tree, since=first) == {"other"}


def test_settings_for_an_image_that_is_not_there_are_an_error(tree: Tree) -> None:
    toml = TOML + "[images.ohter]\noptional = true\n"
    tree.write("build.toml", toml)
    with pytest.raises(InputError) as caught:
        read(tree)
    line = toml.splitlines().index("[images.ohter]") + 1
    assert f"build.toml:{line}: there is no image ohter" in str(caught.value)
    assert 'did you mean "other"?' in str(caught.value)


def test_a_bad_pattern_of_a_group_is_an_error_with_its_line(tree: Tree) -> None:
    text = TOML + 'exclude = ["[z-a]"]\n'
    (tree.root / "build.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        read(tree, commit="abcdef0")
    assert str(caught.value).startswith(f"build.toml:{len(text.splitlines())}: ")


def test_excluding_all_that_is_selected_is_an_error(tree: Tree) -> None:
    with pytest.raises(UsageError, match="leaves nothing"):
        choose_images(read(tree), SelectOptions(targets=("app",), exclude=("app",)))


def test_retry_failed_needs_an_earlier_run(tree: Tree) -> None:
    with pytest.raises(UsageError, match="no report of an earlier run"):
        choose_images(read(tree), SelectOptions(retry_failed=True))


@pytest.mark.parametrize("text", ["", "[]", '{"images": []}', '{"images": {"app": 1}}', "[" * 9999])
def test_a_report_that_is_none_counts_as_missing(tree: Tree, text: str) -> None:
    (tree.root / ".ocbuild").mkdir()
    (tree.root / ".ocbuild/last-report.json").write_text(text)
    with pytest.raises(UsageError, match="no report of an earlier run"):
        choose_images(read(tree), SelectOptions(retry_failed=True))


def test_what_failed_was_blocked_or_interrupted_is_selected_again(tree: Tree) -> None:
    (tree.root / ".ocbuild").mkdir()
    (tree.root / ".ocbuild/last-report.json").write_text(
        '{"images": {"app": {"status": "blocked"}, "gone": {"status": "failed"},'
        ' "base": {"status": "failed"}, "other": {"status": "ok"}}}'
    )
    selection = choose_images(read(tree), SelectOptions(retry_failed=True))
    assert selection.images == ("base", "app")


def test_args_of_project_group_and_image_are_laid_over_each_other(tree: Tree) -> None:
    whole = read(
        tree,
        'project.args={A="project",B="project",C="project"}',
        'groups.images.args={B="group",C="group"}',
        'images.app.args={C="image"}',
    )
    assert whole.graph["app"].source.args == {"A": "project", "B": "group", "C": "image"}
