"""A small network, synthetic batches and short configurations for the tests of training."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.train.config import (
    LossConfig,
    ModelConfig,
    OptimiserConfig,
    RunConfig,
    TrainConfig,
)
from edgetrack.export.train.frame_stage import FrameStage
from edgetrack.export.train.losses import quantise
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.sampler import Batch
from edgetrack.export.train.sampler_settings import SamplerSettings
from edgetrack.export.train.scratch import start_from_scratch


class NoiseSource:
    """Random batches from a seed, as a `BatchSource`; `bad` is the number of a batch whose pixels are not numbers."""

    def __init__(self, templates: int = 1, seed: int = 0, bad: int | None = None) -> None:
        self.templates, self.generator, self.drawn, self.bad = templates, torch.Generator().manual_seed(seed), 0, bad

    def batch(self, size: int) -> Batch:
        templates = torch.randn(size, self.templates, 3, 112, 112, generator=self.generator)
        search = torch.randn(size, 3, 224, 224, generator=self.generator)
        if self.drawn == self.bad:
            search[0, 0, 0, 0] = torch.nan
        low = torch.rand(size, 2, generator=self.generator) * 0.5
        corners = torch.cat((low, low + 0.1 + 0.4 * torch.rand(size, 2, generator=self.generator)), 1)
        self.drawn += 1
        return Batch(templates, search, corners, quantise(corners), torch.full((size,), self.drawn - 1))

    def names(self, batch: Batch) -> list[str]:
        return [f"noise_{number}" for number in batch.tracks.tolist()]

    def state_dict(self):
        return {"generator": self.generator.get_state(), "drawn": self.drawn}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])
        self.drawn = int(state["drawn"])


@functools.cache
def _start(flavour: str) -> dict[str, torch.Tensor]:
    net = FarTrackNet(flavour, 15)
    start_from_scratch(net, 3)
    return net.state_dict()


def small_config(stage: str = "frame", **run) -> TrainConfig:
    """One layer, one template, 3 epochs of 2 steps of 2 samples."""
    settings = {"epochs": 3, "samples_per_epoch": 4, "batch": 2, "log_every": 1, "plot_every": 0, "save_every": 1000}
    return TrainConfig(
        stage=stage,
        model=ModelConfig(depth=1, templates=1, drop_path=0.2, slots="random"),
        sampler=SamplerSettings(templates=1),
        loss=LossConfig(aux=0.5),
        optimiser=OptimiserConfig(lr=1e-3, backbone_multiplier=0.5, clip=1.0, schedule="cosine", warmup_steps=2),
        run=RunConfig(**(settings | run)),
    )


def small_stage(config: TrainConfig, source: NoiseSource | None = None) -> tuple[TrainNet, FrameStage]:
    """A network from scratch and stage 1 around it."""
    with torch.device("meta"):
        net = FarTrackNet(config.stage, config.model.depth)
    net.load_state_dict({name: value.clone() for name, value in _start(config.stage).items()}, assign=True)
    model = TrainNet(net, drop_path=config.model.drop_path, aux=config.loss.aux > 0)
    torch.manual_seed(11)
    if model.aux is not None:
        torch.nn.init.normal_(model.aux.weight, std=0.02, generator=torch.Generator().manual_seed(4))
        torch.nn.init.zeros_(model.aux.bias)
    return model, FrameStage(model, source or NoiseSource(config.model.templates), config)


def write_sequence(folder: Path, frames: int = 24) -> Path:
    """A sequence of textured frames 120x160 in which a bright square moves, in the plain layout; returns `folder`."""
    import cv2

    generator = np.random.default_rng(7)
    background = generator.integers(0, 90, (120, 160, 3), np.uint8)
    patch = generator.integers(120, 255, (30, 24, 3), np.uint8)
    (folder / "img").mkdir(parents=True)
    lines = []
    for index in range(frames):
        x, y = 20 + 2 * index, 30 + index
        image = background.copy()
        image[y : y + 30, x : x + 24] = patch
        cv2.imwrite(str(folder / "img" / f"{index + 1:08d}.jpg"), image)
        lines.append(f"{x},{y},24,30\n")
    (folder / "groundtruth.txt").write_text("".join(lines))
    return folder
