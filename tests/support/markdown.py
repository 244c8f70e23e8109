"""Reads the parts of our documents that tests need: fenced blocks, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    document: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """Document and line, for messages and names of tests."""
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """All documents for newcomers and users."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = document.read_text()
    name = str(document.relative_to(ROOT))
    return [Block(name, text[: found.start()].count("\n") + 1, found[1], found[2]) for found in _FENCE.finditer(text)]


def table_of(document: Path, first_heading: str) -> list[list[str]]:
    """The rows of the table whose first column has that heading; cells without backticks."""
    lines = document.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return rows


def links_of(document: Path) -> list[str]:
    """The targets of a document's links to files."""
    return [target for target in _LINK.findall(document.read_text()) if "://" not in target]
