"""The only place that prints: results on stdout, progress and warnings on stderr.

On a terminal tables and bars are drawn with rich; otherwise everything is plain lines that a log can hold.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Progress", "emit_json", "error", "line", "progress", "table", "warn"]

_PLAIN_INTERVAL_S = 10.0


class Progress(Protocol):
    """What `progress` yields."""

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""

    def stage(self, label: str) -> None:
        """Change the label to what is being done now."""


def line(text: str = "") -> None:
    """Write one line of human-readable result to stdout."""
    print(text, flush=True)  # noqa: T201


def warn(text: str) -> None:
    """Write one line of warning to stderr."""
    print(f"edgetrack: warning: {text}", file=sys.stderr, flush=True)  # noqa: T201


def error(text: str) -> None:
    """Write one line of error to stderr."""
    print(f"edgetrack: {' '.join(text.split())}", file=sys.stderr, flush=True)  # noqa: T201


def emit_json(value: object) -> None:
    """Write `value` as JSON to stdout; nothing else is written there in a `--json` run."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), flush=True)  # noqa: T201


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Write a table to stdout: drawn on a terminal that is wide enough, aligned columns in a file or pipe.

    Args:
        columns: headings; one that starts with ">" is right-aligned (the mark is not shown).
        rows: cells of any type, written with `str`.
        title: a line above the table.
    """
    right = [column.startswith(">") for column in columns]
    heads = [column.removeprefix(">") for column in columns]
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in [heads, *cells]) for index in range(len(heads))]
    if sys.stdout.isatty():
        if sum(widths) + 3 * len(widths) + 1 <= shutil.get_terminal_size().columns:
            _rich_table(heads, right, cells, title)
        else:
            _records(heads, cells, title)
        return
    if title:
        line(title)
    for row in [heads, *cells]:
        padded = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        line("  ".join(padded).rstrip())


def _records(heads: list[str], cells: list[list[str]], title: str) -> None:
    """Write a table that is wider than the terminal as one block a row."""
    if title:
        line(title)
    width = max(map(len, heads))
    for row in cells:
        for head, cell in zip(heads, row, strict=True):
            if cell:
                line(f"{head.ljust(width)}  {cell}")
        line()


def _rich_table(heads: list[str], right: list[bool], cells: list[list[str]], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(title=escape(title) if title else None, title_justify="left")
    for head, flush in zip(heads, right, strict=True):
        drawn.add_column(escape(head), justify="right" if flush else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(escape(cell) for cell in row))
    Console().print(drawn)


@contextmanager
def progress(total: int | None, label: str) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, otherwise a line now and then.

    Args:
        total: steps in all; None where nobody knows (a camera).
        label: what is being done.
    """
    if not sys.stderr.isatty():
        yield _PlainProgress(total, label)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        class _Bar:
            def advance(self, steps: int = 1) -> None:
                bar.advance(task, steps)

            def stage(self, label: str) -> None:
                bar.update(task, description=label)

        yield _Bar()


class _PlainProgress:
    """Writes the label at once and the count every ten seconds."""

    def __init__(self, total: int | None, label: str) -> None:
        self._total = total
        self._label = label
        self._done = 0
        self._said = time.monotonic()
        self._write(label)

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        if time.monotonic() - self._said >= _PLAIN_INTERVAL_S:
            self._said = time.monotonic()
            of = "" if self._total is None else f" of {self._total}"
            self._write(f"{self._label}: {self._done}{of}")

    def stage(self, label: str) -> None:
        if label != self._label:
            self._label = label
            self._said = time.monotonic()
            self._write(label)

    def _write(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
