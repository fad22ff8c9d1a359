"""Writes the map in docs/architecture.md from the first sentences of packages and modules."""

from __future__ import annotations

from pathlib import Path

from tests.support.house import House
from tests.unit.test_law import MAY_IMPORT

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/architecture.md"
BEGIN = "<!-- make architecture writes from here, of the modules' own first sentences -->\n"
END = "<!-- to here -->\n"


def drawn(house: House) -> str:
    """The map: packages from the bottom up, what each may import, and their modules."""
    sentences = {module.name: module.docstring for module in house.modules}
    lines = ["| package | what it is | may import |", "|---|---|---|"]
    for package, below in MAY_IMPORT.items():
        allowed = ", ".join(name for name in MAY_IMPORT if name in below) or "nothing of ours"
        lines.append(f"| `{package}` | {cell(sentences[f'builder.{package}'])} | {allowed} |")
    for package in MAY_IMPORT:
        inside = [m for m in house.modules if m.package == package and m.name.count(".") > 1]
        if inside:
            lines += ["", f"### {package}", ""]
            lines += [f"- `{short(m.name)}`: {m.docstring}" for m in inside]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def short(module: str) -> str:
    """A module's name as it is written below its package's heading: dockerfile/parse."""
    return "/".join(module.split(".")[2:])


def page(text: str, house: House) -> str:
    """The page with the map as it has to be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawn(house)}\n{END}{after}"


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), House(ROOT)), encoding="utf-8")


if __name__ == "__main__":
    main()
