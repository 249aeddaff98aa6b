"""The documents in pieces: fenced blocks, commands, and what stands between backticks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)[^\S\n]*(?:title=\"(.+?)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is (if any), and its text."""

    document: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command."""
        lines = self.text.replace("\\\n", " ").splitlines()
        parts = [part for line in lines for part in line.split("&&")]
        return [words for part in parts if (words := shlex.split(part, comments=True))]


def blocks(document: Path, language: str = "") -> list[Block]:
    """The blocks of a document, or those of one language."""
    text = document.read_text(encoding="utf-8")
    found = [
        Block(document, 1 + text.count("\n", 0, m.start()), m[1], m[2] or "", m[3])
        for m in _FENCE.finditer(text)
    ]
    return [block for block in found if language in ("", block.language)]


def files(document: Path) -> dict[str, str]:
    """The files that a document shows."""
    return {block.title: block.text for block in blocks(document, "python") if block.title}


def spans(document: Path) -> list[str]:
    """What stands between backticks outside of blocks, each once."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return list(dict.fromkeys(re.findall(r"`([^`\n]+)`", text)))


def links(document: Path) -> list[str]:
    """The links to other files."""
    found = re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8"))
    return [link for link in found if "://" not in link]


def rows(document: Path, heading: str) -> list[list[str]]:
    """The cells of the table whose first line holds ``heading``."""
    text = document.read_text(encoding="utf-8")
    lines = text[text.index(heading) :].splitlines()[2:]
    table = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def between(document: Path, marker: str) -> str:
    """The text between ``<!-- marker:begin -->`` and ``<!-- marker:end -->``."""
    text = document.read_text(encoding="utf-8")
    return text.partition(f"<!-- {marker}:begin -->\n")[2].partition(f"<!-- {marker}:end -->")[0]
