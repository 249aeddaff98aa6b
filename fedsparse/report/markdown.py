"""A report as Markdown."""

from __future__ import annotations

from fedsparse.report.advice import advice
from fedsparse.report.comparison import Comparison
from fedsparse.report.tables import TableText, tables

__all__ = ["markdown"]


def markdown(c: Comparison) -> str:
    """The text of a comparison: what it comes to, warnings, tables."""
    parts = [f"# {c.metric} against {c.axis.label}", _list(advice(c))]
    if c.warnings:
        parts += ["**Before believing it**", _list(c.warnings)]
    parts += [_list(c.notes)] if c.notes else []
    parts += [_section(table) for table in tables(c)]
    return "\n\n".join(parts) + "\n"


def _section(table: TableText) -> str:
    align = ["---"] + ["---" if table.prose else "---:"] * (len(table.head) - 1)
    lines = [table.head, align, *table.rows]
    rows = "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)
    return "\n\n".join([f"## {table.title}", rows, *table.notes])


def _list(sentences: object) -> str:
    assert isinstance(sentences, list | tuple)  # noqa: S101 - for the type checker
    return "\n".join(f"- {_cell(sentence)}" for sentence in sentences)


def _cell(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return (
        text.replace("|", r"\|").replace("<", "&lt;").replace(" * ", r" \* ").replace("\n", " ")
        if text
        else " "
    )
