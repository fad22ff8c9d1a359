"""Whatever the folders are called, what ``ocbuild init`` proposes loads as it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings, strategies as st

from builder.commands.init import propose
from builder.config.load import load

PARTS = st.sampled_from(
    ["a", "b", "common", "1.0", "3.0.1", "e24cc66", "09e5d48", "kilo", "all", "X y", "v2", "base"]
)
FOLDERS = st.lists(PARTS, max_size=4).map("/".join)
BASES = st.sampled_from(
    ["scratch", "debian:12", "acme/base:kilo", "x.io/acme/a:1.0-e24cc66", "other/b:latest", "$X"]
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(FOLDERS, BASES, min_size=1, max_size=8))
def test_a_proposal_loads_and_has_a_group(tree: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder, base in tree.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / "Dockerfile").write_text(f"FROM {base}\n")
        (root / "build.toml").write_text(propose(root))
        config = load(root / "build.toml")
        assert config.groups
        assert all(group.path.is_dir() for group in config.groups.values())
