"""The object that users hold: init, update, score and state of one target in one video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, InputError
from edgetrack.registry import Registry
from edgetrack.runtime.core import CentreHeadTracker, CropLoop, State
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.graph_file import CheckedEngine, GraphFile

__all__ = ["FAMILIES", "Box", "FamilyBuilder", "GraphFile", "Tracker", "build_tracker"]

Box = tuple[float, float, float, float]

_MOST_CANDIDATES = 1 << 20  # as many as a map may have cells

FamilyBuilder = Callable[[Mapping[str, Any], Mapping[str, GraphFile], Engine], CropLoop]

FAMILIES: Registry[FamilyBuilder] = Registry("tracker family", ArtifactError)
FAMILIES.register("centre-head", "edgetrack.runtime.centre_head:build_centre_head")
FAMILIES.register("fartrack", "edgetrack.runtime.fartrack:build_fartrack")


def build_tracker(spec: Mapping[str, Any], graphs: Mapping[str, GraphFile], engine: Engine) -> Tracker:
    """Open the graphs in `engine` and wire them to the tracker core.

    Args:
        spec: the manifest's "tracker" section.
        graphs: engine files by role ("template", "search").
        engine: an open engine; the tracker closes it.

    Raises:
        ArtifactError: the family is unknown, spec and graphs do not fit it, or a file has other tensors than its
            `GraphFile` says.
        EngineUnavailable: the device cannot run a graph.
    """
    family = spec.get("family")
    if not isinstance(family, str):
        raise ArtifactError(f"the tracker section names no family (it says {family!r}); export the artifact again")
    return Tracker(FAMILIES.get(family)(spec, graphs, CheckedEngine(engine, graphs.values())), engine)


class Tracker:
    """Follows one target through a video.

    Boxes are (x, y, w, h) in pixels, float, x and y of the top-left corner, 0-based. Frames are uint8 arrays,
    by default HxWx3 BGR as OpenCV reads them; any strides are fine and the frame is not copied. `color` names
    other layouts: "rgb", "gray" (HxW), "bgra", "rgba" (HxWx4), "nv12" ((H*3/2)xW); what `init` is given holds for
    the updates that follow.

    A tracker belongs to one thread at a time; several trackers may run in parallel threads.
    """

    def __init__(self, core: CropLoop, engine: Engine) -> None:
        """Use `edgetrack.load` instead; `core` is the compiled tracker, `engine` what runs its networks."""
        self._core: CropLoop | None = core
        self._engine = engine
        self._color = "bgr"

    def init(self, frame: NDArray[np.uint8], box: Sequence[float] | NDArray[Any], *, color: str = "bgr") -> None:
        """Start following what is inside `box` in `frame`; may be called again for another target.

        Args:
            frame: uint8 image; its size is the size that all following frames must have.
            box: four finite numbers x, y, w, h in pixels with w and h above 0, not wholly outside the frame.
            color: layout of the frame and, unless `update` is told otherwise, of those that follow; see the class.

        Raises:
            InputError: the frame or box cannot be used, or the tracker is closed.
        """
        self.core.init(_checked_frame(frame), _checked_box(box), color)
        self._color = color

    def update(self, frame: NDArray[np.uint8], *, color: str | None = None) -> tuple[bool, Box]:
        """Find the target in the next frame.

        Args:
            frame: uint8 image of the size given to `init`.
            color: layout of the frame, see the class; None: the one given to the last `init`.

        Returns:
            Whether the target was found, and its box (x, y, w, h); the last box if it was not.

        Raises:
            InputError: the frame cannot be used, `init` was not called, or the tracker is closed.
            EngineUnavailable: the device failed.
        """
        ok, (x, y, w, h) = self.core.update(_checked_frame(frame), self._color if color is None else color)
        return ok, (x, y, w, h)

    def candidates(self, k: int) -> list[tuple[Box, float]]:
        """Return up to `k` boxes that the last frame offered, best first, each with its score before calibration.

        They are where the network's response has a local peak; the first is `raw_box`. The response favours the middle
        of the search region, the score does not, so a score may exceed the one before it. Empty before the first
        update, and when there was nothing to see in the last frame.

        Args:
            k: 1 or more.

        Raises:
            InputError: `k` is no whole number above 0, the tracker's family gives no candidates, or the tracker is
                closed.
        """
        core = self.core
        if not isinstance(core, CentreHeadTracker):
            raise InputError(
                f"this tracker ({type(core).__name__}) gives no candidates, only those with a centre head (OSTrack, "
                "GRM) do; use the box that update returns"
            )
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"candidates was asked for {k!r} boxes; give a whole number, 1 or more")
        return core.candidates(min(int(k), _MOST_CANDIDATES))

    def reset(self) -> None:
        """Forget the target and its history; call `init` next."""
        self.core.reset()

    @property
    def core(self) -> CropLoop:
        """The compiled tracker, with its inner state for tools and tests; raises InputError once closed."""
        if self._core is None:
            raise InputError("this tracker is closed; load the artifact again")
        return self._core

    @property
    def engine(self) -> Engine:
        """The engine that runs the networks."""
        return self._engine

    @property
    def score(self) -> float:
        """How sure the tracker is of the last box, from 0 to 1."""
        return float(self.core.score)

    @property
    def state(self) -> State:
        """TRACKING, UNCERTAIN or LOST, after the last frame."""
        return self.core.state

    @property
    def box(self) -> Box:
        """The last box (x, y, w, h) that was reported."""
        x, y, w, h = self.core.box
        return (x, y, w, h)

    @property
    def raw_box(self) -> Box:
        """Box (x, y, w, h) of the published loop, updated on every frame, also while the state is LOST.

        It is what evaluation toolkits score; `box` stays at the last one that could be trusted.
        """
        x, y, w, h = self.core.raw_box
        return (x, y, w, h)

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds of the last update by stage: crop, run (the engine), decode, memory, total."""
        return dict(self.core.timings_ms)

    def getTrackingScore(self) -> float:
        """Return `score`; named as in OpenCV's trackers."""
        return self.score

    def close(self) -> None:
        """Release the networks and the engine; any later use raises InputError. May be called twice."""
        if self._core is not None:
            self._core = None
            self._engine.close()

    def __enter__(self) -> Tracker:
        """Return the tracker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the tracker."""
        self.close()


def _checked_frame(frame: object) -> NDArray[np.uint8]:
    if isinstance(frame, np.ndarray):
        return frame
    if frame is None:
        raise InputError("the frame is None: the video has ended or could not be read; check what read() returned")
    raise InputError(f"the frame is a {type(frame).__name__}, must be a numpy array of uint8; convert it first")


def _checked_box(box: object) -> Box:
    try:
        if isinstance(box, str | bytes):
            raise TypeError
        x, y, w, h = (float(value) for value in box)  # type: ignore[attr-defined]
    except OverflowError as error:
        raise InputError(
            "the box holds a number too large for a float; give four numbers x, y, w, h in pixels"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"the box is {box!r}, must be four numbers x, y, w, h in pixels") from error
    return (x, y, w, h)
