"""The object that users hold: init, update, score and state of one target in one video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError
from edgetrack.runtime.arguments import Box, Frame, checked_box, checked_frame, lies_on_device
from edgetrack.runtime.core import CentreHeadTracker, CropLoop, DeviceArray, State
from edgetrack.runtime.core_parts import GatedCore, TextCore, ToldCore
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.language import Language, Pack, Text
from edgetrack.runtime.phrases import Splitter
from edgetrack.runtime.target_pack import TargetPack
from edgetrack.runtime.template_crop import TemplateCrop

__all__ = ["Tracker"]

_MOST_CANDIDATES = 1 << 20  # as many as a map may have cells


class Tracker:
    """Follows one target through a video.

    Boxes are (x, y, w, h) in pixels, float, x and y of the top-left corner, 0-based. Frames are uint8 arrays,
    by default HxWx3 BGR as OpenCV reads them; any strides are fine and the frame is not copied. `color` names
    other layouts: "rgb", "gray" (HxW), "bgra", "rgba" (HxWx4), "nv12" ((H*3/2)xW); what `init` is given holds for
    the updates that follow. Where the engine is TensorRT, frames may also be arrays in the memory of its GPU, of any
    package that speaks DLPack or the CUDA array interface (CuPy, PyTorch, ...): then they are cropped there.

    A tracker belongs to one thread at a time; several trackers may run in parallel threads.
    """

    def __init__(
        self,
        core: CropLoop,
        engine: Engine,
        language: Language | None = None,
        picture: TemplateCrop | None = None,
    ) -> None:
        """Use `edgetrack.load` instead.

        Args:
            core: the compiled tracker.
            engine: what runs its networks.
            language: of a tracker that reads text.
            picture: how what is inside a box becomes the template; None: the tracker is shown none.
        """
        self._picture = picture
        self._core: CropLoop | None = core
        self._engine = engine
        self._language = language
        self._color = "bgr"
        self._started = False

    def init(
        self,
        frame: Frame,
        box: Sequence[float] | NDArray[Any] | None = None,
        *,
        text: Text | None = None,
        pack: Pack | None = None,
        splitter: Splitter | None = None,
        color: str = "bgr",
    ) -> None:
        """Start following what is inside `box` in `frame`, or what a text describes; may be called again.

        The text is encoded here, once; updates do not touch it. If anything is refused, the tracker goes on with the
        target and the description that it had.

        Args:
            frame: uint8 image, see the class; its size is the size that all following frames must have.
            box: four finite numbers x, y, w, h in pixels with w and h above 0, not wholly outside the frame. None: the
                tracker looks for what the text describes; only some can.
            text: the target in a sentence, for trackers that read one; or in phrases, see `Language.encode`.
            pack: instead of a text, a target pack or the path of one, which `encode_text` made of a text; needs no text
                encoder.
            splitter: for trackers that read phrases: what makes them of the sentence, instead of the rules that come
                with edgetrack. It maps the sentence to phrases by their names, in words of the sentence; an answer with
                others is discarded with a warning.
            color: layout of the frame and, unless `update` is told otherwise, of those that follow; see the class.

        Raises:
            InputError: the frame, box, text or pack cannot be used, this tracker reads no text, needs one or needs a
                box, or it is closed.
            ArtifactError: the artifact's text side is damaged.
            EngineUnavailable: the device failed, or the package tokenizers is not installed.
        """
        start: Any = self.core.init  # where a text is enough, the core takes None for a box
        image = self._image(frame)
        place = None if box is None and self._finds_by_text() else checked_box(box)
        shown = None if place is None else self._shown(image, place, color, needed=pack is None)
        target = self._target(self._said(text, splitter), pack, shown)
        start(image, place, color)
        if self._language is not None:
            self._language.image = shown
        self._describe(target)
        self._color = color
        self._started = True

    def retarget(self, *, text: Text | None = None, pack: Pack | None = None, splitter: Splitter | None = None) -> None:
        """Describe the target anew, in the middle of a video; the next update looks for what is described now.

        Where the tracker keeps what it learnt of a target's description (MVLM: its memory, and the view of the last
        frame; ATSTrack: the words in its token), that is forgotten; the box stays until then.

        Args:
            text: the target in a sentence, or in phrases, see `init`.
            pack: instead of a text, see `init`.
            splitter: see `init`.

        Raises:
            InputError: the text or pack cannot be used or neither is given, this tracker reads no text, `init` was not
                called, or the tracker is closed.
            ArtifactError: the artifact's text side is damaged.
            EngineUnavailable: the device failed, or the package tokenizers is not installed.
        """
        _ = self.core
        self._reading()
        if not self._started:
            raise InputError("retarget was called before init; call init with the first frame")
        if text is None and pack is None:
            raise InputError("retarget was given nothing; give text='...' or pack='...'")
        self._describe(self._target(self._said(text, splitter), pack, None))

    def encode_text(
        self,
        text: Text,
        frame: NDArray[np.uint8] | None = None,
        box: Sequence[float] | NDArray[Any] | None = None,
        *,
        splitter: Splitter | None = None,
        color: str = "bgr",
    ) -> TargetPack:
        """Return what the text side makes of a sentence, for `init(..., pack=...)` here or on another machine.

        Args:
            text: the target in a sentence, or in phrases, see `init`.
            frame: uint8 image in which the target is, for trackers that describe it by its picture too (GLAD); others
                leave it out. None: the frame of the last `init`.
            box: x, y, w, h of the target in it, in pixels.
            splitter: see `init`.
            color: layout of the frame, see the class.

        Raises:
            InputError: the text, frame or box cannot be used, this tracker reads no text or has no text encoder, or it
                is closed.
            ArtifactError: the artifact's text side is damaged.
            EngineUnavailable: the device failed, or the package tokenizers is not installed.
        """
        _ = self.core
        language = self._reading()
        if (frame is None) != (box is None):
            raise InputError("a picture of the target is a frame and a box; give both or neither")
        said = text if splitter is None else language.split(text, splitter)
        if frame is None or box is None:
            return language.encode(said)
        if not language.sees_image:
            raise InputError("this tracker describes a target by its text alone; leave out the frame and the box")
        return language.encode(said, self.picture(checked_frame(frame), checked_box(box), color))

    def _shown(
        self, image: NDArray[np.uint8] | DeviceArray, box: Box, color: str, *, needed: bool
    ) -> NDArray[np.float32] | None:
        """Return the target's picture, for its description; None where there is none to be had, nor needed."""
        if isinstance(image, np.ndarray):
            return self.picture(image, box, color)
        if needed and self._language is not None and self._language.sees_image:
            raise InputError("this tracker describes a target by its picture; give init a frame in host memory")
        return None

    def picture(self, frame: NDArray[np.uint8], box: Box, color: str) -> NDArray[np.float32] | None:
        """Return what the describing graphs are shown of a target, for tools and tests; None where they see nothing.

        It is the template's crop, normalised RGB (1, 3, T, T).

        Raises:
            InputError: frame, box or color cannot be used.
        """
        if self._language is None or self._picture is None or not self._language.sees_image:
            return None
        return self._picture.of(frame, box, color)

    @property
    def language(self) -> Language | None:
        """The text side, for tools and tests; None for a tracker that reads no text."""
        return self._language

    @property
    def text_ms(self) -> float:
        """Milliseconds that the last description took in `init`, `retarget` or `encode_text`; no update pays for it."""
        return 0.0 if self._language is None else self._language.text_ms

    def _reading(self) -> Language:
        if self._language is None:
            raise InputError(
                "this tracker reads no text, it follows what a box shows; leave out text and pack, or load a tracker "
                "with language (see `edgetrack models`)"
            )
        return self._language

    def _finds_by_text(self) -> bool:
        return self._language is not None and self._language.spec.without_box

    def _said(self, text: Text | None, splitter: Splitter | None) -> Text | None:
        """Return a description; a splitter makes phrases of it."""
        return text if splitter is None else self._reading().split(text, splitter)

    def _target(self, text: Text | None, pack: Pack | None, shown: NDArray[np.float32] | None) -> TargetPack | None:
        """Return the target data of a description; None for a tracker that reads no text."""
        if self._language is None and text is None and pack is None:
            return None
        return self._reading().target(text, pack, shown)

    def _describe(self, target: TargetPack | None) -> None:
        """Hand checked target data to the search network and the core."""
        if target is None or self._language is None:
            return
        self._language.put(target.arrays)
        core = self.core
        if isinstance(core, ToldCore):
            for name in self._language.spec.feeds:
                core.set_told(name, target.arrays[name])
        if isinstance(core, TextCore):
            core.set_text(target.arrays[self._language.spec.feeds[0]])

    def update(self, frame: Frame, *, color: str | None = None) -> tuple[bool, Box]:
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
        core = self.core
        ok, (x, y, w, h) = core.update(self._image(frame), self._color if color is None else color)
        return ok, (x, y, w, h)

    def _image(self, frame: Frame) -> NDArray[np.uint8] | DeviceArray:
        """Return a frame as the core takes it. Its memory is kept as long as what is returned."""
        return self._engine.device_frame(frame) if lies_on_device(frame) else checked_frame(frame)

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
                "GRM, GLAD, ATSTrack) do; use the box that update returns"
            )
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"candidates was asked for {k!r} boxes; give a whole number, 1 or more")
        return core.candidates(min(int(k), _MOST_CANDIDATES))

    @property
    def thresholds(self) -> dict[str, float]:
        """What the tracker judges its boxes by and `set_thresholds` may change, by name; empty where it has none.

        MVLM has tau (least confidence), omega (weight of the memory in it), lambda (weight of the past in the memory)
        and psi (largest overlap of two places).
        """
        core = self.core
        return dict(core.thresholds) if isinstance(core, GatedCore) else {}

    @property
    def threshold_ranges(self) -> dict[str, tuple[float, float]]:
        """Least and largest value of each of `thresholds`."""
        core = self.core
        return dict(core.threshold_ranges) if isinstance(core, GatedCore) else {}

    def set_thresholds(self, values: Mapping[str, float]) -> None:
        """Change some of `thresholds` from the next update on; `init` and `reset` leave them as they are.

        What MVLM has learnt stays. What counts as LOST and UNCERTAIN moves with tau.

        Args:
            values: by name; the others stay.

        Raises:
            InputError: a name or value cannot be, then nothing is changed; or this tracker has no thresholds.
        """
        core = self.core
        if not isinstance(core, GatedCore):
            raise InputError(f"this tracker ({type(core).__name__}) has no thresholds, MVLM does; leave them out")
        core.set_thresholds(dict(values))

    def reset(self) -> None:
        """Forget the target and its history; call `init` next."""
        self.core.reset()
        self._started = False

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
