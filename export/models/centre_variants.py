"""The variants of OSTrack and GRM: a table without PyTorch, so that listing the models stays fast.

Both are a plain ViT over the patches of one template and one search crop, with a centre head on the search patches. A
GRM may be given another division threshold; its name then says so in percent, as in grm-256-t40.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace

from edgetrack.errors import InputError
from edgetrack.export.models.base import Alterations, Variant
from edgetrack.export.models.patch_counts import PatchCounts

__all__ = [
    "CENTRE_VARIANTS",
    "GRM_THRESHOLDS",
    "CentreShape",
    "division_threshold",
    "head_macs",
    "head_parameters",
    "kept_counts",
    "shape_of",
    "threshold_name",
    "threshold_variant",
]

MAE = "weights: none stated, fine-tuned from MAE (non-commercial)"
KEEP_RATIO = 0.7
DIVIDE_WIDTHS = (384, 192, 2)
_BRANCH_WIDTHS = (256, 128, 64, 32)
_PATCH_VALUES = 3 * 16 * 16
_NAME = re.compile(r"(?P<base>grm-[a-z0-9]+(?:-got)?)-t(?P<percent>[1-9]\d?)")


@dataclass(frozen=True)
class CentreShape(PatchCounts):
    """Sizes of one network and its crops.

    template_size, search_size: sides of the crops in pixels; *_factor: side of a crop over the square root of the box's
    area; channels, depth, heads: of the ViT; eliminates: blocks (0-based) after whose attention search tokens are
    dropped (OSTrack); divides: whether all blocks but the first divide the search tokens (GRM).
    """

    template_size: int
    template_factor: float
    search_size: int
    search_factor: float
    channels: int = 768
    depth: int = 12
    heads: int = 12
    eliminates: tuple[int, ...] = ()
    divides: bool = False

    @property
    def template_seen(self) -> int:
        """Side of the template in pixels."""
        return self.template_size

    @property
    def reference_token(self) -> int:
        """The template token whose attention decides what is eliminated: the cell up-left of the centre."""
        middle = (self.template_grid - 1) // 2
        return middle * self.template_grid + middle


def kept_counts(shape: CentreShape) -> dict[int, int]:
    """Return block -> how many search tokens are left after its elimination."""
    counts, left = {}, shape.search_tokens
    for block in shape.eliminates:
        left = math.ceil(KEEP_RATIO * left)
        counts[block] = left
    return counts


_OSTRACK_256 = CentreShape(128, 2.0, 256, 4.0)
_OSTRACK_384 = CentreShape(192, 2.0, 384, 5.0, eliminates=(3, 6, 9))
_GRM_256 = CentreShape(128, 2.0, 256, 4.0, divides=True)
_GRM_L320 = CentreShape(128, 2.0, 320, 5.0, channels=1024, depth=24, heads=16, divides=True)

_SHAPES = {
    "ostrack-256": _OSTRACK_256,
    "ostrack-256-ce": replace(_OSTRACK_256, eliminates=(3, 6, 9)),
    "ostrack-384-ce": _OSTRACK_384,
    "grm-256": _GRM_256,
    "grm-256-got": _GRM_256,
    "grm-l320": _GRM_L320,
}


def shape_of(name: str) -> CentreShape:
    """Return the sizes of a variant, one with another division threshold included; KeyError for any other name."""
    match = _NAME.fullmatch(name)
    return _SHAPES[match["base"] if match else name]


def division_threshold(name: str) -> float:
    """Return the division threshold of a variant, 0 where its name says none."""
    match = _NAME.fullmatch(name)
    return int(match["percent"]) / 100 if match else 0.0


def threshold_name(name: str, threshold: float | None) -> str:
    """Return the name of a GRM with another division threshold (spec section 3; published per benchmark, else 0).

    Search tokens interact with the template where the probability of "search only" is below the threshold. 0, the
    default, takes the likelier of the two, which 0.5 does as well. None: as published.

    Raises:
        InputError: `name` is no GRM of the table, or the threshold no whole percentage from 0 to 0.99.
    """
    if threshold is None:
        return name
    if name not in _SHAPES or not _SHAPES[name].divides:
        known = ", ".join(known for known, shape in _SHAPES.items() if shape.divides)
        raise InputError(f"{name} takes no division threshold; these do: {known}")
    percent = round(100 * threshold) if math.isfinite(threshold) else -1
    if not 0 <= percent <= 99 or abs(percent - 100 * threshold) > 1e-6:
        raise InputError(f"division threshold is {threshold}; give a whole percentage from 0 to 0.99, as 0.4")
    return name if percent in (0, 50) else f"{name}-t{percent}"


def threshold_variant(name: str) -> Variant | None:
    """Return the variant of a name that `threshold_name` gives and the table has not; None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None or match["base"] not in _SHAPES:
        return None
    threshold = division_threshold(name)
    if threshold_name(match["base"], threshold) != name:
        return None
    found = next(variant for variant in CENTRE_VARIANTS if variant.name == match["base"])
    return replace(found, name=name, note=f"{match['base']} with division threshold {threshold:g}")


def _threshold_values(name: str) -> dict[str, float]:
    """Return the division threshold of a GRM; nothing for any other name."""
    match = _NAME.fullmatch(name)
    shape = _SHAPES.get(match["base"] if match else name)
    return {} if shape is None or not shape.divides else {"division-threshold": division_threshold(name)}


