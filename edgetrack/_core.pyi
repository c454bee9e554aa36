"""The tracker core: crops, decoding, template memory and tracking loops, in C++.

Boxes are (x, y, w, h) in frame pixels, floats, top-left corner, 0-based. Frames are uint8 arrays of any
strides, read in place: "bgr" and "rgb" HxWx3, "gray" HxW or HxWx1, "bgra" and "rgba" HxWx4, "nv12" (H*3/2)xW.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

_Box = tuple[float, float, float, float]

class State(enum.IntEnum):
    """How far a result can be trusted."""

    TRACKING = 0
    UNCERTAIN = 1
    LOST = 2

@final
class Graph:
    """One compiled network at fixed shapes, with the arrays it reads and writes."""

    def __init__(
        self,
        inputs: Mapping[str, NDArray[np.float32] | NDArray[np.uint8]],
        outputs: dict[str, NDArray[np.float32]],
        run: Callable[[], object],
        fill: Callable[[str, bytes], int] | None = None,
        run_filled: Callable[[str], object] | None = None,
    ) -> None:
        """Bind arrays and the callable that computes `outputs` from `inputs`; all are kept alive.

        Args:
            inputs: name -> C-contiguous, writable float32 array. Its memory must stay bound to the engine. An image
                that the network normalises by itself is a uint8 array (1, size, size, 3), RGB.
            outputs: the same for outputs.
            run: called once per inference, with the GIL held. What it raises reaches the tracker's caller
                unchanged.
            fill: of an engine that takes frames in its device's memory: called with the name of an image input and
                a crop's task (the bytes of CropTask in kernels/crop.hpp); writes the crop where the network reads
                that input and returns its spread in grey levels, 0 to 255, when the frame is not read any more.
            run_filled: the same as `run`, but the named input is as `fill` left it.

        Raises:
            InputError: an array of another dtype or layout.
        """

@final
class DeviceArray:
    """A uint8 array in the memory of the device that runs the networks: a frame for `CropLoop`."""

    def __init__(self, address: int, shape: Sequence[int], strides: Sequence[int], owner: object = None) -> None:
        """Describe the array.

        Args:
            address: of its first element.
            shape: as of a numpy frame.
            strides: in bytes, any sign and size.
            owner: what keeps the memory; held as long as this object.

        Raises:
            InputError: shape and strides differ in length.
        """

    @property
    def address(self) -> int:
        """Address of the first element."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from an element to the next one of each axis."""

