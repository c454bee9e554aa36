"""ATSTrack's tracking loop in eager PyTorch (spec section 4): the reference of the parity gate.

There is no published loop. It is OSTrack's with templates in slots and a token that is handed on; crops of the history
are kept as bytes, and a slot is embedded when its crop changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.loops.centre_head import CentreLoop
from edgetrack.export.models.atstrack_net import AtsNet, AtsOutput, Told
from edgetrack.export.models.atstrack_variants import SlotRule

__all__ = ["AtsReference", "SlotHistory"]


@dataclass
class SlotHistory:
    """The crops that the newest slot showed, as (frame, crop), thinned where they become too many (section 4.4)."""

    rule: SlotRule
    entries: list[tuple[int, NDArray[np.uint8]]] = field(default_factory=list)
    interval: int = 0

    def __post_init__(self) -> None:
        """Begin with the rule's interval."""
        self.interval = self.rule.interval

    def add(self, frame: int, crop: NDArray[np.uint8]) -> None:
        """Take the crop of a frame, unless the last one is too young."""
        if len(self.entries) == self.rule.history:
            self.entries = self.entries[::2]
            self.interval *= 2
        if not self.entries or frame - self.entries[-1][0] >= self.interval:
            self.entries.append((frame, crop))

    def closest(self, frame: float) -> tuple[int, NDArray[np.uint8]] | None:
        """Return the entry nearest to a frame, of two equally near the earlier one; None where there is none."""
        return min(self.entries, key=lambda entry: abs(entry[0] - frame), default=None)


class AtsReference(CentreLoop):
    """The tracker around one network; frames are uint8 RGB (H, W, 3)."""

    def __init__(self, net: AtsNet, told: Told, rule: SlotRule | None = None) -> None:
        """Use a loaded `net` in evaluation mode, and what the text side says of the target."""
        super().__init__(net.shape)
        self.net, self.told, self.rule = net, told, rule or SlotRule()
        self.count = net.shape.templates
        self.slots: list[Tensor] = []
        self.shown: list[int] = []
        self.state = told.state
        self.frame_index = 0
        self.history = SlotHistory(self.rule)

    @property
    def started(self) -> bool:
        """See `CentreLoop.started`."""
        return bool(self.slots)

    @torch.no_grad()
    def embed(self, patch: NDArray[np.uint8]) -> Tensor:
        """Return the tokens (1, Lz, C) of a template's crop."""
        return self.net.backbone.template_tokens(self._normalise(patch))

    def start(self, frame: NDArray[np.uint8]) -> None:
        """See `CentreLoop.start`; all slots show the first crop."""
        self.slots = [self.embed(self.template_crop(frame))] * self.count
        self.shown = [0] * self.count
        self.state, self.frame_index, self.history = self.told.state, 0, SlotHistory(self.rule)

    def tell(self, told: Told) -> None:
        """Follow another description from now on: what was seen stays in the token, what was said is replaced."""
        self.told = told
        self.state = torch.cat([self.state[:, :1], told.state[:, 1:]], dim=1)

    def look(self, search: Tensor) -> AtsOutput:
        """See `CentreLoop.look`."""
        output: AtsOutput = self.net(search, torch.cat(self.slots, dim=1), self.state, self.told.lang, self.told.mask)
        return output

    def remember(self, frame: NDArray[np.uint8]) -> None:
        """See `CentreLoop.remember`: hand the token on, and renew templates from the frame just tracked."""
        if self.step is None or not isinstance(self.step.output, AtsOutput):
            raise InputError("remember was called before update; track a frame first")
        self.state = self.step.output.state
        self.frame_index += 1
        if self.count < 2:
            return
        surest = float(self.step.output.maps.score.max())
        if self.frame_index % self.rule.interval == 0 and surest >= self.rule.at_least:
            patch = self.template_crop(frame)
            self.history.add(self.frame_index, patch)
            self._show(self.count - 1, self.frame_index, patch)
        for slot in range(1, self.count - 1):
            found = self.history.closest(slot * self.frame_index / (self.count - 1))
            if found is not None and found[0] != self.shown[slot]:
                self._show(slot, *found)

    def _show(self, slot: int, frame: int, patch: NDArray[np.uint8]) -> None:
        self.slots[slot], self.shown[slot] = self.embed(patch), frame
