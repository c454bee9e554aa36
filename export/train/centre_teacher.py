"""OSTrack and GRM as teachers of a FARTrack student.

The centre head has no distributions over coordinates. Its score map is no substitute: sizes and offsets learn at the
best cell alone (OSTrack spec section 5), so what the other cells say about corners means nothing.
A student therefore follows the one box that the network's own training loss looks at: that of the best cell. The
tracker's Hann window is left out, for the samples' targets lie anywhere in the crop. The corners then stand for
Gaussians of `teacher.point_width` bins, and `teacher.min_iou` leaves out the samples on which the teacher is wrong.

These trackers are trained on boxes that lie half a pixel of their crop further left and up than the pixels, as the
student is unless `sampler.exact_centre` says otherwise. That is not undone: it is 0.6 of a bin at most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgetrack.errors import InputError
from edgetrack.export.models.centre_head import best_box
from edgetrack.export.models.centre_net import CentreNet
from edgetrack.export.train.geometry import CropSizes
from edgetrack.export.train.teacher import Answer

__all__ = ["CentreTeacher"]


class CentreTeacher:
    """A network with a centre head as a teacher; see `Teacher`."""

    def __init__(self, net: nn.Module, device: torch.device | str = "cpu", temperature: float = 1.0) -> None:
        """Freeze the network and move it.

        Args:
            net: a `CentreNet` with its weights loaded; the teacher's alone from here on.
            device: where the batches are.
            temperature: 1, for there are no distributions to soften.

        Raises:
            InputError: another network or another temperature.
        """
        if not isinstance(net, CentreNet):
            raise InputError(f"a {type(net).__name__} was given as a teacher with a centre head; give OSTrack or GRM")
        if temperature != 1:
            raise InputError(
                f"teacher.temperature is {temperature:g}, but a centre head gives a box and no distribution to soften; "
                "leave it at 1 and set teacher.point_width"
            )
        shape = net.shape
        self.name = f"{type(net).__name__}, {shape.depth} layers of {shape.channels}"
        self.crops: CropSizes | None = CropSizes(
            shape.template_size, shape.template_factor, shape.search_size, shape.search_factor
        )
        self._net = net.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def answer(self, templates: Tensor, search: Tensor) -> Answer:
        """See `Teacher.answer`; one template of each sample, in the sizes of `crops`."""
        tokens, _ = self._net.features(templates[:, 0], search)
        # In half precision neighbouring scores would tie, and a place on the map has but 8 bits.
        with torch.autocast(tokens.device.type, enabled=False):
            box = best_box(*self._net.maps(tokens.float()))
        middle, half = box[:, :2], box[:, 2:] / 2
        return Answer(torch.cat([middle - half, middle + half], 1))
