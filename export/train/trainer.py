"""Runs a stage: optimiser steps, log, saved states, exact resumption, and an orderly end whatever ends it."""

from __future__ import annotations

import importlib.util
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.train.average import WeightAverage
from edgetrack.export.train.config import TrainConfig
from edgetrack.export.train.distributed import Team
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.optimiser import (
    build_optimiser,
    learning_rate_factor,
    set_learning_rate,
    trained_parameters,
)
from edgetrack.export.train.run_log import Meter, RunLog, draw_curve
from edgetrack.export.train.sections import as_table, differences
from edgetrack.export.train.stage import Loss, Stage
from edgetrack.export.train.state_files import LAST, WEIGHTS, load_state, save_state, save_weights

__all__ = ["CURVE", "LOG", "Loss", "Progress", "RunEnd", "Stage", "Trainer"]

LOG = "log.jsonl"
CURVE = "curve.png"
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_MIN_SCALE = 1e-3  # fp16: gradients that overflow even at this scale are not a matter of scale
# What may differ between a run and its resumption: nothing of it reaches the weights.
_FREE = ("run.log_every", "run.plot_every", "run.save_every", "run.keep_epochs", "run.threads", "run.prefetch")


class Progress(Protocol):
    """What is told how far the run is."""

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""

    def stage(self, label: str) -> None:
        """Change the label to what is being done now."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes:
        step: optimiser steps done in all.
        total_steps: what the configuration asks for.
        reason: "finished", "time" (the time limit) or "interrupted".
        weights: the file with the weights as they are now.
    """

    step: int
    total_steps: int
    reason: str
    weights: Path


class _Losses(nn.Module):
    """A stage as a module: what DistributedDataParallel wraps, so that stages need not know of it."""

    def __init__(self, stage: Stage, model: TrainNet) -> None:
        super().__init__()
        self.model = model  # registered for its parameters
        self._stage = stage

    def forward(self, step: int, micro: int) -> Loss:
        return self._stage.loss(step, micro)


