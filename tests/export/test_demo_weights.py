"""The weights that come with edgetrack: what the file is, who uses it, and that it follows a target."""

import json

import numpy as np
import pytest

from edgetrack.cli import main
from edgetrack.data.metrics import box_iou, present
from edgetrack.demo import DEMO, WEIGHTS, demo_weights, resolve_weights
from edgetrack.errors import InputError
from edgetrack.export.parity.clip import demo_clip
from edgetrack.export.source import load_source

PICO = "fartrack-pico"


def test_names_and_files():
    assert demo_weights(PICO) == WEIGHTS[PICO] == demo_weights("fartrack-pico-d5-k24")
    assert WEIGHTS[PICO].stat().st_size < 6.1e6
    assert resolve_weights(PICO, None) == resolve_weights(PICO, DEMO) == str(WEIGHTS[PICO])
    assert resolve_weights("fartrack-nano", "some.pth") == "some.pth"
    for model in ("fartrack-nano", "fartrack-pico-distill"):
        with pytest.raises(InputError, match=f"no weights for {model} here .*for fartrack-pico.*stand-in"):
            resolve_weights(model, None)


def test_they_follow_the_clips_target_in_the_published_loop():
    clip = demo_clip()
    source = load_source(PICO, demo_weights(PICO))
    tracker = source.family.reference(PICO, source.net)
    frames = clip.frames()
    tracker.init(next(frames), clip.box)
    boxes = np.array([tracker.update(frame) for frame in frames])
    truth = np.array(clip.truth[1:])
    overlaps = box_iou(boxes, truth)[present(truth)]
    assert (overlaps > 0.5).mean() >= 0.9


def test_export_uses_them_and_verify_finds_them(tmp_path, capsys):
    out = tmp_path / "pico"
    words = ["export", PICO, "--threads", "2", "--output", str(out), "--json"]
    assert main([*words, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == str(WEIGHTS[PICO])
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["verification"]["verdict"] == "passed"
    assert main(["verify", str(out), "--threads", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verification"]["verdict"] == "passed"
    assert main(["export", "fartrack-nano", "--output", str(out)]) == 2
    assert "give a checkpoint, or stand-in" in capsys.readouterr().err
