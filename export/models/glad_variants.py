"""The variants of GLAD: a table without PyTorch, so that listing the models stays fast (spec section 1).

A plain ViT over template and search crop, three decoder blocks that attend to what Stable Diffusion saw in the template
and the sentence, and a centre head. Three settings may be changed, and the variant's name then says so, in this order:
`-s4` (a search crop of 4 times the target), `-d24` (boxes decoded with divisor 24), `-p32` (float32 position tables).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from edgetrack.errors import InputError
from edgetrack.export.models.base import Alterations, Variant
from edgetrack.export.models.centre_variants import head_macs, head_parameters
from edgetrack.export.models.patch_counts import PatchCounts

__all__ = ["GLAD_SETTINGS", "GLAD_VARIANTS", "GladShape", "settings_name", "settings_variant", "shape_of"]

LICENCE = (
    "code MIT; weights: none stated, bring your own (MAE initialisation: non-commercial); Stable Diffusion v1.5: "
    "CreativeML OpenRAIL-M"
)
LATENT_GRIDS = (16, 16, 8)
"""Cells along a side of the three feature maps that Stable Diffusion gives."""
LATENT_WIDTH = 1280
_PATCH_VALUES = 3 * 16 * 16


@dataclass(frozen=True)
class GladShape(PatchCounts):
    """Sizes and settings of one network and its crops.

    template_size: side of the template's crop in pixels, which Stable Diffusion is shown; template_side: to what the
    ViT's template is thinned out; search_size: side of the search crop; *_factor: side of a crop over the square root
    of the box's area; channels, depth, heads: of the ViT; head_width: of an attention head, everywhere; text_width: of
    the text that the pooling modules could read, but do not; divisor: what a cell's index is split by into row and
    column, and its place divided by; bf16_positions: whether the position tables of the decoder blocks are computed in
    bfloat16, as the published evaluation and training do (oddity O4).
    """

    template_side: int
    search_size: int
    search_factor: float
    channels: int
    depth: int
    heads: int
    text_width: int
    divisor: int
    template_size: int = 512
    template_factor: float = 2.0
    bf16_positions: bool = True
    latent_grids: tuple[int, ...] = LATENT_GRIDS
    latent_width: int = LATENT_WIDTH
    head_width: int = 64

    @property
    def template_seen(self) -> int:
        """Side in pixels of the template as the ViT sees it."""
        return self.template_side

    @property
    def tokens(self) -> int:
        """Length of the sequence: template, then search."""
        return self.template_tokens + self.search_tokens

    @property
    def latent_tokens(self) -> tuple[int, ...]:
        """Tokens of each of the three feature maps."""
        return tuple(side**2 for side in self.latent_grids)


# The published head builder divides the search crop's 384 pixels by 14, not by the patch's 16, and so decodes a map of
# 24 x 24 with 27 (oddity O2). Training decoded likewise.
_SHAPES = {
    "glad-b256": GladShape(128, 256, 4.0, channels=768, depth=12, heads=12, text_width=512, divisor=16),
    "glad-l384": GladShape(192, 384, 5.0, channels=1024, depth=24, heads=16, text_width=768, divisor=27),
}
_NAME = re.compile(
    r"(?P<base>glad-[a-z]\d+)(-s(?P<factor>[1-9]\d?(\.\d)?))?(-d(?P<divisor>[1-9]\d{0,2}))?(?P<exact>-p32)?"
)
_OPTIONS = ("search-factor", "decode-divisor", "position-bits")


def shape_of(name: str) -> GladShape:
    """Return the sizes of a variant, settings in its name included; KeyError for any other name."""
    match = _NAME.fullmatch(name)
    if match is None or match["base"] not in _SHAPES:
        raise KeyError(name)
    shape = _SHAPES[match["base"]]
    return replace(
        shape,
        search_factor=float(match["factor"] or shape.search_factor),
        divisor=int(match["divisor"] or shape.divisor),
        bf16_positions=match["exact"] is None,
    )


def settings_name(
    name: str, factor: float | None = None, divisor: float | None = None, bits: float | None = None
) -> str:
    """Return the name of a GLAD with other settings; None: as `name` has it.

    Args:
        name: of a variant.
        factor: side of the search crop over the target's, in tenths; the published commands of B say 4, those of L do
            too, its configuration 5 (spec section 1, note 1).
        divisor: see `GladShape.divisor`.
        bits: of the position tables' numbers: 16 (bfloat16) or 32.

    Raises:
        InputError: `name` is no GLAD, or a value is impossible.
    """
    if factor is divisor is bits is None:
        return name
    match = _NAME.fullmatch(name)
    base = match["base"] if match else name
    if base not in _SHAPES:
        raise InputError(f"{name} takes no {', '.join(_OPTIONS)}; these do: {', '.join(_SHAPES)}")
    own = shape_of(name)
    factor = own.search_factor if factor is None else factor
    divisor = own.divisor if divisor is None else divisor
    bits = (16 if own.bf16_positions else 32) if bits is None else bits
    if not (math.isfinite(factor) and 1 <= factor < 100 and abs(10 * factor - round(10 * factor)) < 1e-6):
        raise InputError(f"search factor is {factor}; give a number from 1 to 99.9 in tenths, as 4")
    if not (1 <= divisor <= 999 and divisor == int(divisor)):
        raise InputError(f"decode divisor is {divisor}; give a whole number from 1 to 999, as {_SHAPES[base].divisor}")
    if bits not in (16, 32):
        raise InputError(f"position bits is {bits}; give 16 (bfloat16, as published) or 32")
    published = _SHAPES[base]
    words = [base]
    words += [f"s{factor:g}"] if factor != published.search_factor else []
    words += [f"d{int(divisor)}"] if divisor != published.divisor else []
    words += ["p32"] if bits == 32 else []
    return "-".join(words)


def settings_variant(name: str) -> Variant | None:
    """Return the variant of a name that `settings_name` gives and the table has not; None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None or match["base"] not in _SHAPES or name in _SHAPES:
        return None
    shape = shape_of(name)
    if settings_name(match["base"], shape.search_factor, shape.divisor, 16 if shape.bf16_positions else 32) != name:
        return None
    found = next(variant for variant in GLAD_VARIANTS if variant.name == match["base"])
    table = "bfloat16" if shape.bf16_positions else "float32"
    note = f"{match['base']} with search factor {shape.search_factor:g}, divisor {shape.divisor}, {table} positions"
    return replace(found, name=name, note=note)