class Trainer:
    """Trains `model` through `stage`; see `Stage` for what a recipe gives."""

    def __init__(
        self,
        stage: Stage,
        model: TrainNet,
        config: TrainConfig,
        out: Path,
        *,
        device: torch.device | str = "cpu",
        team: Team = Team(),  # noqa: B008 (immutable)
    ) -> None:
        """Prepare a run; nothing is written yet.

        Args:
            stage: the recipe; it holds `model`.
            model: on `device`.
            config: optimiser, length, precision, what is saved when.
            out: the run's folder.
            device: where the model is.
            team: the processes that train together.

        Raises:
            InputError: a precision that the device does not have.
        """
        self._stage, self._model, self._config, self._out = stage, model, config, Path(out)
        self._device, self._team = torch.device(device), team
        self._check_precision()
        self._parameters = trained_parameters(model)
        self._optimiser = build_optimiser(model, config.optimiser)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=config.run.precision == "fp16")
        self._average = WeightAverage(self._parameters, config.run.ema) if config.run.ema > 0 else None
        self._steps_per_epoch = config.steps_per_epoch(team.world)
        if self._steps_per_epoch < 1:
            raise InputError(
                f"an epoch of {config.run.samples_per_epoch} samples is less than one step of {team.world} processes "
                f"({config.samples_per_step(team.world)} samples); raise run.samples_per_epoch or lower run.batch"
            )
        self._log, self._meter = RunLog(self._out / LOG), Meter()
        self._saved = -1
        self._rate = 0.0
        self._label = ""
        self.step = 0
        self._losses = team.parallel(_Losses(stage, model))
        # Every process drops other paths; the weights are shared above.
        torch.manual_seed(config.run.seed + team.rank)

    @property
    def total_steps(self) -> int:
        """How many optimiser steps the whole run has."""
        return self._config.run.epochs * self._steps_per_epoch

    @property
    def trained_count(self) -> int:
        """How many values are trained."""
        return sum(parameter.numel() for parameter in self._parameters)

    def resume(self) -> None:
        """Continue from `last.pt` in the run's folder.

        Raises:
            CheckpointError: there is none, or it is of another configuration or number of processes.
        """
        state = load_state(self._out)
        changed = [name for name in differences(state["config"], as_table(self._config)) if not name.startswith(_FREE)]
        if changed:
            raise CheckpointError(
                f"the run in {self._out} was started with another {', '.join(changed[:6])}; resume with its own "
                "configuration, or start a new run from its weights"
            )
        if len(state["ranks"]) != self._team.world:
            raise CheckpointError(
                f"the run in {self._out} had {len(state['ranks'])} processes, this one has {self._team.world}; "
                "start as many"
            )
        try:
            self._restore(state)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"{self._out / LAST} is of another network or damaged ({reason})") from error

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        own = state["ranks"][self._team.rank]
        self._stage.load_state_dict(own["stage"])
        torch.set_rng_state(own["rng"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda_rng"], self._device)
        self.step = self._saved = int(state["step"])
        if self._team.leads:
            self._log.cut(self.step)

    def run(self, *, minutes: float | None = None, progress: Progress | None = None) -> RunEnd:
        """Train to the end, to the time limit, or until interrupted; then save.

        SIGINT and SIGTERM let the current step end; a second one stops at once, the last saved state stays. In the
        main thread only: elsewhere signals are the caller's affair.

        Args:
            minutes: stop after about so many minutes; `resume` continues.
            progress: advanced by one a step, and labelled with each line of the log.

        Raises:
            InputError: the loss or the gradient is not finite; names step and batch. The state saved last stays.
        """
        self._out.mkdir(parents=True, exist_ok=True)
        deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._model.train()
        reason = "finished"
        with _stop_signals() as stop:
            while self.step < self.total_steps:
                self._take_step()
                stopped = self._team.any(stop.is_set(), self._device)
                ends = stopped or self._team.any(time.monotonic() > deadline, self._device)
                self._keep_books(ends)
                if progress is not None:
                    progress.advance()
                    if self._label:
                        progress.stage(self._label)
                if ends and self.step < self.total_steps:
                    reason = "interrupted" if stopped else "time"
                    break
        return self._finish(reason)

    def _take_step(self) -> None:
        config = self._config.optimiser
        factor = learning_rate_factor(config, self.step, self._steps_per_epoch, self.total_steps)
        self._rate = set_learning_rate(self._optimiser, factor)
        self._optimiser.zero_grad(set_to_none=True)
        losses = []
        for micro in range(self._stage.micro_steps):
            last = micro == self._stage.micro_steps - 1
            with self._team.exchange(self._losses, last):
                with self._autocast():
                    loss: Loss = self._losses(self.step, micro)
                self._scaler.scale(loss.total).backward()  # type: ignore[no-untyped-call]
            losses.append(Loss(loss.total.detach(), loss.parts, loss.iou, loss.where))
        self._scaler.unscale_(self._optimiser)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, config.clip))
        self._check_finite(losses, norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._average is not None:
            self._average.update(self._parameters)
        self.step += 1
        self._meter.add(losses, norm if math.isfinite(norm) else 0.0)

    def _check_finite(self, losses: list[Loss], norm: float) -> None:
        """Stop before anything that is not a number gets into the weights."""
        if math.isfinite(norm):
            return
        bad = [loss for loss in losses if not bool(torch.isfinite(loss.total))]
        if not bad and self._scaler.is_enabled() and self._scaler.get_scale() > _MIN_SCALE:
            return  # fp16 found its scale too large: it leaves this step out and lowers it
        what = f"loss {float(bad[0].total):g}" if bad else f"gradient norm {norm:g}"
        batch = "; ".join(loss.where for loss in bad or losses)[:300]
        raise InputError(
            f"{what} in optimiser step {self.step} (batch: {batch}); the state saved last is in {self._out}: lower "
            "optimiser.lr, or look at that batch"
        )

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        kind = _AUTOCAST.get(self._config.run.precision)
        with torch.autocast(self._device.type, dtype=kind, enabled=kind is not None):
            yield

    def _check_precision(self) -> None:
        precision, on_gpu = self._config.run.precision, self._device.type == "cuda"
        if precision in ("tf32", "fp16") and not on_gpu:
            raise InputError(f"run.precision is {precision}, which {self._device} does not have; use fp32")
        if on_gpu:
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            torch.backends.cudnn.allow_tf32 = precision == "tf32"

    def _keep_books(self, ends: bool) -> None:
        """Log, draw and save what is due after a step."""
        run = self._config.run
        done = ends or self.step == self.total_steps
        if self._team.leads and (done or self.step % run.log_every == 0):
            self._write_line()
        if self._team.leads and run.plot_every and self.step % run.plot_every == 0 and not done:
            self._draw()
        epoch, rest = divmod(self.step, self._steps_per_epoch)
        if done or self.step % run.save_every == 0:
            self._save()
        last_ones = epoch > self._config.run.epochs - 5
        if run.keep_epochs and rest == 0 and self._team.leads and (epoch % run.keep_epochs == 0 or last_ones):
            self._save_weights(self._out / f"weights-ep{epoch:04d}.pt")

    def _write_line(self) -> None:
        line: dict[str, Any] = {"step": self.step, "epoch": self.step / self._steps_per_epoch, "lr": self._rate}
        line |= self._meter.take()
        line["samples_per_s"] = line["steps_per_s"] * self._config.samples_per_step(self._team.world)
        self._log.add({name: round(value, 9) if isinstance(value, float) else value for name, value in line.items()})
        self._label = (
            f"step {self.step} of {self.total_steps}: loss {line['loss']:.4f}, IoU {line['iou']:.3f}, "
            f"lr {self._rate:.2e}, {line['samples_per_s']:.1f} samples/s"
        )

    def _draw(self) -> None:
        if importlib.util.find_spec("matplotlib") is not None:  # a training machine need not have it
            draw_curve(self._log.lines(), self._out / CURVE, f"{self._config.stage}, {self._model.depth} layers")

    def _save(self) -> None:
        own = {"stage": self._stage.state_dict(), "rng": torch.get_rng_state()}
        if self._device.type == "cuda":
            own["cuda_rng"] = torch.cuda.get_rng_state(self._device)
        ranks = self._team.gather(own)
        if not self._team.leads or self._saved == self.step:
            return
        state: dict[str, Any] = {
            "step": self.step,
            "config": as_table(self._config),
            "model": self._model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "ranks": ranks,
        }
        if self._average is not None:
            state["average"] = self._average.state_dict()
        save_state(self._out, state)
        self._saved = self.step

    def _save_weights(self, path: Path) -> None:
        facts = {"epoch": self.step // self._steps_per_epoch, "step": self.step, "depth": self._model.depth}
        save_weights(path, self.weights(), {**facts, "stage": self._config.stage})

    def weights(self) -> dict[str, Tensor]:
        """Return the result under the published names, float32 on the CPU: the average if one is kept."""
        if self._average is None:
            return self._model.published_state()
        with self._average.swapped_in(self._parameters):
            return self._model.published_state()

    def _finish(self, reason: str) -> RunEnd:
        path = self._out / WEIGHTS
        if self._team.leads:
            self._draw()
            # Also of a run that is not finished: it can be looked at, and a resumed run goes on from the state.
            self._save_weights(path)
        return RunEnd(self.step, self.total_steps, reason, path)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the second raises KeyboardInterrupt."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signature is fixed)
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