class CropLoop:
    """What the tracking loop of every family offers; `FarTracker` is one.

    Used by one thread at a time: a call made during another one's, or from inside the engine, raises
    InputError. The small properties (all that hold no array) may be read by any thread at any time; they show the
    last finished call. `update` releases the GIL except in `run` of a graph.

    A search crop without information (one colour throughout what it shows of the frame) and network output that
    is not finite are reported as LOST, and the frame counts as not seen. All else is the published loop.
    """

    def init(self, frame: NDArray[np.uint8] | DeviceArray, box: _Box | None = None, color: str = "bgr") -> None:
        """Start on `box` in `frame`, forgetting any earlier target.

        Without a box, for trackers that are told otherwise what to look for: the state is LOST until it is found, and
        the box is the whole frame.

        Raises:
            InputError: the frame or box cannot be used, or this tracker needs a box; the tracker then stands as before.
            ArtifactError: the template graph gave values that are not finite.
        """

    def update(self, frame: NDArray[np.uint8] | DeviceArray, color: str = "bgr") -> tuple[bool, _Box]:
        """Follow the target into the next frame, of the init frame's size.

        Returns:
            Whether the target was found, and its box (the last one found, if not).

        Raises:
            InputError: the frame cannot be used, or `init` was not called. Whatever is raised, the frame
                counts as not seen.
        """

    def reset(self) -> None:
        """Forget the target: back to before `init`."""

    def set_state(self, box: _Box) -> None:
        """Replace the loop's box before the next update, for tests that force a path.

        Raises:
            InputError: the box cannot be used, or `init` was not called.
        """

    @property
    def score(self) -> float:
        """Confidence of the last result, 0 to 1; 1 after `init` with a box, 0 for a frame that counts as not seen."""

    @property
    def state(self) -> State:
        """How far the last result can be trusted; LOST before `init`."""

    @property
    def box(self) -> _Box:
        """Last box that was ok."""

    @property
    def raw_box(self) -> _Box:
        """Box of the published loop, which goes on while the target is lost."""

    @property
    def raw_score(self) -> float:
        """Score of the last update before calibration."""

    @property
    def frame_index(self) -> int:
        """Number of frames seen since `init`."""

    @property
    def timings_ms(self) -> dict[str, float]:
        """Stages of the last update in ms: crop, run (inside engine calls), decode, memory, total."""

    @property
    def corners(self) -> NDArray[np.float64]:
        """Last network call's box as decoded, before mapping and clipping: float64 (4,), x1, y1, x2, y2.

        0 to 1 spans the search crop (the frame, where that was searched as a whole). NaN before the first call, and
        where the network's output is not finite.
        """

    @property
    def leads(self) -> NDArray[np.float64]:
        """By how much the best choice led the second best for each of `corners`: float64 (4,), NaN as there.

        In logits for coordinate bins; for a centre head four times the lead of the windowed score; for MVLM
        four times the least change of a windowed score or a confidence that would turn the choice.
        """

@final
class FarTracker(CropLoop):
    """FARTrack's tracking loop over three compiled graphs.

    Past frame `memory["exact_frames"]` old templates are thinned to bound the memory.
    """

    def __init__(self, spec: dict[str, Any], template: Graph, first: Graph, search: Graph) -> None:
        """Build the loop.

        Args:
            spec: the "tracker" object of the artifact's manifest.
            template: image (1,3,T,T) -> tokens (1,tokens,C).
            first: search graph with kept = tokens, for the first tracked frame; may be `search` when
                nothing is pruned.
            search: search (1,3,S,S), old (1,4,kept,C), newest (1,tokens,C) -> logits (1,4,classes) and, when
                pruning, score (1,tokens), with kept = tokens - prune.

        Raises:
            ArtifactError: an entry of the spec is missing, unknown or wrong, or a graph does not fit it.
        """

    @property
    def slots(self) -> list[int]:
        """History index of the template that each of the five slots will show for the next frame."""

    @property
    def memory(self) -> dict[str, int]:
        """Template history: templates, stride, limit_bytes, used_bytes (never shrinks), exact_frames.

        Up to frame `exact_frames` the slots are exactly the published ones; then each shows a template at
        most `stride` - 1 frames older.
        """

    @property
    def logits(self) -> NDArray[np.float32] | None:
        """Copy of the last network call's logits (4, classes); None before it."""

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Which tokens of the last slot's template the last frame seen kept; None if nothing is pruned."""

