"""What the programs `python -m edgetrack.benchmarks.NAME` share: options, exit codes, and the file they write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgetrack.benchmarks.files import check_writable, write_document
from edgetrack.cli import console
from edgetrack.errors import EdgetrackError

__all__ = ["Program", "new_parser", "run_program"]

_INTERRUPTED = 130

Program = Callable[[argparse.Namespace], dict[str, Any]]
"""Measures what the options ask for and returns the document."""


def new_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every program has: --json and --output."""
    parser = argparse.ArgumentParser(prog=f"python -m edgetrack.benchmarks.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="print JSON on stdout and nothing else there")
    parser.add_argument("--output", "-o", type=Path, help="write the JSON into this file too")
    return parser


def run_program(
    parser: argparse.ArgumentParser,
    program: Program,
    show: Callable[[dict[str, Any]], None],
    words: Sequence[str] | None = None,
) -> int:
    """Parse, measure, show, write; return the exit code, which is as for `edgetrack` itself.

    Args:
        parser: from `new_parser`.
        program: what to do.
        show: prints the document for people.
        words: the command line; None takes the one that was typed.
    """
    try:
        options = parser.parse_args(sys.argv[1:] if words is None else list(words))
        check_writable(options.output)
        document = program(options)
        if options.output is not None:
            write_document(options.output, document)
        if options.json:
            console.emit_json(document)
        else:
            show(document)
    except EdgetrackError as error:
        console.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        console.error("interrupted")
        return _INTERRUPTED
    return 0
