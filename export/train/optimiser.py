"""AdamW's parameter groups and the learning rate over a run (spec section 5)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from edgetrack.export.train.config import OptimiserConfig
from edgetrack.export.train.network import TrainNet

__all__ = ["build_optimiser", "learning_rate_factor", "parameter_groups", "set_learning_rate", "trained_parameters"]

_FAST = ("output_bias", "embeddings", "extension")
_DROP = 0.1


def parameter_groups(model: TrainNet, config: OptimiserConfig) -> list[dict[str, Any]]:
    """Return the groups of all parameters that are trained, each with its base rate `base_lr`.

    (i) outside the backbone and (ii) backbone parameters named `output_bias`, `*embeddings*` or `extension` at the full
    rate, (iii) the rest of the backbone at the multiplied rate. Without `decay_all` each group is split in two.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kind, rate = _kind(name, config)
        matrix = name.endswith(".weight") and parameter.ndim >= 2 and "embeddings" not in name
        decayed = config.decay_all or matrix
        group = groups.setdefault(
            (kind, decayed),
            {"name": kind, "base_lr": rate, "weight_decay": config.weight_decay if decayed else 0.0, "params": []},
        )
        group["params"].append(parameter)
    return list(groups.values())


def _kind(name: str, config: OptimiserConfig) -> tuple[str, float]:
    inner = name.removeprefix("net.")
    if not inner.startswith("backbone."):
        return "outside", config.lr
    if any(word in inner for word in _FAST):
        return "head", config.lr
    return "backbone", config.lr * config.backbone_multiplier


def build_optimiser(model: TrainNet, config: OptimiserConfig) -> torch.optim.AdamW:
    """Return AdamW over `parameter_groups`; the fused kind, which is one kernel for all parameters."""
    groups = parameter_groups(model, config)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)


def learning_rate_factor(config: OptimiserConfig, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Return what the base rates are multiplied with in optimiser step `step` (from 0) of `total_steps`."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "step":
        dropped = config.drop_epoch > 0 and step >= config.drop_epoch * steps_per_epoch
        return _DROP if dropped else 1.0
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    wave = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return config.final_factor + (1 - config.final_factor) * wave


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's rate to `factor` times its base; return the highest rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
    return max(float(group["lr"]) for group in optimiser.param_groups)


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that get gradients, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