@final
class CentreHeadTracker(CropLoop):
    """The tracking loop of trackers with a centre head (OSTrack, GRM, ATSTrack, GLAD) over two compiled graphs.

    The raw score is the network's score at the chosen cell, without the window.
    """

    def __init__(self, spec: dict[str, Any], template: Graph, search: Graph) -> None:
        """Build the loop.

        Args:
            spec: the "tracker" object of the artifact's manifest.
            template: image (1,3,T,T) -> any outputs; `init` copies each to the search graph's input of the same
                name, as often along the second axis as there are slots; later only where a slot changes.
            search: search (1,3,S,S), the template graph's outputs, and what the spec names -> score
                (1,1,grid,grid), size (1,2,grid,grid), offset (1,2,grid,grid), and the spec's state.

        Raises:
            ArtifactError: an entry of the spec is missing, unknown or wrong, or a graph does not fit it or the
                other one.
        """

    def set_told(self, name: str, values: NDArray[np.floating[Any]]) -> None:
        """Give an input of the search graph that the spec lists as `told`: what the target was described with.

        It stays until the next one, through `init` and `reset` too; given between two frames, the next frame is
        searched for the new target. Of the state's input the values say what the state begins with; between two frames
        what it holds of what was seen stays.

        Raises:
            InputError: no such name, another number of values, or some are not finite.
        """

    @property
    def is_told(self) -> bool:
        """Whether all that the spec lists as `told` was given; else `update` raises InputError."""

    def candidates(self, k: int) -> list[tuple[_Box, float]]:
        """Return up to `k` boxes of the last frame with their raw scores, best first.

        They lie where the windowed score has a peak among its eight neighbours, and are ordered by it, so a raw
        score may exceed the one before it. The first box is `raw_box`. Empty before the first update, and when the
        last frame counts as not seen.

        Raises:
            InputError: `k` is below 1.
        """

    @property
    def slots(self) -> list[int]:
        """Number of the frame whose crop each template slot shows in the next frame; 0: the first one."""

    @property
    def stored_templates(self) -> int:
        """How many crops the history of templates holds."""

    @property
    def network_state(self) -> NDArray[np.float32]:
        """Copy of the values that the network hands to itself in the next frame; empty without a state."""

    @property
    def maps(self) -> dict[str, NDArray[np.float32]] | None:
        """Copies of the last network call's maps; None before it.

        "score" (grid, grid), "size" (2, grid, grid): width and height as a share of the search crop, "offset"
        (2, grid, grid): x and y inside the cell, in cells.
        """

@final
class MvlmTracker(CropLoop):
    """MVLM's tracking loop: a sentence, with or without a first box, and a search that widens when in doubt.

    The raw score is the confidence of the box that was taken, moved from -1..1 into 0..1. It is below the gate's
    threshold, moved likewise, just when no box was trusted.
    """

    def __init__(self, spec: dict[str, Any], search: Graph, template: Graph | None = None) -> None:
        """Build the loop.

        Args:
            spec: the "tracker" object of the artifact's manifest.
            search: search (1,3,S,S), text (1,words,C) and, with templates, templates (1,count*tokens,C) -> cls
                (1,cells), boxes (1,cells,4), sims (1,cells): windowed score, centre and size in parts of the input, and
                cosine with the sentence, for each of grid * grid cells.
            template: image (1,3,T,T) -> tokens (1,tokens,C); None where the spec has no templates.

        Raises:
            ArtifactError: an entry of the spec is missing, unknown or wrong, or a graph does not fit it.
        """

    def set_text(self, features: NDArray[np.float32]) -> None:
        """Give the features (1, words, C) of the sentence to follow, as the text graph gives them.

        It stays until the next one, through `init` and `reset` too. Between two frames the target changes with it:
        margins are forgotten and the next frame is searched as after `init`; box and templates stay.

        Raises:
            InputError: another number of values, or some are not finite.
        """

    threshold_ranges: ClassVar[dict[str, tuple[float, float]]]
    """Least and largest value of each of `thresholds`."""

    @property
    def thresholds(self) -> dict[str, float]:
        """What the gate judges by: "tau", "omega", "lambda" and "psi"; at first as in the spec's part "gate"."""

    def set_thresholds(self, values: dict[str, float]) -> None:
        """Judge by other thresholds from the next frame on; those that are not named stay, and so do the margins.

        What counts as lost and uncertain moves with tau. They stay through `init` and `reset`.

        Raises:
            InputError: a name is none of `thresholds`, or a value is outside its range; nothing is changed then.
        """

    @property
    def has_text(self) -> bool:
        """Whether `set_text` was called; without a sentence `update` raises InputError."""

    @property
    def confidence(self) -> float:
        """Confidence of the box taken in the last frame, -1 to 1: its margin, smoothed; NaN if it was not seen."""

    @property
    def response(self) -> float:
        """Windowed score of that box, 0 to 1; NaN if the last frame was not seen."""

    @property
    def selected(self) -> int:
        """How many boxes of the last frame were trusted; with 0 the next frame is searched as a whole."""

    @property
    def mode(self) -> str:
        """How the next frame will be searched: "local", around the box, or "global", the whole frame."""

    @property
    def last_mode(self) -> str:
        """How the last frame was searched."""

    @property
    def updated(self) -> bool:
        """Whether the last frame gave a new template."""

    @property
    def gate(self) -> dict[str, Any] | None:
        """What the gate made of the last frame; None if it was not seen.

        "margins", "memory" and "confidences": copies, float32 (cells,); "chosen": the number of the box taken.
        """

