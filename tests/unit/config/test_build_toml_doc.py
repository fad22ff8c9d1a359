"""docs/build-toml.md says all that the schema says, and its examples are right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli

from builder.config.load import load
from builder.core.settings.readers import Place, ValueReader
from builder.core.settings.schema import (
    SchemaKey as Key,
    Shape,
    StructOf as Record,
    TableOf,
    keys_of,
)
from builder.core.settings.sections import Document

DOC = (Path(__file__).parents[3] / "docs/build-toml.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^##+ \[(.+)\]$")


def schema() -> dict[tuple[str, str], Key]:
    """Every key by its section and name, NAME and ID standing for what the user chooses."""
    return dict(_walk(Document, ""))


def _walk(shape: Shape, section: str) -> Iterator[tuple[tuple[str, str], Key]]:
    for key in keys_of(shape):
        below = f"{section}.{key.name}".lstrip(".")
        inner = _shape(key.reader)
        name = "" if isinstance(key.reader, Record) else "ID" if key.name == "secrets" else "NAME"
        if section and section != "deploy":
            yield (section, key.name), key
        if inner is not None:
            yield from _walk(inner, f"{below}.{name}".rstrip("."))


def _shape(reader: ValueReader) -> Shape | None:
    if isinstance(reader, TableOf):
        reader = reader.item
    return reader.shape if isinstance(reader, Record) else None


def documented() -> dict[tuple[str, str], list[str]]:
    """The cells of every row of every table by section and key."""
    rows, section = {}, ""
    for line in DOC.splitlines():
        if heading := HEADING.match(line):
            section = heading[1]
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            rows[section, cells[0].strip(" `")] = cells
    return rows


def value(cell: str, key: Key, root: Path) -> Any:
    (root / "shared").mkdir(exist_ok=True)
    place = Place(root=root, faults=[], path=(key.name,))
    return key.reader.read(tomli.loads(f"value = {cell.strip('`')}")["value"], place)


def test_every_key_is_documented_and_no_other() -> None:
    assert documented().keys() == schema().keys()


def test_every_section_is_documented() -> None:
    headings = [match[1] for line in DOC.splitlines() if (match := HEADING.match(line))]
    for key in keys_of(Document):
        assert any(heading.split(".")[0] == key.name for heading in headings), key.name


@pytest.mark.parametrize("where", schema(), ids=".".join)
def test_the_documented_default_is_the_default(where: tuple[str, str], tmp_path: Path) -> None:
    key, cell = schema()[where], documented()[where][2]
    if key.required:
        assert cell == "required"
    elif cell.startswith("`"):
        assert value(cell, key, tmp_path) == key.default
    else:
        assert key.default in (None, "", Path())


@pytest.mark.parametrize("where", schema(), ids=".".join)
def test_the_documented_example_is_taken(where: tuple[str, str], tmp_path: Path) -> None:
    value(documented()[where][3], schema()[where], tmp_path)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL))
def test_every_example_block_loads(block: str, tmp_path: Path) -> None:
    for folder in ("common", "openstack", "contrail", "shared/files", "deploy"):
        (tmp_path / folder).mkdir(parents=True)
    for stack in ("database", "keystone"):
        (tmp_path / f"deploy/{stack}.yml").write_text("services: {}\n")
    head = "" if "[project]" in block else '[project]\nnamespace = "acme"\n'
    (tmp_path / "build.toml").write_text(head + block)
    assert load(tmp_path / "build.toml").project.namespace in ("acme", "opencontrail")
