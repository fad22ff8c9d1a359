"""Archives are read once, kept by what they say of themselves, and never believed too much."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from builder.core.packages.inventory import PackageSource
from builder.refresh import archives, download
from builder.refresh.archives import Archives, Offered
from builder.system.resources import SystemClock
from tests.support.clock import FakeClock
from tests.support.registry import require
from tests.support.web import Asked, Say, Web, in_turn

NOW = 1_700_000_000.0
INDEX = b"Package: redis\nVersion: 2\n\nPackage: nova\nVersion: 3\n"
BINARY = "main/binary-amd64/Packages"


class Archive:
    """Files by path below the server; ``release`` writes the table of contents for them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, Mapping[str, str]] = {}

    def answer(self, asked: Asked) -> Say:
        if asked.path not in self.files:
            return Say(status=404)
        headers = self.headers.get(asked.path, {})
        if headers and asked.headers.get("if-none-match") == headers.get("ETag"):
            return Say(status=304, headers=headers)
        return Say(headers=headers, body=self.files[asked.path])

    def release(
        self, indexes: Mapping[str, bytes], *fields: str, suite: str = "/debian/dists/trixie"
    ) -> None:
        rows = [f" {sha(data)} {len(data)} {name}" for name, data in indexes.items()]
        text = "\n".join(["Origin: test", *fields, "SHA256:", *rows]) + "\n"
        self.files[f"{suite}/InRelease"] = text.encode()
        for name, data in indexes.items():
            self.files[f"{suite}/{name}"] = data


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def source(
    web: Web, *, suite: str = "trixie", component: str = "main", trusted: bool = False
) -> PackageSource:
    return PackageSource(
        uri=f"http://{web.address}/debian", suite=suite, component=component, trusted=trusted
    )


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Offered]:
    def one(
        *sources: PackageSource,
        architecture: str = "amd64",
        keyrings: Path = tmp_path,
        now: float = NOW,
    ) -> Offered:
        reader = Archives(tmp_path / "state", {}, now=now, keyrings=keyrings)
        return reader.read((found, architecture) for found in sources)

    return one


def offered(
    market: Offered, origin: PackageSource, architecture: str = "amd64"
) -> Mapping[str, object]:
    return market.indexes[origin, architecture][1]


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress), ("", bytes)]
)
def test_an_index_is_read_however_it_is_compressed(
    archive: Archive,
    read: Callable[..., Offered],
    suffix: str,
    pack: Callable[[bytes], bytes],
) -> None:
    archive.release({BINARY + suffix: pack(INDEX)})
    with Web(archive.answer) as web:
        market = read(source(web))
        assert market.faults == {}
        assert offered(market, source(web)) == {"redis": ("2",), "nova": ("3",)}
        assert market.offers((source(web),), "amd64").candidate("redis", "1") == "2"


def test_an_index_is_fetched_once_as_long_as_it_is_the_same(
    archive: Archive, read: Callable[..., Offered]
) -> None:
    path = "/debian/dists/trixie/InRelease"
    archive.release({f"{BINARY}.xz": lzma.compress(INDEX)})
    archive.headers[path] = {"ETag": '"1"'}
    with Web(archive.answer) as web:
        first = read(source(web))
        second = read(source(web), source(web))
        assert second == first
        assert [asked.path for asked in web.asked] == [
            path,
            f"/debian/dists/trixie/{BINARY}.xz",
            path,
        ]
        assert web.asked[-1].headers["if-none-match"] == '"1"'
        newer = INDEX.replace(b"2", b"5")
        archive.release({f"{BINARY}.xz": lzma.compress(newer)})
        archive.headers[path] = {"ETag": '"2"'}
        assert offered(read(source(web)), source(web))["redis"] == ("5",)