@final
class TemplateMemory:
    """The bounded history of embedded templates that trackers use, on its own, for tests and tools."""

    def __init__(self, rows: int, channels: int, limit_bytes: int) -> None:
        """Take room for as many entries of rows x channels float32 as `limit_bytes` holds.

        Raises:
            ArtifactError: room for fewer than 16 entries.
        """

    def put(self, tokens: NDArray[np.float32], keep: list[int]) -> None:
        """Store rows `keep` of `tokens` (any number of rows, `channels`) as the next entry.

        Raises:
            InputError: wrong shape, wrong number of rows, or a row that `tokens` does not have.
        """

    def get(self, k: int) -> NDArray[np.float32]:
        """Return a copy (rows, channels) of the entry that stands for index k.

        Raises:
            InputError: `k` is neither 0 nor in [floor(0.3 size), size).
        """

    def shown(self, k: int) -> int:
        """Return the index of the entry that stands for index k: k - k % stride."""

    def clear(self) -> None:
        """Forget every entry."""

    @property
    def size(self) -> int:
        """Entries put so far."""

    @property
    def stored(self) -> int:
        """Entries held now."""

    @property
    def capacity(self) -> int:
        """Entries there is room for."""

    @property
    def stride(self) -> int:
        """Distance between the entries kept; 1 while exact."""

    @property
    def used_bytes(self) -> int:
        """Bytes of the pool that were ever touched."""

    @property
    def exact_frames(self) -> int:
        """Last frame number after which every slot shows exactly what the published rule asks for."""

def template_slots(n: int, early: str = "shift") -> list[int]:
    """Return the history index shown in each of the five slots after frame `n` (0: the init frame).

    For n >= 4: 0, 3n/10, 51n/100, 657n/1000, n in integers, which equals the published int(n * (1 - 0.7**i)).

    Args:
        n: number of frames tracked so far.
        early: how slots are filled while n < 4: "shift" (frame-level, sparse) or "distill".

    Raises:
        InputError: `n` is negative, or `early` is another word.
    """

def crop(
    frame: NDArray[np.uint8], box: Sequence[float], factor: float, size: int, color: str = "bgr"
) -> tuple[NDArray[np.uint8], float]:
    """Cut the published square around a box and resize it as OpenCV's INTER_LINEAR does.

    Args:
        frame: uint8, any strides.
        box: centre of the crop; its side is ceil(sqrt(w * h) * factor) frame pixels.
        factor: side of the crop in units of the box's.
        size: side of the result in pixels.
        color: layout of `frame`.

    Returns:
        uint8 RGB (size, size, 3) and crop pixels per frame pixel.

    Raises:
        InputError: the frame or box cannot be used.
        ArtifactError: `size` cannot be used.
    """

def squeeze(frame: NDArray[np.uint8], size: int, color: str = "bgr") -> NDArray[np.uint8]:
    """Resize a whole frame to size x size as OpenCV's INTER_LINEAR does; its aspect is ignored.

    Returns:
        uint8 RGB (size, size, 3).

    Raises:
        InputError: the frame cannot be used.
        ArtifactError: `size` cannot be used.
    """

