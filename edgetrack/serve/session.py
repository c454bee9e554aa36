"""One source, one tracker, and the commands that people give them; no web in it.

A thread owns both. Commands are carried out in the order in which they were given, between two frames. What there is to
see lies in a slot that holds the latest frame only, so that nobody who looks can hold up the tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgetrack.errors import InputError
from edgetrack.serve.control import ACTIVE, Phase, Settings, SourceChoice, Target
from edgetrack.serve.errors import NotNow
from edgetrack.serve.feed import Opener
from edgetrack.serve.frames import Shown
from edgetrack.serve.loop import Aimed, Loop
from edgetrack.serve.model import Loader, ModelChoice, load_model
from edgetrack.serve.playback import Playback
from edgetrack.serve.slot import LatestSlot
from edgetrack.serve.track_log import TrackLog
from edgetrack.serve.worker import THREADS, Worker
from edgetrack.video import FrameResult, open_source

if TYPE_CHECKING:
    from edgetrack.runtime.target_pack import TargetPack

__all__ = ["Session"]

T = TypeVar("T")

_CLOSE_S = 15.0
_IDLE = tuple(phase for phase in Phase if phase not in ACTIVE)
_MOST_STEPS = 100


class Session:
    """What one server shows: everybody who looks sees the same source and the same run.

    Commands return a future at once; it ends when the command was carried out, with what it raised if it was refused:
    NotNow in the wrong state, InputError, ArtifactError or EngineUnavailable as the functions do that it calls. All
    methods may be called from any thread.
    """

    def __init__(self, folder: Path, *, loader: Loader = load_model, opener: Opener = open_source) -> None:
        """Start the thread.

        Args:
            folder: where recordings may be written; the caller removes it.
            loader: loads artifacts.
            opener: opens sources.
        """
        self._playback = Playback(opener)
        self._loop = Loop(self._playback, folder)
        self._loader = loader
        self._busy = ""
        self._aims = 0
        self._worker = Worker(self._loop.advance, f"{THREADS}tracker")
        self._worker.start()

    @property
    def latest(self) -> LatestSlot[Shown]:
        """The frame that is shown; a newer one replaces it."""
        return self._playback.latest

    @property
    def settings(self) -> Settings:
        """The settings now."""
        return self._loop.settings

    def load(self, choice: ModelChoice) -> Future[None]:
        """Load an artifact instead of the one that is loaded."""
        return self._worker.submit(lambda: self._load(choice))

    def open(self, choice: SourceChoice) -> Future[None]:
        """Open a source instead of the one that is open, and show its first frame."""
        return self._worker.submit(lambda: self._open(choice))

    def close_source(self) -> Future[None]:
        """Close the source; results stay."""
        return self._worker.submit(self._close_source)

    def start(self, target: Target, *, record: bool = False) -> Future[None]:
        """Start a run on the frame that is shown, or on the kept one that the target names."""
        return self._aim(
            target,
            lambda: self._may_start(target),
            lambda *told: self._loop.begin(*told, record=record),
            Phase.STARTING,
        )

    def switch(self, target: Target) -> Future[None]:
        """Follow something else without stopping; a text is encoded while the old target is followed."""
        return self._aim(target, self._may_switch, self._loop.switch)

    def locate(self, target: Target) -> Future[FrameResult]:
        """Return and show where the tracker finds what a text describes in the frame shown, without a run."""
        return self._aim(target, lambda: self._may_locate(target), self._loop.locate)

    def restart(self) -> Future[None]:
        """Start the last run again, with the target and the frame that it began with."""
        return self._worker.submit(self._restart)

    def pause(self) -> Future[None]:
        """Stop after the frame that is being tracked."""
        return self._worker.submit(self._loop.pause)

    def resume(self) -> Future[None]:
        """Go on after a pause."""
        return self._worker.submit(self._loop.resume)

    def step(self, count: int = 1) -> Future[None]:
        """Track up to `count` frames, 1 to 100, in a pause."""
        if not 1 <= count <= _MOST_STEPS:
            raise InputError(f"step by {count} frames is not possible; give 1 to {_MOST_STEPS}")
        return self._worker.submit(lambda: self._loop.step(count))

    def seek(self, number: int) -> Future[None]:
        """Go to a frame of a file, counted from 0."""
        return self._worker.submit(lambda: self._loop.seek(number))

    def stop(self) -> Future[None]:
        """End the run; source and results stay."""
        return self._worker.submit(self._stop)

    def set(self, settings: Settings) -> Future[None]:
        """Change the settings."""
        return self._worker.submit(lambda: setattr(self._loop, "settings", settings))

    def set_thresholds(self, values: Mapping[str, float]) -> Future[None]:
        """Change some of the tracker's thresholds, from its next frame on; see `Tracker.set_thresholds`."""
        return self._worker.submit(lambda: self._loop.loaded.set_thresholds(values))

    def pin(self, number: int) -> bool:
        """Keep a frame for a box that is being drawn on it; False where it has gone."""
        return self._playback.kept.pin(number)

    def log(self) -> TrackLog | None:
        """Return the results of the last run; None before the first."""
        run = self._loop.run
        return None if run is None else run.log

    def video(self) -> Path:
        """Return the finished recording of the last run.

        Raises:
            InputError: there is none, or not yet; says why.
        """
        run = self._loop.run
        if run is None or run.recorder is None:
            raise NotNow("no video was recorded; start a run with recording on")
        if run.recorder.done is None:
            raise NotNow(run.recorder.trouble or "the video is finished when the run ends; stop it first")
        return run.recorder.done

    def status(self) -> dict[str, Any]:
        """Return what there is to tell but the frame, as JSON has it."""
        loop, playback = self._loop, self._playback
        model, run = loop.model, loop.run
        return {
            "phase": loop.phase.value,
            "busy": self._busy,
            "describing": "" if model is None else model.at_work,
            "error": loop.error,
            "model": None if model is None else model.facts,
            "source": _source_facts(playback),
            "run": None if run is None else run.facts(),
            "fps": loop.clock.fps() if loop.phase is Phase.RUNNING else None,
            "stages_ms": loop.clock.stages_ms(),
            "thresholds": {} if model is None else dict(model.thresholds),
            "settings": {"pace": loop.settings.pace, "every": loop.settings.every},
        }

    def close(self) -> None:
        """End the thread and release everything; a recording is finished."""
        if not self._worker.closed:
            self._worker.submit(self._close)
            self._worker.close(_CLOSE_S)

    def _load(self, choice: ModelChoice) -> None:
        self._loop.require(*_IDLE, to="load another artifact")
        self._aims += 1
        self._loop.forget_view()
        model, self._loop.model = self._loop.model, None
        with self._saying(f"loading {choice.artifact.name}"):
            if model is not None:
                model.close()
            self._loop.model = self._loader(choice)

    def _open(self, choice: SourceChoice) -> None:
        self._loop.require(*_IDLE, to="open another source")
        self._close_source()
        with self._saying(f"opening {choice.label}"):
            self._playback.open(choice)
        self._loop.phase = Phase.READY

    def _close_source(self) -> None:
        self._aims += 1
        self._loop.finish()
        self._playback.close()
        self._loop.forget_view()
        self._loop.error = ""
        self._loop.phase = Phase.EMPTY

    def _restart(self) -> None:
        self._aims += 1
        self._loop.restart()

    def _stop(self) -> None:
        self._loop.stop()
        self._aims += 1

    def _close(self) -> None:
        self._close_source()
        if self._loop.model is not None:
            self._loop.model.close()
            self._loop.model = None

    def _may_start(self, target: Target) -> None:
        self._loop.require(*_IDLE, to="start a run")
        _ = self._loop.loaded, self._playback.shown()
        self._loop.require_box(target)

    def _may_switch(self) -> None:
        self._loop.require(Phase.RUNNING, Phase.PAUSED, to="switch the target")

    def _may_locate(self, target: Target) -> None:
        self._loop.require(*_IDLE, to="look for the target")
        _ = self._loop.loaded, self._playback.shown()
        self._loop.require_box(target)

    def _aim(
        self,
        target: Target,
        check: Callable[[], None],
        act: Callable[[Aimed, TargetPack | None], T],
        meanwhile: Phase | None = None,
    ) -> Future[T]:
        """Have a target's text encoded in another thread, then act; a later target overtakes an unfinished one.

        Args:
            target: has the text.
            check: refuses the command before the text is encoded.
            act: is called with the target and its frame, and with what became of the text.
            meanwhile: the state while it is encoded; None: as it is.
        """
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # who no longer waits takes nothing back

        def plan() -> None:
            with _telling(done):
                check()
                self._aims += 1
                aim = self._aims
                aimed = self._loop.aimed(target)
                encoding = self._loop.loaded.describe(target.text, target.pack, aimed.view)
                if encoding is None:
                    done.set_result(self._apply(aim, act, aimed, None))
                    return
                self._loop.phase = meanwhile or self._loop.phase
                encoding.add_done_callback(lambda told: hand_over(aim, aimed, told))

        def hand_over(aim: int, aimed: Aimed, told: Future[TargetPack]) -> None:
            with _telling(done):
                self._worker.submit(lambda: finish(aim, aimed, told))

        def finish(aim: int, aimed: Aimed, told: Future[TargetPack]) -> None:
            with _telling(done):
                done.set_result(self._apply(aim, act, aimed, told))

        self._worker.submit(plan)
        return done

    def _apply(
        self, aim: int, act: Callable[[Aimed, TargetPack | None], T], aimed: Aimed, told: Future[TargetPack] | None
    ) -> T:
        if aim != self._aims:
            raise NotNow("a later command came before the text was encoded; nothing was changed")
        try:
            return act(aimed, None if told is None else told.result())
        finally:
            if self._loop.phase is Phase.STARTING:  # it did not start
                self._loop.phase = Phase.READY

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        """Show what takes a while."""
        self._busy = what
        try:
            yield
        finally:
            self._busy = ""


@contextmanager
def _telling(future: Future[Any]) -> Iterator[None]:
    """Pass an error on to whoever waits."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001 (it is raised where the future is waited for)
        future.set_exception(error)


def _source_facts(playback: Playback) -> dict[str, Any] | None:
    choice, feed = playback.choice, playback.maybe_feed
    if choice is None or feed is None:
        return None
    return {
        "label": choice.label,
        "width": feed.size[0],
        "height": feed.size[1],
        "fps": feed.fps,
        "count": feed.count,
        "live": feed.live,
        "next": feed.position,
        "dropped": feed.dropped,
        "reconnects": feed.reconnects,
        "trouble": feed.trouble,
    }
