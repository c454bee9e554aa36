"""The command line: `edgetrack <command> ...`; `main` is its entry point.

Nothing heavy is imported here, and each command imports what it needs inside its body.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from edgetrack.cli import console
from edgetrack.errors import EdgetrackError, EngineUnavailable

__all__ = ["main"]

_INTERRUPTED = 130
_BAD_INPUT = 5
_INTERNAL_ERROR = 1
_RUN_AGAIN = "run again with --debug for the traceback"
_TYPER_MISSING = "edgetrack's command line needs typer: pip install 'edgetrack[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 ok, 1 internal error, 2 wrong usage, 3 parity or regression failed, 4 engine, tool or device missing,
    5 bad artifact, checkpoint or input (also a full disk or memory), 130 interrupted.

    Args:
        arguments: the words after "edgetrack"; None takes them from the command that was typed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = _wants_debug(words)
    try:
        if importlib.util.find_spec("typer") is None:
            console.error(_TYPER_MISSING)
            return EngineUnavailable.exit_code
        from edgetrack.cli.app import run

        with _sigterm_interrupts():
            return run(words)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (the last resort: users get one line for a bug too)
        if debug:
            traceback.print_exc()
        message, code = _explain(error)
        console.error(message)
        return code


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that services which are stopped finish or remove their files too."""
    usable = threading.current_thread() is threading.main_thread()
    if not usable or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signature is fixed)
    raise KeyboardInterrupt


def _wants_debug(words: Sequence[str]) -> bool:
    """Tell whether EDGETRACK_DEBUG=1 is set or `--debug` stands before the command."""
    options = [word for index, word in enumerate(words) if all(w.startswith("-") for w in words[: index + 1])]
    return "--debug" in options or os.environ.get("EDGETRACK_DEBUG") == "1"


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the line and the exit code for an error that ends the program."""
    if isinstance(error, EdgetrackError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", _INTERRUPTED
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, or use a smaller model", _BAD_INPUT
    if not isinstance(error, OSError):
        message = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        return f"internal error: {message}; {_RUN_AGAIN}", _INTERNAL_ERROR
    what, where = error.strerror or error, error.filename
    return f"{where}: {what}" if where else f"{what}; check the disk and the paths given", _BAD_INPUT
