"""What a target is aimed at while it is described: its frame and its picture, which take their time."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest

pytest.importorskip("cv2")
from serve_fakes import BOX, FakeCamera, FakeSource, FakeTextSide, FakeTracker, fake_model, wait_for

from edgetrack.errors import InputError
from edgetrack.serve import frames as frames_module
from edgetrack.serve.control import Settings, SourceChoice, Target
from edgetrack.serve.errors import NotNow
from edgetrack.serve.model import ModelChoice
from edgetrack.serve.session import Session


def test_the_box_is_about_the_frame_that_was_shown_when_it_was_sent(tmp_path):
    """Describing takes long; a camera goes on meanwhile."""
    camera, tracker, text_side = FakeCamera(), FakeTracker(), FakeTextSide()
    session = Session(tmp_path, loader=lambda _: fake_model(tracker, text_side), opener=lambda name: camera)
    session.load(ModelChoice(tmp_path))
    camera.push(7)
    session.open(SourceChoice("camera", "camera")).result(20)
    wait_for(lambda: session.latest.get()[1])
    text_side.gate.clear()
    text_side.at_work = "unet (3 of 4)"
    started = session.start(Target(BOX, text="the car"))
    wait_for(lambda: session.status()["phase"] == "starting")
    assert session.status()["describing"] == "unet (3 of 4)"
    for number in (8, 9):
        camera.push(number)
        wait_for(lambda number=number: session.latest.get()[1].frame[0, 0, 0] == number)
    text_side.gate.set()
    started.result(20)
    assert [(int(view.frame[0, 0, 0]), view.box) for view in text_side.views] == [(7, BOX)]
    assert tracker.calls == [("init", 7, BOX, ("told", "the car"))]
    with pytest.raises(InputError, match="says nothing"):
        session.switch(Target(text="bad")).result(20)
    assert text_side.views[-1] == text_side.views[0]  # the picture that the run began with
    camera.push(None)
    session.close()


def test_a_frame_is_not_lost_while_its_target_is_described(tmp_path, monkeypatch):
    """Others draw meanwhile, and the source goes on."""
    monkeypatch.setattr(frames_module, "_MOST_BYTES", 1)  # the newest is kept alone, but for those that are pinned
    camera, tracker, text_side = FakeCamera(), FakeTracker(), FakeTextSide()
    session = Session(tmp_path, loader=lambda _: fake_model(tracker, text_side), opener=lambda name: camera)
    session.load(ModelChoice(tmp_path))
    camera.push(7)
    session.open(SourceChoice("camera", "camera")).result(20)

    def others_draw() -> None:
        for _ in range(5):
            number = session.latest.get()[1].number
            assert session.pin(number)
            camera.push(number)
            wait_for(lambda number=number: session.latest.get()[1].number > number)

    def described(command) -> None:
        text_side.gate.clear()
        told = command(Target(BOX, text="the car"))
        wait_for(lambda: text_side.views)
        others_draw()
        text_side.gate.set()
        told.result(20)
        drawn = int(text_side.views.pop().frame[0, 0, 0])
        assert tracker.calls.pop() == ("init", drawn, BOX, ("told", "the car"))

    described(session.locate)
    described(session.start)
    described(session.switch)
    camera.push(None)
    session.close()


def test_a_text_alone_is_not_described_by_a_picture_of_something_else(tmp_path):
    tracker, text_side = FakeTracker(), FakeTextSide()
    model = fake_model(tracker, text_side, needs_box=False)
    session = Session(tmp_path, loader=lambda _: model, opener=lambda name: FakeSource())
    session.load(ModelChoice(tmp_path))
    session.open(SourceChoice("file", "file")).result(20)
    session.set(Settings(pace="source"))
    session.start(Target(BOX, text="the car")).result(20)
    session.switch(Target(text="the blue car")).result(20)
    assert text_side.views[-1] == text_side.views[0]
    session.stop().result(20)
    session.locate(Target(text="the man")).result(20)
    assert text_side.views[-1] is None
    session.close()


@pytest.mark.parametrize("end", [("close_source",), ("load", ModelChoice(Path("other")))])
def test_the_picture_of_what_was_followed_goes_with_its_source_and_its_model(tmp_path, monkeypatch, end):
    monkeypatch.setattr(frames_module, "_MOST_BYTES", 1)
    read = []

    class Source(FakeSource):
        def read(self):
            frame = super().read()
            read.append(weakref.ref(frame))
            return frame

    session = Session(tmp_path, loader=lambda _: fake_model(FakeTracker()), opener=Source)
    session.load(ModelChoice(tmp_path))
    session.open(SourceChoice("file", "file")).result(20)
    session.set(Settings(pace="source"))
    session.start(Target(BOX)).result(20)
    session.stop().result(20)
    session.seek(30).result(20)
    assert read[0]() is not None
    command, *arguments = end
    getattr(session, command)(*arguments).result(20)
    wait_for(lambda: read[0]() is None)
    session.close()


def test_a_box_that_is_needed_is_missed_before_anything_is_described(tmp_path):
    tracker, text_side = FakeTracker(), FakeTextSide()
    session = Session(tmp_path, loader=lambda _: fake_model(tracker, text_side), opener=lambda name: FakeSource())
    session.load(ModelChoice(tmp_path))
    with pytest.raises(NotNow, match="no frame has come"):
        session.start(Target(text="the car")).result(20)
    session.open(SourceChoice("file", "file")).result(20)
    with pytest.raises(InputError, match="needs the target's box"):
        session.start(Target(text="the car")).result(20)
    with pytest.raises(InputError, match="needs the target's box"):
        session.locate(Target(text="the car")).result(20)
    assert text_side.views == []
    session.close()
