"""The commit, the dirt and the changes of real git repositories, and what git refuses to tell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pytest

from builder.core.errors import RevisionError
from builder.tree.revision import branch_commits, changed_paths, read_revision

AT = datetime(2016, 8, 25, 12, 0, tzinfo=timezone.utc)
INPUTS = (Path("openstack"), Path("contrail"), Path("build.toml"))


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's owner has set must not count."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "x")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "x@example.com")
        monkeypatch.setenv(f"GIT_{role}_DATE", "2016-08-25T14:00:00+02:00")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def commit(root: Path, message: str = "more") -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository on branch main, whose ancestors are no repository."""
    root = tmp_path / "tree"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    write(root, "build.toml", "openstack/nova/Dockerfile", "contrail/ifmap/Dockerfile", "README.md")
    write(root, ".gitignore", text="*.swp\n")
    commit(root, "first")
    return root


def reads(root: Path, inputs: Sequence[Path] = INPUTS) -> list[str]:
    """All that lies in the inputs, as if an image read it; a build would leave out *.swp."""
    found = [each for path in inputs for each in (root / path, *(root / path).rglob("*"))]
    at = root.resolve()
    files = [each.resolve() for each in found if each.is_file() and each.suffix != ".swp"]
    return [each.relative_to(at).as_posix() for each in files]


def edits(
    root: Path, inputs: Sequence[Path] = INPUTS, *, given: str | None = None
) -> frozenset[str]:
    return read_revision(root, inputs, commit=given, reads=reads(root, inputs)).edits


def dirty(root: Path) -> bool:
    return bool(edits(root))


def changes(root: Path, since: str | None = "HEAD") -> frozenset[str]:
    return changed_paths(root, since, INPUTS, reads(root))


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(RevisionError) as caught:
        ask()
    return str(caught.value)


# -- the commit -------------------------------------------------------------------------------


def test_a_clean_tree_is_its_head(tree: Path) -> None:
    revision = read_revision(tree, INPUTS, commit=None)
    assert revision.commit == git(tree, "rev-parse", "HEAD")
    assert revision.short == revision.commit[:7]
    assert revision.branch == "main"
    assert revision.committed_at == AT
    assert not revision.edits


def test_a_detached_head_has_no_branch(tree: Path) -> None:
    git(tree, "checkout", "--quiet", "--detach")
    assert read_revision(tree, INPUTS, commit=None).branch == ""


def test_a_shallow_clone_a_worktree_and_a_submodule_are_read(tree: Path, tmp_path: Path) -> None:
    write(tree, "contrail/new")
    head = commit(tree)
    git(tmp_path, "clone", "--quiet", "--depth=1", tree.as_uri(), "shallow")
    git(tree, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "worktree"))
    git(tmp_path, "init", "--quiet", "outer")
    git(tmp_path / "outer", "submodule", "--quiet", "add", tree.as_uri(), "inner")
    expected = {"shallow": "main", "worktree": "side", "outer/inner": "main"}
    for folder, branch in expected.items():
        revision = read_revision(tmp_path / folder, INPUTS, commit=None)
        assert (revision.commit, revision.branch, revision.edits) == (head, branch, frozenset())
        write(tmp_path / folder, "openstack/nova/Dockerfile", text="changed")
        assert dirty(tmp_path / folder)


def test_a_root_below_the_top_of_the_repository_is_read(tree: Path) -> None:
    write(tree, "images/build.toml", "images/openstack/f")
    commit(tree)
    root = tree / "images"
    write(tree, "openstack/nova/Dockerfile", text="outside of the root")
    assert not dirty(root)
    write(root, "openstack/f", text="changed")
    assert dirty(root)
    assert changed_paths(root, "HEAD", INPUTS) == {"openstack/f"}


