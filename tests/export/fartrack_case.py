"""The published networks with stand-in weights, as the golden vectors were recorded."""

from __future__ import annotations

import functools

import numpy as np
import torch
from golden_files import golden, golden_seed

from edgetrack.export.models import MODELS
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.standin import synth_state

# golden file -> variant
CASES = {
    "fartrack_tiny": "fartrack-tiny",
    "fartrack_nano": "fartrack-nano",
    "fartrack_pico": "fartrack-pico",
    "fartrack_distill_tiny": "fartrack-tiny-distill",
    "fartrack_frame_tiny": "fartrack-tiny-frame",
}
SPARSE = [name for name in CASES if "distill" not in name and "frame" not in name]

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def golden_shapes(vectors) -> dict[str, tuple[int, ...]]:
    return {
        str(key): tuple(int(size) for size in str(shape).split(",") if size)
        for key, shape in zip(vectors["keys"], vectors["shapes"], strict=True)
    }


@functools.lru_cache(maxsize=8)
def loaded_network(name: str) -> FarTrackNet:
    """The network of a golden file, with the weights it was recorded with."""
    vectors, variant = golden(name), CASES[name]
    family = MODELS.get("fartrack")
    net = family.build(variant)
    state = synth_state(golden_shapes(vectors), golden_seed(vectors))
    family.load_state(net, variant, {key: torch.from_numpy(value) for key, value in state.items()})
    assert isinstance(net, FarTrackNet)
    return net.requires_grad_(False)


def normalised(patch: np.ndarray) -> torch.Tensor:
    """float32 (1, 3, H, W) of a uint8 RGB patch (H, W, 3)."""
    return (torch.from_numpy(patch).permute(2, 0, 1)[None].float() / 255 - MEAN) / STD


def network_inputs(name: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The five templates and the search crop of the golden single forward."""
    vectors = golden(name)
    return [normalised(patch) for patch in vectors["net_template_u8"]], normalised(vectors["net_search_u8"])
