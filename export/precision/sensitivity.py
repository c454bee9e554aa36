"""Which layers the boxes need in higher precision: ordered by the error they cause, chosen by the closed loop.

Layers are taken module by module. Their order is found by rounding each alone and looking at the outputs that decide,
on sampled inputs. How many of the first ones stay in higher precision is found by tracking the calibration's held-out
part: success AUC against the truth, and the distance from float32's boxes. Tensor error alone decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.metrics import OVERLAP_THRESHOLDS, box_iou, follows, present
from edgetrack.errors import ParityError
from edgetrack.export.precision.clips import Section
from edgetrack.export.precision.loops import open_loop, track
from edgetrack.export.precision.plan import CalibrationPlan
from edgetrack.export.precision.quantize import insert_pairs

if TYPE_CHECKING:
    from edgetrack.export.parity.gate import Progress
    from edgetrack.export.precision.calibration import Samples
    from edgetrack.export.precision.int8 import PlainGraph, Quantization
    from edgetrack.export.source import Source

__all__ = ["Group", "Point", "Sensitivity", "choose", "fewest", "groups_of", "holds", "score"]

_SAMPLES = 3  # inputs of a graph on which each group is rounded alone
_CLIP_FRAMES, _FRAMES = 60, 240  # of the held-out part: of one clip, and in all
_OPERATION = re.compile(r"\.[^.]+(\.\d+)?$")

Boxes = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Group:
    """Layers of one module.

    Attributes:
        name: role/module.
        layers: names (role/node).
        macs: of all of them.
        error: of the deciding outputs when these alone are 8-bit, root mean square in parts of the output's own.
    """

    name: str
    layers: tuple[str, ...]
    macs: int
    error: float = 0.0


@dataclass(frozen=True)
class Point:
    """What the held-out part says of one choice.

    Attributes:
        kept: how many of the most sensitive groups are not 8-bit.
        share: of the networks' multiply-accumulates that are 8-bit.
        auc: success AUC in points of 100, mean of the clips.
        auc_drop: float32's less this one's.
        iou: mean overlap with float32's boxes where these follow the target; None: nowhere.
        box_error: mean over frames of the largest difference of x, y, w, h from float32's, in pixels.
    """

    kept: int
    share: float
    auc: float
    auc_drop: float
    iou: float | None
    box_error: float


@dataclass(frozen=True)
class Sensitivity:
    """All that was found; `as_dict` is sensitivity.json."""

    groups: tuple[Group, ...]
    points: tuple[Point, ...]
    chosen: Point
    fp32_auc: float
    frames: int
    clips: tuple[str, ...]

    def as_dict(self, plan: CalibrationPlan) -> dict[str, Any]:
        """Return what the artifact keeps: the budget, the groups by error, and the curve."""
        return {
            "schema": 1,
            "budget": {"max_auc_drop": plan.max_auc_drop, "max_box_error_px": plan.max_box_error},
            "held_out": {"clips": list(self.clips), "frames": self.frames, "fp32_auc": self.fp32_auc},
            "groups": [{**asdict(group), "eight_bit": n >= self.chosen.kept} for n, group in enumerate(self.groups)],
            "curve": [asdict(point) for point in self.points],
            "chosen": asdict(self.chosen),
        }


def choose(
    source: Source,
    quantization: Quantization,
    plan: CalibrationPlan,
    *,
    samples: Samples,
    held_out: Sequence[Section],
    folder: Path,
    threads: int | None = None,
    progress: Progress,
) -> tuple[Quantization, Sensitivity]:
    """Find the fewest layers that have to stay in higher precision for the budget to hold.

    Args:
        source: the network.
        quantization: all layers that may be 8-bit are.
        plan: the budget.
        samples: of the calibration.
        held_out: what to judge by.
        folder: an existing one for graph files.
        threads: CPU threads; None leaves it to ONNX Runtime.
        progress: told of stages and steps.

    Raises:
        ParityError: it does not hold as long as anything is 8-bit.
    """
    progress.stage("sensitivity: each module alone")
    groups = _ordered(quantization, samples, progress)
    sections = _shortened(held_out)
    judge = _Judge(source, quantization, groups, sections, folder, threads, progress)
    chosen = fewest(len(groups), lambda kept: holds(judge.point(kept), plan))
    if chosen == len(groups):
        raise ParityError(_no_budget(judge, plan))
    for kept in (len(groups) // 4, len(groups) // 2):  # for the curve
        judge.point(kept)
    names = frozenset(name for group in groups[:chosen] for name in group.layers)
    points = tuple(judge.points[kept] for kept in sorted(judge.points))
    found = Sensitivity(
        tuple(groups),
        points,
        judge.points[chosen],
        judge.auc,
        sum(len(section.boxes) - 1 for section in sections),
        tuple(section.name for section in sections),
    )
    return replace(quantization, kept=names), found


def fewest(count: int, good: Callable[[int], bool]) -> int:
    """Return the smallest number of kept groups that is good; `count` if none below is. Asks few of them.

    More kept groups are taken to be no worse, which holds but for noise; what is returned was itself found good.
    """
    if good(0):
        return 0
    low, high = 0, count  # low is bad, high good: with everything kept nothing is lost
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def holds(point: Point, plan: CalibrationPlan) -> bool:
    """Tell whether a choice is within the budget."""
    error = plan.max_box_error
    return point.auc_drop <= plan.max_auc_drop and (error is None or point.box_error <= error)


def groups_of(quantization: Quantization) -> list[Group]:
    """Return the layers that may be 8-bit, module by module, in the order of the graphs."""
    members: dict[str, list[tuple[str, int]]] = {}
    for role, graph in quantization.graphs.items():
        for layer in graph.layers:
            if layer.node in graph.bearing:
                module = _OPERATION.sub("", layer.node)
                members.setdefault(f"{role}/{module}", []).append((layer.name, layer.macs))
    return [
        Group(name, tuple(layer for layer, _ in found), sum(macs for _, macs in found))
        for name, found in members.items()
    ]


def score(boxes: Boxes, truth: Boxes) -> float:
    """Return the success AUC in points of 100, mean of the clips, first frames and absent targets left out."""
    found = []
    for got, true in zip(boxes, truth, strict=True):
        seen = present(true)
        seen[0] = False
        if seen.any():
            overlaps = box_iou(got, true)[seen]
            found.append(100 * float(np.mean(overlaps[:, None] > OVERLAP_THRESHOLDS)))
    return float(np.mean(found)) if found else 0.0


class _Judge:
    """Tracks the held-out part with some groups kept, each number once."""

    def __init__(  # noqa: PLR0917 (private, called once)
        self,
        source: Source,
        quantization: Quantization,
        groups: Sequence[Group],
        sections: Sequence[Section],
        folder: Path,
        threads: int | None,
        progress: Progress,
    ) -> None:
        self._source, self._quantization, self._groups = source, quantization, groups
        self._sections, self._folder, self._threads, self._progress = sections, folder, threads, progress
        self._truth = [section.boxes for section in sections]
        self._total = sum(graph.macs for graph in quantization.graphs.values())
        self._progress.stage("sensitivity: float32 on the held-out part")
        self._float = self._track({role: graph.path for role, graph in quantization.graphs.items()})
        self.auc = score(self._float, self._truth)
        self.points: dict[int, Point] = {}

    def point(self, kept: int) -> Point:
        """Return what the held-out part says with the first `kept` groups in higher precision."""
        if kept not in self.points:
            eight = self._groups[kept:]
            self._progress.stage(f"sensitivity: {len(eight)} of {len(self._groups)} modules in 8 bits")
            names = {name for group in eight for name in group.layers}
            boxes = self._track(_write(self._quantization, names, self._folder))
            share = sum(group.macs for group in eight) / self._total
            self.points[kept] = self._compared(kept, share, boxes)
        return self.points[kept]

    def _compared(self, kept: int, share: float, boxes: Boxes) -> Point:
        pairs = list(zip(boxes, self._float, self._truth, strict=True))
        errors = np.concatenate([np.abs(a - b)[1:].max(axis=1) for a, b, _ in pairs])
        overlaps = [box_iou(a, b)[1:][follows(b, true)[1:]] for a, b, true in pairs]
        joined = np.concatenate(overlaps)
        auc = score(boxes, self._truth)
        iou = float(joined.mean()) if len(joined) else None
        return Point(kept, share, auc, self.auc - auc, iou, float(errors.mean()))

    def _track(self, files: Mapping[str, Path]) -> Boxes:
        """Return the boxes of every section, the first one the truth."""
        spec = self._source.family.tracker_spec(self._source.variant.name)
        found = []
        with open_loop(spec, self._source.graphs, files, threads=self._threads) as tracker:
            for section in self._sections:
                first = section.boxes[0]
                found.append(np.stack([first, *track(tracker, section.frames(), first.tolist())]))
                self._progress.advance()
        return found


def _ordered(quantization: Quantization, samples: Samples, progress: Progress) -> list[Group]:
    """Return the groups with their errors, the largest first."""
    expected = {role: _outputs(graph, graph.path.read_bytes(), samples) for role, graph in quantization.graphs.items()}
    measured = []
    for group in groups_of(quantization):
        role = group.name.partition("/")[0]
        graph = quantization.graphs[role]
        names = {name.partition("/")[2] for name in group.layers}
        found = _outputs(graph, _pairs(graph, names).SerializeToString(), samples)
        measured.append(replace(group, error=_error(found, expected[role])))
        progress.advance()
    return sorted(measured, key=lambda group: -group.error)


def _outputs(graph: PlainGraph, model: bytes, samples: Samples) -> list[list[NDArray[np.float32]]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    deciding = [name for name in graph.graph.outputs if name not in graph.graph.features] or list(graph.graph.outputs)
    return [session.run(deciding, inputs) for inputs in samples.of(graph.graph.role, _SAMPLES)]


def _error(found: Sequence[Sequence[NDArray[Any]]], expected: Sequence[Sequence[NDArray[Any]]]) -> float:
    """Return the largest error of an output: root mean square in parts of the output's own spread."""
    errors = []
    for number in range(len(expected[0])):
        a = np.stack([sample[number] for sample in expected])
        b = np.stack([sample[number] for sample in found])
        errors.append(float(np.sqrt(np.mean((a - b) ** 2)) / max(float(a.std()), 1e-12)))
    return max(errors)


