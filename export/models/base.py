"""What a family of published trackers offers to the export pipeline.

A family is one file beside this one: the published network with its published parameter names, its variants, its
deployment graphs, the tracker spec for the manifest, and the eager reference loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

Box = tuple[float, float, float, float]
"""A box (x, y, w, h) in pixels, top-left corner, 0-based."""

__all__ = [
    "Box",
    "DeployGraph",
    "ModelFamily",
    "ParityInput",
    "ReferenceTracker",
    "Thresholds",
    "Variant",
]


@dataclass(frozen=True)
class Variant:
    """One published network of a family, and what it costs.

    `parameters` counts those used at inference; `gmacs` is one steady-state frame of the deployment graphs in 10^9
    multiply-accumulates, attention products included; `published_gmacs` the same for the published loop.
    """

    name: str
    family: str
    flavour: str
    depth: int
    parameters: int
    gmacs: float
    published_gmacs: float
    licence: str
    note: str = ""


@dataclass(frozen=True)
class DeployGraph:
    """One graph of an artifact: a module of plain tensor operations, batch 1, float32.

    inputs: example tensors by name, in the order of the module's arguments. outputs: names in the order of its results.
    dims: input name -> axis -> symbol, for the dimensions that take several values. values: symbol -> all its values.
    layouts: input or output name -> letters or words that name its axes.
    """

    role: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    dims: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Thresholds:
    """What the parity gate accepts for one precision.

    tensor_max_abs: output name -> largest absolute difference; outputs without an entry are reported but not judged.
    box_px: largest difference of any of x, y, w, h in the closed loop, in pixels. min_iou, mean_iou: over the clip.
    """

    tensor_max_abs: Mapping[str, float]
    box_px: float
    min_iou: float
    mean_iou: float


class ParityInput(NamedTuple):
    """Real inputs of one graph, as they occur in the reference loop: (role, name -> float32 array)."""

    role: str
    inputs: dict[str, NDArray[np.float32]]


class ReferenceTracker(Protocol):
    """The published loop in eager PyTorch. Frames are uint8 RGB (height, width, 3)."""

    @property
    def box(self) -> Box:
        """The current state, float64 pixels."""

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """Start on `frame` at `box`; forgets everything from before."""

    def update(self, frame: NDArray[np.uint8]) -> Box:
        """Track one frame and return the new state."""


class ModelFamily(Protocol):
    """A family of trackers behind one network file."""

    name: str

    def build(self, variant: str) -> nn.Module:
        """Return the published network, evaluation mode, parameters unset."""

    def entries(self, variant: str) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of every entry of the published checkpoint."""

    def unused(self, variant: str) -> dict[str, str]:
        """Return the published entries (or prefixes ending in '.') that inference ignores, and why."""

    def load_state(self, net: nn.Module, variant: str, state: Mapping[str, Tensor]) -> None:
        """Load a published checkpoint strictly.

        Raises:
            CheckpointError: entries missing, unexpected or of another shape; names the variant that fits, if one does.
        """

    def deploy_graphs(self, variant: str, net: nn.Module) -> list[DeployGraph]:
        """Return the deployment graphs of a loaded network."""

    def tracker_spec(self, variant: str) -> dict[str, Any]:
        """Return the manifest's `tracker` object."""

    def reference(self, variant: str, net: nn.Module) -> ReferenceTracker:
        """Return the published loop around a loaded network."""

    def thresholds(self, precision: str) -> Thresholds:
        """Return what the parity gate accepts at `precision`."""

    def parity_inputs(
        self, variant: str, net: nn.Module, frames: list[NDArray[np.uint8]], box: Box
    ) -> Iterator[ParityInput]:
        """Run the reference loop over RGB `frames` from `box` and yield what each graph is fed there."""
