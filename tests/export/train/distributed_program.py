"""What torchrun starts in test_distributed.py: one run in one go, and one that a signal to one process interrupts."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import torch
from train_case import NoiseSource, small_config, small_stage

from edgetrack.export.train.distributed import Team, team
from edgetrack.export.train.trainer import Trainer


class StopHere:
    """Sends this process SIGTERM in its second step."""

    def __init__(self) -> None:
        self.steps = 0

    def advance(self, steps: int = 1) -> None:
        self.steps += 1
        if self.steps == 1:
            signal.raise_signal(signal.SIGTERM)

    def stage(self, label: str) -> None:
        pass


def trainer_for(place: Team, out: Path) -> tuple[Trainer, torch.nn.Module]:
    config = small_config(samples_per_epoch=8, epochs=2)
    model, stage = small_stage(config, NoiseSource(seed=place.rank))
    if place.rank == 1:
        with torch.no_grad():
            model.net.identity.add_(1.0)  # the leader's weights must win
    return Trainer(stage, model, config, out, team=place), model


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with team("cpu") as (place, device):
        if (place.world, device.type) != (2, "cpu"):
            raise SystemExit(f"{place} on {device}")
        trainer, model = trainer_for(place, out / "straight")
        trainer.run()
        torch.save(model.state_dict(), out / f"straight-{place.rank}.pt")

        first, _ = trainer_for(place, out / "parts")
        end = first.run(progress=StopHere() if place.rank == 1 else None)
        if (end.reason, end.step) != ("interrupted", 2):
            raise SystemExit(f"rank {place.rank}: {end}")
        second, model = trainer_for(place, out / "parts")
        second.resume()
        second.run()
        torch.save(model.state_dict(), out / f"parts-{place.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
