"""build.lock: what is written comes back, what is wrong is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config.load import Lock, from_text, load
from builder.core.bases import Pin, ResolvedBase
from builder.core.errors import BuildError, ConfigError, InputErrors
from builder.core.options import BuildOptions
from builder.core.settings.config import Config, as_text
from tests.support.tree import BUILD_TOML, Tree

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
BASE, REDIS = "debian:trixie-slim", "redis:7"
PINS = {BASE: Pin(digest=ONE, local=True), REDIS: Pin(digest=TWO)}


def config(tmp_path: Path, extra: str = "") -> Config:
    return load(Tree(tmp_path, {"a": f"FROM {BASE}"}, toml=BUILD_TOML + extra).root / "build.toml")


def resolved(text: str, digest: str, *, reference: str | None = None) -> ResolvedBase:
    reference = f"{text.partition(':')[0]}@{digest}" if reference is None else reference
    return ResolvedBase(
        text=text, context=f"docker-image://{reference}", reference=reference, digest=digest
    )


def opened(settings: Config, *, lock: bool = False, locked: bool = False) -> Lock:
    return Lock.open(settings, BuildOptions(lock=lock, locked=locked))


def test_what_is_written_comes_back() -> None:
    assert from_text(as_text(PINS), "build.lock") == PINS
    assert as_text(PINS) == as_text(dict(reversed(PINS.items())))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "build.lock: not TOML"),
        ("version = 2\n", "build.lock: its version is 2, not 1"),
        ("", "build.lock: its version is None, not 1"),
        ("version = 1\nbases = 1\n", r"build.lock: \[bases\] is no table"),
        ('version = 1\n[bases]\n"a" = "b"\n', 'build.lock:3: the entry of "a" is neither'),
        ('version = 1\n[bases]\n"a" = {registry = "b"}\n', 'build.lock:3: the entry of "a"'),
        (f'version = 1\n[bases]\n"a" = {{other = "{ONE}"}}\n', 'build.lock:3: the entry of "a"'),
    ],
)
def test_what_is_no_lock_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(text, "build.lock")
    assert str(caught.value).startswith(message.replace("\\", ""))


def test_without_a_file_nothing_is_pinned_and_nothing_is_written(tmp_path: Path) -> None:
    lock = opened(config(tmp_path))
    assert lock.pins == {}
    lock.check([BASE], config(tmp_path))
    lock.record({BASE: resolved(BASE, ONE)}, [BASE])
    assert not (tmp_path / "build.lock").exists()


def test_what_was_resolved_is_written_and_pins_the_next_run(tmp_path: Path) -> None:
    settings = config(tmp_path)
    made = resolved(BASE, ONE, reference="ocbuild-bootstrap/debian:trixie-slim")
    opened(settings, lock=True).record({BASE: made, REDIS: resolved(REDIS, TWO)}, [BASE, REDIS])
    assert opened(settings).pins == PINS
    opened(settings, locked=True).check([BASE, REDIS], settings)


def test_an_entry_goes_with_the_last_image_that_is_built_on_it(tmp_path: Path) -> None:
    settings = config(tmp_path)
    (tmp_path / "build.lock").write_text(as_text(PINS))
    lock = opened(settings, lock=True)
    lock.record({REDIS: resolved(REDIS, TWO)}, [REDIS])
    assert opened(settings).pins == {REDIS: PINS[REDIS]}


def test_every_base_that_is_not_locked_is_one_line(tmp_path: Path) -> None:
    settings = config(tmp_path)
    with pytest.raises(InputErrors) as caught:
        opened(settings, locked=True).check([REDIS, BASE, BASE], settings)
    assert [error.message for error in caught.value.errors] == [
        f"the base {BASE} is not locked",
        f"the base {REDIS} is not locked",
    ]
    assert caught.value.exit_code == 2


def test_a_folder_needs_no_lock_and_an_address_cannot_have_one(tmp_path: Path) -> None:
    extra = '[contexts]\nfiles = "images"\npage = "https://example.org/x.git"\n'
    settings = config(tmp_path, extra)
    lock = opened(settings, locked=True)
    lock.check(["files"], settings)
    with pytest.raises(ConfigError, match="no lock can pin") as caught:
        lock.check(["page"], settings)
    assert caught.value.where is not None
    assert caught.value.where.path == "build.toml"
    folder = ResolvedBase(text="files", context="x", reference="", digest="folder:1")
    opened(settings, lock=True).record({"files": folder}, ["files"])
    assert opened(settings).pins == {}
    page = ResolvedBase(text="page", context="x", reference="", digest="address:1")
    with pytest.raises(ConfigError, match="page cannot be locked: it is an address"):
        opened(settings, lock=True).record({"page": page}, ["page"])


def test_what_could_not_be_had_is_not_locked_and_the_file_stays(tmp_path: Path) -> None:
    settings = config(tmp_path)
    before = as_text(PINS)
    (tmp_path / "build.lock").write_text(before)
    with pytest.raises(ConfigError, match="cannot be locked: cannot pull it"):
        opened(settings, lock=True).record({BASE: BuildError("cannot pull it")}, [BASE])
    assert (tmp_path / "build.lock").read_text() == before


def test_with_locked_an_image_that_only_another_machine_has_ends_the_run(tmp_path: Path) -> None:
    settings = config(tmp_path)
    (tmp_path / "build.lock").write_text(as_text(PINS))
    lock = opened(settings, locked=True)
    with pytest.raises(ConfigError, match="this engine does not have"):
        lock.record({BASE: BuildError("… this engine does not have")}, [BASE])
    # A pull that failed is a fault of the day: the image fails, and not the command line.
    lock.record({REDIS: BuildError("no such host")}, [REDIS])
