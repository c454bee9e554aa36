"""A small sparse network and a synthetic sequence for the tests of stage 3 and of teachers."""

from __future__ import annotations

import numpy as np
import torch

from edgetrack.data import IndexedTrack
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.standin import synth_box, synth_frame, synth_state
from edgetrack.export.train.bank import ImageBank

HEIGHT, WIDTH = 120, 160


class Frames:
    """`count` frames of the synthetic clip, every third one, small."""

    def __init__(self, count: int) -> None:
        self.frames = [synth_frame(3 * index, HEIGHT, WIDTH) for index in range(count)]

    def __len__(self) -> int:
        return len(self.frames)

    def shape(self, index: int) -> tuple[int, int]:
        return self.frames[index].shape[:2]

    def read(self, index: int) -> np.ndarray:
        return self.frames[index]


def synth_bank(count: int = 12) -> tuple[ImageBank, IndexedTrack]:
    """The synthetic clip in a bank, and the track over it."""
    boxes = np.array([synth_box(3 * index, HEIGHT, WIDTH) for index in range(count)])
    boxes *= (1, 1, 0.5, 0.5)
    boxes[:, :2] += boxes[:, 2:] / 2
    return ImageBank(Frames(count)), IndexedTrack("synthetic", "synth", np.arange(count), boxes)


def small_net(flavour: str = "sparse", depth: int = 2, seed: int = 0) -> FarTrackNet:
    """A network with stand-in weights."""
    net = FarTrackNet(flavour, depth)
    state = synth_state({name: tuple(value.shape) for name, value in net.state_dict().items()}, seed)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return net
