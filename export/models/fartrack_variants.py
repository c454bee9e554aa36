"""FARTrack's variants: a table without PyTorch, so that listing the models stays fast."""

from __future__ import annotations

from edgetrack.export.models.base import Variant

__all__ = ["FARTRACK_VARIANTS"]

LICENCE = "code Apache-2.0; weights: none stated, authors say non-commercial"
# Depths: spec section 1. Parameters and costs are counted again from the graphs in tests/export/test_fartrack_cost.py.
DEPTHS = {"tiny": (15, 6_986_717), "nano": (10, 4_762_397), "pico": (6, 2_982_941)}
PUBLISHED_GMACS = {"tiny": 4.159, "nano": 2.794, "pico": 1.703}
SPARSE_GMACS = {"tiny": 3.347, "nano": 2.166, "pico": 1.222}
DENSE_GMACS = {"tiny": 3.861, "nano": 2.497, "pico": 1.405}


def _variant(size: str, flavour: str, note: str) -> Variant:
    depth, parameters = DEPTHS[size]
    return Variant(
        name=f"fartrack-{size}" if flavour == "sparse" else f"fartrack-{size}-{flavour}",
        family="fartrack",
        flavour=flavour,
        depth=depth,
        parameters=parameters,
        gmacs=(SPARSE_GMACS if flavour == "sparse" else DENSE_GMACS)[size],
        published_gmacs=PUBLISHED_GMACS[size],
        licence=LICENCE,
        note=note,
    )


FARTRACK_VARIANTS = (
    _variant("tiny", "sparse", "stage 3, as evaluated: all 15 layers"),
    _variant("nano", "sparse", "stage 3, the first 10 layers of Tiny's checkpoint"),
    _variant("pico", "sparse", "stage 3, the first 6 layers of Tiny's checkpoint"),
    _variant("tiny", "distill", "stage 2, self-distilled: every depth from 5 was trained"),
    _variant("nano", "distill", "stage 2, the first 10 layers"),
    _variant("pico", "distill", "stage 2, the first 6 layers"),
    _variant("tiny", "frame", "stage 1, frame-level pretraining"),
)
