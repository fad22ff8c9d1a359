"""Small trees of Dockerfiles, written into a temporary folder."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

BUILD_TOML = """\
[project]
namespace = "acme"
registry = "127.0.0.1:5999"

[groups.images]
version = "1.0"
commit = "abcdef0"
"""


class Tree:
    """A folder with a build.toml and image directories.

    ``Tree(tmp_path, {"base": "FROM scratch", "app": {"Dockerfile": "FROM base", "run": "…"}})``
    makes the group ``images``; a name with a slash, such as "common/base", names its group.
    """

    def __init__(
        self,
        root: Path,
        images: Mapping[str, str | Mapping[str, str]] | None = None,
        *,
        toml: str = BUILD_TOML,
    ) -> None:
        self.root = root
        self.write("build.toml", toml)
        for name, content in (images or {}).items():
            self.image(name, content)

    def image(self, name: str, content: str | Mapping[str, str]) -> Path:
        folder = name if "/" in name else f"images/{name}"
        files = {"Dockerfile": content} if isinstance(content, str) else content
        for path, text in files.items():
            self.write(f"{folder}/{path}", text)
        return self.root / folder

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
        return file

    def git(self, *arguments: str) -> str:
        completed = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
        )
        return completed.stdout.strip()

    def commit(self, message: str = "change") -> str:
        """Commit everything and give the first 7 digits."""
        if not (self.root / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")[:7]
