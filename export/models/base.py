"""What a family of published trackers offers to the export pipeline.

A family is one file beside this one: the published network with its published parameter names, its variants, its
deployment graphs, the tracker spec for the manifest, and the eager reference loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

Box = tuple[float, float, float, float]
"""A box (x, y, w, h) in pixels, top-left corner, 0-based."""

__all__ = [
    "Alterations",
    "BinTracker",
    "Box",
    "DeployGraph",
    "ForcedTracker",
    "GraphSignature",
    "ModelFamily",
    "Normalisation",
    "ParityInput",
    "ReferenceTracker",
    "Thresholds",
    "Variant",
    "stated_limits",
]


@dataclass(frozen=True)
class Variant:
    """One published network of a family, and what it costs.

    `parameters` counts those used at inference; `gmacs` is one steady-state frame of the deployment graphs in 10^9
    multiply-accumulates, attention products included; `published_gmacs` the same for the published loop. `tokens` is
    how many a block of the deployment graphs sees, on average, and `channels` their width; 0: not said.
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
    tokens: int = 0
    channels: int = 0


@dataclass(frozen=True)
class Alterations:
    """What may be changed of a family's published variants; the changed variant's name says it.

    options: as on the command line, without the dashes. name: (variant, a value or None for each option) -> the name of
    the changed variant; InputError where that cannot be. find: such a name -> its variant; None for any other name.
    values: variant -> option -> what it has; empty for a variant that takes none of the options.
    """

    options: tuple[str, ...]
    name: Callable[..., str]
    find: Callable[[str], Variant | None]
    values: Callable[[str], Mapping[str, float]]


