"""The variants of ATSTrack: a table without PyTorch, so that listing the models stays fast (spec section 1.1).

All run one network: a plain ViT over a visual-language token, templates and a search crop, language modules behind it,
and a centre head. They differ in the size of their crops and in how many templates they see.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgetrack.export.models.base import Variant
from edgetrack.export.models.centre_variants import CentreShape, head_macs, head_parameters

__all__ = ["ATSTRACK_VARIANTS", "PHRASES", "AtsShape", "SlotRule", "shape_of"]

LICENCE = "no code or weights published, accuracy unverified; start from OSTrack/ODTrack: MIT, MAE non-commercial"
PHRASES = 4
"""Category, appearance, action, location."""
_PATCH_VALUES = 3 * 16 * 16


@dataclass(frozen=True)
class SlotRule:
    """How templates are renewed (spec section 4.4).

    The newest slot is replaced every `interval` frames, if the score is at least `at_least`; `history` of the crops
    that were shown there are kept for the slots between it and the first.
    """

    interval: int = 10
    at_least: float = 0.5
    history: int = 64


@dataclass(frozen=True)
class AtsShape(CentreShape):
    """Sizes of one network and its crops; see `CentreShape` for the rest.

    templates: slots, a static number. text_width: of what the text encoder gives; phrase_tokens: of each phrase, start
    and end included. match_width: of the space in which places and phrases are compared.
    """

    templates: int = 3
    text_width: int = 512
    phrase_tokens: int = 16
    match_width: int = 256

    @property
    def tokens(self) -> int:
        """Length of the sequence: class token, language token, templates, search crop."""
        return 2 + self.templates * self.template_tokens + self.search_tokens


_LARGE = (192, 2.0, 384, 5.0)
_SMALL = (128, 2.0, 256, 4.0)
_SHAPES = {
    "atstrack-384": AtsShape(*_LARGE),
    "atstrack-384-t2": AtsShape(*_LARGE, templates=2),
    "atstrack-384-t1": AtsShape(*_LARGE, templates=1),
    "atstrack-256": AtsShape(*_SMALL),
    "atstrack-256-t2": AtsShape(*_SMALL, templates=2),
}


def shape_of(name: str) -> AtsShape:
    """Return the sizes of a variant; KeyError for any other name."""
    return _SHAPES[name]


# Parameters and costs are counted again from the networks and graphs in tests/export/test_atstrack_cost.py.


def _parameters(shape: AtsShape) -> int:
    """Return the parameters that a frame or a template needs; those of the text side are not counted."""
    width = shape.channels
    rows = 3 + shape.template_tokens + shape.search_tokens  # tokens and their positions
    backbone = (_PATCH_VALUES + 1 + rows + 2) * width + shape.depth * (12 * width**2 + 13 * width)
    visual = 8 * width**2 + (4 + 2 * 2 + 2 + 1) * width  # one module for phrases: q, kv, proj, MLP, two norms
    place = 2 * width + 2 * shape.match_width * width + 2
    rest = (PHRASES + shape.templates + 1 + 2) * width
    return backbone + 2 * visual + place + rest + head_parameters(width) + 3


def _language_macs(shape: AtsShape) -> int:
    """Return multiply-accumulates of the modules that bring language and picture together."""
    width, words, match = shape.channels, shape.phrase_tokens, shape.match_width

    def visual(asked: int, seen: int) -> int:
        return (asked * 2 + seen * 2 + asked * 4) * width**2 + 2 * asked * seen * width

    place = (words + shape.search_tokens) * width * match + words * shape.search_tokens * match
    latest, sequence = shape.template_tokens, shape.templates * shape.template_tokens
    gains = 2 * shape.search_tokens * width
    return visual(2 * words, latest) + visual(words, sequence) + place + gains


def _frame_macs(shape: AtsShape) -> int:
    """Return multiply-accumulates of a tracked frame in the network as the spec has it."""
    width, tokens = shape.channels, shape.tokens
    blocks = shape.depth * (12 * tokens * width**2 + 2 * tokens**2 * width)
    embedding = shape.search_tokens * _PATCH_VALUES * width
    return embedding + blocks + _language_macs(shape) + head_macs(width, shape.search_tokens)


def _graph_macs(shape: AtsShape) -> int:
    """Return the same of the search graph, which gets the templates as the first block projects them."""
    return _frame_macs(shape) - 3 * shape.templates * shape.template_tokens * shape.channels**2


def _variant(name: str, note: str) -> Variant:
    shape = shape_of(name)
    return Variant(
        name=name,
        family="atstrack",
        flavour=f"t{shape.templates}",
        depth=shape.depth,
        parameters=_parameters(shape),
        gmacs=round(_graph_macs(shape) / 1e9, 3),
        published_gmacs=round(_frame_macs(shape) / 1e9, 3),
        licence=LICENCE,
        note=note,
        tokens=shape.tokens,
        channels=shape.channels,
    )


ATSTRACK_VARIANTS = (
    _variant("atstrack-384", "built from the paper's idea (arXiv 2507.00454); box, and a sentence or four phrases"),
    _variant("atstrack-384-t2", "the same with 2 templates"),
    _variant("atstrack-384-t1", "the same with 1 template, which is never renewed"),
    _variant("atstrack-256", "the same at 256 pixels, as OSTrack-256"),
    _variant("atstrack-256-t2", "the same at 256 pixels with 2 templates"),
)