def test_a_root_behind_a_link_is_read(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    write(tree, "openstack/nova/Dockerfile", text="changed")
    assert dirty(tmp_path / "link")
    inputs = [tmp_path / "link" / path for path in INPUTS]
    assert changed_paths(tmp_path / "link", "HEAD", inputs) == {"openstack/nova/Dockerfile"}


# -- a commit that is given -------------------------------------------------------------------


def test_a_given_commit_needs_no_git(tmp_path: Path) -> None:
    revision = read_revision(tmp_path, INPUTS, commit="E24CC66")
    assert (revision.commit, revision.short) == ("e24cc66", "e24cc66")
    assert (revision.branch, revision.committed_at, revision.edits) == ("", None, frozenset())


def test_a_given_commit_is_taken_and_dirt_still_counts(tree: Path) -> None:
    write(tree, "build.toml", text="changed")
    revision = read_revision(tree, INPUTS, commit="0123456789")
    assert (revision.commit, revision.short) == ("0123456789", "0123456")
    assert revision.committed_at is None
    assert revision.edits == {"build.toml"}


def test_the_time_of_a_given_commit_is_looked_up(tree: Path) -> None:
    head = git(tree, "rev-parse", "HEAD")
    revision = read_revision(tree, INPUTS, commit=head[:10])
    assert (revision.commit, revision.committed_at) == (head[:10], AT)


@pytest.mark.parametrize("text", ["", "main", "e24cc6", "e24cc66g", "-" * 7, "a" * 41])
def test_what_is_no_commit_is_refused(tree: Path, text: str) -> None:
    told = refusal(lambda: read_revision(tree, INPUTS, commit=text))
    assert told.startswith(f'"{text}" is no commit')
    assert "7 to 40 hexadecimal digits" in told


# -- dirt -------------------------------------------------------------------------------------


def test_edited_staged_deleted_and_untracked_inputs_are_dirt(tree: Path) -> None:
    dockerfile = tree / "openstack/nova/Dockerfile"
    dockerfile.write_text("edited")
    assert dirty(tree)
    git(tree, "add", "--all")
    assert dirty(tree)
    git(tree, "reset", "--quiet", "--hard")
    assert not dirty(tree)
    dockerfile.unlink()
    assert dirty(tree)
    git(tree, "reset", "--quiet", "--hard")
    write(tree, "contrail/new/Dockerfile")
    assert dirty(tree)


def test_a_changed_mode_is_dirt(tree: Path) -> None:
    (tree / "openstack/nova/Dockerfile").chmod(0o755)
    assert dirty(tree)


def test_ignored_files_and_other_folders_are_no_dirt(tree: Path) -> None:
    write(tree, "openstack/nova/.entrypoint.sh.swp", "README.md", "new/file", text="changed")
    assert not dirty(tree)


def test_untracked_inputs_are_dirt_whatever_git_is_told_to_show(tree: Path) -> None:
    git(tree, "config", "status.showUntrackedFiles", "no")
    git(tree, "config", "diff.relative", "true")
    git(tree, "config", "status.renames", "true")
    write(tree, "openstack/new")
    assert dirty(tree)
    assert changes(tree) == {"openstack/new"}


def test_what_is_read_and_git_does_not_have_is_dirt_ignored_or_not(tree: Path) -> None:
    write(tree, "openstack/nova/made.swp", "elsewhere/f")
    read = ["openstack/nova/made.swp", "elsewhere/f", "../outside", "openstack/nova", "empty"]
    missing = {"openstack/nova/made.swp", "elsewhere/f", "../outside", "empty"}
    assert read_revision(tree, INPUTS, commit=None, reads=read).edits == missing
    assert changed_paths(tree, "HEAD", INPUTS, read) == missing


@pytest.mark.parametrize("option", ["--assume-unchanged", "--skip-worktree"])
def test_what_git_was_told_not_to_look_at_is_looked_at(tree: Path, option: str) -> None:
    path, link = "openstack/nova/Dockerfile", "openstack/nova/link"
    (tree / link).symlink_to("a")
    write(tree, ".gitattributes", text="* text eol=crlf\n")
    commit(tree)
    git(tree, "update-index", option, path, link)
    assert not dirty(tree)
    write(tree, path, text="changed")
    assert edits(tree) == changes(tree) == {path}
    write(tree, path)
    (tree / path).chmod(0o755)
    assert edits(tree) == {path}
    (tree / path).unlink()
    (tree / link).unlink()
    (tree / link).symlink_to("b")
    assert edits(tree, [Path("openstack")]) >= {path}
    found = read_revision(tree, INPUTS, commit=None, reads=[link])
    assert found.edits == {path, link}


def test_modes_count_where_git_is_told_that_they_do_not(tree: Path) -> None:
    git(tree, "config", "core.fileMode", "false")
    (tree / "openstack/nova/Dockerfile").chmod(0o755)
    assert edits(tree) == changes(tree) == {"openstack/nova/Dockerfile"}


def test_a_name_that_looks_like_a_pattern_is_no_pattern(tree: Path) -> None:
    write(tree, "[o]penstack/f", "openstack/nova/x")
    commit(tree)
    write(tree, "openstack/nova/x", text="changed")
    assert not read_revision(tree, [Path("[o]penstack"), Path("*")], commit=None).edits


def test_missing_and_outside_inputs_are_no_dirt(tree: Path, tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/f", "beside/f", "tree/README.md", text="changed")
    outside = [tmp_path / "elsewhere", Path("../beside")]
    for inputs in ([Path("nowhere")], outside, []):
        assert not read_revision(tree, inputs, commit=None).edits
        assert changed_paths(tree, "HEAD", inputs) == frozenset()


def test_a_changed_submodule_of_an_input_is_dirt(tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "module")
    write(tmp_path / "module", "glance/Dockerfile", "glance/run.sh")
    commit(tmp_path / "module")
    git(tree, "submodule", "--quiet", "add", (tmp_path / "module").as_uri(), "contrail/module")
    commit(tree)
    inputs = [Path("contrail/module/glance")]
    assert not read_revision(tree, inputs, commit=None).edits
    assert changed_paths(tree, "HEAD", inputs) == frozenset()
    write(tree, "contrail/module/glance/run.sh", text="changed")
    assert read_revision(tree, inputs, commit=None).edits
    assert changed_paths(tree, "HEAD", inputs) == {
        "contrail/module/glance/Dockerfile",
        "contrail/module/glance/run.sh",
    }


def test_an_input_that_is_a_link_counts_with_what_it_leads_to(tree: Path) -> None:
    write(tree, "shared/f")
    (tree / "linked").symlink_to("shared")
    commit(tree)
    assert not read_revision(tree, [Path("linked")], commit=None).edits
    write(tree, "shared/f", text="changed")
    assert read_revision(tree, [Path("linked")], commit=None).edits
    git(tree, "reset", "--quiet", "--hard")
    (tree / "linked").unlink()
    (tree / "linked").symlink_to("contrail")
    assert read_revision(tree, [Path("linked")], commit=None).edits


def test_looking_for_dirt_does_not_write_to_the_repository(tree: Path) -> None:
    os.utime(tree / "openstack/nova/Dockerfile", (1, 1))  # git would note that it is unchanged
    before = (tree / ".git/index").read_bytes()
    assert not dirty(tree)
    assert (tree / ".git/index").read_bytes() == before
    assert changes(tree) == frozenset()


# -- changes ----------------------------------------------------------------------------------


def test_commits_edits_deletions_and_untracked_files_are_changes(tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    write(tree, "openstack/nova/committed", "other/committed")
    commit(tree)
    write(tree, "openstack/nova/staged", "openstack/nova/Dockerfile", text="changed")
    git(tree, "add", "--all")
    (tree / "contrail/ifmap/Dockerfile").unlink()
    write(tree, "contrail/ifmap/new\nline", "contrail/é", "contrail/x.swp")
    assert changes(tree, first) == {
        "openstack/nova/committed",
        "openstack/nova/staged",
        "openstack/nova/Dockerfile",
        "contrail/ifmap/Dockerfile",
        "contrail/ifmap/new\nline",
        "contrail/é",
    }
    assert "openstack/nova/committed" not in changes(tree)


def test_a_renamed_file_is_two_changes(tree: Path) -> None:
    git(tree, "config", "diff.renames", "copies")
    git(tree, "mv", "openstack/nova/Dockerfile", "openstack/nova/Containerfile")
    assert changes(tree, "main") == {
        "openstack/nova/Dockerfile",
        "openstack/nova/Containerfile",
    }


def test_a_file_that_a_commit_renamed_is_two_changes(tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    git(tree, "config", "diff.renames", "copies")
    git(tree, "mv", "openstack/nova/Dockerfile", "contrail/Dockerfile")
    commit(tree)
    assert changes(tree, first) == {
        "openstack/nova/Dockerfile",
        "contrail/Dockerfile",
    }


def test_a_commit_that_is_undone_by_an_edit_is_no_change(tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    write(tree, "openstack/nova/Dockerfile", text="other")
    commit(tree)
    write(tree, "openstack/nova/Dockerfile")
    assert changes(tree, first) == frozenset()
    assert dirty(tree)


def test_committed_names_that_are_no_utf8_are_kept(tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    names = [os.fsdecode(name) for name in (b"openstack/caf\xe9", b"contrail/:a\nb\n")]
    write(tree, *names)
    commit(tree)
    assert changes(tree, first) == set(names)


def test_names_that_are_no_utf8_are_kept(tree: Path) -> None:
    name = os.fsdecode(b"openstack/caf\xe9")
    write(tree, name)
    assert changes(tree) == {name}


def test_by_default_changes_count_from_where_head_left_main(tree: Path) -> None:
    git(tree, "checkout", "--quiet", "-b", "side")
    write(tree, "openstack/side")
    commit(tree)
    git(tree, "checkout", "--quiet", "main")
    write(tree, "openstack/main")
    commit(tree)
    assert changes(tree, None) == frozenset()
    git(tree, "checkout", "--quiet", "side")
    assert changes(tree, None) == {"openstack/side"}


def test_the_fork_is_found_from_a_worktree_a_detached_head_and_packed_references(
    tree: Path, tmp_path: Path
) -> None:
    git(tree, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "worktree"))
    worktree = tmp_path / "worktree"
    write(worktree, "openstack/side")
    commit(worktree)
    git(tree, "pack-refs", "--all")
    assert changes(worktree, None) == {"openstack/side"}
    git(worktree, "checkout", "--quiet", "--detach")
    assert changes(worktree, None) == {"openstack/side"}
    assert changes(worktree, "side") == frozenset()


def test_whatever_names_a_commit_to_git_names_it_here(tree: Path) -> None:
    git(tree, "tag", "--annotate", "--message", "a tag", "v1")
    write(tree, "openstack/new")
    commit(tree, "a second one")
    for name in ("v1", "HEAD~1", "main^", "HEAD@{1}", "main~1^{commit}"):
        assert changes(tree, name) == {"openstack/new"}


def test_the_default_branch_of_origin_comes_first(tree: Path, tmp_path: Path) -> None:
    git(tree, "branch", "--move", "trunk")
    git(tmp_path, "clone", "--quiet", tree.as_uri(), "clone")
    clone = tmp_path / "clone"
    git(clone, "checkout", "--quiet", "-b", "main")
    write(clone, "openstack/new")
    commit(clone)
    assert changes(clone, None) == {"openstack/new"}


def test_a_repository_without_default_branch_wants_to_be_told(tree: Path) -> None:
    git(tree, "branch", "--move", "trunk")
    told = refusal(lambda: changes(tree, None))
    assert "has no default branch" in told
    assert "--since REF" in told


def test_histories_without_a_common_commit_are_told(tree: Path, tmp_path: Path) -> None:
    git(tree, "checkout", "--quiet", "--orphan", "side")
    write(tree, "x")
    commit(tree)
    assert "HEAD and refs/heads/main have no commit in common" in refusal(
        lambda: changes(tree, None)
    )
    git(tmp_path, "clone", "--quiet", "--depth=1", "--no-single-branch", tree.as_uri(), "shallow")
    git(tmp_path / "shallow", "branch", "main", "origin/main")
    git(tmp_path / "shallow", "remote", "set-head", "origin", "--delete")
    told = refusal(lambda: changed_paths(tmp_path / "shallow", None, INPUTS))
    assert "git fetch --unshallow" in told


@pytest.mark.parametrize("name", ["mian", "0" * 40, "--all", "HEAD:README.md", "a b"])
def test_an_unknown_commit_is_refused(tree: Path, name: str) -> None:
    told = refusal(lambda: changes(tree, name))
    assert told.startswith(f'git knows no commit "{name}"')


def test_the_nearest_branch_is_suggested(tree: Path) -> None:
    assert 'did you mean "main"?' in refusal(lambda: changed_paths(tree, "mian", INPUTS))


# -- branches ---------------------------------------------------------------------------------


def test_the_commits_of_a_branch_are_those_here_or_at_origin(tree: Path, tmp_path: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    git(tree, "checkout", "--quiet", "-b", "side")
    write(tree, "openstack/side")
    second = commit(tree)
    git(tmp_path, "clone", "--quiet", "--branch=main", tree.as_uri(), "clone")
    for root in (tree, tmp_path / "clone"):
        assert branch_commits(root, "main") == {first}
        assert branch_commits(root, "side") == {first, second}


@pytest.mark.parametrize("name", ["mian", "a b", "../HEAD", "", "--all", "x..y"])
def test_a_branch_that_git_does_not_know_has_no_commits(tree: Path, name: str) -> None:
    assert branch_commits(tree, name) == frozenset()


def test_a_branch_of_no_repository_has_no_commits(tmp_path: Path) -> None:
    assert branch_commits(tmp_path, "main") == frozenset()


# -- forms of repositories --------------------------------------------------------------------


def test_every_form_of_the_index_is_read(tree: Path) -> None:
    for option in ("--index-version=4", "--split-index", "--untracked-cache"):
        git(tree, "update-index", option)
        assert not dirty(tree)
        write(tree, "openstack/nova/Dockerfile", text=option)
        assert dirty(tree)
        assert changes(tree, None) == {"openstack/nova/Dockerfile"}
        git(tree, "checkout", "--quiet", "--", ".")


def test_of_a_repository_with_sha256_all_is_read_but_its_branches(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    write(tmp_path, "build.toml")
    head = commit(tmp_path)
    revision = read_revision(tmp_path, INPUTS, commit=None)
    assert (revision.commit, revision.committed_at, revision.edits) == (head, AT, frozenset())
    write(tmp_path, "build.toml", text="changed")
    assert changed_paths(tmp_path, "main", INPUTS) == {"build.toml"}
    told = refusal(lambda: changed_paths(tmp_path, None, INPUTS))
    assert "has ids of SHA-256, which GitPython cannot read" in told
    assert "--since REF" in told
    assert 'git knows no commit "mian"' in refusal(lambda: changed_paths(tmp_path, "mian", INPUTS))


# -- what git refuses -------------------------------------------------------------------------


def test_a_tree_outside_of_git_wants_a_commit(tmp_path: Path) -> None:
    told = refusal(lambda: read_revision(tmp_path, INPUTS, commit=None))
    assert "is in no git repository" in told
    assert "--commit SHA" in told
    assert "OCBUILD_COMMIT" in told
    assert "is in no git repository" in refusal(lambda: changed_paths(tmp_path, None, INPUTS))


def test_a_folder_above_that_nobody_may_look_into_is_left_to_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Path.exists

    def exists(path: Path) -> bool:
        if path == tmp_path.parent / ".git":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(Path, "exists", exists)
    told = refusal(lambda: read_revision(tmp_path, INPUTS, commit=None))
    assert "is in no git repository" in told


def test_nothing_of_git_is_imported_for_a_tree_outside_of_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from builder.tree.revision import read_revision\n"
        "from builder.core.errors import RevisionError\n"
        "try: read_revision(Path(sys.argv[1]), (), commit=None)\n"
        "except RevisionError: sys.exit('git' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_a_repository_without_commits_wants_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    write(tmp_path, "build.toml")
    told = refusal(lambda: read_revision(tmp_path, INPUTS, commit=None))
    assert "has no commit yet" in told
    assert "--commit SHA" in told
    assert "has no commit yet" in refusal(lambda: changed_paths(tmp_path, None, INPUTS))
    assert edits(tmp_path, INPUTS[2:], given="e24cc66") == {"build.toml"}


def test_a_bare_repository_is_refused(tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", tree.as_uri(), "bare")
    told = refusal(lambda: read_revision(tmp_path / "bare", INPUTS, commit=None))
    assert "bare git repository" in told


def test_a_repository_of_another_user_is_told_with_the_remedy(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    for given in (None, "e24cc66"):
        told = refusal(partial(read_revision, tree, INPUTS, commit=given))
        assert "belongs to another user" in told
        assert f"git config --global --add safe.directory {tree}" in told
    for since in (None, "main"):
        assert "belongs to another user" in refusal(partial(changed_paths, tree, since, INPUTS))


def test_a_damaged_repository_is_told_in_one_line(tree: Path) -> None:
    (tree / ".git/index").write_bytes(b"damaged, but long enough to hold a header and a digest")
    told = refusal(lambda: read_revision(tree, INPUTS, commit=None))
    assert told.startswith("git status: ")
    assert "\n" not in told


@pytest.mark.parametrize("imported", ["import git", ""])
def test_without_the_program_a_commit_has_to_be_given(tree: Path, imported: str) -> None:
    """In a process of its own, since GitPython looks for the program when it is imported."""
    script = f"""
{imported}
import os, pathlib
os.environ["PATH"] = "/nonexistent"
from builder.core.errors import RevisionError
from builder.tree.revision import read_revision
tree = pathlib.Path({str(tree)!r})
print(read_revision(tree, [], commit="e24cc66").commit)
try:
    read_revision(tree, [], commit=None)
except RevisionError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("e24cc66\ngit is not installed\n\nhint: install git, or name")


def test_what_every_run_asks_does_not_import_gitpython(tree: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from builder.tree.revision import read_revision\n"
        "read_revision(Path(sys.argv[1]), [Path('openstack')], commit=None)\n"
        "sys.exit('git' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tree)], check=True)
