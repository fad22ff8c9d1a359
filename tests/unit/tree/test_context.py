"""A context listing holds exactly what the build can read; what it cannot read is an error."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.core.context import ContextFile, ContextListing
from builder.core.dockerfile.model import ContextRead, Via
from builder.core.errors import ContextError, InputError, InputErrors, Location
from builder.tree import discover
from builder.tree.discover import file_digest, read_context, unread_files

SHOWN = "openstack/nova"


def fill(root: Path, *paths: str) -> Path:
    """Make files ("a/b"), folders ("a/") and links ("a -> b"); a file holds its own path."""
    for path in paths:
        name, arrow, target = path.partition(" -> ")
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            place.symlink_to(target)
        elif name.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(os.fsencode(name))
    return root


def copy(
    *sources: str, exclude: tuple[str, ...] = (), parents: bool = False, line: int = 3
) -> ContextRead:
    where = Location(f"{SHOWN}/Dockerfile", line)
    return ContextRead(
        via=Via.COPY, sources=sources, exclude=exclude, parents=parents, location=where
    )


def whole(*sources: str) -> ContextRead:
    where = Location(f"{SHOWN}/Dockerfile", 3)
    return ContextRead(via=Via.COPY, sources=sources, whole=True, location=where)


def mount(*sources: str) -> ContextRead:
    where = Location(f"{SHOWN}/Dockerfile", 3)
    return ContextRead(via=Via.RUN, sources=sources, location=where)


def listing(root: Path, *reads: ContextRead) -> ContextListing:
    return read_context(root, root / "Dockerfile", reads, shown=SHOWN)


def paths(root: Path, *reads: ContextRead) -> list[str]:
    return [file.path for file in listing(root, *reads).files]


def refusal(root: Path, *reads: ContextRead) -> str:
    with pytest.raises(ContextError) as caught:
        listing(root, *reads)
    return str(caught.value)


# -- what is read -----------------------------------------------------------------------------


def test_a_file_is_listed_alone(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b", "d/c", "d/e")
    assert paths(tmp_path, copy("a")) == ["a"]
    assert paths(tmp_path, copy("d/c", "./d//e", "/a")) == ["a", "d/c", "d/e"]
    assert paths(tmp_path, copy("d/../a")) == ["a"]
    assert paths(tmp_path, copy("a/")) == ["a"]


def test_a_folder_is_listed_with_all_below_it(tmp_path: Path) -> None:
    fill(tmp_path, "a", "d/c", "d/e/f", "d/empty/")
    assert paths(tmp_path, copy("d")) == ["d", "d/c", "d/e", "d/e/f", "d/empty"]


def test_the_whole_context_is_all_that_is_not_ignored(tmp_path: Path) -> None:
    fill(tmp_path, "Dockerfile", "a", "d/c", "x/y", "keep/n")
    (tmp_path / ".dockerignore").write_text("x\nkeep\n!keep/n\n")
    expected = [".dockerignore", "Dockerfile", "a", "d", "d/c", "keep", "keep/n"]
    for read in (copy("."), copy("/"), copy("./"), whole(), whole("$X/a"), mount("")):
        assert paths(tmp_path, read) == expected


def test_kind_mode_size_and_target_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "d/run", "d/link -> ../nowhere//x/", "d/e/")
    (tmp_path / "d/run").chmod(0o4755)
    (tmp_path / "d/e").chmod(0o1777)
    (tmp_path / "d").chmod(0o750)
    assert listing(tmp_path, copy("d")).files == (
        ContextFile(path="d", kind="dir", mode=0o750),
        ContextFile(path="d/e", kind="dir", mode=0o1777),
        ContextFile(path="d/link", kind="link", mode=0o777, link="../nowhere//x/"),
        ContextFile(path="d/run", kind="file", mode=0o4755, size=5),
    )


def test_reads_are_united_sorted_and_kept_apart_as_sources(tmp_path: Path) -> None:
    fill(tmp_path, "b", "a/x", "a/y")
    found = listing(tmp_path, copy("b", "a"), copy("a/x"))
    assert [file.path for file in found.files] == ["a", "a/x", "a/y", "b"]
    assert [[source.name for source in read] for read in found.sources] == [["b", "a"], ["x"]]
    assert [file.path for file in found.sources[0][1].below] == ["a/x", "a/y"]


def test_a_build_that_reads_nothing_lists_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert listing(tmp_path) == ContextListing(files=(), sources=(), ignore_file=None)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[^a].txt", ["b.txt"]),
        ("**", [".h", "a.txt", "b.txt", "d", "d/c.txt", "d/e", "d/e/f.txt", "o", "o/f.txt"]),
        ("*/*.txt", ["d/c.txt", "o/f.txt"]),
        ("d/**/f.txt", ["d/e/f.txt"]),
        ("d/*", ["d/c.txt", "d/e", "d/e/f.txt"]),
        ("[o]", ["o", "o/f.txt"]),
        ("d[^x]c.txt", ["d/c.txt"]),
        ("nothing*", []),
    ],
)
def test_wildcards_are_those_of_go(tmp_path: Path, source: str, found: list[str]) -> None:
    fill(tmp_path, "a.txt", "b.txt", ".h", "d/c.txt", "d/e/f.txt", "o/f.txt")
    assert paths(tmp_path, copy(source)) == found


def test_a_mount_takes_wildcards_for_letters(tmp_path: Path) -> None:
    fill(tmp_path, "*", "ab")
    assert paths(tmp_path, mount("*")) == ["*"]
    assert '"a*" is not in the build context' in refusal(tmp_path, mount("a*"))


def test_a_link_that_is_a_source_is_followed(tmp_path: Path) -> None:
    fill(tmp_path, "d/f", "l -> d", "abs -> /d/f", "chain -> l/f", "up/l -> ../d/./f")
    assert paths(tmp_path, copy("l")) == ["d", "d/f", "l"]
    assert paths(tmp_path, copy("l/f")) == ["d/f", "l"]
    assert paths(tmp_path, copy("l/*")) == ["d/f", "l"]
    assert paths(tmp_path, copy("abs")) == ["abs", "d/f"]
    assert paths(tmp_path, copy("chain")) == ["chain", "d/f", "l"]
    assert paths(tmp_path, copy("up/l*")) == ["d/f", "up/l"]
    (source,) = listing(tmp_path, copy("chain")).sources[0]
    assert (source.name, source.path) == ("chain", "d/f")


def test_a_link_behind_a_wildcard_is_followed_only_where_its_target_is_asked_for(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "d/f", "up/l -> ../d/f")
    assert '"up/l" is a symbolic link, and BuildKit does not' in refusal(tmp_path, copy("u*/l"))
    assert paths(tmp_path, copy("u*/l", "d/f")) == ["d/f", "up/l"]


def test_links_below_a_folder_are_kept_and_may_lead_anywhere(tmp_path: Path) -> None:
    fill(tmp_path, "d/out -> ../../../etc", "d/dead -> x", "d/loop -> loop", "o/f", "d/o -> ../o")
    assert paths(tmp_path, copy("d")) == ["d", "d/dead", "d/loop", "d/o", "d/out"]
    assert paths(tmp_path, copy("d*/*/f"), copy("d")) == ["d", "d/dead", "d/loop", "d/o", "d/out"]


def test_exclude_patterns_count_from_the_source(tmp_path: Path) -> None:
    fill(tmp_path, "d/a.md", "d/b", "d/e/c.md", "d/e/f", "d/x/g", "d/x/y/h")
    assert paths(tmp_path, copy("d", exclude=("**/*.md", "e/f", "x", "!x/y"))) == [
        *("d", "d/b", "d/e", "d/x", "d/x/y", "d/x/y/h")
    ]
    assert paths(tmp_path, copy("d", exclude=("d/b",))) == paths(tmp_path, copy("d"))


def test_parents_keep_the_folders_of_what_matches(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/c/x.txt", "a/b/y.txt", "a/z.md", "e/x.txt", "e/empty/")
    assert paths(tmp_path, copy("a/b/y.txt", parents=True)) == ["a", "a/b", "a/b/y.txt"]
    assert paths(tmp_path, copy("**/x.txt", parents=True)) == [
        *("a", "a/b", "a/b/c", "a/b/c/x.txt", "e", "e/x.txt")
    ]
    assert paths(tmp_path, copy("a/./b/*.txt", parents=True)) == ["a", "a/b", "a/b/y.txt"]
    assert paths(tmp_path, copy("a/b/c", parents=True)) == ["a", "a/b", "a/b/c", "a/b/c/x.txt"]
    assert paths(tmp_path, copy("a", parents=True, exclude=("**/*.txt",))) == [
        *("a", "a/b", "a/b/c", "a/z.md")
    ]
    assert paths(tmp_path, copy("**/none", parents=True)) == []
    assert "not in the build context" in refusal(tmp_path, copy("a/none", parents=True))


def test_the_source_of_a_pivot_lists_what_is_below_it(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/y.txt")
    (source,) = listing(tmp_path, copy("a/./b/y.txt", parents=True)).sources[0]
    assert source.path == "a"
    assert [file.path for file in source.below] == ["a/b", "a/b/y.txt"]


def test_nested_dockerfiles_are_ordinary_files(tmp_path: Path) -> None:
    fill(tmp_path, "sub/Dockerfile", "sub/.dockerignore", "sub/f")
    (tmp_path / "sub/.dockerignore").write_text("f")
    assert paths(tmp_path, copy("sub")) == ["sub", "sub/.dockerignore", "sub/Dockerfile", "sub/f"]


def test_odd_names_are_survived(tmp_path: Path) -> None:
    odd = ["\\", "]", "a b", "new\nline", "bad\udcff", "é", "st*r", "~", "-", "a^b"]
    fill(tmp_path, *(f"d/{name}" for name in odd))
    found = listing(tmp_path, copy("d"))
    assert {file.path for file in found.files} == {"d", *(f"d/{name}" for name in odd)}
    for file in found.files[1:]:
        assert file_digest(tmp_path, file) == hashlib.sha256(os.fsencode(file.path)).hexdigest()
    for name in ("]", "a b", "new\nline", "bad\udcff", "~", "a^b"):
        assert paths(tmp_path, copy(f"d/{name}")) == [f"d/{name}"]


def test_sockets_and_pipes_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "d/f")
    os.mkfifo(tmp_path / "d/pipe")
    os.mknod(tmp_path / "d/socket", stat.S_IFSOCK | 0o600)
    assert paths(tmp_path, copy("d")) == ["d", "d/f"]
    assert paths(tmp_path, copy("d/pipe", "d/socket")) == []


def test_a_context_that_is_a_link_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "real/a", "link -> real")
    assert paths(tmp_path / "link", copy(".")) == ["a"]


# -- ignore files -----------------------------------------------------------------------------


def test_the_ignore_file_of_the_dockerfile_has_priority(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    (tmp_path / ".dockerignore").write_text("a")
    found = listing(tmp_path, copy("*"))
    assert [file.path for file in found.files] == [".dockerignore", "b"]
    assert found.ignore_file == ".dockerignore"
    (tmp_path / "Dockerfile.dockerignore").write_text("b\n.*\nD*")
    found = listing(tmp_path, copy("*"))
    assert [file.path for file in found.files] == ["a"]
    assert found.ignore_file == "Dockerfile.dockerignore"
    (tmp_path / "Dockerfile.dockerignore").write_text("")
    assert paths(tmp_path, copy("a", "b")) == ["a", "b"]


def test_a_dockerfile_elsewhere_brings_its_own_ignore_file(tmp_path: Path) -> None:
    fill(tmp_path, "context/a", "files/x.Dockerfile")
    (tmp_path / "files/x.Dockerfile.dockerignore").write_text("a")
    found = read_context(tmp_path / "context", tmp_path / "files/x.Dockerfile", [copy("*")])
    assert found.files == ()
    assert found.ignore_file == "../files/x.Dockerfile.dockerignore"


def test_an_ignore_file_that_is_a_folder_counts_for_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "a", ".dockerignore/")
    assert listing(tmp_path, copy("a")).ignore_file is None


def test_an_ignore_file_may_be_a_link_inside_the_context(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b", "c/rules", ".dockerignore -> c/rules")
    (tmp_path / "c/rules").write_text("a")
    assert paths(tmp_path, copy("[ab]")) == ["b"]
    (tmp_path / ".dockerignore").unlink()
    fill(tmp_path, ".dockerignore -> ../rules")
    assert "outside the build context" in refusal(tmp_path, copy("a"))


def test_a_malformed_ignore_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    (tmp_path / ".dockerignore").write_text("a\n[b\n")
    assert refusal(tmp_path, copy("a")).startswith("openstack/nova/.dockerignore:2: ")


def test_ignored_links_and_targets_cannot_be_read(tmp_path: Path) -> None:
    fill(tmp_path, "d/f", "l -> d", "g")
    (tmp_path / ".dockerignore").write_text("l\n")
    assert '"l" is excluded by openstack/nova/.dockerignore:1' in refusal(tmp_path, copy("l/f"))
    (tmp_path / ".dockerignore").write_text("# no\nd\n")
    assert '"d/f" is excluded by openstack/nova/.dockerignore:2' in refusal(tmp_path, copy("l/f"))
    assert '"d" is excluded by openstack/nova/.dockerignore:2' in refusal(tmp_path, copy("*"))


def test_a_folder_stays_for_what_an_exception_keeps_in_it(tmp_path: Path) -> None:
    fill(tmp_path, "d/keep/f", "d/g", "e/h")
    (tmp_path / ".dockerignore").write_text("*\n!d/keep\n")
    assert paths(tmp_path, copy("d")) == ["d", "d/keep", "d/keep/f"]
    assert paths(tmp_path, copy("*")) == ["d", "d/keep", "d/keep/f"]
    assert paths(tmp_path, copy("d/*")) == ["d/keep", "d/keep/f"]
    assert '"e" is excluded by' in refusal(tmp_path, copy("e"))


def test_rules_that_would_make_an_empty_file_are_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "d/keep/f")
    (tmp_path / ".dockerignore").write_text("d\n!d/keep\nd\n")
    text = refusal(tmp_path, copy("d"))
    assert text.startswith("openstack/nova/Dockerfile:3: COPY: the rules of")
    assert '"d/keep/f": BuildKit would copy it as an empty file' in text


# -- what cannot be read ----------------------------------------------------------------------


def test_a_missing_source_is_an_error_with_line_and_near_name(tmp_path: Path) -> None:
    fill(tmp_path, "entrypoint.sh", "d/f")
    assert refusal(tmp_path, copy("entrypoin.sh", line=12)) == (
        'openstack/nova/Dockerfile:12: COPY: "entrypoin.sh" is not in the build context'
        ' openstack/nova\n\nhint: did you mean "entrypoint.sh"?'
    )


def test_a_file_of_the_same_name_elsewhere_is_suggested(tmp_path: Path) -> None:
    fill(tmp_path, "scripts/run.sh", "other/ran.sh")
    assert 'did you mean "scripts/run.sh"?' in refusal(tmp_path, copy("run.sh"))


def test_a_part_that_is_no_folder_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert 'there is no "b"' in refusal(tmp_path, copy("b/c"))
    assert '"a/c" is not in the build context' in refusal(tmp_path, copy("a/c"))
    assert '"b/*" is not' not in refusal(tmp_path, copy("b/*"))


@pytest.mark.parametrize("source", ["..", "../a", "a/../../b", "/../a", "./../a"])
def test_a_source_above_the_context_is_an_error(tmp_path: Path, source: str) -> None:
    fill(tmp_path, "a", "b")
    text = refusal(tmp_path, copy(source))
    assert f'"{source}" leaves the build context openstack/nova' in text


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "d/../../x", "/../x"])
@pytest.mark.parametrize("source", ["l", "l*"])
def test_a_link_out_of_the_context_is_an_error(tmp_path: Path, target: str, source: str) -> None:
    fill(tmp_path, f"l -> {target}", "x", "d/")
    text = refusal(tmp_path, copy(source))
    assert f'"l" is a symbolic link to "{target}", outside the build context' in text


def test_dead_and_circular_links_are_errors(tmp_path: Path) -> None:
    fill(tmp_path, "dead -> nowhere", "loop -> pool", "pool -> loop")
    assert '"dead" is a symbolic link to "nowhere"' in refusal(tmp_path, copy("dead"))
    assert "lead in a circle" in refusal(tmp_path, copy("loop"))


def test_a_wildcard_below_a_folder_has_to_match(tmp_path: Path) -> None:
    fill(tmp_path, "d/a", "f")
    assert '"d/*.txt" matches nothing' in refusal(tmp_path, copy("d/*.txt"))
    assert '"f/*" matches nothing' in refusal(tmp_path, copy("f/*"))
    assert paths(tmp_path, copy("d/*.txt"), copy("d/a")) == ["d/a"]
    assert paths(tmp_path, copy("f/*"), copy("f")) == ["f"]
    assert paths(tmp_path, copy("d/*.txt", "f"), whole()) == ["d", "d/a", "f"]


def test_a_malformed_wildcard_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert '"[a" is no valid pattern' in refusal(tmp_path, copy("[a"))
    assert '"[a-]" is no valid pattern' in refusal(tmp_path, copy("[a-]", "a"))


def test_a_name_that_does_not_match_itself_cannot_be_read(tmp_path: Path) -> None:
    fill(tmp_path, r"st\*r", "x")
    assert "which does not match itself" in refusal(tmp_path, copy(r"st\*r"))
    assert paths(tmp_path, copy(r"st\*r"), whole())[0] == r"st\*r"


def test_a_wildcard_that_buildkit_reads_in_two_ways_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "^a.txt", "*b")
    assert '"^a*" matches "^a.txt", but BuildKit leaves it out' in refusal(tmp_path, copy("^a*"))
    assert 'matches "*b", but BuildKit leaves it out' in refusal(tmp_path, copy("[*]b"))
    assert paths(tmp_path, copy("?a.txt")) == ["^a.txt"]


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    with pytest.raises(InputErrors) as caught:
        listing(tmp_path, copy("x", "a", "../y", line=2), copy("z", line=5))
    assert [str(error.where) for error in caught.value.errors] == [
        f"{SHOWN}/Dockerfile:2",
        f"{SHOWN}/Dockerfile:2",
        f"{SHOWN}/Dockerfile:5",
    ]


def test_known_sources_of_an_uncertain_read_are_checked(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert '"b" is not' in refusal(tmp_path, whole("$X", "b"))


def test_a_context_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert "is no folder" in refusal(tmp_path / "a", copy("."))
    assert "is no folder" in refusal(tmp_path / "none", copy("."))


@contextmanager
def without_rights() -> Iterator[None]:
    """As root nothing is unreadable, so be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_an_error() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = fill(Path(folder), "d/secret/f", "f")
        root.chmod(0o755)
        (root / "f").chmod(0)
        (root / "d/secret").chmod(0)
        try:
            with without_rights():
                assert "cannot read openstack/nova/d/secret: Permission denied" in refusal(
                    root, copy("d")
                )
                assert "cannot read openstack/nova/d/secret/f: Permission denied" in refusal(
                    root, copy("d/secret/f")
                )
                (file,) = listing(root, copy("f")).files
                with pytest.raises(ContextError, match="Permission denied"):
                    file_digest(root, file)
        finally:
            (root / "d/secret").chmod(0o700)


