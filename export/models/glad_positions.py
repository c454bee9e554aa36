"""Sinusoidal position tables of GLAD's decoder blocks, in float32 or rounded as the published evaluation does it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nominal_frequencies", "position_table"]


def nominal_frequencies(channels: int) -> Tensor:
    """Return the frequencies (channels / 2,) that the buffers `inv_freq` of a fresh network hold, float32."""
    steps = torch.arange(0, channels, 2).float()
    return 1.0 / (10000.0 ** (steps / channels))


def position_table(frequencies: Tensor, count: int, *, bf16: bool) -> Tensor:
    """Return [sin(n f), cos(n f)] (count, 2 F) for n = 0..count - 1, the halves one after the other.

    Args:
        frequencies: (F,) float32.
        count: rows.
        bf16: round positions, frequencies, angles and results to bfloat16 each, to nearest even, as a network does that
            was cast to bfloat16 as a whole (oddity O4, spec section 3.5): positions above 256 collapse to even numbers.
            The result is float32 either way.
    """

    def kept(x: Tensor) -> Tensor:
        return x.bfloat16().float() if bf16 else x

    positions = kept(torch.arange(count, dtype=torch.float32, device=frequencies.device))
    angles = kept(positions.unsqueeze(1) * kept(frequencies.float()))
    return torch.cat([kept(angles.sin()), kept(angles.cos())], dim=1)
