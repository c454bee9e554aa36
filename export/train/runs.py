"""Puts a run together: data, network, stage and trainer, from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.train.bank import ImageBank
from edgetrack.export.train.config import TrainConfig
from edgetrack.export.train.distill_stage import DistillStage
from edgetrack.export.train.distributed import Team
from edgetrack.export.train.frame_stage import BatchSource, FrameStage
from edgetrack.export.train.init import check_weights, initialise, patches_of
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.prefetch import Prefetcher
from edgetrack.export.train.preview import write_contact_sheet
from edgetrack.export.train.sampler import Sampler
from edgetrack.export.train.sparse_stage import SparseStage
from edgetrack.export.train.stage import Stage
from edgetrack.export.train.state_files import LAST, load_state
from edgetrack.export.train.teacher import Teacher, load_teacher
from edgetrack.export.train.teacher_stage import TeacherStage
from edgetrack.export.train.trainer import Trainer

if TYPE_CHECKING:
    from edgetrack.data import ImageSource

__all__ = ["check_folder", "prepared_run"]

_PREVIEWED = 16
_PATCH_SAMPLES = 64  # search views whose patches the patch embedding starts from


def check_folder(out: Path, resume: bool) -> None:
    """Check a run's folder before anything expensive is done.

    Raises:
        InputError: it holds a run and `resume` was not asked for, or it is no folder.
        CheckpointError: `resume` was asked for and there is no readable state.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; name another --output")
    if resume:
        load_state(out)
    elif (out / LAST).exists():
        raise InputError(f"{out} holds a run already; continue it with --resume, or name another --output")


@contextmanager
def prepared_run(
    config: TrainConfig,
    source: ImageSource,
    out: Path,
    *,
    weights: Path | None = None,
    teacher: Path | None = None,
    preview: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    team: Team = Team(),  # noqa: B008 (immutable)
    loaded: Callable[[int], None] | None = None,
) -> Iterator[Trainer]:
    """Build a trainer that is ready to run, and stop what works beside it at the end.

    Args:
        config: the recipe.
        source: training images and tracks.
        out: the run's folder.
        weights: file to start from, as `config.init.source` asks; with `resume` it is not needed.
        teacher: checkpoint of the teacher that `config.distill.teacher` names.
        preview: picture to draw some samples of stage 1 or 2 into; none of the run's samples is used up.
        resume: continue from the state in `out`.
        device: where to train.
        team: the processes that train together.
        loaded: called with numbers of images as they are decoded.

    Raises:
        InputError: configuration, weights and data do not fit together.
        CheckpointError: weights or state cannot be used.
    """
    # All that can be refused is, before images are decoded.
    if preview is not None and config.stage == "sparse":
        raise InputError(
            f"stage 3 explores whole clips, there are no samples to draw into {preview}; leave --preview out"
        )
    model = _network(config, resume, weights)
    taught_by = _teacher(config, teacher, device)
    bank = ImageBank(source, device, loaded)
    with ExitStack() as stack:
        if config.stage == "sparse":
            stage = _sparse_stage(config, model.to(device), bank, source, team)
        else:
            sampler = _sampler(config, bank, source, team, taught_by)
            if preview is not None and team.leads:
                write_contact_sheet(_sampler(config, bank, source, team).batch(_PREVIEWED), preview)
            if not resume and config.init.source == "scratch":
                initialise(model.net, "scratch", config.run.seed, weights, _patches(sampler))
            batches = stack.enter_context(Prefetcher(sampler, config.run.batch)) if config.run.prefetch else sampler
            stage = _sampled_stage(config, model.to(device), batches, taught_by)
        trainer = Trainer(stage, model, config, out, device=device, team=team)
        if resume:
            trainer.resume()
        yield trainer


def _sampler(
    config: TrainConfig, bank: ImageBank, source: ImageSource, team: Team, taught_by: Teacher | None = None
) -> Sampler:
    return Sampler(
        bank,
        source.tracks,
        config.sampler,
        config.run.seed,
        rank=team.rank,
        world=team.world,
        teacher=None if taught_by is None else taught_by.crops,
    )


def _network(config: TrainConfig, resume: bool, weights: Path | None) -> TrainNet:
    """Return the network, started from its file if it needs one; a start from nothing needs pictures first."""
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    torch.manual_seed(config.run.seed)  # of what no start below sets: the auxiliary head
    sampled = config.stage != "sparse"  # stage 3 has neither term
    model = TrainNet(
        FarTrackNet(config.stage, config.model.depth),
        drop_path=config.model.drop_path,
        aux=sampled and config.loss.aux > 0,
        guided=sampled and config.loss.attention > 0,
    )
    if not resume:
        check_weights(config.init.source, weights)
        if weights is not None:
            initialise(model.net, config.init.source, config.run.seed, weights)
    return model


def _sparse_stage(config: TrainConfig, model: TrainNet, bank: ImageBank, source: ImageSource, team: Team) -> Stage:
    return SparseStage(model, bank, source.tracks, config.sparse, config.run.seed, rank=team.rank, world=team.world)


def _patches(sampler: Sampler) -> Tensor:
    return patches_of(sampler.batch(_PATCH_SAMPLES).search.cpu())


def _teacher(config: TrainConfig, weights: Path | None, device: torch.device | str) -> Teacher | None:
    name = config.distill.teacher if config.stage == "distill" else ""
    if (weights is None) != (not name):
        raise InputError(
            f"the recipe names the teacher {name!r}, whose checkpoint is missing; give it with --teacher"
            if name
            else f"a teacher's checkpoint {weights} was given, but the recipe names no model; set distill.teacher"
        )
    return None if weights is None else load_teacher(name, weights, device, config.teacher.temperature)


def _sampled_stage(config: TrainConfig, model: TrainNet, batches: BatchSource, teacher: Teacher | None) -> Stage:
    if teacher is not None:
        return TeacherStage(model, batches, config, teacher, config.teacher)
    return (DistillStage if config.stage == "distill" else FrameStage)(model, batches, config)
