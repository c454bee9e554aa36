"""Errors of a session that are about when or by whom, and how any error is told."""

from __future__ import annotations

from edgetrack.errors import EdgetrackError, InputError

__all__ = ["NotAllowed", "NotNow", "one_line"]


class NotNow(InputError):
    """A command that makes no sense in the state that the session is in."""


class NotAllowed(InputError):
    """Something that whoever started the server did not allow."""


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
