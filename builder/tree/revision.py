"""What git knows of a tree: its commit, and which of its files differ from that or another one.

GitPython reads what git keeps as objects and references: HEAD, branches, where two of them parted,
the commits of one. It is imported where those are asked for, for that takes 45 ms, ten times as
long as the program `git` needs for an answer. What every run asks is asked of the program:

- the state of the working tree: filters of contents, and the index in all its forms (version 4,
  split, sparse, file system monitor) are git's own; GitPython reads versions 2 and 3, and of paths
  only those that are UTF-8. HEAD and its branch come with that answer;
- a commit that the user names, for GitPython knows only a part of gitrevisions(7);
- the time of a commit, which is one line.

Repositories that GitPython cannot read (ids of SHA-256, references in a reftable) are read as far
as the program goes; the rest is an error. Files count as they lie there, whatever git was told not
to look at (``skip-worktree``, ``assume-unchanged``, ``core.fileMode``, ``core.symlinks``).

https://git-scm.com/docs/git-status#_porcelain_format_version_2
https://git-scm.com/docs/git-ls-files
https://git-scm.com/docs/gitrepository-layout
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from builder.core.errors import RevisionError, did_you_mean
from builder.core.globs import printable
from builder.system import process
from builder.tree.discover import folders_above

if TYPE_CHECKING:
    from git import Repo

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_SHORT = 7
_GIVE_COMMIT = "name the commit yourself: --commit SHA, or OCBUILD_COMMIT=SHA"
_GIVE_REF = "name what to compare with: --since REF"
_DEFAULT_BRANCHES = (
    "refs/remotes/origin/HEAD",
    "refs/heads/main",
    "refs/heads/master",
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
)
# Paths are no patterns, looking takes no lock that a commit needs, and what git says is read.
_ENVIRONMENT = {
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}
_AS_IT_LIES = ("-c", "core.fileMode=true", "-c", "core.symlinks=true")
# By the key of "extensions" in its config, what a repository may have that GitPython cannot read.
_EXTENSIONS = {"objectformat": "ids of SHA-256", "refstorage": "a reftable"}


class Revision(Struct, frozen=True, kw_only=True):
    """``branch`` is "" where none is checked out, ``committed_at`` is None for unknown commits.

    ``edits`` are what differs from ``head`` ("" for none), as ``changed_paths`` tells it.
    """

    commit: str
    branch: str = ""
    committed_at: datetime | None = None
    head: str = ""
    edits: frozenset[str] = frozenset()

    @property
    def short(self) -> str:
        return self.commit[:_SHORT]


class _NoGitError(RevisionError):
    """There is no repository, or no program to ask it: a commit has to be given."""


class _CommandError(RevisionError):
    """git ran and said no."""


def read_revision(
    root: Path, inputs: Sequence[Path], *, commit: str | None, reads: Iterable[str] = ()
) -> Revision:
    """The commit of the repository that holds ``root``, or the one that is given.

    ``inputs`` and ``reads`` are those of ``changed_paths``.

    Raises:
        RevisionError: where git cannot tell, or ``commit`` is none.

    """
    given = None if commit is None else _checked(commit)
    try:
        return _read(_top(root), root, inputs, given, reads)
    except _NoGitError:
        if given is None:
            raise
        return Revision(commit=given)


def changed_paths(
    root: Path, since: str | None, inputs: Sequence[Path], reads: Iterable[str] = ()
) -> frozenset[str]:
    """The files that differ from ``since``, or without it from where HEAD left the default branch.

    Of the inputs (files and folders, relative ones count from ``root``) all that git has or had, of
    a submodule that changed all files. ``reads`` are the files and folders that are made use of:
    those that git does not have are given as well, wherever they are. All these paths are relative
    to ``root``, its links resolved.

    Raises:
        RevisionError: where git does not know the commit, or cannot tell.

    """
    top = _top(root)
    base = _fork(top) if since is None else _commit(top, since)
    wanted = _pathspecs(top, root, inputs)
    options = ("--name-only", "--no-renames", "--ignore-submodules=none", "-z")
    differing = _items(top, "diff", *options, base, "--", *wanted) if wanted else []
    return _differing(root, top, differing, wanted, reads)


def branch_commits(root: Path, branch: str) -> frozenset[str]:
    """All commits of a branch, here or at origin; none where git does not know it, or is missing.

    Raises:
        RevisionError: where git cannot tell.

    """
    try:
        with _repository(_top(root)) as repo:
            for name in (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"):
                if _is_reference(repo, name):
                    return frozenset(commit.hexsha for commit in repo.iter_commits(name))
    except _NoGitError:
        pass
    return frozenset()


def _checked(commit: str) -> str:
    text = commit.strip().lower()
    if not _COMMIT.fullmatch(text):
        raise RevisionError(
            f'"{printable(commit)}" is no commit', hint="a commit is 7 to 40 hexadecimal digits"
        )
    return text


def _read(
    top: Path, root: Path, inputs: Sequence[Path], given: str | None, reads: Iterable[str]
) -> Revision:
    wanted = _pathspecs(top, root, inputs)
    options = ("--porcelain=v2", "--branch", "--no-ahead-behind", "--no-renames", "-z")
    always = ("--untracked-files=no", "--ignore-submodules=none")
    # Without a path git would look at everything; the repository's own folder has no changes.
    lines = _items(top, "status", *options, *always, "--", *(wanted or [".git"]))
    facts = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    # What is unmerged has two fields more than what was changed.
    edited = [line.split(" ", 10 if line[0] == "u" else 8)[-1] for line in lines if line[0] != "#"]
    head = facts.get("branch.oid", "").removesuffix("(initial)")
    commit = given or head
    if not commit:
        raise RevisionError(
            f"the git repository {top} has no commit yet",
            hint=f"commit something, or {_GIVE_COMMIT}",
        )
    return Revision(
        commit=commit,
        branch=facts.get("branch.head", "").removesuffix("(detached)"),
        committed_at=_committed_at(top, commit, known=given is None),
        head=head,
        edits=_differing(root, top, edited, wanted, reads),
    )


def _committed_at(top: Path, commit: str, *, known: bool) -> datetime | None:
    try:
        seconds = _run(top, "show", "--no-patch", "--format=%ct", f"{commit}^{{commit}}")
    except RevisionError:
        if known:
            raise
        return None  # a commit that was given may be one of another repository
    return datetime.fromtimestamp(int(seconds), tz=timezone.utc)


# -- commits ------------------------------------------------------------------------------------


def _commit(top: Path, name: str) -> str:
    """The id of a commit that the user names, in any way that git knows."""
    if not name.startswith("-"):
        try:
            expression = f"{name}^{{commit}}"
            return _run(top, "rev-parse", "--verify", "--quiet", expression).decode().strip()
        except _CommandError:
            pass
    hint = None
    with suppress(RevisionError), _repository(top) as repo:
        names = [reference.name for reference in repo.references]
        hint = did_you_mean(name, names) or _fetch_hint(repo)
    raise RevisionError(f'git knows no commit "{name}"', hint=hint)


def _fork(top: Path) -> str:
    """Where HEAD left the default branch."""
    with _repository(top) as repo:
        if not repo.head.is_valid():
            raise RevisionError(f"the git repository {top} has no commit yet")
        branch = next((name for name in _DEFAULT_BRANCHES if _is_reference(repo, name)), None)
        if branch is None:
            raise RevisionError(
                f"the git repository {top} has no default branch (origin/HEAD, main, master)",
                hint=_GIVE_REF,
            )
        commits = repo.merge_base("HEAD", branch)
        if not commits:
            raise RevisionError(
                f"HEAD and {branch} have no commit in common", hint=_fetch_hint(repo) or _GIVE_REF
            )
        return commits[0].hexsha


def _is_reference(repo: Repo, name: str) -> bool:
    """Whether there is such a reference, and what it names is there."""
    from git import Reference  # noqa: PLC0415 - imported already

    with suppress(ValueError):  # what git allows for no name
        return Reference(repo, name).is_valid()
    return False


def _fetch_hint(repo: Repo) -> str | None:
    if Path(repo.common_dir, "shallow").exists():
        return "this clone is shallow: git fetch --unshallow brings the rest of the history"
    return None


# -- paths --------------------------------------------------------------------------------------


def _top(root: Path) -> Path:
    """The top of the working tree that holds ``root``."""
    folder = root.resolve()
    try:
        for place in (folder, *folder.parents):
            head = place / ".git/HEAD"
            if head.exists() or head.is_symlink() or head.parent.is_file():
                return place
            if (place / "HEAD").exists() and (place / "objects").is_dir():
                raise _bare(place)
    except OSError:  # a folder above that we may not look into
        pass
    raise _NoGitError(f"{root} is in no git repository", hint=_GIVE_COMMIT)


def _pathspecs(top: Path, root: Path, inputs: Iterable[Path]) -> list[str]:
    """The inputs as git wants them; one in a submodule stands for the submodule, whose own changes
    git reports there. What is outside the repository git cannot tell of.
    """
    wanted = set()
    for path in inputs:
        full = root / path
        # A link counts itself, as git keeps it, and so does what it leads to.
        for place in (full.parent.resolve() / full.name, full.resolve()):
            if place == top or top in place.parents:
                above = [folder for folder in reversed(place.parents) if top in folder.parents]
                submodule = next((folder for folder in above if (folder / ".git").exists()), place)
                wanted.add(submodule.relative_to(top).as_posix())
    return sorted(wanted)


def _differing(
    root: Path, top: Path, told: Iterable[str], wanted: Sequence[str], reads: Iterable[str]
) -> frozenset[str]:
    """As the root sees it what git tells, what it must not look at, and what it lacks of reads."""
    start, reads = os.path.relpath(root.resolve(), top).replace(os.sep, "/"), set(reads)

    def rebased(path: str) -> str:
        return path if start == "." else posixpath.relpath(path, start)

    options = ("--cached", "-v", "-z", "--recurse-submodules")
    lines = _items(top, "ls-files", *options, "--", *wanted) if wanted else []
    tracked = {rebased(line[2:]) for line in lines}
    masked = [line[2:] for line in lines if line[0] == "S" or line[0].islower()]
    near = [path for path in masked if rebased(path) in reads or not os.path.lexists(top / path)]
    missing = reads - tracked
    if missing:  # of folders git has no more than what lies in them
        missing -= folders_above(tracked)
    edited = {*_with_submodules(top, told), *(path for path in near if _is_edited(top, path))}
    return frozenset({*map(rebased, edited), *missing})


def _is_edited(top: Path, path: str) -> bool:
    """Whether a file is another one than git has in its index, whatever git was told of it."""
    file = top / path
    if not os.path.lexists(file):
        return True
    entry = _run(file.parent, "ls-files", "--stage", "--", file.name).decode()
    mode, expected = entry.split(" ", 2)[:2]
    if file.is_symlink():
        text = os.fsencode(file.readlink())
        return mode != "120000" or _run(file.parent, "cat-file", "blob", expected) != text
    actual = _run(file.parent, "hash-object", "--", file.name).decode().strip()
    executable = file.stat().st_mode & stat.S_IXUSR
    return (mode, expected) != ("100755" if executable else "100644", actual)


def _with_submodules(top: Path, paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        folder = top / path
        if not folder.is_dir() or folder.is_symlink():
            yield path
            continue
        options = ("--cached", "--others", "--exclude-standard", "-z")
        for name in _items(_top(folder), "ls-files", *options):
            yield posixpath.normpath(f"{path}/{name}")


# -- git ----------------------------------------------------------------------------------------


@contextmanager
def _repository(top: Path) -> Iterator[Repo]:
    """The repository as GitPython reads it, once git itself has said that it trusts its owner."""
    _run(top, "rev-parse", "--git-dir")
    import git  # noqa: PLC0415 - 45 ms, see the module's docstring

    try:
        with git.Repo(top, expand_vars=False) as repo:
            repo.git.update_environment(**_ENVIRONMENT)
            _require_readable(repo, top)
            yield repo
    except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
        raise _NoGitError(f"{top} is no git repository", hint=_GIVE_COMMIT) from error
    except git.GitCommandError as error:
        raise _failed(top, error.command[1], str(error.stderr)) from error


def _require_readable(repo: Repo, top: Path) -> None:
    with repo.config_reader("repository") as config:
        for key, what in _EXTENSIONS.items():
            value = str(config.get_value("extensions", key, default=""))
            if value.lower() not in ("", "sha1", "files"):
                raise RevisionError(
                    f"the git repository {top} has {what}, which GitPython cannot read",
                    hint=_GIVE_REF,
                )


def _items(top: Path, *arguments: str) -> list[str]:
    """The output of a command that ends each item with a NUL byte."""
    return [os.fsdecode(item) for item in _run(top, *arguments).split(b"\0") if item.strip()]


def _run(top: Path, *arguments: str) -> bytes:
    """What the program `git` answers in the working tree."""
    try:
        argv = ["git", *_AS_IT_LIES, *arguments]
        done = process.run(argv, cwd=top, env={**os.environ, **_ENVIRONMENT})
    except process.ProgramMissingError as error:
        raise _missing_program() from error
    if done.returncode != 0:
        raise _failed(top, arguments[0], done.stderr.decode("utf-8", "replace"))
    return done.stdout


def _bare(place: Path) -> RevisionError:
    return _NoGitError(
        f"{place} is in a bare git repository, which has no files",
        hint=f"run in a checkout, or {_GIVE_COMMIT}",
    )


def _missing_program() -> RevisionError:
    return _NoGitError("git is not installed", hint=f"install git, or {_GIVE_COMMIT}")


def _failed(top: Path, command: str, stderr: str) -> RevisionError:
    if "dubious ownership" in stderr:
        return RevisionError(
            f"git does not trust the repository {top}: it belongs to another user",
            hint=f"git config --global --add safe.directory {top}",
        )
    if "must be run in a work tree" in stderr:
        return _bare(top)
    fatal = next((line for line in stderr.splitlines() if "fatal:" in line), stderr.strip())
    reason = fatal.partition("fatal:")[2].strip(" '") or fatal.strip(" '") or "it failed"
    return _CommandError(f"git {command}: {reason}")
