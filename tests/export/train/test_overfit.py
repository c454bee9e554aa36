"""A shallow network learns one scene and then finds the target in it, judged by the published loop's own parts.

Training crops, targets, losses, optimiser and saved weights on one side; the published forward pass, crop and decoding
on the other. Anything that is wired wrongly between them (a coordinate, a colour order, a scale, an identity row, a
table that is not saved) lets the second side miss the target.
"""

import json
import math

import cv2
import numpy as np
import pytest
import torch

from edgetrack.data import open_source
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.loops import fartrack as loop
from edgetrack.export.loops.crop import IMAGENET_MEAN, IMAGENET_STD, ImageNormaliser, crop
from edgetrack.export.models import MODELS
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.train.config import load_config
from edgetrack.export.train.runs import prepared_run

RECIPE = """
stage = "frame"

[model]
depth = 2
templates = 1
drop_path = 0.0

[init]
source = "scratch"

[sampler]
gap = 20
centre_jitter = 1.0
scale_jitter = 0.1
flip = 0.0
joint_flip = 0.0
gray = 0.0

[loss]
ce = 1.0
aux = 8.0
attention = 1.0
label_width = 6.0

[optimiser]
lr = 1.5e-3
backbone_multiplier = 1.0
beta2 = 0.98
clip = 1.0
schedule = "cosine"
warmup_steps = 20

[run]
epochs = 1
samples_per_epoch = 3000
batch = 8
threads = 2
log_every = 10
plot_every = 0
save_every = 10000
"""


def scenes() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """RGB frames 180x240 in which a red and a blue block move, and the boxes (frames, 4) of each."""
    background = cv2.resize(np.random.default_rng(3).integers(60, 140, (12, 16, 3), np.uint8), (240, 180))
    frames, boxes = [], [np.zeros((24, 4)), np.zeros((24, 4))]
    for index in range(24):
        frame, time = background.copy(), index / 24 * 2 * math.pi
        for block, colour in enumerate(((230, 60, 40), (40, 80, 230))):
            x = int(90 + 50 * math.cos(time + math.pi * block))
            y = int(70 + 35 * math.sin(2 * time + (math.pi / 2 + 1) * block))
            frame[y : y + 28, x : x + 36] = colour
            boxes[block][index] = (x, y, 36, 28)
        frames.append(frame)
    return frames, boxes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sequences of the same pictures: only the template says which block is the target."""
    folder = tmp_path_factory.mktemp("data")
    frames, boxes = scenes()
    for block in (0, 1):
        images = folder / f"block{block}" / "img"
        images.mkdir(parents=True)
        for index, frame in enumerate(frames, start=1):
            cv2.imwrite(str(images / f"{index:08d}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        np.savetxt(images.parent / "groundtruth.txt", boxes[block], delimiter=",", fmt="%d")
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    (out / "recipe.toml").write_text(RECIPE)
    config = load_config(out / "recipe.toml")
    with prepared_run(config, open_source([f"sequences:{data}"]), out) as trainer:
        assert trainer.run().reason == "finished"
    return out


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    inter = np.clip(high - low, 0, None).prod()
    return inter / (a[2:].prod() + b[2:].prod() - inter)


@pytest.mark.slow
def test_training_reports_that_it_learns(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert np.mean([line["iou"] for line in lines[-5:]]) > 0.75
    assert lines[-1]["siou"] < 0.4 < 0.7 < lines[0]["siou"]


@torch.no_grad()
def find(net, template_box, state, before, frame):
    """One frame of the published loop with one template: the box (x, y, w, h) in pixels."""
    normalise = ImageNormaliser(IMAGENET_MEAN, IMAGENET_STD)
    template, _, _ = crop(before, tuple(template_box), loop.TEMPLATE_FACTOR, loop.TEMPLATE_SIZE)
    search, factor, _ = crop(frame, tuple(state), loop.SEARCH_FACTOR, loop.SEARCH_SIZE)
    logits = net([normalise(template)], normalise(search)).logits
    side = loop.SEARCH_SIZE / factor
    corners = np.asarray(loop.decode_corners(logits, False), dtype=np.float64) * side
    corner = np.array(state[:2]) + np.array(state[2:]) / 2 - side / 2
    return np.concatenate((corners[:2] + corner, corners[2:] - corners[:2]))


@pytest.mark.slow
def test_the_published_forward_pass_finds_the_target_that_the_template_shows(run):
    net = FarTrackNet("frame", 2).eval()
    MODELS.get("fartrack").load_state(net, "fartrack-tiny-frame", load_checkpoint(run / "weights.pt").state)
    frames, boxes = scenes()
    right, wrong = [], []
    for index in range(1, 24, 3):
        for block in (0, 1):
            truth, other = boxes[block], boxes[1 - block]
            # As a tracker that lags behind: 0.4 of the target's size beside it.
            angle = 2.4 * index + block
            state = truth[index] + 0.4 * math.sqrt(36 * 28) * np.array([math.cos(angle), math.sin(angle), 0, 0])
            found = find(net, truth[index - 1], state, frames[index - 1], frames[index])
            right.append(overlap(found, truth[index]))
            found = find(net, other[index - 1], state, frames[index - 1], frames[index])
            wrong.append(overlap(found, truth[index]))
    assert np.mean(right) > 0.8, np.round(right, 2)
    assert np.mean(wrong) < np.mean(right) - 0.2, np.round(wrong, 2)
