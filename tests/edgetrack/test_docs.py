"""What the pages for users say holds: links lead somewhere, and every command line in them can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

typer_main = pytest.importorskip("typer.main", reason="the command line needs typer")

from edgetrack.cli.app import build_app  # noqa: E402
from edgetrack.export.targets import target_of  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer_main.get_command(build_app())
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
FOREIGN = {"--system-site-packages", "--nproc-per-node"}
INLINE = re.compile(r"`(edgetrack [^`]+)`")


def typed_lines():
    """Return page and command line, without the program's own options, of all that stand in the pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
        for line in [*lines, *INLINE.findall(text)]:
            program, *words = shlex.split(line, comments=True) or [""]
            words = [word for word in words if word != "--debug"]
            if program.split("/")[-1] == "edgetrack" and words and words[0] != "...":
                found.append(pytest.param(words, id=f"{page.name}: {' '.join(words)}"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if link.startswith("http"):
            continue
        place, _, section = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        if section:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


def test_there_are_lines_to_try():
    assert len(typed_lines()) > 20


@pytest.mark.parametrize("words", typed_lines())
def test_command_lines_are_understood(words):
    name, *rest = words
    understood(name, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_exist(page):
    known = {name for command in COMMANDS.commands.values() for option in command.params for name in option.opts}
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`]+)`", text):
        program = code.split()[0]
        if not program.startswith("-") and program != "edgetrack":
            continue  # of another program: pip, cmake, torchrun
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code):
            assert option in known | {"--debug", "--help"} or option in FOREIGN, f"{option} in `{code}`"


def test_a_line_that_is_wrong_is_noticed():
    for name, rest in (
        ("exports", []),
        ("export", ["fartrack-pico", "--targets", "onnx"]),
        ("track", ["--init"]),
        ("export", ["fartrack-pico", "--target", "openvino", "--precision", "mixed"]),
    ):
        with pytest.raises(Exception, match=r"No such|requires an argument|mixed"):
            understood(name, rest)


def understood(name, rest):
    """Parse a line; raises for a command or an option that is not there."""
    context = COMMANDS.make_context("edgetrack", [name], resilient_parsing=True)
    command = COMMANDS.get_command(context, name)
    if command is None:
        raise LookupError(f"No such command {name}")
    inner = command.make_context(name, [], parent=context, resilient_parsing=True)
    inner.resilient_parsing = False
    given, _, _ = command.make_parser(inner).parse_args(list(rest))
    if name == "export":
        target_of(given.get("target", "onnx")).check_precision(given.get("precision", "fp32"))
