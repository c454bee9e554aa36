"""What the parity gate found: plain data, for the manifest, for a file of its own, and for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["NOT_RUN", "ForcedReport", "Limits", "LoopReport", "ParityReport", "TensorReport", "iou"]

NOT_RUN = "not run: no such device here"

_PASSED, _FAILED = "passed", "failed"


@dataclass(frozen=True)
class Limits:
    """What is accepted; see `edgetrack.export.models.base.Thresholds`."""

    tensor_max_abs: Mapping[str, float]
    box_px: float
    min_iou: float
    mean_iou: float
    swapped: int | None = None
    margin: float = 0.0
    corner_px: float | None = None
    forced_iou: float = 0.0
    tensor_scale: Mapping[str, float] = field(default_factory=dict)
    near_px: float = 0.0
    followed_iou: float = 0.0

    @property
    def decoded_px(self) -> float:
        """The limit on decoded corners: `corner_px`, or else that of the boxes."""
        return self.box_px if self.corner_px is None else self.corner_px

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's `thresholds`; None stands for "any", because JSON has no infinity."""
        return {
            "tensor_max_abs": dict(self.tensor_max_abs),
            "tensor_scale": dict(self.tensor_scale),
            "box_px": self.box_px if math.isfinite(self.box_px) else None,
            "min_iou": self.min_iou,
            "mean_iou": self.mean_iou,
            "swapped": self.swapped,
            "margin": self.margin,
            "corner_px": self.decoded_px if math.isfinite(self.decoded_px) else None,
            "forced_iou": self.forced_iou,
            "near_px": self.near_px,
            "followed_iou": self.followed_iou,
        }


