"""Another package source takes the place of the stand-ins, and no Dockerfile is touched."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aptrepo import AptRepository
from tests.support.containers import References
from tests.support.engines import docker

pytestmark = pytest.mark.images
SOURCE = "groups.contrail.args.CONTRAIL_PACKAGE_SOURCE=vendor"


def ocbuild(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builder", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def keys(*words: str) -> dict[str, str]:
    done = ocbuild("plan", "all", "--json", *words)
    assert done.returncode == 0, done.stderr
    steps: list[dict[str, Any]] = json.loads(done.stdout)["steps"]
    return {step["image"]: step["key"] for step in steps}


def package(folder: Path, name: str) -> Path:
    """A package with a program that says what it is."""
    root = folder / f"{name}.root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    program = root / "usr/bin/contrail-collector"
    program.write_text("#!/bin/sh\necho vendor\n")
    program.chmod(0o755)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 9.9-test\nArchitecture: all\n"
        "Maintainer: test\nDescription: not a stand-in\n"
    )
    made = folder / f"{name}_9.9-test_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", root, made], check=True, capture_output=True
    )
    return made


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A folder with a tarball in it, as vendors hand packages out."""
    made = package(tmp_path, "contrail-analytics")
    folder = tmp_path / "vendor"
    folder.mkdir()
    with tarfile.open(folder / "contrail_debs.tgz", "w:gz") as archive:
        archive.add(made, made.name)
    return folder


def test_another_source_changes_the_keys_of_contrail_and_of_nothing_else(
    references: References, vendor: Path
) -> None:
    before = keys()
    after = keys("--set", f"contexts.contrail-packages={vendor}", "--set", SOURCE)
    changed = {name for name in before if before[name] != after[name]}
    graph = json.loads(ocbuild("graph", "all", "--format", "json").stdout)["images"]
    contrail = {name for name, image in graph.items() if image["group"] == "contrail"}
    # The image itself is not made of what takes its place, and what it is mounted in comes later.
    assert changed == contrail - {"contrail-packages", "contrailbase"}


WORDS = ("analytics", "--namespace", "vendor-test", "--engine", "buildx")


@pytest.fixture
def cleared() -> Iterator[None]:
    yield
    for name in ("analytics", "contrailbase", "base", "contrail-packages"):
        mine = docker("images", "--quiet", f"*/vendor-test/{name}").split()
        docker("rmi", "--force", *mine, check=False) if mine else None


def made(*words: str) -> str:
    """The reference of the analytics that these words build."""
    done = ocbuild(*WORDS, *words)
    assert done.returncode == 0, done.stderr
    assert "stand-in" not in done.stderr
    found = docker("images", "--filter", "label=net.juniper.package-source=vendor", "--format",
                   "{{.Repository}}:{{.Tag}}").splitlines()  # fmt: skip
    return next(name for name in found if "/vendor-test/analytics:" in name)


def version(reference: str) -> str:
    return docker("run", "--rm", "--entrypoint", "dpkg-query", reference, "--show",
                  "--showformat", "${Version}", "contrail-analytics")  # fmt: skip


@pytest.mark.usefixtures("references", "cleared")
def test_a_tarball_of_packages_is_installed_and_named_honestly(vendor: Path) -> None:
    source = ("--set", f"contexts.contrail-packages={vendor}")
    refused = ocbuild(*WORDS, *source)
    assert refused.returncode == 1
    assert 'args = { CONTRAIL_PACKAGE_SOURCE = "vendor" }' in refused.stderr

    test = ("--set", 'images.analytics.test=["contrail-collector"]')
    reference = made(*source, "--set", SOURCE, *test)
    assert version(reference) == "9.9-test"
    assert docker("run", "--rm", "--entrypoint", "contrail-collector", reference) == "vendor"


@pytest.mark.usefixtures("references", "cleared")
def test_packages_come_from_an_apt_repository_by_an_argument_alone(tmp_path: Path) -> None:
    with AptRepository(tmp_path) as apt:
        apt.add("contrail-analytics", "9.9-served")
        source = f'groups.contrail.args.CONTRAIL_REPOSITORY="{apt.entry}"'
        reference = made("--set", source, "--set", SOURCE, "--set", "images.analytics.test=[]")
    assert version(reference) == "9.9-served"
    assert any(asked.endswith("contrail-analytics_9.9-served_all.deb") for asked in apt.asked)


@pytest.mark.usefixtures("references", "cleared")
def test_packages_come_from_an_apt_repository_that_a_folder_names(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with AptRepository(tmp_path / "apt") as apt:
        apt.add("contrail-analytics", "9.9-listed")
        (folder / "vendor.list").write_text(f"{apt.entry}\n")
        source = f"contexts.contrail-packages={folder}"
        reference = made("--set", source, "--set", SOURCE, "--set", "images.analytics.test=[]")
    assert version(reference) == "9.9-listed"


def test_the_stand_ins_are_named_in_the_plan() -> None:
    done = ocbuild("plan", "contrail", "--allow-dirty")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^note: \d+ images with net\.juniper\.package-source=standin: .*stand-ins",
        done.stdout,
        re.MULTILINE,
    )
