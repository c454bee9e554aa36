"""What a training run is told: one TOML file, its sections as dataclasses whose defaults are the published recipe.

The recipes that come with edgetrack lie in `configs/`; a file of one's own need only say what differs from the defaults
of its stage. Every key is described at its section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgetrack.errors import InputError
from edgetrack.export.train.losses import Labels
from edgetrack.export.train.sampler_settings import SamplerSettings
from edgetrack.export.train.sections import choice, number, override, parse_section, read_toml
from edgetrack.export.train.sparse_stage import SparseSettings
from edgetrack.export.train.teacher import TeacherSettings

__all__ = [
    "STAGES",
    "DistillConfig",
    "InitConfig",
    "LossConfig",
    "ModelConfig",
    "OptimiserConfig",
    "RunConfig",
    "TrainConfig",
    "bundled_configs",
    "find_config",
    "load_config",
]

STAGES = ("frame", "distill", "sparse")
_FOLDER = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        depth: layers that run, the 12 blocks and then the 3 extension blocks. Tiny 15, Nano 10, Pico 6.
        templates: template slots that are trained with.
        slots: "first": slots 0 to templates - 1; "random": other ones every step, so that all identity rows learn.
        template_tokens: of the 49 tokens of each template this many, drawn anew for each sample, take part. Below 49
            training is faster, and the network learns to do with pruned templates.
        drop_path: largest rate of stochastic depth.
    """

    depth: int = number(15, 1, 15)
    templates: int = number(5, 1, 5)
    slots: str = choice("first", ("first", "random"))
    template_tokens: int = number(49, 1, 49)
    drop_path: float = number(0.1, 0, 0.9)


@dataclass(frozen=True)
class InitConfig:
    """Where the weights come from.

    Attributes:
        source: "mae": a masked autoencoder's ViT-Tiny; "stage": a checkpoint of a FARTrack stage; "scratch": no file,
            see `scratch.py`.
    """

    source: str = choice("stage", ("mae", "stage", "scratch"))


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms in stages 1 and 2.

    Attributes:
        siou: of the box loss.
        ce: of the cross entropy over bins.
        kl: of the divergence between neighbouring exits (stage 2).
        aux: of the auxiliary loss: every search token says whether it lies on the target. 0: no auxiliary head.
        attention: of the guidance of the command tokens' attention in the last layer, see `guidance.py`. 0: none.
        label_width: standard deviation in bins of the label's Gaussian, 0 = one bin.
        label_smoothing: probability spread over all bins.
    """

    siou: float = number(2.0, 0)
    ce: float = number(2.0, 0)
    kl: float = number(0.01, 0)
    aux: float = number(0.0, 0)
    attention: float = number(0.0, 0)
    label_width: float = number(0.0, 0, 100)
    label_smoothing: float = number(0.0, 0, 0.9)

    @property
    def labels(self) -> Labels:
        """How targets become distributions."""
        return Labels(self.label_width, self.label_smoothing)


@dataclass(frozen=True)
class DistillConfig:
    """Stage 2.

    Attributes:
        exits: the depths that are trained, shallow to deep; empty: 5 to the network's depth.
        teacher: name of a model that teaches beside the truth, as `edgetrack models` lists it; empty: none.
    """

    exits: tuple[int, ...] = ()
    teacher: str = ""


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW and its schedule.

    Attributes:
        lr: learning rate of identity, embeddings, extension and output bias.
        backbone_multiplier: times this for the rest of the backbone.
        weight_decay: of AdamW.
        decay_all: False leaves biases, norms and tables without decay; the published recipe decays everything.
        beta2: of AdamW; beta1 is 0.9.
        clip: largest L2 norm of the gradient.
        schedule: "step": times 0.1 after `drop_epoch`; "cosine": down to `final_factor` times the rate at the end.
        drop_epoch: 0 = never.
        final_factor: see schedule.
        warmup_steps: optimiser steps over which the rate rises from 0.
    """

    lr: float = number(4e-4, 0)
    backbone_multiplier: float = number(0.1, 0)
    weight_decay: float = number(1e-4, 0)
    decay_all: bool = True
    beta2: float = number(0.999, 0.5, 0.99999)
    clip: float = number(0.1, 1e-6)
    schedule: str = choice("step", ("step", "cosine"))
    drop_epoch: int = number(400, 0)
    final_factor: float = number(0.01, 0, 1)
    warmup_steps: int = number(0, 0)


