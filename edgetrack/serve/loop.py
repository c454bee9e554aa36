"""The tracking loop of a session: what its thread does between commands, and what commands make of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import InputError
from edgetrack.serve.control import ACTIVE, Phase, Settings, Target
from edgetrack.serve.describe import View
from edgetrack.serve.errors import NotNow, one_line
from edgetrack.serve.frames import Frame, Shown
from edgetrack.serve.model import LoadedModel
from edgetrack.serve.playback import Playback
from edgetrack.serve.recorder import Recorder
from edgetrack.serve.track_log import StageClock, TrackLog
from edgetrack.video import FrameResult

if TYPE_CHECKING:
    from edgetrack.runtime.target_pack import TargetPack

__all__ = ["Aimed", "Loop", "Run"]

_POLL_S = 0.05  # how long a command waits for a camera at most
_STEP_S = 2.0
_USUAL_FPS = 30.0


@dataclass(frozen=True)
class Aimed:
    """A target while it is described, which may take longer than frames are kept.

    Attributes:
        target: what to follow.
        shown: the frame that its box belongs to; None for a target without a box.
        view: its picture, where there is one.
    """

    target: Target
    shown: Shown | None
    view: View | None


@dataclass
class Run:
    """One run, from its start to the start of the next.

    Attributes:
        log: its results.
        start: what it began with.
        start_described: what the text side made of that; None for trackers that read no text.
        first: number of the frame that it began with.
        text: what is followed now, where a text or target pack says so; else "".
        recorder: None where no video was asked for.
    """

    log: TrackLog
    start: Target
    start_described: TargetPack | None
    first: int
    text: str
    recorder: Recorder | None

    def facts(self) -> dict[str, Any]:
        """Return what a status tells of it."""
        recorder = self.recorder
        return {
            "number": self.log.number,
            "first": self.first,
            "frames": len(self.log),
            "full": self.log.full,
            "text": self.text,
            "recording": recorder is not None and recorder.done is None and not recorder.trouble,
            "video": recorder is not None and recorder.done is not None,
            "video_trouble": "" if recorder is None else recorder.trouble,
        }


class Loop:
    """Follows a target through what `playback` shows; belongs to the session's thread, any may read the attributes.

    Attributes:
        phase: the state.
        error: why the last run broke off; "" if it did not.
        run: the last run, also when it is over.
    """

    def __init__(self, playback: Playback, folder: Path) -> None:
        """Recordings are written to `folder`."""
        self.phase = Phase.EMPTY
        self.error = ""
        self.model: LoadedModel | None = None
        self.run: Run | None = None
        self.settings = Settings()
        self.clock = StageClock()
        self._playback = playback
        self._folder = folder
        self._runs = 0
        self._due = 0.0
        self._view: View | None = None

    @property
    def loaded(self) -> LoadedModel:
        """The model; NotNow where none is loaded."""
        if self.model is None:
            raise NotNow("no artifact is loaded; load one first")
        return self.model

    def require(self, *phases: Phase, to: str) -> None:
        """Refuse a command in other states than these; NotNow."""
        if self.phase not in phases:
            needed = " or ".join(phase.value for phase in phases)
            raise NotNow(f"cannot {to} now: the state is {self.phase.value}, must be {needed}")

    def require_box(self, target: Target) -> None:
        """Refuse to start without a box where the tracker needs one; InputError."""
        if target.box is None and self.loaded.facts["needs_box"]:
            raise InputError("this tracker needs the target's box in the first frame; draw one")

    def aimed(self, target: Target) -> Aimed:
        """Return a target with the frame that its box belongs to, and the target's picture.

        A text without a box describes what is followed, by the picture that it was started with; where nothing is
        followed there is no picture. NotNow where nothing is shown, or the frame is not kept any more.
        """
        if target.box is None:
            return Aimed(target, None, self._view if self.phase in ACTIVE else None)
        shown = self._playback.shown(target.frame)
        return Aimed(target, shown, View(shown.frame, target.box))

    def forget_view(self) -> None:
        """Forget the picture of what was followed, because another source or model comes."""
        self._view = None

    def begin(self, aimed: Aimed, described: TargetPack | None, *, record: bool) -> None:
        """Start a run on the frame that the target's box belongs to; without a box on the one that is shown."""
        target, feed, shown = aimed.target, self._playback.feed, self._frame_of(aimed)
        if feed.ended and shown.number >= feed.position - 1:
            raise NotNow("the video has ended; wind back to the frame to start with, or restart the last run")
        result = self._init(shown.frame, target, described)
        self.finish()
        if self.run is not None and self.run.recorder is not None:
            self.run.recorder.remove()
        self._runs += 1
        recorder = Recorder(self._folder / f"run-{self._runs}.mp4", feed.size, feed.fps) if record else None
        self.run = Run(TrackLog(self._runs), target, described, shown.number, _text_of(target, described), recorder)
        self.clock = StageClock()
        self.error = ""
        self._due = 0.0
        self._playback.consume(shown)
        self._note(shown.number, shown.frame, result)
        self.phase = Phase.RUNNING

    def switch(self, aimed: Aimed, described: TargetPack | None) -> None:
        """Follow something else from the next frame on, without stopping.

        A box is cut out of the frame that it was drawn on, be it an older one; results of frames that were tracked
        already stay.
        """
        self.require(Phase.RUNNING, Phase.PAUSED, to="switch the target")
        target, shown = aimed.target, aimed.shown
        if shown is None:
            self.loaded.tracker.retarget(**_description(target, described))
        else:
            result = self._init(shown.frame, target, described)
            if self._playback.consume(shown):
                self._note(shown.number, shown.frame, result)
        if self.run is not None:
            self.run.text = _text_of(target, described)

    def locate(self, aimed: Aimed, described: TargetPack | None) -> FrameResult:
        """Return, and show, where the tracker finds what a text describes in the frame shown, without a run."""
        self.require(Phase.READY, Phase.ENDED, Phase.FAILED, to="look for the target")
        shown = self._frame_of(aimed)
        self._init(shown.frame, aimed.target, described)
        result = self._update(shown.frame)
        self._playback.show(Shown(shown.number, shown.frame, result, 0, self.loaded.details()))
        return result

    def restart(self) -> None:
        """Start the last run again, with the target and the frame that it began with."""
        if self.run is None:
            raise NotNow("there is no run to start again; start one")
        run = self.run
        self._playback.feed.seek(run.first)
        self.finish()
        self.phase = Phase.READY
        self._playback.preview(0)
        again = self.aimed(replace(run.start, frame=None))
        self.begin(again, run.start_described, record=run.recorder is not None)

    def pause(self) -> None:
        """Stop after the frame that is being tracked."""
        self.require(Phase.RUNNING, to="pause")
        self.clock.break_off()
        self.phase = Phase.PAUSED

    def resume(self) -> None:
        """Go on."""
        self.require(Phase.PAUSED, to="resume")
        self._due = 0.0
        self.phase = Phase.RUNNING

    def step(self, count: int) -> None:
        """Track so many frames and stay paused."""
        self.require(Phase.PAUSED, to="step")
        for _ in range(count):
            if self.phase is Phase.PAUSED:
                self._track_next(_STEP_S)
        self.clock.break_off()

    def seek(self, number: int) -> None:
        """Go to a frame of a file; a run goes on from there with the box that it has."""
        if self.phase is Phase.STARTING:
            raise NotNow("a run is starting; stop it first, or wait")
        self._playback.feed.seek(number)
        self.clock.break_off()
        if self.phase is Phase.RUNNING:
            return
        if self.phase is not Phase.PAUSED:
            self.phase = Phase.READY
        self._playback.preview(0)

    def stop(self) -> None:
        """End the run; source and results stay."""
        self.require(Phase.STARTING, Phase.RUNNING, Phase.PAUSED, to="stop")
        self.finish()
        self.phase = Phase.READY

    def advance(self) -> float | None:
        """Do what is next; see `Worker`."""
        try:
            return self._advance()
        except Exception as error:  # noqa: BLE001 (the thread lives on, and whoever looks is told)
            self.finish()
            self.error = one_line(error)
            self.phase = Phase.FAILED
            return None

    def finish(self) -> None:
        """Close the recording of the run."""
        if self.run is not None and self.run.recorder is not None:
            self.run.recorder.finish()

    def _advance(self) -> float | None:
        if self.phase is Phase.RUNNING:
            wait_s = self._due - time.perf_counter()
            if wait_s > 0:
                return wait_s
            self._track_next(_POLL_S)
            return 0.0
        feed = self._playback.maybe_feed
        if feed is None or not feed.live or self.phase is Phase.PAUSED:
            return None
        self._playback.preview(_POLL_S)
        return 0.0

    def _track_next(self, timeout_s: float) -> None:
        """Track the next frame, if one comes in time; the end of a file ends the run."""
        feed = self._playback.feed
        began = time.perf_counter()
        frame: Frame | None = None
        for _ in range(1 if feed.live else self.settings.every):
            frame = feed.take(timeout_s)
        if frame is None:
            if feed.ended:
                self.finish()
                self.phase = Phase.ENDED
            return
        slow = self.settings.pace == "source" and not feed.live
        self._due = began + self.settings.every / (feed.fps or _USUAL_FPS) if slow else 0.0
        reading = {} if feed.live else {"read": _ms_since(began)}
        result = self._update(frame)
        self._note(feed.position - 1, frame, result, reading)

    def _note(self, number: int, frame: Frame, result: FrameResult, stages_ms: dict[str, float] | None = None) -> None:
        """Keep and show the result of a frame; without `stages_ms` its time does not count."""
        run, model = self.run, self.loaded
        if run is None:
            return
        began = time.perf_counter()
        run.log.add(number, result)
        if run.recorder is not None:
            run.recorder.write(frame, result, number)
        recording = {} if run.recorder is None else {"record": _ms_since(began)}
        self._playback.show(Shown(number, frame, result, run.log.number, model.details()))
        if stages_ms is not None:
            tracking = {name: value for name, value in model.tracker.timings_ms.items() if name != "total"}
            self.clock.add(stages_ms | tracking | recording)

    def _frame_of(self, aimed: Aimed) -> Shown:
        return aimed.shown or self._playback.shown(aimed.target.frame)

    def _init(self, frame: Frame, target: Target, described: TargetPack | None) -> FrameResult:
        model = self.loaded
        self.require_box(target)
        began = time.perf_counter()
        model.tracker.init(frame, target.box, **_description(target, described))
        self._view = None if target.box is None else View(frame, target.box)
        return _result(model, ok=True, seconds=time.perf_counter() - began)

    def _update(self, frame: Frame) -> FrameResult:
        model = self.loaded
        began = time.perf_counter()
        ok, _ = model.tracker.update(frame)
        return _result(model, ok=ok, seconds=time.perf_counter() - began)


def _result(model: LoadedModel, *, ok: bool, seconds: float) -> FrameResult:
    tracker = model.tracker
    return FrameResult(tracker.box, tracker.raw_box, ok, tracker.score, tracker.state.name, seconds)


def _description(target: Target, described: TargetPack | None) -> dict[str, Any]:
    """Return how to tell a tracker; one that reads no text is given what it will refuse."""
    return {"text": target.text, "pack": target.pack} if described is None else {"pack": described}


def _text_of(target: Target, described: TargetPack | None) -> str:
    return (target.text or "") if described is None else described.text


def _ms_since(began: float) -> float:
    return 1e3 * (time.perf_counter() - began)
