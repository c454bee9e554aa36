"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; a column that starts with ">" is flush right."""
    heads = [column.removeprefix(">") for column in columns]
    marks = ["---:" if column.startswith(">") else "---" for column in columns]
    lines = [heads, marks, *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
