"""Writes the files of an artifact: its graphs for the target, what calibration found, and the manifest's sections."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from edgetrack.export.manifest import build_section, extra_sections, graph_section, model_sections, target_sections
from edgetrack.export.parity.gate import Progress
from edgetrack.export.plan import ExportPlan
from edgetrack.export.precision import Quantization, quantize, write_typed
from edgetrack.export.precision.plot import write_plot
from edgetrack.export.source import Source
from edgetrack.export.targets import writer_of
from edgetrack.export.targets.base import ExtraFile

__all__ = ["build_artifact"]


def build_artifact(
    plan: ExportPlan, source: Source, folder: Path, threads: int | None, progress: Progress
) -> dict[str, Any]:
    """Write all graphs into `folder` and return the manifest, its verification still empty."""
    writer = writer_of(plan.target.name, plan.options)
    precision = plan.target.typed.get(plan.precision, plan.precision)
    files: dict[str, tuple[str, ...]] = {}
    quantization: Quantization | None = None
    with tempfile.TemporaryDirectory(prefix="edgetrack-") as scratch:
        if plan.calibration is not None:
            calibrated = Path(scratch) / "calibration"
            calibrated.mkdir()
            quantization = quantize(
                source, plan.calibration, calibrated, threads=threads, search=True, progress=progress
            )
        typed = []
        for graph in source.graphs:
            progress.stage(f"build {graph.role} for {plan.target.name}")
            metadata = {
                "family": source.family.name,
                "variant": plan.variant,
                "role": graph.role,
                "checkpoint_sha256": source.sha256,
            }
            made = write_typed(
                graph, Path(scratch), precision, metadata, asked=plan.precision, quantization=quantization
            )
            typed.append(made)
            writer.say = partial(_stage_of, progress, f"build {graph.role} for {plan.target.name}")
            files[graph.role] = writer.write(made, folder)
        extras = (*writer.finish(typed, folder), *_sensitivity_files(plan, quantization, folder))
    if source.text is not None:
        source.text.write(folder)
    progress.advance()
    islands = [f"{item.role}/{name}" for item in typed for name in item.islands]
    return {
        **model_sections(source),
        "graphs": [
            graph_section(graph, folder, files[graph.role], writer.pixel_inputs(graph)) for graph in source.graphs
        ],
        **extra_sections(extras, folder),
        **target_sections(plan.target, plan.precision, writer, plan.device, islands),
        "calibration": None if quantization is None else dict(quantization.manifest),
        "verification": None,
        "build": build_section(plan.command, source.seed),
    }


def _sensitivity_files(plan: ExportPlan, quantization: Quantization | None, folder: Path) -> tuple[ExtraFile, ...]:
    """Write what the choice of 8-bit layers follows from, as numbers and as a picture."""
    if plan.calibration is None or quantization is None or quantization.sensitivity is None:
        return ()
    found = quantization.sensitivity
    text = json.dumps(found.as_dict(plan.calibration), indent=2) + "\n"
    (folder / "sensitivity.json").write_text(text, encoding="utf-8")
    write_plot(found, plan.calibration.max_auc_drop, folder / "sensitivity.png")
    return ExtraFile("sensitivity.json", "sensitivity"), ExtraFile("sensitivity.png", "plot")


def _stage_of(progress: Progress, stage: str, detail: str) -> None:
    """Say what of a stage is being done."""
    progress.stage(f"{stage}: {detail}")
