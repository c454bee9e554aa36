"""Puts the commands together. Adding one is one file with a function `run`, and one line in `COMMANDS`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from edgetrack.cli import console

__all__ = ["COMMANDS", "build_app", "run"]

COMMANDS: tuple[tuple[str, str], ...] = (
    ("export", "edgetrack.cli.export"),
    ("track", "edgetrack.cli.track"),
    ("serve", "edgetrack.cli.serve"),
    ("encode", "edgetrack.cli.encode"),
    ("bench", "edgetrack.cli.bench"),
    ("eval", "edgetrack.cli.evaluate"),
    ("calibrate", "edgetrack.cli.calibrate"),
    ("verify", "edgetrack.cli.verify"),
    ("rebuild", "edgetrack.cli.rebuild"),
    ("info", "edgetrack.cli.info"),
    ("doctor", "edgetrack.cli.doctor"),
    ("targets", "edgetrack.cli.targets"),
    ("models", "edgetrack.cli.models"),
    ("demo", "edgetrack.cli.demo"),
    ("pack", "edgetrack.cli.pack"),
    ("train", "edgetrack.cli.train"),
    ("distill", "edgetrack.cli.distill"),
    ("sparsify", "edgetrack.cli.sparsify"),
    ("tune", "edgetrack.cli.tune"),
)
"""Command names and the modules whose function `run` is the command, in the order of the help."""

# click's UsageError and typer's own copy of it have no public name that both generations of typer share.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
_USAGE = 2
_INTERRUPTED = 130


def build_app() -> typer.Typer:
    """Return the program with all commands; their modules import nothing heavy."""
    app = typer.Typer(
        name="edgetrack",
        help="Export single-object trackers to edge devices, proven to give the same boxes, and run them.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_globals)
    for name, module in COMMANDS:
        app.command(name)(import_module(module).run)
    return app


def run(words: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors of edgetrack itself pass through."""
    command = typer.main.get_command(build_app())
    try:
        result = command.main(args=list(words) or ["--help"], prog_name="edgetrack", standalone_mode=False)
    except _USAGE_ERROR as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "edgetrack"
        message = getattr(error, "format_message", error.__str__)()
        console.error(f"{message} (see: {path} --help)")
        return _USAGE
    except typer.Abort:
        result = _INTERRUPTED
    if result == _INTERRUPTED:  # typer's older releases raise Abort for Ctrl-C, later ones return this
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def _version(asked: bool) -> None:
    if asked:
        import edgetrack

        console.line(f"edgetrack {edgetrack.__version__}")
        raise typer.Exit


def _globals(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (or set EDGETRACK_DEBUG=1).")
    ] = False,
) -> None:
    """Options before the command; `--debug` is read by `main`, before anything can fail."""
