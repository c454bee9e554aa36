"""Options of the calibration that int8 and mixed need, shared by the commands that build artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgetrack.cli.options import MAX_SEED

if TYPE_CHECKING:
    from edgetrack.export.precision import CalibrationPlan

__all__ = [
    "CalibFramesOption",
    "CalibOption",
    "CalibSeedOption",
    "MaxAucDropOption",
    "MaxBoxErrorOption",
    "calibration_from_options",
]

CalibOption = Annotated[
    str | None,
    typer.Option(
        "--calib",
        help="int8, mixed: annotated clips to calibrate with: a video or a folder of images with groundtruth.txt, a "
        "folder of such, or KIND:PATH. Needed; there is no default.",
    ),
]
CalibFramesOption = Annotated[
    int | None,
    typer.Option("--calib-frames", min=1, max=100_000, help="Tracked frames to calibrate with; default: 128."),
]
CalibSeedOption = Annotated[
    int | None, typer.Option("--calib-seed", min=0, max=MAX_SEED, help="Of the choice of frames; default: 0.")
]
MaxAucDropOption = Annotated[
    float | None,
    typer.Option(
        "--max-auc-drop",
        min=0.0,
        help="Points of success AUC that int8 may cost on the calibration's held-out part; default: 1.",
    ),
]
MaxBoxErrorOption = Annotated[
    float | None,
    typer.Option("--max-box-error", min=0.0, help="Mean distance of boxes from fp32's there, in pixels; default: any."),
]


def calibration_from_options(
    precision: str,
    calib: str | None,
    *,
    frames: int | None,
    seed: int | None,
    max_auc_drop: float | None,
    max_box_error: float | None,
) -> CalibrationPlan | None:
    """Return what the options say, or None for a precision that needs no calibration.

    Raises:
        typer.BadParameter: --calib is missing where it is needed, or something is said that means nothing.
    """
    from edgetrack.cli.export import usage_error
    from edgetrack.export.precision.plan import CalibrationPlan, check_calibration

    given = {"frames": frames, "seed": seed, "max_auc_drop": max_auc_drop, "max_box_error": max_box_error}
    said = {name: value for name, value in given.items() if value is not None}
    if calib is None and said:
        name = {"frames": "calib-frames", "seed": "calib-seed"}.get(first := next(iter(said)), first).replace("_", "-")
        raise typer.BadParameter("means nothing without --calib", param_hint=f"--{name}")
    with usage_error("--calib"):
        plan = None if calib is None else CalibrationPlan(calib, **said)  # type: ignore[arg-type]
        check_calibration(precision, plan)
    return plan