@dataclass(frozen=True)
class RunConfig:
    """How long, how much at once, and what is written when.

    Attributes:
        seed: of everything random; process r of several uses seed + r.
        epochs: in all.
        samples_per_epoch: over all processes (stage 3: clips of each process).
        batch: samples of a micro step, per process (stage 3 has `sparse.clips` instead).
        micro_steps: micro steps whose gradients make one optimiser step.
        precision: "fp32"; "tf32", "bf16", "fp16" on a GPU (bf16 on the CPU too).
        threads: of the CPU, 0 = PyTorch's choice.
        ema: decay of the average of the weights that is saved as the result, 0 = none.
        prefetch: prepare batches while the network trains.
        log_every: optimiser steps between two lines of the log.
        plot_every: optimiser steps between two drawings of the curve, 0 = only at the end.
        save_every: optimiser steps between two saved states.
        keep_epochs: also keep the weights of every so many epochs, 0 = only the last ones.
    """

    seed: int = number(1008, 0, 2**53 - 1)
    epochs: int = number(500, 1)
    samples_per_epoch: int = number(76_800, 1)
    batch: int = number(32, 1)
    micro_steps: int = number(1, 1)
    precision: str = choice("fp32", ("fp32", "tf32", "bf16", "fp16"))
    threads: int = number(0, 0, 1024)
    ema: float = number(0.0, 0, 0.99999)
    prefetch: bool = True
    log_every: int = number(50, 1)
    plot_every: int = number(1000, 0)
    save_every: int = number(1000, 1)
    keep_epochs: int = number(0, 0)


@dataclass(frozen=True)
class TrainConfig:
    """A whole run; `stage` is "frame" (1), "distill" (2) or "sparse" (3)."""

    stage: str = choice("frame", STAGES)
    model: ModelConfig = field(default_factory=ModelConfig)
    init: InitConfig = field(default_factory=InitConfig)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    sparse: SparseSettings = field(default_factory=SparseSettings)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Check what sections say about each other.

        Raises:
            InputError: they contradict.
        """
        if self.model.templates != self.sampler.templates:
            raise InputError(
                f"model.templates is {self.model.templates} and sampler.templates {self.sampler.templates}; "
                "leave sampler.templates out, it follows"
            )
        if (self.sampler.template_size, self.sampler.search_size) != (112, 224):
            raise InputError(
                f"sampler.template_size {self.sampler.template_size} and search_size {self.sampler.search_size}; the "
                "network takes 112 and 224"
            )
        if any(not 1 <= depth <= self.model.depth for depth in self.distill.exits):
            raise InputError(f"distill.exits {list(self.distill.exits)}; give depths from 1 to {self.model.depth}")
        if list(self.distill.exits) != sorted(set(self.distill.exits)):
            raise InputError(f"distill.exits {list(self.distill.exits)}; give each depth once, ascending")
        if self.steps_per_epoch(1) < 1:
            raise InputError(
                f"run.samples_per_epoch is {self.run.samples_per_epoch}, one step takes {self.samples_per_step(1)}; "
                "raise the former or lower run.batch"
            )

    @property
    def exits(self) -> tuple[int, ...]:
        """The depths that stage 2 trains (spec section 5.2: 5 to 15)."""
        return self.distill.exits or tuple(range(min(5, self.model.depth), self.model.depth + 1))

    def samples_per_step(self, world: int) -> int:
        """Return how many samples `world` processes take in one optimiser step; of stage 3, clips of one process."""
        if self.stage == "sparse":
            return self.sparse.clips
        return self.run.batch * self.run.micro_steps * world

    def steps_per_epoch(self, world: int) -> int:
        """Return the optimiser steps of an epoch."""
        return self.run.samples_per_epoch // self.samples_per_step(world)


def bundled_configs() -> dict[str, Path]:
    """Return the recipes that come with edgetrack: name -> file."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def find_config(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of a bundled one.

    Raises:
        InputError: neither.
    """
    bundled = bundled_configs()
    if name in bundled:
        return bundled[name]
    if Path(name).is_file():
        return Path(name)
    raise InputError(f"there is no recipe {name!r}; give a TOML file, or one of {', '.join(bundled)}")


def load_config(path: Path, assignments: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe and apply assignments like "optimiser.lr=1e-4".

    Raises:
        InputError: the file cannot be read, a key does not exist, or a value cannot be used; the message names it.
    """
    table = override(read_toml(path), assignments)
    model, sampler = table.get("model"), table.get("sampler", {})
    if isinstance(model, dict) and isinstance(sampler, dict) and "templates" in model:
        table["sampler"] = {"templates": model["templates"], **sampler}
    return parse_section(TrainConfig, table, str(path))