def _write(quantization: Quantization, names: set[str], folder: Path) -> dict[str, Path]:
    """Write all graphs with the layers `names` (role/node) in 8 bits; return their files."""
    import onnx

    files = {}
    for role, graph in quantization.graphs.items():
        files[role] = folder / f"{role}.trial.onnx"
        nodes = {name.partition("/")[2] for name in names if name.startswith(f"{role}/")}
        onnx.save_model(_pairs(graph, nodes), str(files[role]))
    return files


def _pairs(graph: PlainGraph, nodes: set[str]) -> Any:  # noqa: ANN401 (an onnx.ModelProto)
    import onnx

    return insert_pairs(onnx.load(str(graph.path)), graph.ranges, nodes)


def _shortened(sections: Sequence[Section]) -> list[Section]:
    """Return the first frames of as many sections as the work allows for."""
    return list(_within(sections, _FRAMES))


def _within(sections: Sequence[Section], frames: int) -> Iterator[Section]:
    for section in sections:
        if frames <= 1:
            return
        count = min(len(section.boxes), _CLIP_FRAMES, frames)
        frames -= count
        yield Section(section.clip, section.start, section.start + count)


def _no_budget(judge: _Judge, plan: CalibrationPlan) -> str:
    last = judge.points[max(judge.points)]
    work = f"{100 * last.share:.0f} % of the work"
    budget = f"{plan.max_auc_drop:g} points of AUC"
    budget += "" if plan.max_box_error is None else f" and {plan.max_box_error:g} px"
    return (
        f"8 bits cost more than {budget} on the held-out part of {plan.spec} whatever layers are left out: even with "
        f"{work} in 8 bits AUC falls by {last.auc_drop:.2f} points from {judge.auc:.1f} and boxes move by "
        f"{last.box_error:.2f} px; allow more with --max-auc-drop or --max-box-error, or take fp16"
    )
