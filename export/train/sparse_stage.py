"""Stage 3, inter-frame sparsification: the network learns on the frames that it tracked itself into (spec section 5.3).

One optimiser step explores some clips in lockstep, without gradient, and then replays what was recorded, one clip a
micro step. The gradients of the clips are summed. The loss is SIoU of the last exit; there is no reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.models.fartrack_net import TEMPLATE_TOKENS
from edgetrack.export.train.exploration import Episode, Explorer
from edgetrack.export.train.losses import expected_corners, iou, stage3_loss
from edgetrack.export.train.sections import number
from edgetrack.export.train.sequence import ClipSampler, ClipSettings
from edgetrack.export.train.stage import Loss

if TYPE_CHECKING:
    from edgetrack.data import IndexedTrack
    from edgetrack.export.train.bank import ImageBank
    from edgetrack.export.train.network import TrainNet

__all__ = ["SparseSettings", "SparseStage"]


@dataclass(frozen=True)
class SparseSettings:
    """Stage 3's own settings; the defaults are the published ones.

    Attributes:
        clips: explored and summed in one optimiser step, per process.
        clip: how a clip is drawn.
        pruned: tokens that every old template loses, of 49.
        siou: weight of the loss.
    """

    clips: int = number(8, 1)
    clip: ClipSettings = field(default_factory=ClipSettings)
    pruned: int = number(12, 0, TEMPLATE_TOKENS - 1)
    siou: float = number(2.0, 0)


class SparseStage:
    """See `Stage`: a micro step is one clip, `micro_steps` clips are explored together."""

    def __init__(
        self,
        model: TrainNet,
        bank: ImageBank,
        tracks: Sequence[IndexedTrack],
        settings: SparseSettings,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Prepare the stage.

        Args:
            model: of the sparse flavour.
            bank: the images.
            tracks: the sequences; those that are too short are left out.
            settings: see `SparseSettings`.
            seed: of the clips, 0 or more.
            rank: this process's number among `world`.
            world: how many processes train together; each explores clips of its own.

        Raises:
            InputError: another flavour, or no sequence is long enough.
        """
        if not model.net.sparse:
            raise InputError(f"stage 3 trains the sparse flavour, not {model.net.flavour!r}; build that network")
        self.micro_steps = settings.clips
        self._model = model
        self._settings = settings
        self._sampler = ClipSampler(tracks, settings.clip, seed)
        self._explorer = Explorer(model, bank, settings.pruned)
        self._rank, self._world = rank, world
        self._episodes: tuple[int, list[Episode]] | None = None

    def loss(self, step: int, micro: int) -> Loss:
        """Return the loss of clip `micro` of optimiser step `step`; the first call of a step explores all its clips."""
        if self._episodes is None or self._episodes[0] != step:
            self._episodes = (step, self._explore(step))
        episode = self._episodes[1][micro]
        frames = len(episode.search)
        templates = episode.templates[None].expand(frames, -1, -1, -1, -1)
        logits = self._model(templates, episode.search, episode.keep)[-1]
        found = stage3_loss(logits, episode.corners, siou_weight=self._settings.siou)
        overlap = iou(expected_corners(logits.detach()), episode.corners).mean()
        return Loss(total=found.total, parts=found.parts, iou=overlap, where=episode.name)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run is compared with; the clips follow from the seed and the step."""
        return {"seed": self._sampler.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Check that `state` is of a run with the same clips.

        Raises:
            CheckpointError: it is not.
        """
        if state.get("seed") != self._sampler.seed:
            raise CheckpointError(
                f"the run to resume drew its clips with seed {state.get('seed')}, this one with {self._sampler.seed}; "
                "resume with the same seed"
            )

    def _explore(self, step: int) -> list[Episode]:
        self._episodes = None  # the old recordings need not be in memory beside the new ones
        self._model.net.renormalise_commands()
        first = (step * self._world + self._rank) * self.micro_steps
        return self._explorer([self._sampler.clip(first + micro) for micro in range(self.micro_steps)])
