"""JSON documents on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import edgetrack
from edgetrack.benchmarks.device import describe_machine, now
from edgetrack.errors import InputError
from edgetrack.video.boxes import check_writable, write_text

__all__ = ["check_writable", "document_head", "read_document", "write_document"]

_NUMBERS = re.compile(r"\[\s+(-?[\d.][-+\d.eE,\s]*?)\s+\]")


def document_head(schema: str) -> dict[str, Any]:
    """Return what every document begins with: its schema, edgetrack's version, the time, and the machine."""
    return {"schema": schema, "edgetrack": edgetrack.__version__, "time": now(), "machine": describe_machine()}


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a document as JSON, lists of numbers on one line each; no half of it is ever seen.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text))


def read_document(path: Path, schema: str) -> dict[str, Any]:
    """Read a document back.

    Raises:
        InputError: it cannot be read, is not JSON, or is not of `schema`.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); measure again") from error
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise InputError(f"{path} is not a document of schema {schema}; measure again")
    return document
