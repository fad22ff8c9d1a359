"""COPY and WORKDIR on a file system: where a source comes to lie, who owns it, what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from builder.core.assemble import Content, InLayer, Refused
from builder.core.assemble.copy import CopySource, copy, destination, make_workdir, sources_in
from builder.core.assemble.files import Below, Node, Owner, StageFiles, owner_of
from builder.core.assemble.index import LayerEntry, LayerIndex, Layers

ENTRIES = {
    "usr": LayerEntry("dir", 0o755, 0, 0),
    "usr/lib": LayerEntry("dir", 0o755, 0, 0),
    "usr/lib/old": LayerEntry("file", 0o644, 3, 4, 1),
    "lib": LayerEntry("link", 0o777, 0, 0, 0, "usr/lib"),
    "run": LayerEntry("dir", 0o755, 0, 0),
    "var": LayerEntry("dir", 0o755, 0, 0),
    "var/run": LayerEntry("link", 0o777, 0, 0, 0, "/run"),
    "var/mail": LayerEntry("dir", 0o2775, 0, 8),
    "dangling": LayerEntry("link", 0o777, 0, 0, 0, "/nowhere/x"),
    "circle": LayerEntry("link", 0o777, 0, 0, 0, "circle"),
    "far": LayerEntry("link", 0o777, 0, 0, 0, "near"),
    "near": LayerEntry("link", 0o777, 0, 0, 0, "/run"),
    "one": LayerEntry("link", 0o777, 0, 0, 0, "two"),
    "two": LayerEntry("link", 0o777, 0, 0, 0, "usr"),
    "up": LayerEntry("link", 0o777, 0, 0, 0, "../../etc"),
    "etc": LayerEntry("dir", 0o755, 0, 0),
    "etc/passwd": LayerEntry("file", 0o644, 0, 0, 1),
    "etc/group": LayerEntry("file", 0o644, 0, 0, 1),
    "tmp": LayerEntry("dir", 0o1777, 0, 0),
    "linked": LayerEntry("file", 0o644, 0, 0, 1, "", "l"),
    "capable": LayerEntry("file", 0o644, 0, 0, 1, "", "c"),
    "ping": LayerEntry("file", 0o755, 0, 0, 1, "", "c", capability="0100"),
    "twins": LayerEntry("dir", 0o755, 0, 0),
    "twins/one": LayerEntry("file", 0o644, 0, 0, 1, "", "l"),
    "twins/two": LayerEntry("file", 0o644, 0, 0, 1, "", "l", stored="twins/one"),
    "null": LayerEntry("device", 0o644, 0, 0),
}
ACCOUNTS = {
    "etc/passwd": "root:x:0:0::/:\n\n u:x:1000:1001::/home/u:/bin/sh\nu:x:1:1\nbad:x:a:b\n",
    "etc/group": "root:x:0:\nstaff:x:50:u\n",
}
FILE = Node("file", 0o644, 0, 0, 1, content=b"x")
SCRIPT = Node("file", 0o755, 0, 0, 1, content=b"y")
FOLDER = Node("dir", 0o700, 0, 0)


class Reading:
    def __init__(self) -> None:
        self.wanted: list[InLayer] = []

    def want(self, contents: Sequence[InLayer]) -> None:
        self.wanted.extend(contents)

    def read(self, content: Content) -> bytes:
        assert isinstance(content, bytes)
        return content


@pytest.fixture
def files() -> StageFiles:
    index = LayerIndex(entries=ENTRIES, accounts=ACCOUNTS)
    return StageFiles(Below(lambda: Layers([index]), ["sha256:1"]))


def changes(files: StageFiles) -> Mapping[str, tuple[str, int, int, int]]:
    return {path: node[:4] for path, node in files.changes.items()}


def put(files: StageFiles, target: str, *sources: CopySource, **how: object) -> None:
    owner, mode = how.get("owner"), how.get("mode")
    assert owner is None or isinstance(owner, Owner)
    assert mode is None or isinstance(mode, int)
    copy(files, sources or [CopySource("f", FILE)], target, owner=owner, mode=mode)


@pytest.mark.parametrize(
    ("workdir", "written", "found"),
    [
        ("", "x", "/x"),
        ("/w", "x", "/w/x"),
        ("/w", "x/", "/w/x/"),
        ("/w", ".", "/w/"),
        ("/w", "./", "/w/"),
        ("/w", "", "/w/"),
        ("/w", "..", "/"),
        ("/w", "x/.", "/w/x"),
        ("/w", "/x/.", "/x/."),
        ("/w", "/x/../y", "/y"),
        ("/w", "/", "/"),
        ("/w", "/.", "/."),
    ],
)
def test_a_destination_is_absolute_and_says_if_it_is_a_folder(
    workdir: str, written: str, found: str
) -> None:
    assert destination(workdir, written) == found


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/new", "new"),
        ("/new/", "new/f"),
        ("/new/.", "new/f"),
        ("/tmp", "tmp/f"),
        ("/lib/x", "usr/lib/x"),
        ("/lib", "usr/lib/f"),
        ("/lib/old", "usr/lib/old"),
        ("/var/run/p/", "run/p/f"),
        ("/dangling", "nowhere/x"),
        ("/dangling/", "nowhere/x/f"),
        ("/one/x", "usr/x"),
        ("/", "f"),
    ],
)
def test_a_file_comes_to_lie_where_the_links_lead(
    files: StageFiles, target: str, place: str
) -> None:
    put(files, target)
    assert files.changes[place] == FILE
    kinds = {path: node.kind for path, node in files.changes.items() if path != place}
    assert set(kinds.values()) <= {"dir"}


def test_folders_that_are_missing_are_made_and_those_there_stay_as_they_are(
    files: StageFiles,
) -> None:
    put(files, "/tmp/a/b/")
    assert changes(files) == {
        "tmp/a": ("dir", 0o755, 0, 0),
        "tmp/a/b": ("dir", 0o755, 0, 0),
        "tmp/a/b/f": ("file", 0o644, 0, 0),
    }


def test_new_folders_belong_to_the_owner_that_is_asked_for(files: StageFiles) -> None:
    put(files, "/a/b", owner=Owner(7, 8))
    assert changes(files) == {"a": ("dir", 0o755, 7, 8), "a/b": ("file", 0o644, 7, 8)}


def test_a_folder_in_one_with_the_group_bit_takes_bit_and_group(files: StageFiles) -> None:
    put(files, "/var/mail/a/f")
    assert changes(files)["var/mail/a"] == ("dir", 0o2755, 0, 8)
    assert changes(files)["var/mail/a/f"] == ("file", 0o644, 0, 0)


def test_a_folder_gives_its_content_and_not_itself(files: StageFiles) -> None:
    below = [("sub", FOLDER), ("sub/f", FILE), ("s", Node("link", 0o777, 0, 0, 0, "f"))]
    put(files, "/new", CopySource("d", FOLDER, below), mode=0o750, owner=Owner(5, 6))
    assert changes(files) == {
        "new": ("dir", 0o755, 5, 6),
        "new/sub": ("dir", 0o750, 5, 6),
        "new/sub/f": ("file", 0o750, 5, 6),
        "new/s": ("link", 0o777, 5, 6),
    }


def test_a_folder_in_the_source_changes_one_that_is_there(files: StageFiles) -> None:
    put(files, "/var", CopySource("d", FOLDER, [("mail", FOLDER)]))
    assert changes(files) == {"var/mail": ("dir", 0o700, 0, 0)}


def test_several_sources_go_into_the_folder(files: StageFiles) -> None:
    put(files, "/new/", CopySource("f", FILE), CopySource("g", SCRIPT))
    assert sorted(files.changes) == ["new", "new/f", "new/g"]


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("/usr/lib/old/x", CopySource("f", FILE)),
        ("/usr/lib/old/", CopySource("f", FILE)),
        ("/usr/lib/old", CopySource("d", FOLDER, [])),
        ("/usr", CopySource("lib", FILE)),
        ("/", CopySource("d", FOLDER, [("lib", FOLDER)])),
        ("/usr", CopySource("d", FOLDER, [("lib", FILE)])),
        ("/circle/x", CopySource("f", FILE)),
        ("/far/x", CopySource("f", FILE)),
    ],
)
def test_what_buildkit_refuses_or_may_do_elsewhere_is_refused(
    files: StageFiles, target: str, source: CopySource
) -> None:
    with pytest.raises(Refused):
        put(files, target, source)


def test_a_link_in_the_folder_is_replaced_and_not_followed(files: StageFiles) -> None:
    put(files, "/", CopySource("dangling", FILE))
    assert files.changes == {"dangling": FILE}


def test_workdir_follows_links_and_leaves_what_is_there(files: StageFiles) -> None:
    make_workdir(files, "/var/run/app", Owner(1, 2))
    make_workdir(files, "/tmp", Owner(1, 2))
    make_workdir(files, "/", Owner(1, 2))
    assert changes(files) == {"run/app": ("dir", 0o755, 1, 2)}


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("", None),
        ("7", Owner(7, 7)),
        ("7:8", Owner(7, 8)),
        ("root", Owner(0, 0)),
        ("u", Owner(1000, 1001)),
        ("u:staff", Owner(1000, 50)),
        ("u:9", Owner(1000, 9)),
        ("7:staff", Owner(7, 50)),
        ("ghost", Owner(0, 0)),
        ("7:ghost", Owner(7, 7)),
        ("u:", Owner(1000, 0)),
        (":staff", Owner(0, 50)),
        ("bad", Owner(0, 0)),
    ],
)
def test_an_owner_is_looked_up_in_the_image(
    files: StageFiles, text: str, owner: Owner | None
) -> None:
    assert owner_of(text, files, Reading()) == owner


@pytest.mark.parametrize("text", ["-1", "+7", "2147483648", "1_0"])
def test_an_odd_number_for_an_owner_is_refused(files: StageFiles, text: str) -> None:
    with pytest.raises(Refused):
        owner_of(text, files, Reading())


def test_accounts_that_the_build_itself_has_put_there_count(files: StageFiles) -> None:
    files.put("etc/passwd", FILE._replace(content=b"u:x:5:6::/:/x\n"))
    assert owner_of("u", files, Reading()) == Owner(5, 6)


def test_a_name_in_an_empty_image_is_refused() -> None:
    with pytest.raises(Refused, match="empty image"):
        owner_of("u", StageFiles(Below()), Reading())


def test_a_source_in_an_image_keeps_owner_and_mode(files: StageFiles) -> None:
    [source] = sources_in(files, "/lib")
    assert source.name == "lib"
    assert [(path, node[:4]) for path, node in source.below] == [("old", ("file", 0o644, 3, 4))]
    assert source.below[0][1].content == InLayer(layer="sha256:1", path="usr/lib/old")


def test_a_wildcard_finds_what_it_matches_and_may_find_nothing(files: StageFiles) -> None:
    assert [source.name for source in sources_in(files, "/etc/p*")] == ["passwd"]
    assert sources_in(files, "/etc/z*") == []


def test_links_that_a_wildcard_brings_along_are_refused(files: StageFiles) -> None:
    files.put("etc/broken", Node("link", 0o777, 0, 0, 0, "/nowhere"))
    assert sources_in(files, "/etc")[0].below
    with pytest.raises(Refused, match="finds the link"):
        sources_in(files, "/e*c")


@pytest.mark.parametrize("path", ["/missing", "/twins", "/capable", "/null", "/missing/*"])
def test_what_cannot_be_copied_exactly_is_refused(files: StageFiles, path: str) -> None:
    with pytest.raises(Refused):
        sources_in(files, path)


def test_one_of_the_names_of_a_file_is_copied_as_a_file_of_its_own(files: StageFiles) -> None:
    for path in ("/linked", "/twins/one", "/twins/two"):
        [source] = sources_in(files, path)
        assert source.node.marks == ""
    assert {source.name for source in sources_in(files, "/twins/*")} == {"one", "two"}


def test_file_capabilities_are_copied_where_the_index_tells_them(files: StageFiles) -> None:
    [source] = sources_in(files, "/ping")
    assert source.node.capability == "0100"
    copy(files, [source], "/there/", owner=Owner(5, 6), mode=None)
    there = files.find("there/ping")
    assert there is not None
    assert (there.uid, there.capability) == (5, "0100")


def test_a_link_that_climbs_stays_in_the_image(files: StageFiles) -> None:
    assert files.resolve("up/x") == "etc/x"