@dataclass(frozen=True)
class TensorReport:
    """One output of one graph over all inputs it was run on.

    Attributes:
        role: of the graph.
        output: its name.
        samples: how many inputs.
        max_abs: largest absolute difference; None where a value was NaN or infinite.
        scale: largest absolute reference value.
        cosine: smallest cosine between reference and artifact; None as for max_abs.
        finite: neither NaN nor infinity came out of the artifact.
        limit: largest max_abs that is accepted; None: reported, not judged.
        unproven: sizes of symbolic dimensions at which it was never run, as "kept=49"; "any size" if it never was.
    """

    role: str
    output: str
    samples: int
    max_abs: float | None
    scale: float
    cosine: float | None
    finite: bool
    limit: float | None
    unproven: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it was run at all sizes, is finite and within its limit."""
        if self.unproven or self.samples == 0:
            return False
        return self.finite and (self.limit is None or (self.max_abs is not None and self.max_abs <= self.limit))


@dataclass(frozen=True)
class LoopReport:
    """Two trackers that followed the same target through the same clip, each on its own boxes.

    Attributes:
        clip: name of the clip.
        frames: tracked frames, the first one (where both start) not counted.
        min_iou: smallest overlap of the two boxes of a frame.
        mean_iou: mean over the frames.
        max_box_px: largest difference of any of x, y, w, h in any frame, in pixels.
        first_divergence: number of the first frame beyond the limit (the clip's first frame is 0), or None.
        box_px: the largest difference in each frame, in order.
        at_minimum: reference boxes with a side at the smallest size the loop gives, whose decoding this comparison
            cannot see; None: the loop has no such size.
        followed: frames in which the reference's box overlaps the clip's truth by more than half; None: there is no
            truth.
        followed_iou: mean overlap over these; None likewise, or where there is none.
    """

    clip: str
    frames: int
    min_iou: float
    mean_iou: float
    max_box_px: float
    first_divergence: int | None
    box_px: tuple[float, ...] = field(repr=False)
    at_minimum: int | None = None
    followed: int | None = None
    followed_iou: float | None = None

    def passed(self, limits: Limits) -> bool:
        """Whether everything is within the limits."""
        return not _loop_failures(self, limits)


@dataclass(frozen=True)
class ForcedReport:
    """Two trackers that were put on the same box before every frame.

    Attributes:
        frames: compared frames.
        max_corner_px: largest difference of any decoded corner, before clipping, in pixels; beyond the corner's reach,
            where it lies among bins that are almost as good (see `Thresholds.near_px`).
        max_swapped: most template tokens of a frame that only the reference kept; None: nothing is dropped.
        corner_px: the largest corner difference in each frame, in order.
        undecided: corners, of four a frame, that were not judged: the reference's own decision was too close.
        min_iou: smallest overlap of the boxes between the corners, over frames with all corners judged; None: no such
            frame.
        max_reach_px: the largest reach of a judged corner.
    """

    frames: int
    max_corner_px: float
    max_swapped: int | None
    corner_px: tuple[float, ...] = field(repr=False)
    undecided: int = 0
    min_iou: float | None = None
    max_reach_px: float = 0.0


@dataclass(frozen=True)
class ParityReport:
    """The gate's findings and verdict.

    Attributes:
        reference: what the artifact was compared with.
        limits: what was accepted.
        tensors: empty where the reference has no graphs (another artifact), or nothing was run.
        loop: None where nothing was run.
        not_run: why nothing was run, or None.
        allowed_mismatch: a failed gate was accepted on request.
        forced: None where nothing was run, or the family cannot be forced.
        engine: what ran the artifact ("engine", "version", "device"); None where nothing was run.
        threads: CPU threads asked for; None: left to the engine.
        notes: what a reader should know besides.
    """

    reference: str
    limits: Limits
    tensors: tuple[TensorReport, ...] = ()
    loop: LoopReport | None = None
    not_run: str | None = None
    allowed_mismatch: bool = False
    forced: ForcedReport | None = None
    engine: Mapping[str, str] | None = None
    threads: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> list[str]:
        """One clause for everything out of bounds; empty when all is well."""
        found = [_tensor_failure(item) for item in self.tensors if not item.passed]
        found += [] if self.forced is None else _forced_failures(self.forced, self.limits)
        return found + ([] if self.loop is None else _loop_failures(self.loop, self.limits))

    @property
    def ran_on(self) -> str:
        """Engine, version, device and threads in words; empty where nothing was run."""
        if self.engine is None:
            return ""
        threads = "the engine's own number of" if self.threads is None else self.threads
        return f"{self.engine['engine']} {self.engine['version']} on {self.engine['device']}, {threads} threads"

    @property
    def verdict(self) -> str:
        """Return "passed", "failed" or "not run: ..."; never "passed" for what was not run."""
        if self.not_run is not None or self.loop is None:
            return NOT_RUN
        return _FAILED if self.failures else _PASSED

    @property
    def failed(self) -> bool:
        """Whether something was run and is out of bounds."""
        return self.verdict == _FAILED

    def as_dict(self, *, every_frame: bool = False) -> dict[str, Any]:
        """Return the manifest's `verification`; `every_frame` adds the distances of each frame."""
        loop = None if self.loop is None else asdict(self.loop)
        forced = None if self.forced is None else asdict(self.forced)
        for part, name in ((loop, "box_px"), (forced, "corner_px")):
            if part is not None and not every_frame:
                del part[name]
        return {
            "reference": self.reference,
            "tensors": [{**asdict(item), "passed": item.passed} for item in self.tensors],
            "forced": forced,
            "closed_loop": loop,
            "thresholds": self.limits.as_dict(),
            "verdict": self.verdict,
            "not_run": self.not_run,
            "engine": None if self.engine is None else dict(self.engine),
            "threads": self.threads,
            "notes": list(self.notes),
            "failures": self.failures,
            "allowed_mismatch": self.allowed_mismatch,
        }

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return a table for people: (what, found, accepted, verdict) per line."""
        table = [_tensor_row(item) for item in self.tensors]
        limits = self.limits
        px = _accepted_px(limits.box_px)
        if self.forced is not None:
            table += _forced_rows(self.forced, limits)
        if self.loop is not None:
            loop = self.loop
            table += [
                _row("boxes, largest difference", f"{loop.max_box_px:.2g} px", px, loop.max_box_px <= limits.box_px),
                _iou_row("boxes, smallest IoU", loop.min_iou, limits.min_iou),
                _iou_row("boxes, mean IoU", loop.mean_iou, limits.mean_iou),
            ]
            if loop.followed_iou is not None:
                what = f"boxes, mean IoU in the {loop.followed} frames with the target"
                table.append(_iou_row(what, loop.followed_iou, limits.followed_iou))
            if loop.at_minimum is not None:
                table.append(("boxes with a side at the minimum size", f"{loop.at_minimum} of {loop.frames}", "-", ""))
        return table


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of boxes (x, y, w, h); 0 for empty or not finite ones."""
    if not all(math.isfinite(value) for value in (*a, *b)):
        return 0.0
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(0.0, wide) * max(0.0, high)
    union = a[2] * a[3] + b[2] * b[3] - both
    return both / union if union > 0 else 0.0


def _row(what: str, found: str, accepted: str, good: bool) -> tuple[str, str, str, str]:
    return what, found, accepted, "ok" if good else "FAILED"


def _iou_row(what: str, found: float, accepted: float) -> tuple[str, str, str, str]:
    return _row(what, f"{found:.6f}", f"≥ {accepted:g}", found >= accepted)


def _tensor_row(item: TensorReport) -> tuple[str, str, str, str]:
    found = "NaN or infinity" if item.max_abs is None else f"{item.max_abs:.2g}"
    if item.unproven:
        found = f"not run at {', '.join(item.unproven)}"
    accepted = "-" if item.limit is None else f"≤ {item.limit:.3g}"
    return _row(f"{item.role}.{item.output}, largest difference", found, accepted, item.passed)


def _accepted_px(limit: float) -> str:
    return f"≤ {limit:g} px" if math.isfinite(limit) else "-"


def _forced_rows(forced: ForcedReport, limits: Limits) -> list[tuple[str, str, str, str]]:
    found, px = forced.max_corner_px, _accepted_px(limits.decoded_px)
    table = [_row("decoded corners, largest difference", f"{found:.2g} px", px, found <= limits.decoded_px)]
    if limits.forced_iou > 0 and forced.min_iou is not None:
        table.append(_iou_row("decoded boxes, smallest IoU", forced.min_iou, limits.forced_iou))
    if forced.max_reach_px > 0:
        table.append(("of which close decisions may move", f"{forced.max_reach_px:.2g} px", "more", ""))
    table.append(("corners decided too closely to judge", f"{forced.undecided} of {4 * forced.frames}", "-", ""))
    if forced.max_swapped is not None:
        accepted = "-" if limits.swapped is None else f"≤ {limits.swapped}"
        good = limits.swapped is None or forced.max_swapped <= limits.swapped
        table.append(_row("template tokens swapped in a frame", str(forced.max_swapped), accepted, good))
    return table


def _forced_failures(forced: ForcedReport, limits: Limits) -> list[str]:
    found = []
    if forced.undecided == 4 * forced.frames:
        found.append("no decoded corner is decided clearly enough to judge, so decoding is unproven")
    if forced.max_corner_px > limits.decoded_px:
        frame = next(number for number, px in enumerate(forced.corner_px, start=1) if px > limits.decoded_px)
        found.append(
            f"decoded corners differ by {forced.max_corner_px:.3g} px (accepted {limits.decoded_px:g}), "
            f"first in frame {frame}"
        )
    if forced.min_iou is not None and forced.min_iou < limits.forced_iou:
        found.append(f"smallest IoU of decoded boxes is {forced.min_iou:.4f} (accepted {limits.forced_iou:g})")
    if limits.swapped is not None and forced.max_swapped is not None and forced.max_swapped > limits.swapped:
        found.append(f"{forced.max_swapped} template tokens of a frame are swapped (accepted {limits.swapped})")
    return found


def _tensor_failure(item: TensorReport) -> str:
    if item.unproven or item.samples == 0:
        return f"{item.role}.{item.output} is unproven: never run at {', '.join(item.unproven) or 'any size'}"
    if item.max_abs is None:
        return f"{item.role}.{item.output} holds NaN or infinity"
    return f"{item.role}.{item.output} differs by {item.max_abs:.3g} (accepted {item.limit:g})"


def _loop_failures(loop: LoopReport, limits: Limits) -> list[str]:
    found = []
    if loop.max_box_px > limits.box_px:
        since = "" if loop.first_divergence is None else f", first in frame {loop.first_divergence}"
        found.append(f"boxes differ by {loop.max_box_px:.3g} px (accepted {limits.box_px:g}){since}")
    if loop.min_iou < limits.min_iou:
        found.append(f"smallest IoU is {loop.min_iou:.4f} (accepted {limits.min_iou:g})")
    if loop.mean_iou < limits.mean_iou:
        found.append(f"mean IoU is {loop.mean_iou:.4f} (accepted {limits.mean_iou:g})")
    if loop.followed_iou is not None and loop.followed_iou < limits.followed_iou:
        found.append(
            f"mean IoU where the reference follows the target is {loop.followed_iou:.4f} "
            f"(accepted {limits.followed_iou:g})"
        )
    return found
