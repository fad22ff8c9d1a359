"""What git knows of a tree: its commit, whether it is dirty, and what changed since another commit.

GitPython is imported where it is used: that alone takes longer than most commands.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from builder.core.errors import RevisionError, did_you_mean
from builder.core.match.globs import printable

if TYPE_CHECKING:
    from git import Repo

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_SHORT = 7
_GIVE_COMMIT = "name the commit yourself: --commit SHA, or OCBUILD_COMMIT=SHA"
_DEFAULT_BRANCHES = (
    "refs/remotes/origin/HEAD",
    "refs/heads/main",
    "refs/heads/master",
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
)


class Revision(Struct, frozen=True, kw_only=True):
    """``branch`` is "" where none is checked out, ``committed_at`` is None for unknown commits."""

    commit: str
    branch: str = ""
    committed_at: datetime | None = None
    dirty: bool = False

    @property
    def short(self) -> str:
        return self.commit[:_SHORT]


class _NoGitError(RevisionError):
    """There is no repository, or no program to ask it: a commit has to be given."""


def read_revision(root: Path, inputs: Sequence[Path], *, commit: str | None) -> Revision:
    """The commit of the repository that holds ``root``, or the one that is given.

    The tree is dirty where one of the inputs (relative ones count from ``root``) has staged,
    unstaged or untracked changes; ignored files and all other paths do not count.

    Raises:
        RevisionError: where git cannot tell, or ``commit`` is none.

    """
    given = None if commit is None else _given(commit)
    try:
        with _repository(root) as repo:
            return _read(repo, root, inputs, given)
    except _NoGitError:
        if given is None:
            raise
        return Revision(commit=given)


def changed_paths(root: Path, since: str | None, inputs: Sequence[Path]) -> frozenset[str]:
    """The files of the inputs that differ from ``since``, edits and untracked files included.

    Without ``since``, from where HEAD left the default branch. Paths are relative to ``root``. Of
    a submodule that changed, all files are given.

    Raises:
        RevisionError: where git does not know the commit, or cannot tell.

    """
    with _repository(root) as repo:
        base = _fork(repo) if since is None else _commit(repo, since)
        wanted = _pathspecs(repo, root, inputs)
        if not wanted:
            return frozenset()
        options = ("--name-only", "--no-renames", "--ignore-submodules=none", "-z")
        differing = _names(repo, "diff", *options, base, "--", *wanted)
        untracked = _names(repo, "ls-files", "--others", "--exclude-standard", "-z", "--", *wanted)
        start = _inside(repo, root)
        paths = _with_submodules(repo, [*differing, *untracked])
        return frozenset(posixpath.relpath(path, start) for path in paths)


def branch_commits(root: Path, branch: str) -> frozenset[str]:
    """All commits of a branch, here or at origin; none where git does not know it, or is missing.

    Raises:
        RevisionError: where git cannot tell.

    """
    try:
        with _repository(root) as repo:
            for name in (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"):
                if _resolve(repo, name) is not None:
                    return frozenset(_run(repo, "rev-list", name).decode().split())
    except _NoGitError:
        pass
    return frozenset()


def _given(commit: str) -> str:
    found = commit.strip().lower()
    if not _COMMIT.fullmatch(found):
        raise RevisionError(
            f'"{printable(commit)}" is no commit', hint="a commit is 7 to 40 hexadecimal digits"
        )
    return found


def _read(repo: Repo, root: Path, inputs: Sequence[Path], given: str | None) -> Revision:
    wanted = _pathspecs(repo, root, inputs)
    options = ("--porcelain=v2", "--branch", "--no-ahead-behind", "-z")
    always = ("--untracked-files=normal", "--ignore-submodules=none")
    # Without a path git would look at everything; the repository's own folder has no changes.
    lines = _names(repo, "status", *options, *always, "--", *(wanted or [".git"]))
    facts = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    dirty = any(not line.startswith("#") for line in lines)
    branch = facts.get("branch.head", "")
    head = facts.get("branch.oid", "(initial)")
    commit = given or head
    if commit == "(initial)":
        raise RevisionError(
            f"the git repository {_top(repo)} has no commit yet",
            hint=f"commit something, or {_GIVE_COMMIT}",
        )
    return Revision(
        commit=commit,
        branch="" if branch == "(detached)" else branch,
        committed_at=_committed_at(repo, commit, known=given is None),
        dirty=dirty,
    )


def _committed_at(repo: Repo, commit: str, *, known: bool) -> datetime | None:
    try:
        seconds = _run(repo, "show", "--no-patch", "--format=%ct", f"{commit}^{{commit}}")
    except RevisionError:
        if known:
            raise
        return None  # a commit that was given may be one of another repository
    return datetime.fromtimestamp(int(seconds), tz=timezone.utc)


# -- commits ------------------------------------------------------------------------------------


def _commit(repo: Repo, name: str) -> str:
    found = None if name.startswith("-") else _resolve(repo, name)
    if found is not None:
        return found
    names = _names(repo, "for-each-ref", "--format=%(refname:short)%00")
    hint = did_you_mean(name, [other.strip() for other in names])
    raise RevisionError(f'git knows no commit "{name}"', hint=hint or _fetch_hint(repo))


def _fork(repo: Repo) -> str:
    if _resolve(repo, "HEAD") is None:
        raise RevisionError(f"the git repository {_top(repo)} has no commit yet")
    branch = next((name for name in _DEFAULT_BRANCHES if _resolve(repo, name)), None)
    if branch is None:
        raise RevisionError(
            f"the git repository {_top(repo)} has no default branch (origin/HEAD, main, master)",
            hint="name what to compare with: --since REF",
        )
    try:
        return _run(repo, "merge-base", "HEAD", branch).decode().strip()
    except RevisionError as error:
        raise RevisionError(
            f"HEAD and {branch} have no commit in common",
            hint=_fetch_hint(repo) or "name what to compare with: --since REF",
        ) from error


def _resolve(repo: Repo, name: str) -> str | None:
    try:
        return _run(repo, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except _CommandError:
        return None


def _fetch_hint(repo: Repo) -> str | None:
    if _run(repo, "rev-parse", "--is-shallow-repository").strip() == b"true":
        return "this clone is shallow: git fetch --unshallow brings the rest of the history"
    return None


# -- paths --------------------------------------------------------------------------------------


def _top(repo: Repo) -> Path:
    return Path(str(repo.working_tree_dir)).resolve()


def _inside(repo: Repo, path: Path) -> str:
    """The path relative to the top of the repository."""
    return os.path.relpath(path.resolve(), _top(repo)).replace(os.sep, "/")


def _pathspecs(repo: Repo, root: Path, inputs: Iterable[Path]) -> list[str]:
    """The inputs as git wants them; one in a submodule stands for the submodule, whose own changes
    git reports there. What is outside the repository git cannot tell of.
    """
    top = _top(repo)
    found = set()
    for path in inputs:
        there = root / path
        # A link counts itself, as git keeps it, and so does what it leads to.
        for place in (there.parent.resolve() / there.name, there.resolve()):
            if place == top or top in place.parents:
                above = [folder for folder in reversed(place.parents) if top in folder.parents]
                submodule = next((folder for folder in above if (folder / ".git").exists()), place)
                found.add(submodule.relative_to(top).as_posix())
    return sorted(found)


def _with_submodules(repo: Repo, paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        folder = _top(repo) / path
        if not folder.is_dir() or folder.is_symlink():
            yield path
            continue
        with _repository(folder) as submodule:
            options = ("--cached", "--others", "--exclude-standard", "-z")
            for name in _names(submodule, "ls-files", *options):
                yield posixpath.normpath(f"{path}/{name}")


# -- git ----------------------------------------------------------------------------------------


class _CommandError(RevisionError):
    """git ran and said no."""


@contextmanager
def _repository(root: Path) -> Iterator[Repo]:
    if not _may_be_in_repository(root):
        raise _no_repository(root)
    try:
        import git  # noqa: PLC0415 - see the module's docstring
    except ImportError as error:  # GitPython looks for the program when it is imported
        if shutil.which("git") is not None:
            raise
        raise _missing_program() from error
    try:
        repo = git.Repo(root.resolve(), search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
        raise _no_repository(root) from error
    with repo:
        if repo.working_tree_dir is None:
            raise _NoGitError(
                f"{root} is in a bare git repository, which has no files",
                hint=f"run in a checkout, or {_GIVE_COMMIT}",
            )
        # Paths are no patterns, and looking must not take the lock that a commit needs.
        repo.git.update_environment(GIT_LITERAL_PATHSPECS="1", GIT_OPTIONAL_LOCKS="0")
        yield repo


def _may_be_in_repository(root: Path) -> bool:
    """Whether git could find one; that it cannot is sooner seen than GitPython imported."""
    folder = root.resolve()
    if "GIT_DIR" in os.environ:
        return True
    try:
        return any(
            (each / name).exists()
            for each in (folder, *folder.parents)
            for name in (".git", "HEAD")  # the latter is what a bare one has
        )
    except OSError:  # a folder above that we may not look into
        return True


def _names(repo: Repo, *arguments: str) -> list[str]:
    """The output of a command that ends each item with a NUL byte."""
    return [os.fsdecode(item) for item in _run(repo, *arguments).split(b"\0") if item.strip()]


def _run(repo: Repo, *arguments: str) -> bytes:
    import git  # noqa: PLC0415 - see the module's docstring

    try:
        output = repo.git.execute(["git", *arguments], stdout_as_string=False)
    except git.GitCommandNotFound as error:
        raise _missing_program() from error
    except git.GitCommandError as error:
        raise _failed(repo, arguments[0], str(error.stderr)) from error
    assert isinstance(output, bytes)  # noqa: S101 - what stdout_as_string=False promises
    return output


def _no_repository(root: Path) -> RevisionError:
    return _NoGitError(f"{root} is in no git repository", hint=_GIVE_COMMIT)


def _missing_program() -> RevisionError:
    return _NoGitError("git is not installed", hint=f"install git, or {_GIVE_COMMIT}")


def _failed(repo: Repo, command: str, stderr: str) -> RevisionError:
    if "dubious ownership" in stderr:
        top = _top(repo)
        return RevisionError(
            f"git does not trust the repository {top}: it belongs to another user",
            hint=f"git config --global --add safe.directory {top}",
        )
    said = next((line for line in stderr.splitlines() if "fatal:" in line), stderr.strip())
    reason = said.partition("fatal:")[2].strip(" '") or said.strip(" '") or "it failed"
    return _CommandError(f"git {command}: {reason}")