def _settings(name: str) -> dict[str, float]:
    """Return the settings of a GLAD by option; nothing for any other name."""
    try:
        shape = shape_of(name)
    except KeyError:
        return {}
    return dict(zip(_OPTIONS, (shape.search_factor, shape.divisor, 16 if shape.bf16_positions else 32), strict=True))


# Parameters and costs are counted again from the networks and graphs in tests/export/test_glad_cost.py.


def _parameters(shape: GladShape) -> int:
    """Return the parameters that a frame or a target needs; Stable Diffusion's are not counted."""
    width, wide = shape.channels, shape.latent_width
    block = 12 * width**2 + 13 * width
    rows = _PATCH_VALUES + 1 + shape.tokens + 2
    pools = sum(tokens * wide for tokens in shape.latent_tokens)
    pools += len(shape.latent_tokens) * (2 * wide + 3 * wide**2 + wide * width + width + 2 * width)
    # Two attentions of four products (the first two without bias in front), an MLP, three norms.
    decoder = 16 * width**2 + 13 * width
    return (
        shape.depth * block
        + rows * width
        + pools
        + len(shape.latent_tokens) * decoder
        + 2 * width
        + head_parameters(width)
    )


def _self_macs(shape: GladShape) -> int:
    """Return multiply-accumulates of a self-attention over all tokens, projections included."""
    return 4 * shape.tokens * shape.channels**2 + 2 * shape.tokens**2 * shape.channels


def _cross_macs(shape: GladShape, latent: int) -> int:
    """Return those of a cross-attention to `latent` tokens up to its projection, without keys and values."""
    return shape.tokens * shape.channels**2 + 2 * shape.tokens * latent * shape.channels


def _published_macs(shape: GladShape) -> int:
    """Return multiply-accumulates of a tracked frame in the published loop."""
    width, count = shape.channels, shape.tokens
    total = count * _PATCH_VALUES * width + head_macs(width, shape.search_tokens)
    total += shape.depth * (_self_macs(shape) + 8 * count * width**2)
    for latent in shape.latent_tokens:
        total += _self_macs(shape) + _cross_macs(shape, latent) + (2 * latent + 9 * count) * width**2
    return total


def _graph_macs(shape: GladShape) -> int:
    """Return multiply-accumulates of a tracked frame in the search graph; the rest is spent once per target."""
    width, count = shape.channels, shape.tokens
    total = shape.search_tokens * _PATCH_VALUES * width + head_macs(width, shape.search_tokens)
    total += shape.depth * (_self_macs(shape) + 8 * count * width**2) - 3 * shape.template_tokens * width**2
    for latent in shape.latent_tokens:
        total += _self_macs(shape) + _cross_macs(shape, latent) + 9 * count * width**2
    return total - 9 * shape.template_tokens * width**2  # the last block's projection and MLP run for the search alone


def _variant(name: str, flavour: str, note: str) -> Variant:
    shape = _SHAPES[name]
    return Variant(
        name=name,
        family="glad",
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


GLAD_VARIANTS = (
    _variant("glad-b256", "base", "GLAD_B256: first box and a sentence; Stable Diffusion (506 M) runs once per target"),
    _variant("glad-l384", "large", "GLAD_L384; glad-l384-s4: a search crop of 4 times the target (published commands)"),
)

GLAD_SETTINGS = Alterations(_OPTIONS, settings_name, settings_variant, _settings)
