"""One export in a process of its own, and what it took: `python -m edgetrack.benchmarks.exporting NOTE export ...`.

NOTE is the file to write that into; the rest is a command line of `edgetrack`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgetrack import cli
from edgetrack.benchmarks.files import document_head, write_document
from edgetrack.benchmarks.process import peak_rss_bytes

__all__ = ["SCHEMA", "main", "note_of"]

SCHEMA = "edgetrack-export/1"


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return the exit code of the command; without success there is no note."""
    note, *command = sys.argv[1:] if words is None else list(words)
    began = time.perf_counter()
    code = cli.main(command)
    if code == 0:
        took = {"seconds": time.perf_counter() - began, "peak_rss_bytes": peak_rss_bytes()}
        write_document(Path(note), {**document_head(SCHEMA), **took})
    return code


def note_of(artifact: Path) -> Path:
    """Return where the note on an artifact's export belongs: beside it."""
    return artifact.with_name(f"{artifact.name}.export.json")


if __name__ == "__main__":
    sys.exit(main())
