"""Whether a smaller precision is faster than float32 on the machine that built it: what the manifest says of it.

Measuring is not done here: who calls the pipeline hands in what measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.artifact import ArtifactWriter
from edgetrack.errors import EngineUnavailable

if TYPE_CHECKING:
    from edgetrack.export.parity.gate import Progress
    from edgetrack.export.plan import ExportPlan

__all__ = ["NOT_WANTED", "FloatTwin", "SpeedCheck", "speed_section"]

NOT_WANTED = "not wanted"
"""Why it was not measured, where nobody asked for it."""

SpeedCheck = Callable[[Path, Path], Mapping[str, Any]]
"""Compares the whole loops of two artifacts, the float32 one first; see `edgetrack.benchmarks.speed_check`."""


@dataclass(frozen=True)
class FloatTwin:
    """The same export in float32, built in a scratch folder when it is needed.

    Attributes:
        plan: of the export.
        build: writes the graphs of a plan into a folder and returns the manifest.
        scratch: an existing folder.
    """

    plan: ExportPlan
    build: Callable[[ExportPlan, Path], dict[str, Any]]
    scratch: Path

    def write(self) -> Path:
        """Build it, without proving it, and return its folder."""
        target = self.plan.target
        known = {option.name: option for option in target.options}
        options = {
            name: value if known[name].holds_at("fp32") else known[name].default
            for name, value in self.plan.options.items()
        }
        output = self.scratch / f"{self.plan.variant}-{target.name}-fp32"
        twin = replace(self.plan, precision="fp32", output=output, options=options, calibration=None)
        with ArtifactWriter(output) as writer:
            writer.write_manifest(self.build(twin, writer.folder))
            return writer.commit()


def speed_section(
    base: FloatTwin, artifact: Path, not_run: str | None, check: SpeedCheck | None, progress: Progress
) -> dict[str, Any]:
    """Return the manifest's `precision.speed`: what `check` found, or `not_measured` and why.

    Args:
        base: what to compare with.
        artifact: the folder of what was built.
        not_run: why the artifact cannot run here, if it cannot.
        check: what measures; None: not wanted.
        progress: told of the stage.
    """
    target = base.plan.target
    if check is None:
        return {"not_measured": NOT_WANTED}
    if not_run is not None:
        return {"not_measured": not_run}
    if "fp32" not in target.precisions:
        return {"not_measured": f"target {target.name} has no fp32 to compare with"}
    progress.stage("compare the speed with fp32")
    try:
        return dict(check(base.write(), artifact))
    except EngineUnavailable as error:
        return {"not_measured": str(error)}
