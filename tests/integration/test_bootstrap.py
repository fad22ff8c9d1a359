"""A base image is put together from packages, loaded, and used like the official one."""

from __future__ import annotations

import filecmp
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct, structs

from builder.core.bootstrap import KEY_LABEL, Recipe
from builder.core.errors import BuildError, InterruptedRunError
from builder.core.reference import Reference
from builder.core.settings.sections import BootstrapSettings
from builder.engines.bootstrap import bootstrap, load_with_docker, make_archive, read_recipe
from builder.system.process import run

pytestmark = pytest.mark.engine

# A name of this run's own: the real substitute of a base may be in use.
BASE = Reference.parse(f"ocbuild-test/debian:{os.getpid()}")
SETTINGS = BootstrapSettings(suite="trixie", variant="minbase")


class Made(Struct, frozen=True, kw_only=True):
    recipe: Recipe
    archive: Path
    image_id: str


def ignore(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    archive = tmp_path_factory.mktemp("bootstrap") / "one.tar"
    recipe = read_recipe(BASE, SETTINGS)
    image_id = make_archive(recipe, archive, on_line=ignore, cancel=threading.Event())
    load_with_docker(archive)
    yield Made(recipe=recipe, archive=archive, image_id=image_id)
    run(["docker", "image", "rm", "--force", str(recipe.reference)])


def inside(made: Made, script: str) -> str:
    done = run(["docker", "run", "--rm", str(made.recipe.reference), "sh", "-c", script])
    assert done.returncode == 0, done.complaint()
    return done.text


def test_the_image_has_the_foretold_id_and_says_how_to_make_it_again(made: Made) -> None:
    reference = str(made.recipe.reference)
    (image,) = json.loads(run(["docker", "image", "inspect", reference]).stdout)

    assert image["Id"] == made.image_id
    assert image["Config"]["Cmd"] == ["bash"]
    assert image["Config"]["Env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ]
    assert image["Config"]["Labels"][KEY_LABEL] == made.recipe.key
    assert image["Config"]["Labels"]["ocbuild.bootstrap.suite"] == "trixie"


def test_it_is_the_suite_asked_for_with_updates_and_security(made: Made) -> None:
    text = inside(
        made, '. /etc/os-release; echo "$VERSION_CODENAME"; cat /etc/apt/sources.list.d/*'
    )

    assert text.startswith("trixie\n")
    suites = {suite for source in made.recipe.sources for suite in source.suites}
    assert all(suite in text for suite in suites)


def test_packages_can_be_installed_and_leave_no_cache(made: Made) -> None:
    text = inside(
        made,
        "apt-get update >/dev/null; apt-get install -y --no-install-recommends hello >/dev/null"
        " 2>&1; hello; find /var/cache/apt -type f ! -name lock",
    )

    assert text == "Hello, world!\n"


def test_nothing_of_this_machine_or_of_the_making_is_left(made: Made) -> None:
    found = inside(
        made,
        "ls /etc/machine-id /var/log/dpkg.log /var/log/apt/* /var/cache/debconf/*-old"
        " /etc/apt/apt.conf.d/*mmdebstrap* /etc/dpkg/dpkg.cfg.d/*mmdebstrap* 2>/dev/null;"
        " find /var/lib/apt/lists /var/cache/apt /tmp -type f ! -name lock",
    )

    assert found == ""


def test_it_is_slim_and_keeps_the_copyrights(made: Made) -> None:
    text = inside(made, "find /usr/share/man /usr/share/locale /usr/share/doc -type f")

    assert "/usr/share/doc/bash/copyright" in text.split()
    assert {Path(line).name for line in text.split()} == {"copyright"}


def test_services_are_not_started_by_packages(made: Made) -> None:
    assert inside(made, "/usr/sbin/policy-rc.d || echo $?") == "101\n"


def test_an_unchanged_archive_gives_the_same_bytes(made: Made) -> None:
    again = made.archive.with_name("two.tar")
    recipe = read_recipe(BASE, SETTINGS)
    assert recipe == made.recipe

    assert make_archive(recipe, again, on_line=ignore, cancel=threading.Event()) == made.image_id
    assert filecmp.cmp(made.archive, again, shallow=False)


def test_cancelling_leaves_neither_mounts_nor_files(tmp_path: Path) -> None:
    cancel = threading.Event()
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        # By now proc and sys are mounted in the new root.
        if "installing essential packages" in line:
            cancel.set()

    recipe = read_recipe(BASE, structs.replace(SETTINGS, variant="essential", slim=False))
    with pytest.raises(InterruptedRunError, match="cancelled"):
        make_archive(recipe, tmp_path / "image.tar", on_line=on_line, cancel=cancel)

    (root,) = {line.split()[2] for line in seen if line.startswith("I: using /")}
    assert not Path(root).exists()
    assert root not in Path("/proc/mounts").read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suite_is_named_before_anything_is_made() -> None:
    with pytest.raises(BuildError, match='no archive has the suite "nosuch"') as caught:
        read_recipe(BASE, structs.replace(SETTINGS, suite="nosuch"))

    assert not caught.value.transient


def test_a_mirror_that_does_not_answer_is_worth_another_attempt() -> None:
    with pytest.raises(BuildError, match="cannot be read") as caught:
        read_recipe(BASE, structs.replace(SETTINGS, mirror="http://127.0.0.1:9/debian"))

    assert caught.value.transient


def test_what_apt_complains_of_is_the_message_and_not_tried_again() -> None:
    settings = structs.replace(SETTINGS, components=("no-such-component",))

    with pytest.raises(BuildError, match="no-such-component") as caught:
        bootstrap(BASE, settings, on_line=ignore, cancel=threading.Event())

    assert not caught.value.transient


def test_without_mmdebstrap_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = read_recipe(BASE, SETTINGS)
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(BuildError, match='cannot start "mmdebstrap"') as caught:
        make_archive(recipe, tmp_path / "image.tar", on_line=ignore, cancel=threading.Event())

    assert "apt-get install mmdebstrap" in str(caught.value.hint)
