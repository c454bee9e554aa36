"""The variants of MVLM: a table without PyTorch, so that listing the models stays fast (spec section 1).

All run one network: a FastITPN over a search crop, templates or none, and the tokens of a sentence, with a centre head.
They differ in whether a box is given and in what the vision-language margin needs to count as confident.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgetrack.export.models.base import Variant
from edgetrack.export.models.centre_variants import head_macs, head_parameters
from edgetrack.export.models.patch_counts import PatchCounts

__all__ = ["MVLM_VARIANTS", "GateRule", "MvlmShape", "UpdateRule", "gate_of", "shape_of"]

LICENCE = "code and weights: none stated (all rights reserved); text encoder: OpenAI CLIP, MIT"


@dataclass(frozen=True)
class GateRule:
    """When a box is trusted, and with it the search kept local (spec sections 3.8 and 3.9).

    alpha: share of the agreement with the sentence in a margin, the rest is the head's score; tau: least confidence;
    omega: weight of the remembered margin in the confidence; lam (published lambda): weight of the past in what is
    remembered; psi: largest overlap at which two boxes count as different places.
    """

    alpha: float
    tau: float
    omega: float
    lam: float
    psi: float


@dataclass(frozen=True)
class UpdateRule:
    """When the newest template is replaced: every `interval` frames, if the windowed score is above `above`."""

    interval: int = 25
    above: float = 0.70


@dataclass(frozen=True)
class MvlmShape(PatchCounts):
    """Sizes of one network and its crops.

    templates: how many it is shown, 0: it follows the sentence alone; stem: widths of the two stages before the tokens,
    with `stem_blocks` blocks each; channels, heads, depth: of the transformer; text_width, text_tokens: of what the
    text encoder gives.
    """

    templates: int
    search_size: int = 224
    search_factor: float = 4.0
    template_size: int = 112
    template_factor: float = 2.0
    stem: tuple[int, int] = (128, 256)
    stem_blocks: int = 3
    channels: int = 512
    heads: int = 8
    depth: int = 24
    text_width: int = 768
    text_tokens: int = 77

    @property
    def template_seen(self) -> int:
        """Side of a template in pixels; the position table has rows for one, whether it is shown or not."""
        return self.template_size

    @property
    def tokens(self) -> int:
        """Length of the sequence: class token, search, templates, text."""
        return 1 + self.search_tokens + self.templates * self.template_tokens + self.text_tokens


_TF = MvlmShape(templates=0)
_BBOX = MvlmShape(templates=2)
# name -> shape and gate. The published box configuration names no gate values and gets the code's defaults (oddity O8).
_CONFIGURATIONS = {
    "mvlm-tf": (_TF, GateRule(alpha=1.0, tau=0.1, omega=0.4, lam=0.4, psi=0.0)),
    "mvlm-tf-tnl2k": (_TF, GateRule(alpha=0.7, tau=0.0, omega=0.6, lam=0.7, psi=0.1)),
    "mvlm-bbox": (_BBOX, GateRule(alpha=0.5, tau=0.2, omega=0.9, lam=0.9, psi=0.3)),
}


def shape_of(name: str) -> MvlmShape:
    """Return the sizes of a variant; KeyError for any other name."""
    return _CONFIGURATIONS[name][0]


def gate_of(name: str) -> GateRule:
    """Return the gate of a variant; KeyError for any other name."""
    return _CONFIGURATIONS[name][1]


# Parameters and costs are counted again from the networks and graphs in tests/export/test_mvlm_cost.py.


def _parameters(shape: MvlmShape) -> int:
    """Return the parameters that a frame or a template needs; the text encoder's are not counted."""
    small, large = shape.stem
    width, count = shape.channels, shape.stem_blocks

    def stage(c: int) -> int:
        return count * (2 * c + 2 * 3 * c * c + 3 * c + c + 2 * 3 * c)

    stem = 6 * 16 * small + small + stage(small) + 2 * small + 4 * small * large + large
    stem += stage(large) + 2 * large + 4 * large * width + width
    block = 13 * width**2 + 22 * width
    rows = 1 + shape.search_tokens + (shape.template_tokens if shape.templates else 0)
    return stem + shape.depth * block + rows * width + 2 * width + head_parameters(width)


def _stem_macs(shape: MvlmShape, size: int, planes: int) -> int:
    """Return multiply-accumulates from an image of `planes` colour planes to its tokens."""
    small, large = shape.stem
    cells = (size // 4) ** 2
    total = cells * 16 * planes * small
    total += shape.stem_blocks * (cells * 6 * small**2 + cells // 4 * 6 * large**2)
    return total + cells * small * large + cells // 4 * large * shape.channels


def _block_macs(shape: MvlmShape, rows: int) -> int:
    """Return multiply-accumulates of a block of which `rows` tokens are wanted."""
    width = shape.channels
    return 2 * shape.tokens * width**2 + rows * (11 * width**2 + 2 * shape.tokens * width)


def _published_macs(shape: MvlmShape) -> int:
    """Return multiply-accumulates of a tracked frame in the published loop, which embeds its templates every time."""
    stems = _stem_macs(shape, shape.search_size, 6) + shape.templates * _stem_macs(shape, shape.template_size, 6)
    return stems + shape.depth * _block_macs(shape, shape.tokens) + head_macs(shape.channels, shape.search_tokens)


def _graph_macs(shape: MvlmShape) -> int:
    """Return multiply-accumulates of a tracked frame in the search graph."""
    blocks = (shape.depth - 1) * _block_macs(shape, shape.tokens) + _block_macs(shape, shape.search_tokens)
    gate = shape.search_tokens * (shape.search_tokens + 1) * shape.channels
    return _stem_macs(shape, shape.search_size, 3) + blocks + head_macs(shape.channels, shape.search_tokens) + gate


def _variant(name: str, flavour: str, note: str) -> Variant:
    shape = shape_of(name)
    return Variant(
        name=name,
        family="mvlm",
        flavour=flavour,
        depth=shape.depth,
        parameters=_parameters(shape),
        gmacs=round(_graph_macs(shape) / 1e9, 3),
        published_gmacs=round(_published_macs(shape) / 1e9, 3),
        licence=LICENCE,
        note=note,
        tokens=shape.tokens,
        channels=shape.channels,
    )


MVLM_VARIANTS = (
    _variant("mvlm-tf", "tf", "mvlm_TF: a sentence and no box; the text encoder is not counted"),
    _variant("mvlm-tf-tnl2k", "tf", "mvlm_TF_TNL2K: the same weights, thresholds for TNL2K"),
    _variant("mvlm-bbox", "bbox", "mvlm_BBOX: first box and a sentence; no checkpoint is published"),
)