def crop_normalized(
    frame: NDArray[np.uint8],
    box: Sequence[float],
    factor: float,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    color: str = "bgr",
) -> tuple[NDArray[np.float32], float]:
    """Crop as `crop` does, then compute (v / 255 - mean) / std per RGB channel in float32.

    Returns:
        float32 RGB planes (3, size, size) and crop pixels per frame pixel.

    Raises:
        InputError: the frame or box cannot be used.
        ArtifactError: `size`, `mean` or `std` cannot be used.
    """

def decode_bins(
    logits: NDArray[np.float32], bins: int = 300, range: int = 2, expectation: bool = True
) -> NDArray[np.float32]:
    """Decode four distributions over coordinate bins.

    Args:
        logits: (4, classes) for x1, y1, x2, y2; the first bins * range classes are coordinates.
        bins: bins per crop side.
        range: crop sides spanned.
        expectation: average argmax and expectation (sparse flavour); otherwise argmax alone.

    Returns:
        float32 (4,): x1, y1, x2, y2; 0 to 1 spans the search crop.

    Raises:
        InputError: wrong shape, or logits that are not finite.
        ArtifactError: a layout that does not fit.
    """

def map_box(corners: Sequence[float], state: Sequence[float], resize_factor: float, search_size: int) -> _Box:
    """Map decoded corners to a box in frame pixels.

    Args:
        corners: x1, y1, x2, y2 as `decode_bins` gives them.
        state: box that the search crop was centred on.
        resize_factor: crop pixels per frame pixel.
        search_size: side of the search crop in pixels.
    """

def place_box(centre_size: Sequence[float], state: Sequence[float], resize_factor: float, search_size: int) -> _Box:
    """Map a decoded centre and size to a box in frame pixels: scaled in float32, moved in float64, as published.

    Args:
        centre_size: cx, cy, w, h as `centre_peaks` gives them; 0 to 1 spans the search crop.
        state: box that the search crop was centred on.
        resize_factor: crop pixels per frame pixel.
        search_size: side of the search crop in pixels.
    """

def hann_window(grid: int) -> NDArray[np.float32]:
    """Return the window (grid, grid) that a centre head's score is weighted with.

    The outer product of h_n = 0.5 (1 - cos(2 pi n / (grid + 1))), n = 1 to grid, with itself, in float32 steps.

    Raises:
        ArtifactError: `grid` is not 1 to 1024.
    """

def centre_peaks(
    score: NDArray[np.float32], size: NDArray[np.float32], offset: NDArray[np.float32], k: int = 1
) -> list[tuple[int, float, list[float]]]:
    """Find the peaks of a centre head's windowed score and the targets there, best first.

    Args:
        score: (1, grid, grid).
        size: (2, grid, grid), width and height as a share of the search crop.
        offset: (2, grid, grid), x and y of the centre inside its cell, in cells.
        k: at most so many; 0: none.

    Returns:
        For each peak its cell (row-major), its response (window * score), and cx, cy, w, h in units of the crop.

    Raises:
        InputError: wrong shapes, or maps that are not finite.
        ArtifactError: a grid that cannot be used.
    """

def clip_box(box: Sequence[float], height: int, width: int, margin: float) -> _Box:
    """Keep a box at least `margin` pixels large and inside the frame, in the published order of operations.

    Along a side of the frame shorter than `margin` the box covers that side.
    """

def bin_mass(logits: NDArray[np.float32], used: int, radius: int) -> float:
    """Return how concentrated four distributions are, 0 to 1.

    Per coordinate the softmax mass over the first `used` classes within `radius` bins of the largest; then the
    geometric mean of the four. logits: (4, classes).

    Raises:
        InputError: wrong shape or numbers.
    """

def keep_rows(score: NDArray[np.float32], prune: int) -> NDArray[np.int32]:
    """Return the indices, ascending, that stay when the `prune` lowest of `score` (count,) go.

    Raises:
        InputError: `prune` is not 0 to count.
    """
