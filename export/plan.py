"""What an export will do: names, options and packages, checked before anything is done."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetrack.errors import InputError
from edgetrack.export.language import TextFiles, check_precision
from edgetrack.export.models import find_variant
from edgetrack.export.precision import CalibrationPlan, check_calibration
from edgetrack.export.precision.plot import check_plot
from edgetrack.export.source import STAND_IN
from edgetrack.export.targets import TargetInfo, target_of, writer_of

__all__ = ["ExportPlan", "device_of", "plan_export"]

_MAX_SEED = 2**53 - 1  # what every JSON reader keeps exactly: it is in the manifest


@dataclass(frozen=True)
class ExportPlan:
    """What an export will do, after a check of everything that can be checked without doing it.

    Attributes:
        variant: name of the network.
        weights: path of the checkpoint, or "stand-in".
        seed: of stand-in weights.
        target: what it is built for.
        precision: one of the target's.
        output: the artifact's folder.
        device: what the gate runs it on and the manifest names, one of the target's.
        options: the target's own, each with its value.
        calibration: for int8 and mixed, else None.
        text: files of the text side, for trackers with language.
    """

    variant: str
    weights: str
    seed: int
    target: TargetInfo
    precision: str
    output: Path
    device: str
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration: CalibrationPlan | None = None
    text: TextFiles = field(default_factory=TextFiles)

    @property
    def command(self) -> str:
        """The command line that repeats this export."""
        words = ["edgetrack", "export", self.variant, "--weights", self.weights, "--target", self.target.name]
        words += ["--precision", self.precision]
        words += ["--device", self.device] if self.device != self.target.devices[0] else []
        words += ["--seed", str(self.seed)] if self.weights == STAND_IN else []
        words += self.text.words()
        for option in self.target.options:
            value = self.options.get(option.name, option.default)
            if value != option.default:
                words += [f"--{option.name}"] if option.kind is bool else [f"--{option.name}", str(value)]
        words += self.calibration.words() if self.calibration is not None else []
        return shlex.join(words)


def plan_export(
    variant: str,
    weights: str | Path,
    *,
    target: str = "onnx",
    precision: str = "fp32",
    output: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    calibration: CalibrationPlan | None = None,
    text: TextFiles | None = None,
) -> ExportPlan:
    """Check names and packages.

    Args:
        variant: name of the network, as `edgetrack models` lists them.
        weights: path of a published checkpoint, or "stand-in" for made-up weights that follow no target.
        target: name or alias, as `edgetrack targets` lists them.
        precision: one of the target's.
        output: the artifact's folder; None: `<variant>-<target>-<precision>` in the current folder.
        seed: of stand-in weights.
        device: one of the target's, as "cpu", "cuda:1" or "GPU"; None: its first one.
        options: the target's own, as `TargetInfo.options` declares them.
        calibration: what int8 and mixed are calibrated with; there is no default.
        text: files of the text side, for trackers with language.

    Raises:
        InputError: no such variant, target, precision, device or option, options that contradict each other, a seed
            below 0 or above 2**53 - 1, no calibration where the precision needs one, one where it needs none, or a
            precision that cannot be had of a tracker that reads text.
        EngineUnavailable: a package that the target needs is not installed.
        WrongMachine: what the options say of the machine to build for contradicts itself.
    """
    find_variant(variant)
    if not 0 <= seed <= _MAX_SEED:
        raise InputError(f"seed is {seed}; give a number from 0 to {_MAX_SEED}")
    info = target_of(target)
    info.check_precision(precision)
    check_precision(variant, precision)
    check_calibration(precision, calibration)
    if calibration is not None:
        check_plot()
    chosen = device_of(info, device)
    said = info.check_options(options or {}, precision)
    writer_of(info.name, said).check()
    folder = Path(output) if output is not None else Path(f"{variant}-{info.name}-{precision}")
    return ExportPlan(
        variant, str(weights), seed, info, precision, folder, chosen, said, calibration, text or TextFiles()
    )


def device_of(target: TargetInfo, device: str | None) -> str:
    """Return `device`, which may name one of several of its kind ("cuda:1", "GPU.0"), or the target's first.

    Raises:
        InputError: the target has no such device.
    """
    if device is None:
        return target.devices[0]
    kind = device.replace(".", ":").split(":")[0].lower()
    if kind not in {known.lower() for known in target.devices}:
        raise InputError(f"{target.name} has no device {device!r}; give {', '.join(target.devices)}")
    return device
