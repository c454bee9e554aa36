"""What targets declare becomes options of `edgetrack export`, and reaches the manifest's command again."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from edgetrack.cli import target_options
from edgetrack.export.pipeline import plan_export
from edgetrack.export.targets import TARGETS, TargetInfo, TargetOption

OPTIONS = (
    TargetOption("soc-version", "which chip", choices=("a1", "b2")),
    TargetOption("workspace-mib", "memory", kind=int, default=64),
    TargetOption("no-source", "leave the graphs out", kind=bool, default=False),
)
CHIP = TargetInfo("chip", (), "onnxruntime", ".onnx", ("fp32",), ("cpu",), ("export",), "", options=OPTIONS)


@pytest.fixture
def chip(monkeypatch):
    monkeypatch.setitem(TARGETS, "chip", CHIP)


@pytest.fixture
def app(chip):
    seen = {}

    @target_options.with_target_options
    def run(model: str, *, depth: int = 3, options: dict) -> None:
        """Do it."""
        seen.update(options, model=model, depth=depth)

    program = typer.Typer()
    program.command()(run)
    return program, seen


def test_what_was_said_arrives(app):
    program, seen = app
    result = CliRunner().invoke(program, ["pico", "--soc-version", "b2", "--workspace-mib", "32", "--no-source"])
    assert result.exit_code == 0, result.output
    assert seen == {"model": "pico", "depth": 3, "soc-version": "b2", "workspace-mib": 32, "no-source": True}


def test_what_was_not_said_does_not(app):
    program, seen = app
    assert CliRunner().invoke(program, ["pico", "--depth", "5"]).exit_code == 0
    assert seen == {"model": "pico", "depth": 5}


def test_help_names_target_and_values(app):
    program, _ = app
    text = " ".join(CliRunner().invoke(program, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "--soc-version" in text
    assert "Target chip: which chip (a1, b2)" in text


def test_the_command_of_a_plan_repeats_them(monkeypatch):
    onnx = TARGETS["onnx"]
    monkeypatch.setitem(TARGETS, "onnx", TargetInfo(**{**vars(onnx), "options": OPTIONS}))
    plan = plan_export("fartrack-pico", "stand-in", options={"soc-version": "a1", "no-source": True})
    assert plan.options == {"soc-version": "a1", "workspace-mib": 64, "no-source": True}
    assert plan.command.endswith("--seed 0 --soc-version a1 --no-source")