# Parameters and costs are counted again from the networks and graphs in tests/export/test_centre_cost.py.


def _divide_sizes(channels: int) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of each layer of the division MLP."""
    widths = (2 * channels, *DIVIDE_WIDTHS)
    return list(itertools.pairwise(widths))


def _parameters(shape: CentreShape) -> int:
    """Return the parameters that inference uses."""
    width = shape.channels
    block = 12 * width**2 + 13 * width
    rows = _PATCH_VALUES + 1 + shape.template_tokens + shape.search_tokens + 2
    divide = sum(inputs * outputs + outputs for inputs, outputs in _divide_sizes(width)) if shape.divides else 0
    return shape.depth * block + (shape.depth - 1) * divide + rows * width + head_parameters(width)


def head_parameters(channels: int) -> int:
    """Return the parameters of a centre head that reads tokens of so many channels."""
    widths = (channels, *_BRANCH_WIDTHS)
    # Three branches: convolutions with bias and two numbers per channel of BatchNorm, then 1 + 2 + 2 outputs.
    branch = sum(9 * a * b + 3 * b for a, b in itertools.pairwise(widths))
    return 3 * branch + 5 * (_BRANCH_WIDTHS[-1] + 1)


def head_macs(channels: int, cells: int) -> int:
    """Return the multiply-accumulates of a centre head over so many cells."""
    widths = (channels, *_BRANCH_WIDTHS)
    cell = 3 * sum(9 * a * b for a, b in itertools.pairwise(widths)) + 5 * _BRANCH_WIDTHS[-1]
    return cells * cell


def _block_macs(shape: CentreShape, tokens: int, fed: int) -> int:
    """Return multiply-accumulates of a block over so many tokens, of which `fed` reach its MLP."""
    return 4 * tokens * shape.channels**2 + 2 * tokens**2 * shape.channels + 8 * fed * shape.channels**2


def _token_counts(shape: CentreShape) -> list[tuple[int, int]]:
    """Return (tokens in attention, tokens in the MLP) of every block."""
    kept, left, counts = kept_counts(shape), shape.search_tokens, []
    for block in range(shape.depth):
        fed = kept.get(block, left)
        counts.append((shape.template_tokens + left, shape.template_tokens + fed))
        left = fed
    return counts


def _published_macs(shape: CentreShape) -> int:
    """Return multiply-accumulates of a tracked frame in the published loop."""
    tokens = shape.template_tokens + shape.search_tokens
    total = tokens * _PATCH_VALUES * shape.channels + head_macs(shape.channels, shape.search_tokens)
    total += sum(_block_macs(shape, *counts) for counts in _token_counts(shape))
    if shape.divides:
        mlp = shape.search_tokens * sum(inputs * outputs for inputs, outputs in _divide_sizes(shape.channels))
        total += (shape.depth - 1) * (mlp + 7 * tokens**2)
    return total


def _graph_macs(shape: CentreShape) -> int:
    """Return multiply-accumulates of a tracked frame in the deployment graphs; the template's are spent at init."""
    width, counts = shape.channels, _token_counts(shape)
    total = shape.search_tokens * _PATCH_VALUES * width + head_macs(shape.channels, shape.search_tokens)
    total += sum(_block_macs(shape, *block) for block in counts[:-1]) - 3 * shape.template_tokens * width**2
    last, _ = counts[-1]
    rows = last - shape.template_tokens
    total += 2 * last * width**2 + rows * (10 * width**2 + 2 * last * width)
    if shape.eliminates:  # the rows that decide, and putting what is left back into its place
        total += sum(counts[block][0] * width for block in shape.eliminates) + rows * shape.search_tokens * width
    if shape.divides:
        hidden, narrow, _ = DIVIDE_WIDTHS
        total += (shape.depth - 1) * (
            (shape.search_tokens + 1) * width * hidden + shape.search_tokens * (hidden * narrow + narrow)
        )
    return total


def _variant(name: str, family: str, flavour: str, note: str) -> Variant:
    shape = _SHAPES[name]
    return Variant(
        name=name,
        family=family,
        flavour=flavour,
        depth=shape.depth,
        parameters=_parameters(shape),
        gmacs=round(_graph_macs(shape) / 1e9, 3),
        published_gmacs=round(_published_macs(shape) / 1e9, 3),
        licence=f"code MIT; {MAE}",
        note=note,
        tokens=round(sum(seen for seen, _ in _token_counts(shape)) / shape.depth),
        channels=shape.channels,
    )


CENTRE_VARIANTS = (
    _variant("ostrack-256", "ostrack", "plain", "vitb_256_mae: no tokens eliminated"),
    _variant("ostrack-256-ce", "ostrack", "ce", "vitb_256_mae_ce, got10k too: tokens eliminated in 3 blocks"),
    _variant("ostrack-384-ce", "ostrack", "ce", "vitb_384_mae_ce, got10k too: tokens eliminated in 3 blocks"),
    _variant("grm-256", "grm", "plain", "vitb_256; grm-256-t40: division threshold 0.4 (LaSOT)"),
    _variant("grm-256-got", "grm", "got", "vitb_256_got: trained on GOT-10k alone"),
    _variant("grm-l320", "grm", "plain", "vitl_320"),
)

GRM_THRESHOLDS = Alterations(("division-threshold",), threshold_name, threshold_variant, _threshold_values)
