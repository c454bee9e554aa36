"""The session: order of commands, states, results, and that nobody can hold up the tracker."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgetrack.errors import ArtifactError, InputError
from edgetrack.serve.control import Settings, SourceChoice, Target
from edgetrack.serve.errors import NotNow
from edgetrack.serve.model import ModelChoice
from edgetrack.serve.pictures import Pictures
from edgetrack.serve.session import Session

pytest.importorskip("cv2")
from serve_fakes import BOX, FILE, FakeCamera, FakeSource, FakeTextSide, FakeTracker, fake_model, wait_for

MODEL = ModelChoice(Path("fake"))
START = Target(BOX)


@pytest.fixture
def tracker():
    return FakeTracker()


@pytest.fixture
def text_side():
    return FakeTextSide()


@pytest.fixture
def make(tmp_path, tracker):
    """Make sessions over the fakes; they are closed at the end."""
    sessions = []

    def call(source=None, model=None, opener=None):
        made = source or FakeSource()
        session = Session(tmp_path, loader=lambda _: model or fake_model(tracker), opener=opener or (lambda name: made))
        sessions.append(session)
        session.load(MODEL)
        session.open(FILE).result(20)
        return session

    yield call
    tracker.gate.set()
    for session in sessions:
        session.close()


def start_paused(session, tracker, target=START, **options) -> None:
    """Start a run that is paused before its third frame, however fast the thread is."""
    tracker.gate.clear()
    session.start(target, **options).result(20)
    paused = session.pause()
    tracker.gate.set()
    paused.result(20)


def phase(session) -> str:
    return session.status()["phase"]


def ended(session) -> bool:
    return phase(session) == "ended"


def numbers(session) -> list[int]:
    return [number for number, _, _ in session.log().points(-1, 10**6)]


def test_a_file_is_tracked_to_its_end(make, tracker):
    session = make()
    assert phase(session) == "ready"
    assert session.latest.get()[1].number == 0
    session.start(START).result(20)
    wait_for(lambda: ended(session))
    assert tracker.calls == [("init", 0, BOX, None)]
    assert tracker.seen == list(range(1, 50))
    assert numbers(session) == list(range(50))
    shown = session.latest.get()[1]
    assert (shown.number, shown.result.box, shown.result.score) == (49, (59.0, 8.0, 20.0, 16.0), 0.049)
    assert shown.details == {"mode": "local"}  # the confidence is no number


def test_commands_are_carried_out_in_their_order(tmp_path, tracker):
    session = Session(tmp_path, loader=lambda _: fake_model(tracker), opener=lambda name: FakeSource())
    tracker.gate.clear()
    futures = [session.load(MODEL), session.open(FILE), session.start(START), session.pause(), session.seek(20)]
    futures += [session.step(2), session.seek(5), session.step(), session.stop(), session.close_source()]
    tracker.gate.set()
    for future in futures:
        future.result(20)
    assert [number for number in tracker.seen if number >= 20] == [20, 21]
    assert tracker.seen[-1] == 5
    assert phase(session) == "empty"
    session.close()
    assert tracker.closed


def test_pause_step_and_resume(make, tracker):
    session = make()
    start_paused(session, tracker)
    held = len(session.log())
    for _ in range(3):
        session.step().result(20)
    assert len(session.log()) == held + 3
    session.step(4).result(20)
    assert tracker.seen == list(range(1, held + 7))
    session.resume().result(20)
    wait_for(lambda: ended(session))
    assert numbers(session) == list(range(50))


def test_stepping_over_the_end_ends(make, tracker):
    session = make(FakeSource(count=3))
    start_paused(session, tracker)
    session.seek(1)
    session.step(10).result(20)
    assert ended(session)


def test_seeking_back_replaces_results_and_forward_leaves_a_gap(make, tracker):
    session = make()
    start_paused(session, tracker)
    session.seek(1)
    session.step(10).result(20)
    assert numbers(session) == list(range(11))
    session.seek(5).result(20)
    assert session.latest.get()[1].number == 5
    assert session.latest.get()[1].result is None
    session.step().result(20)
    assert numbers(session) == list(range(6))
    assert len(session.log().text("got10k").splitlines()) == 6
    session.seek(30)
    session.step(2).result(20)
    assert numbers(session) == [*range(6), 30, 31]
    with pytest.raises(InputError, match="frames between 0 and 31 were skipped"):
        session.log().text("got10k")
    assert [row["frame"] for row in json.loads(session.log().text("json"))["frames"]] == [*range(6), 30, 31]
    with pytest.raises(InputError, match="no frame 50"):
        session.seek(50).result(20)
    assert phase(session) == "paused"


def test_the_end_is_a_state_to_start_again_from(make, tracker):
    session = make()
    session.seek(40)
    session.start(START)
    wait_for(lambda: ended(session))
    with pytest.raises(NotNow, match="the video has ended"):
        session.start(START).result(20)
    assert ended(session)
    session.restart().result(20)
    wait_for(lambda: ended(session) and session.status()["run"]["number"] == 2)
    assert numbers(session) == list(range(40, 50))
    session.seek(3).result(20)
    assert phase(session) == "ready"
    session.start(START).result(20)
    assert [call[1] for call in tracker.calls] == [40, 40, 3]


def test_an_error_of_the_tracker_ends_the_run_with_one_line(make, tracker):
    tracker.fail_at = 7
    session = make()
    session.start(START)
    wait_for(lambda: phase(session) == "failed")
    assert session.status()["error"] == "the frame cannot be used; convert it"
    assert numbers(session) == list(range(7))
    tracker.fail_at = None
    session.restart().result(20)
    assert session.status()["error"] == ""
    wait_for(lambda: ended(session))
    assert numbers(session) == list(range(50))


def test_a_target_that_is_refused_changes_nothing(make, tracker):
    session = make()
    with pytest.raises(InputError, match="reads no text"):
        session.start(Target(BOX, text="the man")).result(20)
    with pytest.raises(InputError, match="needs the target's box"):
        session.start(Target()).result(20)
    assert phase(session) == "ready"
    start_paused(session, tracker)
    with pytest.raises(InputError, match="reads no text"):
        session.switch(Target(BOX, text="the man")).result(20)
    assert phase(session) == "paused"


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("ready", "pause"),
        ("ready", "resume"),
        ("ready", "step"),
        ("ready", "stop"),
        ("ready", "restart"),
        ("ready", "switch"),
        ("running", "start"),
        ("running", "step"),
        ("running", "load"),
        ("running", "open"),
        ("running", "locate"),
        ("paused", "pause"),
    ],
)
def test_commands_in_the_wrong_state(make, tracker, state, command):
    session = make()
    if state != "ready":
        tracker.gate.clear()
        session.start(START).result(20)
    arguments = {"switch": (START,), "start": (START,), "locate": (START,), "load": (MODEL,), "open": (FILE,)}
    if state == "paused":
        tracker.gate.set()
        session.pause().result(20)
    future = getattr(session, command)(*arguments.get(command, ()))
    tracker.gate.set()
    with pytest.raises(NotNow):
        future.result(20)
    if state == "running":
        wait_for(lambda: ended(session))


def test_nothing_loaded_and_nothing_open(tmp_path):
    session = Session(tmp_path, loader=lambda _: None, opener=lambda name: FakeSource())
    with pytest.raises(NotNow, match="no artifact is loaded"):
        session.start(START).result(20)
    with pytest.raises(NotNow, match="no source is open"):
        session.seek(0).result(20)
    session.close()
    with pytest.raises(NotNow, match="shutting down"):
        session.pause()


def test_loaded_is_said_after_loading_only(tmp_path, tracker):
    gate, started = threading.Event(), threading.Event()

    def load(_):
        started.set()
        assert gate.wait(20)
        return fake_model(tracker)

    session = Session(tmp_path, loader=load)
    future = session.load(ModelChoice(Path("pico")))
    assert started.wait(20)
    assert (session.status()["model"], session.status()["busy"]) == (None, "loading pico")
    gate.set()
    future.result(20)
    assert (session.status()["model"]["name"], session.status()["busy"]) == ("fake", "")
    session.close()


def test_what_cannot_be_loaded_or_opened(tmp_path):
    def refuse(_):
        raise ArtifactError("the folder is damaged")

    def no_file(name):
        raise InputError(f"source {name} does not exist")

    session = Session(tmp_path, loader=refuse, opener=no_file)
    with pytest.raises(ArtifactError, match="damaged"):
        session.load(MODEL).result(20)
    with pytest.raises(InputError, match="does not exist"):
        session.open(FILE).result(20)
    status = session.status()
    assert (status["phase"], status["model"], status["source"], status["busy"]) == ("empty", None, None, "")
    session.close()


def test_who_looks_slowly_does_not_hold_up_the_tracker(make, tracker):
    session = make(FakeSource(count=250))
    pictures = Pictures(session.latest, quality=50, max_fps=1000)
    looking, release = threading.Event(), threading.Event()
    got = []

    def slow(picture):
        got.append(picture)
        looking.set()
        assert release.wait(20)

    pictures.add(slow)
    assert looking.wait(20)
    session.start(START)
    wait_for(lambda: ended(session))
    assert numbers(session) == list(range(250))
    assert [picture.shown.number for picture in got] == [0]
    release.set()
    wait_for(lambda: got[-1].shown.number == 249)
    assert len(got) == 2
    assert got[1].jpeg.startswith(b"\xff\xd8")
    pictures.close()


def test_nothing_is_encoded_while_nobody_looks(make):
    session = make()
    pictures = Pictures(session.latest, quality=50, max_fps=1000)
    session.start(START)
    wait_for(lambda: ended(session))
    assert pictures.encoded == 0
    got, also = [], []
    pictures.add(got.append)
    wait_for(lambda: got)
    pictures.add(also.append)
    assert (pictures.encoded, got[0].shown.number) == (1, 49)
    assert also == got  # the same picture, encoded once for both
    pictures.close()


def test_a_box_is_applied_to_the_frame_it_was_drawn_on(make, tracker):
    session = make()
    start_paused(session, tracker)
    session.seek(1)
    session.step(9).result(20)
    other = (1.0, 2.0, 12.0, 10.0)
    session.switch(Target(other, frame=4)).result(20)
    assert tracker.calls[-1] == ("init", 4, other, None)
    assert numbers(session) == list(range(10))
    session.step().result(20)
    assert session.log().last().box == (2.0, 2.0, 12.0, 10.0)
    session.seek(20)
    session.switch(Target(other)).result(20)
    assert tracker.calls[-1] == ("init", 20, other, None)
    session.step().result(20)
    assert numbers(session) == [*range(11), 20, 21]
    with pytest.raises(NotNow, match="frame 33 is not kept"):
        session.switch(Target(other, frame=33)).result(20)


def test_frames_are_kept_by_size_and_by_pins(make):
    import numpy as np

    from edgetrack.serve.frames import KeptFrames, Shown

    kept = KeptFrames()
    frame = np.zeros((2048, 4096, 3), np.uint8)  # 24 MiB: two fit
    for number in range(3):
        kept.add(Shown(number, frame))
        assert kept.pin(number) == (number < 5)
    for number in range(3, 6):
        kept.add(Shown(number, frame))
    assert [kept.get(number) is not None for number in range(7)] == [True, True, True, False, True, True, False]
    assert not kept.pin(3)
    for number in (4, 5):
        assert kept.pin(number)
    assert kept.get(0) is None
    assert kept.get(1) is not None


def test_a_text_is_encoded_while_the_old_target_is_followed(make, tracker, text_side):
    session = make(FakeSource(count=250), fake_model(tracker, text_side))
    session.start(Target(BOX, text="the car")).result(20)
    assert tracker.calls == [("init", 0, BOX, ("told", "the car"))]
    text_side.gate.clear()
    switched = session.switch(Target(text="the man"))
    wait_for(lambda: ended(session))
    assert not switched.done()
    assert len(tracker.calls) == 1
    text_side.gate.set()
    with pytest.raises(NotNow, match="cannot switch"):  # the video has ended meanwhile
        switched.result(20)
    tracker.gate.clear()
    session.restart()
    paused = session.pause()
    tracker.gate.set()
    paused.result(20)
    session.switch(Target(text="the man")).result(20)
    assert tracker.calls[-1] == ("retarget", ("told", "the man"))
    assert session.status()["run"]["text"] == "the man"
    with pytest.raises(InputError, match="says nothing"):
        session.switch(Target(text="bad")).result(20)
    assert session.status()["run"]["text"] == "the man"


def test_a_later_target_overtakes_a_text_that_is_being_encoded(make, tracker, text_side):
    session = make(model=fake_model(tracker, text_side))
    start_paused(session, tracker)
    text_side.gate.clear()
    first = session.switch(Target(text="the man"))
    second = session.switch(Target(text="the dog"))
    text_side.gate.set()
    second.result(20)
    with pytest.raises(NotNow, match="later command"):
        first.result(20)
    assert [call for call in tracker.calls if call[0] == "retarget"] == [("retarget", ("told", "the dog"))]


def test_stop_while_the_text_is_being_encoded(make, tracker, text_side):
    session = make(model=fake_model(tracker, text_side))
    text_side.gate.clear()
    started = session.start(Target(BOX, text="the man"))
    wait_for(lambda: phase(session) == "starting")
    session.stop().result(20)
    text_side.gate.set()
    with pytest.raises(NotNow):
        started.result(20)
    assert phase(session) == "ready"
    assert tracker.calls == []
    with pytest.raises(InputError, match="says nothing"):
        session.start(Target(BOX, text="bad")).result(20)
    assert phase(session) == "ready"


def test_finding_a_text_before_a_run(make, tracker, text_side):
    session = make(model=fake_model(tracker, text_side, needs_box=False))
    session.seek(6)
    found = session.locate(Target(text="the man")).result(20)
    assert found.score == 0.006
    shown = session.latest.get()[1]
    assert (shown.number, shown.result, shown.run) == (6, found, 0)
    assert session.log() is None
    session.start(Target(text="the man")).result(20)
    wait_for(lambda: ended(session))
    assert numbers(session) == list(range(6, 50))


def test_recordings(make, tracker):
    from edgetrack.video import open_source

    session = make()
    with pytest.raises(NotNow, match="no video was recorded"):
        session.video()
    start_paused(session, tracker, record=True)
    with pytest.raises(NotNow, match="finished when the run ends"):
        session.video()
    session.resume()
    wait_for(lambda: ended(session))
    with open_source(str(session.video())) as video:
        assert video.count == 50
        assert video.fps == 25
    assert "record" in session.status()["stages_ms"]
    first = session.video()
    session.restart().result(20)
    wait_for(lambda: ended(session))
    assert session.video() != first
    assert not first.exists()


def test_a_recording_ends_before_the_disk_is_full(make, tracker, monkeypatch):
    from edgetrack.serve import recorder

    monkeypatch.setattr(recorder, "_CHECK_EVERY", 10)
    monkeypatch.setattr(recorder.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    session = make()
    session.start(START, record=True).result(20)
    wait_for(lambda: ended(session))
    told = session.status()["run"]
    assert told["video"]
    assert told["video_trouble"].startswith("the video ends after 10 frames, because the disk")
    assert len(session.log()) == 50


def test_every_nth_frame_and_the_pace(make, tracker):
    session = make()
    session.set(Settings(every=7))
    session.start(START)
    wait_for(lambda: ended(session))
    assert tracker.seen == [7, 14, 21, 28, 35, 42, 49]
    with pytest.raises(InputError, match="pace is 'slow'"):
        Settings(pace="slow")
    session.set(Settings(pace="source", every=25))  # at 25 frames/s one frame a second
    session.restart().result(20)
    session.pause().result(20)
    assert len(session.log()) <= 2


def test_stages_and_rate(make):
    session = make()
    session.start(START)
    wait_for(lambda: ended(session))
    stages = session.status()["stages_ms"]
    assert list(stages) == ["read", "crop", "run"]
    assert (stages["crop"], stages["run"]) == (1.0, 2.0)


def test_a_camera_drops_what_comes_too_fast_and_is_opened_again(make, tracker):
    cameras = [FakeCamera(), FakeCamera()]
    left = list(cameras)
    cameras[0].push(0)
    session = make(opener=lambda name: left.pop(0))
    session.start(START).result(20)
    tracker.gate.clear()
    cameras[0].push(1)
    wait_for(lambda: cameras[0].frames.empty() and session.status()["source"]["next"] == 2)
    cameras[0].push(2, 3, 4, 5)
    wait_for(lambda: session.status()["source"]["dropped"] == 3)
    tracker.gate.set()
    wait_for(lambda: tracker.seen == [1, 5])
    assert numbers(session) == [0, 1, 2]  # frames are numbered as they are taken
    cameras[0].push(None)
    wait_for(lambda: session.status()["source"]["reconnects"] == 1)
    assert cameras[0].closed
    cameras[1].push(6)
    wait_for(lambda: tracker.seen == [1, 5, 6])
    assert phase(session) == "running"
    with pytest.raises(InputError, match="cannot be wound"):
        session.seek(0).result(20)
    cameras[1].push(7)
    session.close_source().result(20)
    wait_for(lambda: cameras[1].closed or cameras[1].push(8))


def test_a_camera_is_shown_before_a_run(make, tracker):
    camera = FakeCamera()
    camera.push(3)
    session = make(camera)
    assert session.latest.get()[1].number == 0
    camera.push(9)
    wait_for(lambda: session.latest.get()[1].number == 1)
    assert session.pin(0)
    session.start(Target(BOX, frame=0)).result(20)
    assert tracker.calls == [("init", 3, BOX, None)]
    camera.push(None)
    wait_for(lambda: "opening it again" in session.status()["source"]["trouble"])
    camera.push(10)


def test_a_source_that_is_open_is_closed_before_the_next(make):
    sources = [FakeSource(), FakeSource(count=9)]
    left = list(sources)
    session = make(opener=lambda name: left.pop(0))
    session.open(SourceChoice("other", "another")).result(20)
    assert sources[0].closed
    assert not sources[1].closed
    assert session.status()["source"]["label"] == "another"
    session.close_source().result(20)
    assert session.latest.get()[1] is None
    assert session.status()["source"] is None
