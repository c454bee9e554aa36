"""Errors of a session that are about when or by whom, and how any error is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgetrack.errors import EdgetrackError, InputError

__all__ = ["NotAllowed", "NotNow", "naming", "one_line"]


class NotNow(InputError):
    """A command that makes no sense in the state that the session is in."""


class NotAllowed(InputError):
    """Something that whoever started the server did not allow."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors call what lies at `path` by its name: where it lies is nobody's business."""
    try:
        yield
    except EdgetrackError as error:
        error.args = (str(error).replace(str(path), path.name),)
        raise


def one_line(error: BaseException) -> str:
    """Return what to tell people about an error."""
    text = " ".join(str(error).split())
    if isinstance(error, EdgetrackError):
        return text
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, or use a smaller model"
    if isinstance(error, OSError):
        return f"{error.strerror or text}; check the disk of the server"
    return f"internal error: {type(error).__name__}: {text}".rstrip(": ")
