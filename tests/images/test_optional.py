"""Where Maven is out of reach, what needs it is missing and named; all else is published."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.containers import References
from tests.support.engines import docker
from tests.support.registry import LocalRegistry

pytestmark = pytest.mark.images
NOWHERE = "http://127.0.0.1:9/maven"


def tags(registry: LocalRegistry, image: str) -> list[str]:
    try:
        url = f"http://{registry.address}/v2/no-maven/{image}/tags/list"
        with urllib.request.urlopen(url, timeout=30) as reply:
            return list(json.load(reply)["tags"] or ())
    except urllib.error.HTTPError:
        return []


def test_what_needs_maven_is_named_and_the_rest_is_published(
    references: References, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    unreachable = [
        f"--set=images.{image}.args.MAVEN_URL={NOWHERE}" for image in ("kafka", "cassandra")
    ]
    with LocalRegistry() as registry:
        words = ["kafka", "cassandra", "redis", "--push", "--allow-dirty", "--progress", "plain"]
        place = ["--registry", registry.address, "--namespace", "no-maven", "--report", str(report)]
        done = subprocess.run(
            [sys.executable, "-m", "builder", *words, *place, *unreachable],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        try:
            assert done.returncode == 0, done.stderr
            assert any(
                not tag.startswith(("key-", "inventory-")) for tag in tags(registry, "redis")
            )
            assert tags(registry, "kafka") == tags(registry, "cassandra") == []
        finally:
            mine = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
            docker("rmi", *(name for name in mine if "/no-maven/" in name), check=False)
    assert "kafka (optional)" in done.stderr
    assert "cassandra (optional)" in done.stderr
    assert f"cannot download from {NOWHERE}" in done.stderr
    images = json.loads(report.read_text())["images"]
    assert {name for name, image in images.items() if image["status"] == "failed"} == {
        "kafka",
        "cassandra",
    }