def test_a_digest_is_that_of_what_a_file_holds_now(tmp_path: Path) -> None:
    """Also where size and mtime stay, however soon after another write."""
    fill(tmp_path, "a")
    (file,), times = listing(tmp_path, copy("a")).files, (1, 1)
    for content in (b"1", b"2", b"3"):
        (tmp_path / "a").write_bytes(content)
        os.utime(tmp_path / "a", times)
        assert file_digest(tmp_path, file) == hashlib.sha256(content).hexdigest()
        assert file_digest(tmp_path, file) == hashlib.sha256(content).hexdigest()


def test_a_file_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a")
    (file,) = listing(tmp_path, copy("a")).files
    monkeypatch.setattr(discover, "_SAME_TIME", -(10**9))
    first = file_digest(tmp_path, file)
    monkeypatch.setattr(hashlib, "sha256", None)
    assert file_digest(tmp_path, file) == first


def test_a_digest_of_a_vanished_file_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    (file,) = listing(tmp_path, copy("a")).files
    (tmp_path / "a").unlink()
    with pytest.raises(InputError, match="cannot read"):
        file_digest(tmp_path, file)


# -- what is not read -------------------------------------------------------------------------


def test_files_that_nothing_reads_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "Dockerfile", "used", "junk", "d/used", "d/junk", "ignored/x", "l -> junk")
    (tmp_path / ".dockerignore").write_text("ignored")
    dockerfile = tmp_path / "Dockerfile"
    found = listing(tmp_path, copy("used", "d/u*"))
    assert unread_files(tmp_path, dockerfile, found, shown=SHOWN) == ("d/junk", "junk")
    assert unread_files(tmp_path, dockerfile, listing(tmp_path, copy("."))) == ()


def test_a_single_file_is_found_without_walking_the_context(tmp_path: Path) -> None:
    for number in range(40):
        fill(tmp_path, *(f"d{number}/f{file}" for file in range(25)))
    before = time.process_time()
    for _ in range(20):
        assert paths(tmp_path, copy("d7/f3")) == ["d7/f3"]
    assert time.process_time() - before < 0.2, "20 look-ups among 1000 files, 1 ms each"
