"""Several processes that train one network, each on its own batches, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from edgetrack.errors import EngineUnavailable, InputError

__all__ = ["Team", "team"]

_TIMEOUT = timedelta(minutes=30)  # loading data may take one process much longer than another


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank: number of this process, 0 leads: it alone writes files.
        world: how many there are.
        local: number among those on this machine; picks the GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return `module` with rank 0's parameters, its gradients averaged over all processes in backward passes."""
        return module if self.world == 1 else DistributedDataParallel(module)

    @contextmanager
    def exchange(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Let gradients of `module` (from `parallel`) travel only in the last micro step of an optimiser step."""
        if last or not isinstance(module, DistributedDataParallel):
            yield
            return
        with module.no_sync():
            yield

    def any(self, flag: bool, device: torch.device) -> bool:
        """Tell whether `flag` is true in any process; all must ask."""
        if self.world == 1:
            return flag
        asked = torch.tensor(float(flag), device=device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        return bool(asked.item())

    def gather(self, value: Any) -> list[Any]:  # noqa: ANN401 (plain values of a state)
        """Return the values of all processes in the order of ranks; all must call."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


def _variable(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdigit():
        raise InputError(f"the environment variable {name} is {text!r}; start several processes with torchrun")
    return int(text)


@contextmanager
def team(device: str) -> Iterator[tuple[Team, torch.device]]:
    """Join the processes that torchrun started, if any, and leave them at the end.

    Args:
        device: "cpu", "cuda", "cuda:1", or "auto": a GPU if there is one.

    Yields:
        The team, and this process's device.

    Raises:
        InputError: no such device name, or torchrun's variables are damaged.
        EngineUnavailable: there is no such GPU.
    """
    alone = "WORLD_SIZE" not in os.environ
    place = Team() if alone else Team(_variable("RANK"), _variable("WORLD_SIZE"), _variable("LOCAL_RANK"))
    chosen = _device(device, place)
    if place.world == 1:
        yield place, chosen
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield place, chosen
    finally:
        dist.destroy_process_group()


def _device(name: str, place: Team) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"there is no device {name!r}; give auto, cpu, cuda or cuda:<number>") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"training does not run on {name!r}; give auto, cpu, cuda or cuda:<number>")
    if device.type == "cpu":
        return device
    index = place.local if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise EngineUnavailable(f"there is no GPU cuda:{index} here, but {torch.cuda.device_count()}; use --device cpu")
    return torch.device("cuda", index)