class Normalisation(NamedTuple):
    """How a crop's pixels become a network's input: (v / 255 - mean) / std, per RGB channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class GraphSignature(Protocol):
    """What is known of a deployment graph without its module; see `DeployGraph`."""

    @property
    def role(self) -> str:
        """What it does in the tracker."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Example arrays or tensors by input name."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Output names."""

    @property
    def dims(self) -> Mapping[str, Mapping[int, str]]:
        """Input name -> axis -> symbol."""

    @property
    def values(self) -> Mapping[str, tuple[int, ...]]:
        """Symbol -> all its values."""

    @property
    def crops(self) -> Mapping[str, Normalisation]:
        """Input name -> how the crop that it takes is normalised."""


@dataclass(frozen=True)
class DeployGraph:
    """One graph of an artifact: a module of plain tensor operations, batch 1, float32.

    inputs: example tensors by name, in the order of the module's arguments. outputs: names in the order of its results.
    dims: input name -> axis -> symbol, for the dimensions that take several values. values: symbol -> all its values.
    layouts: input or output name -> letters or words that name its axes. features: outputs that only feed another
    graph: no decision is read from them, so that at reduced precision their last layer need not stay in float32.
    crops: inputs (1, 3, S, S) that the compiled core fills with a uint8 crop, normalised as said: a target may take the
    crop before that and normalise on its device.
    """

    role: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    dims: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    crops: Mapping[str, Normalisation] = field(default_factory=dict)


@dataclass(frozen=True)
class Thresholds:
    """What the parity gate accepts for one precision.

    tensor_max_abs: output name -> largest absolute difference; at fp32 every output has one, at other precisions
    outputs without an entry are reported but not judged. optional: outputs of graphs that not every artifact has.
    box_px: largest difference in pixels of any of x, y, w, h in the closed loop; infinite: reported, not judged.
    corner_px: the same of any decoded corner in the forced pass, in pixels of the network's input; None: box_px.
    min_iou, mean_iou: over the closed loop. swapped: most template tokens of a frame that only one side keeps, in the
    forced pass; None: reported, not judged. margin: a decision of the reference by a smaller lead may rightly turn
    there. near_px: where a corner lies among neighbouring bins, turned decisions move it by little: how far at most is
    known from the reference alone (its reach), and as long as that is at most near_px the corner is judged, by
    corner_px + reach; a corner with a larger reach is counted and not judged. followed_iou: smallest mean overlap in
    the closed loop over the frames in which the reference follows the target, by the clip's truth; elsewhere two loops
    drift apart on nothing; 0: reported, not judged. forced_iou: smallest overlap of the two boxes of a frame in the
    forced pass, where all corners are judged; 0: reported, not judged. tensor_scale: output name -> largest absolute
    value of the vectors on which tensor_max_abs was stated. Rounding errors grow with the values, so with weights that
    give larger ones the limit is larger in proportion; outputs without an entry keep theirs.
    """

    tensor_max_abs: Mapping[str, float]
    box_px: float
    min_iou: float
    mean_iou: float
    swapped: int | None = None
    margin: float = 0.0
    corner_px: float | None = None
    forced_iou: float = 0.0
    near_px: float = 0.0
    followed_iou: float = 0.0
    tensor_scale: Mapping[str, float] = field(default_factory=dict)
    optional: tuple[str, ...] = ()


def stated_limits(family: str, table: Mapping[str, Thresholds], precision: str) -> Thresholds:
    """Return what a family states for a precision.

    Raises:
        InputError: nothing.
    """
    if precision not in table:
        raise InputError(f"{family} states no limits for precision {precision!r}; known: {', '.join(table)}")
    return table[precision]


class ParityInput(NamedTuple):
    """Real inputs of one graph, as they occur in the reference loop: (role, name -> float32 array, ids int32)."""

    role: str
    inputs: dict[str, NDArray[Any]]


class ReferenceTracker(Protocol):
    """The published loop in eager PyTorch. Frames are uint8 RGB (height, width, 3)."""

    @property
    def box(self) -> Box:
        """The current state, float64 pixels."""

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """Start on `frame` at `box`; forgets everything from before."""

    def update(self, frame: NDArray[np.uint8]) -> Box:
        """Track one frame and return the new state."""


@runtime_checkable
class ForcedTracker(Protocol):
    """What a loop offers besides, if its state can be set and its decoded box be seen: the gate's forced pass uses it.

    A reference that does not offer it is compared in the closed loop only.
    """

    @property
    def forcible(self) -> bool:
        """Whether this loop can do it."""

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        """See `ReferenceTracker.init`."""

    def update(self, frame: NDArray[np.uint8]) -> Box:
        """See `ReferenceTracker.update`."""

    def set_state(self, box: Box) -> None:
        """Replace the state before the next update."""

    def corners_px(self) -> NDArray[np.floating[Any]]:
        """Return x1, y1, x2, y2 (4,) of the last update in pixels, before clipping where the loop can show that.

        They count from any point that follows from the state alone, in pixels of the frame or of the network's input,
        in both sides the same. Not finite if the network's output is not.
        """

    def leads(self) -> NDArray[np.floating[Any]]:
        """Return by how much the best value of what decides each corner led the second best in the last update (4,).

        Bins: in logits; a centre head, where one cell decides all four: in windowed score.
        """

    def kept(self) -> NDArray[np.bool_] | None:
        """Return which template tokens the last update kept; None where none are dropped."""


@runtime_checkable
class BinTracker(Protocol):
    """A `ForcedTracker` that decides each corner among bins, so that a turned decision moves it by a known distance."""

    def reach_px(self, margin: float) -> NDArray[np.floating[Any]]:
        """Return how far each corner (4,) of the last update could move, in pixels as in `corners_px`.

        That is the largest distance to a corner that any bin within `margin` of the best one would have given.
        """


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

    def thresholds(self, variant: str, precision: str) -> Thresholds:
        """Return what the parity gate accepts of `variant` at `precision`.

        Raises:
            InputError: the family states no limits for `precision`.
        """

    def parity_inputs(
        self, variant: str, net: nn.Module, frames: list[NDArray[np.uint8]], box: Box
    ) -> Iterator[ParityInput]:
        """Run the reference loop over RGB `frames` from `box` and yield what each graph is fed there."""