def test_an_index_is_taken_by_its_hash_where_the_suite_has_it_so(
    archive: Archive, read: Callable[..., Offered]
) -> None:
    data = lzma.compress(INDEX)
    archive.release({f"{BINARY}.xz": data}, "Acquire-By-Hash: yes")
    archive.files[f"/debian/dists/trixie/{BINARY}.xz"] = b"the next one already"
    hashed = f"/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/{sha(data)}"
    archive.files[hashed] = data
    with Web(archive.answer) as web:
        assert offered(read(source(web)), source(web))["redis"] == ("2",)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda a: a.files.update({f"/debian/dists/trixie/{BINARY}.xz": b"x"}),
            "not what the suite",
        ),
        (lambda a: a.release({f"{BINARY}.xz": b"no xz"}), "damaged"),
        (lambda a: a.release({f"{BINARY}.xz": lzma.compress(INDEX)[:-9]}), "damaged"),
        (lambda a: a.files.update({"/debian/dists/trixie/InRelease": b"<html>"}), "no SHA256"),
        (lambda a: a.files.clear(), "there is none"),
        (
            lambda a: a.release({}, "Valid-Until: Sat, 28 Nov 2015 09:15:44 UTC"),
            "valid until 2015-11-28",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_and_offers_nothing(
    archive: Archive,
    read: Callable[..., Offered],
    damage: Callable[[Archive], None],
    message: str,
) -> None:
    archive.release({f"{BINARY}.xz": lzma.compress(INDEX)})
    damage(archive)
    with Web(archive.answer) as web:
        market = read(source(web))
        (line,) = market.faults.values()
        assert message in line
        assert "\n" not in line
        assert market.offers((source(web),), "amd64").candidate("redis", "1") == "1"


def test_one_archive_that_does_not_answer_leaves_the_others(
    archive: Archive, read: Callable[..., Offered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RETRIES", 0)
    archive.release({BINARY: INDEX})
    with Web(lambda _asked: Say(status=503)) as gone:
        dead = source(gone)
        with Web(archive.answer) as web:
            market = read(dead, source(web))
            assert list(market.faults) == [dead]
            assert "503" in market.faults[dead]
            assert offered(market, source(web))


def test_what_only_the_image_has_is_not_asked_for(read: Callable[..., Offered]) -> None:
    local = PackageSource(uri="file:/srv/packages", suite="./")
    assert "only the image itself has file:" in read(local).faults[local]


def test_a_repository_without_a_table_of_contents_needs_to_be_trusted(
    archive: Archive, read: Callable[..., Offered]
) -> None:
    archive.files["/debian/Packages.gz"] = gzip.compress(INDEX)
    with Web(archive.answer) as web:
        flat = source(web, suite="./", component="", trusted=True)
        plain = source(web, suite="./", component="")
        market = read(flat, plain)
        assert offered(market, flat)["redis"] == ("2",)
        assert list(market.faults) == [plain]


def test_an_architecture_that_a_suite_lacks_is_offered_nothing(
    archive: Archive, read: Callable[..., Offered]
) -> None:
    archive.release({BINARY: INDEX})
    with Web(archive.answer) as web:
        market = read(source(web), architecture="s390x")
        assert market.faults == {}
        assert offered(market, source(web), "s390x") == {}


def test_packages_for_all_architectures_may_have_an_index_of_their_own(
    archive: Archive, read: Callable[..., Offered]
) -> None:
    more = b"Package: data\nVersion: 7\n"
    indexes = {BINARY: INDEX, "main/binary-all/Packages": more}
    archive.release(indexes, "Architectures: all amd64")
    with Web(archive.answer) as web:
        found = offered(read(source(web)), source(web))
        assert found == {"redis": ("2",), "nova": ("3",), "data": ("7",)}


def test_an_index_that_nobody_needed_for_a_month_is_removed(
    archive: Archive, read: Callable[..., Offered], tmp_path: Path
) -> None:
    archive.release({BINARY: INDEX})
    kept = tmp_path / "state" / f"{sha(INDEX)}.json"
    with Web(archive.answer) as web:
        read(source(web))
    assert kept.exists()
    read(now=kept.stat().st_mtime + 31 * 86_400)
    assert not kept.exists()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpg home with a key, and the key for gpgv as keyrings/test.gpg."""
    require(shutil.which("gpg") and shutil.which("gpgv"), "the programs gpg and gpgv")
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    words = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    making = [*words, "--passphrase", "", "--quick-generate-key", "t@example.org", "ed25519"]
    subprocess.run(making, check=True, capture_output=True)
    (home / "keyrings").mkdir()
    exported = subprocess.run([*words, "--export"], check=True, capture_output=True).stdout
    (home / "keyrings/test.gpg").write_bytes(exported)
    return home


def sign(home: Path, text: bytes) -> bytes:
    words = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--clear-sign"]
    return subprocess.run(words, input=text, check=True, capture_output=True).stdout


def test_a_signature_is_checked_with_the_keys_of_this_machine(
    archive: Archive, read: Callable[..., Offered], keys: Path, tmp_path: Path
) -> None:
    path = "/debian/dists/trixie/InRelease"
    archive.release({BINARY: INDEX})
    signed = sign(keys, archive.files[path])
    with Web(archive.answer) as web:
        assert read(source(web), keyrings=keys / "keyrings").unverified, "it is not signed"
        archive.files[path] = signed
        assert read(source(web), keyrings=keys / "keyrings").unverified == ()
        assert read(source(web), keyrings=tmp_path / "none").unverified
        archive.files[path] = signed.replace(b"Origin: test", b"Origin: evil")
        market = read(source(web), keyrings=keys / "keyrings")
        assert "signature is wrong" in market.faults[source(web)]


def test_an_address_that_is_none_is_told_as_such_and_asked_once(tmp_path: Path) -> None:
    downloads = download.Downloads(tmp_path, {}, SystemClock())
    with pytest.raises(download.ArchiveError, match="an address that is none") as caught:
        downloads.once("http://archive.example:port/debian")
    assert not caught.value.transient


def test_an_index_that_unpacks_to_more_than_an_index_has_is_given_up(
    archive: Archive, read: Callable[..., Offered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    archive.release({f"{BINARY}.xz": lzma.compress(bytes(8 << 20))})
    with Web(archive.answer) as web:
        (line,) = read(source(web)).faults.values()
        assert "unpacks to more than 1048576 bytes" in line


def test_a_mirror_may_send_us_on_but_not_in_a_circle(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Say:
        if asked.path == "/debian/x":
            return Say(status=302, headers={"Location": "/pool/x"})
        if asked.path == "/pool/x":
            return Say(body=b"found")
        return Say(status=307, headers={"Location": asked.path})

    files = download.Downloads(tmp_path, {}, SystemClock())
    with Web(answer) as web:
        assert files.once(f"http://{web.address}/debian/x") == b"found"
        with pytest.raises(download.ArchiveError, match="in a circle"):
            files.once(f"http://{web.address}/round")
        assert len(web.asked) == 7


def test_a_fault_that_passes_is_asked_again_after_a_pause(tmp_path: Path) -> None:
    clock = FakeClock()
    busy = Say(status=503, headers={"Retry-After": "7"})
    with Web(in_turn(busy, Say(status=502), Say(body=b"found"))) as web:
        files = download.Downloads(tmp_path, {}, clock)
        assert files.once(f"http://{web.address}/x") == b"found"
    assert clock.waits[0] == 7.0
    assert len(clock.waits) == 2
