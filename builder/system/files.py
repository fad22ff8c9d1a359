"""The files of this machine: its state folder, texts replaced as a whole, recorded durations."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.core.codec import MalformedError, decode
from builder.core.context import OWN_FOLDER
from builder.core.events import ImageStatus, Summary
from builder.core.keys import key_tag
from builder.core.plan import Action

# Of which no more is kept than a few trees have.
MOST_KEYS = 4000
MOST_IDS = 4


def replace_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` by way of a new file beside it; missing folders are made.

    A reader sees the old text or the new one, never a part.

    Raises:
        OSError: if that cannot be done; what was at ``path`` then still is.

    """
    new = path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")
    try:
        descriptor = _create(new)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _create(new)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def state_dir(environ: Mapping[str, str], *, uid: int | None = None) -> Path:
    """The state folder: $OCBUILD_STATE, else the system's for root, else the user's own.

    scripts/setup-engine follows the same rule.
    """
    if chosen := environ.get("OCBUILD_STATE"):
        return Path(chosen).absolute()
    if (os.geteuid() if uid is None else uid) == 0:
        return Path("/var/lib/ocbuild")
    home = environ.get("XDG_STATE_HOME", "")
    # The XDG specification asks for relative paths to be ignored.
    if not Path(home).is_absolute():
        home = f"{environ.get('HOME') or Path.home()}/.local/state"
    return Path(home) / "ocbuild"


def own_folder(root: Path) -> Path:
    """The folder that we have beside a build.toml, which git is told to pass over."""
    folder = root / OWN_FOLDER
    with contextlib.suppress(OSError):  # what is to be written there says what is wrong
        folder.mkdir(exist_ok=True)
        with (folder / ".gitignore").open("x") as file:
            file.write("*\n")
    return folder


class KnownImages:
    """The images that this machine has made in its engines, and what it knows of them.

    A label says of which key an image claims to be; this says which are. Ids are those of content,
    so that it does not matter which engine has an image. The file has, by key and tests passed, the
    ids of images, the newest last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def ids(self) -> Mapping[str, Sequence[str]]:
        """By the tag of key and tests the ids of images; none where nothing is kept."""
        try:
            return decode(self._path.read_bytes(), dict[str, list[str]], what=str(self._path))
        except (OSError, MalformedError):
            return {}

    def add(self, image_id: str, key: str, tests: str) -> None:
        """Note an image that was made of this key, and has passed these tests."""
        # A record that cannot be kept costs another build, and must not fail this one.
        with self._lock, contextlib.suppress(OSError), _locked(self._path.with_suffix(".lock")):
            known, name = dict(self.ids()), key_tag(key, tests)
            others = [id_ for id_ in known.pop(name, ()) if id_ != image_id]
            known[name] = [*others, image_id][-MOST_IDS:]
            newest = dict(list(known.items())[-MOST_KEYS:])
            replace_file(self._path, json.dumps(newest, indent=1) + "\n")


def known_images(environ: Mapping[str, str]) -> KnownImages:
    return KnownImages(state_dir(environ) / "images.json")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that other runs change, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# A build's time follows the network of the day; the last few runs say more than the last one.
_NEWEST_COUNTS = 0.5


def load_durations(path: Path) -> dict[str, float]:
    """Seconds by image."""
    try:
        recorded = decode(path.read_bytes(), dict[str, Any], what="the durations")
    except (OSError, MalformedError):
        return {}
    return {image: float(seconds) for image, seconds in recorded.items() if _is_duration(seconds)}


def record_durations(path: Path, summary: Summary) -> None:
    """Remember what was really built in a run, smoothed with what was known."""
    known = load_durations(path)
    for image, result in summary.images.items():
        built = result.action == Action.BUILD.value and result.status is ImageStatus.OK
        if built and not result.cached and _is_duration(result.seconds):
            before = known.get(image, result.seconds)
            mean = _NEWEST_COUNTS * result.seconds + (1 - _NEWEST_COUNTS) * before
            known[image] = round(mean, 3)
    # An accelerator that cannot be written must not fail the run that it would have served.
    with contextlib.suppress(OSError):
        replace_file(path, json.dumps(known, indent=1, sort_keys=True) + "\n")


def expected_durations(known: Mapping[str, float], images: Iterable[str]) -> dict[str, float]:
    """Seconds for each of the images; one that was never built is taken for an average one.

    Where nothing is known, nothing is expected.
    """
    if not known:
        return {}
    average = sorted(known.values())[len(known) // 2]
    return {image: known.get(image, average) for image in images}


def _is_duration(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0
