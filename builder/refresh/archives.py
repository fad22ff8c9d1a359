"""What the archives that images name offer now: each index is read once, for all images.

The index of a suite is kept as the table of its versions, under the hash that the suite's signed
table of contents gives it; so a check on a quiet day reads nothing but those tables of contents.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

from msgspec import Struct

from builder.core.packages.inventory import (
    ALL,
    Offers,
    PackageSource,
    ReleaseFile,
    Versions,
    read_packages,
    read_release,
)
from builder.refresh.download import MOST_BYTES, ArchiveError, Downloads, MissingFileError
from builder.system.files import replace_file
from builder.system.process import ProgramMissingError, in_threads, run
from builder.system.resources import Clock, SystemClock

READERS = 4
KEYRINGS = Path("/usr/share/keyrings")
# What an index may be compressed by, in the order of preference, and how it is read.
UNPACK: Mapping[str, Callable[[io.BytesIO], io.BufferedIOBase]] = {
    ".xz": lzma.LZMAFile,
    ".gz": lambda packed: gzip.GzipFile(fileobj=packed),
    "": lambda plain: plain,
}
# Indexes that nobody named for so long are removed.
KEEP_DAYS = 30
_GPGV_SECONDS = 30.0


class Offered(Struct, frozen=True, kw_only=True):
    """The indexes that could be read, by source and architecture, each with its priority.

    ``faults`` has a line for each source that could not be read. ``unverified`` are the suites
    whose signature could not be checked here.
    """

    indexes: Mapping[tuple[PackageSource, str], tuple[int, Versions]]
    faults: Mapping[PackageSource, str]
    unverified: tuple[str, ...] = ()

    def offers(self, sources: tuple[PackageSource, ...], architecture: str) -> Offers:
        """What apt would see that has these sources; a source that was not read offers nothing."""
        found = (self.indexes.get((source, architecture)) for source in sources)
        return Offers(indexes=tuple(index for index in found if index is not None))


class _Suite(Struct, frozen=True, kw_only=True):
    """One suite of one archive: ``place`` is the folder of its table of contents."""

    place: str
    release: ReleaseFile | None
    verified: bool


class Archives:
    """Reads indexes; ``folder`` is where this machine keeps what it has read before."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        *,
        now: float,
        keyrings: Path = KEYRINGS,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder
        self._downloads = Downloads(folder / "files", environ, clock or SystemClock())
        self._now = now
        self._keyrings = sorted(keyrings.glob("*.gpg"))

    def read(self, wanted: Iterable[tuple[PackageSource, str]]) -> Offered:
        """Read what is offered for pairs of a source and an architecture."""
        suites: dict[tuple[str, str, bool], list[tuple[PackageSource, str]]] = {}
        for source, architecture in sorted(set(wanted)):
            one = (source.uri, source.suite, source.trusted)
            suites.setdefault(one, []).append((source, architecture))
        read = in_threads(self._read_suite, suites.values(), at_once=READERS)
        self._forget_old()
        return Offered(
            indexes={pair: index for one in read for pair, index in one.indexes.items()},
            faults={source: text for one in read for source, text in one.faults.items()},
            unverified=tuple(sorted({text for one in read for text in one.unverified})),
        )

    def _read_suite(self, pairs: Sequence[tuple[PackageSource, str]]) -> Offered:
        first = pairs[0][0]
        try:
            suite = self._suite(first)
        except ArchiveError as error:
            return Offered(indexes={}, faults={source: error.message for source, _ in pairs})
        indexes: dict[tuple[PackageSource, str], tuple[int, Versions]] = {}
        faults: dict[PackageSource, str] = {}
        for source, architecture in pairs:
            try:
                found = self._index(suite, source, architecture)
            except ArchiveError as error:
                faults[source] = error.message
            else:
                indexes[source, architecture] = (
                    suite.release.priority if suite.release else ReleaseFile(indexes={}).priority,
                    found,
                )
        unverified = () if suite.verified or first.trusted else (f"{first.uri} {first.suite}",)
        return Offered(indexes=indexes, faults=faults, unverified=unverified)

    # --- the table of contents ----------------------------------------------------------------

    def _suite(self, source: PackageSource) -> _Suite:
        """Read it and check who signed it.

        Raises:
            ArchiveError: it cannot be read, is signed wrongly, or is no longer valid.

        """
        if not source.uri.startswith(("http://", "https://")):
            scheme = source.uri.partition(":")[0]
            raise ArchiveError(f"cannot read {source.uri}: only the image itself has {scheme}:")
        flat = source.suite.endswith("/")
        place = f"{source.uri.rstrip('/')}/{'' if flat else 'dists/'}{source.suite.rstrip('/')}"
        place = place.removesuffix("/.")
        try:
            name, data = "InRelease", self._downloads.fresh(f"{place}/InRelease")
        except MissingFileError:
            try:
                name, data = "Release", self._downloads.fresh(f"{place}/Release")
            except MissingFileError as error:
                if source.trusted:
                    return _Suite(place=place, release=None, verified=False)
                raise ArchiveError(f"cannot read {place}/InRelease: there is none") from error
        verified = self._verify(f"{place}/{name}", data) if not source.trusted else False
        try:
            release = read_release(data.decode("utf-8", "replace"))
        except ValueError as error:
            raise ArchiveError(f"cannot use {place}/{name}: {error}") from error
        self._refuse_expired(f"{place}/{name}", release)
        return _Suite(place=place, release=release, verified=verified)

    def _verify(self, url: str, data: bytes) -> bool:
        """Whether a key of this machine has signed it; False if that cannot be told.

        Raises:
            ArchiveError: the signature is wrong.

        """
        if not self._keyrings or not data.startswith(b"-----BEGIN PGP"):
            return False
        keyrings = [word for path in self._keyrings for word in ("--keyring", str(path))]
        with tempfile.NamedTemporaryFile(prefix="ocbuild-inrelease-") as file:
            file.write(data)
            file.flush()
            try:
                done = run(
                    ["gpgv", "--quiet", "--status-fd", "1", *keyrings, file.name],
                    timeout=_GPGV_SECONDS,
                )
            except ProgramMissingError:
                return False
        if "[GNUPG:] BADSIG" in done.text:
            raise ArchiveError(f"cannot use {url}: its signature is wrong")
        return done.returncode == 0 or "[GNUPG:] VALIDSIG" in done.text

    def _refuse_expired(self, url: str, release: ReleaseFile) -> None:
        with suppress(ValueError, TypeError):
            until = parsedate_to_datetime(release.valid_until.replace(" UTC", " +0000"))
            if until.timestamp() < self._now:
                day = datetime.fromtimestamp(until.timestamp(), timezone.utc).date()
                raise ArchiveError(
                    f"cannot use {url}: it was valid until {day}; the mirror is not kept up"
                )

    # --- indexes ------------------------------------------------------------------------------

    def _index(self, suite: _Suite, source: PackageSource, architecture: str) -> Versions:
        """The versions for an architecture, those for all architectures included."""
        if not source.component:
            return self._table(suite, "Packages") or {}
        found = self._table(suite, f"{source.component}/binary-{architecture}/Packages")
        if suite.release is not None and suite.release.separate_all:
            more = self._table(suite, f"{source.component}/binary-{ALL}/Packages")
            return {**(found or {}), **(more or {})} if more else found or {}
        return found or {}

    def _table(self, suite: _Suite, path: str) -> Versions | None:
        """None where the suite has no such index: it then offers nothing for the architecture."""
        if suite.release is None:
            return self._unlisted(suite, path)
        for suffix in UNPACK:
            checksum = suite.release.indexes.get(path + suffix)
            if checksum:
                return self._kept(checksum) or self._listed(suite, path + suffix, checksum)
        return None

    def _listed(self, suite: _Suite, name: str, checksum: str) -> Versions:
        folder = name.rpartition("/")[0]
        by_hash = "/".join(part for part in (folder, "by-hash/SHA256", checksum) if part)
        url = f"{suite.place}/{name}"
        data = None
        if suite.release is not None and suite.release.by_hash:
            with suppress(MissingFileError):
                data = self._downloads.once(f"{suite.place}/{by_hash}")
        if data is None:
            data = self._downloads.once(url)
        if hashlib.sha256(data).hexdigest() != checksum:
            raise ArchiveError(
                f"cannot use {url}: it is not what the suite says; the mirror is being updated,"
                " or is broken",
                transient=True,
            )
        table = _parsed(data, url, "." + name.rpartition(".")[2] if "." in name else "")
        self._keep(checksum, table)
        return table

    def _unlisted(self, suite: _Suite, path: str) -> Versions | None:
        """An archive that says nothing of its indexes, as apt takes it from whom it shall trust."""
        for suffix in UNPACK:
            with suppress(MissingFileError):
                url = f"{suite.place}/{path}{suffix}"
                return _parsed(self._downloads.once(url), url, suffix)
        raise ArchiveError(f"cannot read {suite.place}/{path}: there is none")

    # --- what is kept -------------------------------------------------------------------------

    def _kept(self, checksum: str) -> Versions | None:
        path = self._folder / f"{checksum}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            table = {str(name): tuple(one) for name, one in found.items()}
            path.touch()
        except (OSError, ValueError, AttributeError, TypeError):
            return None
        return table

    def _keep(self, checksum: str, table: Versions) -> None:
        with suppress(OSError):
            # Only an accelerator: without it the index is read once more.
            replace_file(self._folder / f"{checksum}.json", json.dumps(table))

    def _forget_old(self) -> None:
        for path in self._folder.rglob("*.json"):
            with suppress(OSError):
                if path.stat().st_mtime < self._now - KEEP_DAYS * 86_400:
                    path.unlink()


def _parsed(data: bytes, url: str, suffix: str) -> Versions:
    try:
        with UNPACK[suffix](io.BytesIO(data)) as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ArchiveError(f"cannot use {url}: it unpacks to more than {MOST_BYTES} bytes")
        return read_packages(text)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ArchiveError(f"cannot use {url}: it is damaged: {error}") from error
