"""What a calibration is made of: the forms of --calib, the held-out part, the choice of frames, and bad input."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from edgetrack.cli import main
from edgetrack.demo import CLIP, GROUND_TRUTH
from edgetrack.errors import CalibrationError, InputError
from edgetrack.export.precision.calibration import choose_stretches
from edgetrack.export.precision.clips import divide, read_clips
from edgetrack.export.precision.plan import CalibrationPlan


def write_clip(folder, boxes, inner=""):
    (folder / inner).mkdir(parents=True, exist_ok=True)
    for number in range(len(boxes)):
        cv2.imwrite(str(folder / inner / f"{number + 1:08d}.jpg"), np.full((40, 60, 3), number, np.uint8))
    (folder / "groundtruth.txt").write_text("\n".join(",".join(map(str, box)) for box in boxes))
    return folder


def moving(count, size=10.0):
    return [(5.0 + number, 6.0, size, size) for number in range(count)]


def test_forms(tmp_path):
    shutil.copy(CLIP, tmp_path / "car.mp4")
    shutil.copy(GROUND_TRUTH, tmp_path / "car.txt")
    write_clip(tmp_path / "plain", moving(12))
    assert [len(clip.boxes) for clip in read_clips("demo")] == [65]
    assert [clip.name for clip in read_clips(str(tmp_path / "car.mp4"))] == ["car"]
    assert [clip.name for clip in read_clips(str(tmp_path / "plain"))] == ["plain"]
    assert [clip.name for clip in read_clips(str(tmp_path))] == ["car", "plain"]
    write_clip(tmp_path / "set" / "one", moving(12), "img")
    write_clip(tmp_path / "set" / "two", moving(12), "img")
    assert [clip.name for clip in read_clips(f"sequences:{tmp_path / 'set'}")] == ["one", "two"]
    (frame,) = read_clips(str(tmp_path / "plain"))[0].frames(3, 4)
    assert frame.shape == (40, 60, 3)
    assert abs(int(frame.mean()) - 3) <= 1


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda folder: "nowhere", "nowhere does not exist"),
        (lambda folder: folder.mkdir() or folder, "looks like no data set"),
        (lambda folder: write_clip(folder, moving(12)).joinpath("00000001.jpg").unlink() or folder, "11 images and 12"),
        (lambda folder: shutil.copy(CLIP, folder.with_suffix(".mp4")), "has no boxes"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, made, words):
    with pytest.raises(CalibrationError, match=words):
        read_clips(str(made(tmp_path / "clip")))


def test_too_few_frames_with_the_target(tmp_path):
    nowhere = [("nan",) * 4] * 30
    with pytest.raises(CalibrationError, match="too few frames of clip"):
        divide(read_clips(str(write_clip(tmp_path / "clip", [*moving(5), *nowhere]))), 0)


def test_an_unreadable_frame_is_named(tmp_path):
    folder = write_clip(tmp_path / "clip", moving(12))
    (folder / "00000003.jpg").write_bytes(b"no picture")
    with pytest.raises(CalibrationError, match=r"clip clip: .*00000003\.jpg"):
        list(read_clips(str(folder))[0].frames(0, 12))


def test_held_out_part_shares_no_frame(tmp_path):
    (kept,), (held,) = divide(read_clips("demo"), 0)
    assert (kept.start, kept.stop, held.start, held.stop) == (0, 34, 34, 65)
    clips = [read_clips(str(write_clip(tmp_path / str(number), moving(12))))[0] for number in range(8)]
    kept, held = divide(clips, 3)
    assert (len(kept), len(held)) == (6, 2)
    assert {item.name for item in kept}.isdisjoint(item.name for item in held)
    assert [item.name for item in divide(clips, 3)[1]] == [item.name for item in held]
    assert any([item.name for item in divide(clips, seed)[1]] != [item.name for item in held] for seed in range(4, 9))


def test_choice_of_frames_is_seeded_and_spread(tmp_path):
    clips = [read_clips(str(write_clip(tmp_path / f"{size}", moving(30, size))))[0] for size in (4.0, 8.0, 12.0)]
    sections, _ = divide(clips * 2, 0)
    chosen = choose_stretches(sections, 40, 0)
    assert {stretch.section.name for stretch in chosen} == {"4.0", "8.0", "12.0"}, "small and large targets"
    again = choose_stretches(sections, 40, 0)
    assert [(item.section.name, item.start, item.length) for item in chosen] == [
        (item.section.name, item.start, item.length) for item in again
    ]
    places = [item.start for item in chosen]
    assert min(places) < 10
    assert max(places) >= 20


@pytest.mark.parametrize(
    ("given", "words"),
    [({"frames": 0}, "--calib-frames is 0"), ({"seed": -1}, "--calib-seed"), ({"max_auc_drop": -1}, "--max-auc-drop")],
)
def test_numbers_of_a_plan(given, words):
    with pytest.raises(InputError, match=words):
        CalibrationPlan("demo", **given)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--precision", "int8"), "precision int8 needs --calib"),
        (("--precision", "mixed"), "precision mixed needs --calib"),
        (("--calib", "demo"), "precision fp32 needs no calibration"),
        (("--max-auc-drop", "2"), "means nothing without --calib"),
        (("--target", "openvino", "--precision", "mixed", "--calib", "demo"), "has no precision 'mixed'"),
    ],
)
def test_wrong_usage(capsys, words, message):
    assert main(["export", "fartrack-pico", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
