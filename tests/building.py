"""Builds single graphs for a target, as the export pipeline does it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgetrack.export.precision import write_typed
from edgetrack.export.targets import target_of, writer_of


def build_files(target, graph, folder, precision="fp32", metadata=None, **options):
    """Write one graph and return the names of its files, the main one first."""
    info = target_of(target)
    with tempfile.TemporaryDirectory() as scratch:
        typed = write_typed(graph, Path(scratch), info.typed.get(precision, precision), metadata or {}, asked=precision)
        return writer_of(target, info.check_options(options)).write(typed, folder)
