"""FARTrack's variants: a table without PyTorch, so that listing the models stays fast.

A variant may be cut: to another number of layers, which the same checkpoint holds, and to another number of tokens that
are kept of every old template. Its name then says so, as in fartrack-pico-d4-k24.
"""

from __future__ import annotations

import re

from edgetrack.errors import InputError
from edgetrack.export.models.base import Alterations, Variant

__all__ = [
    "FARTRACK_CUTS",
    "FARTRACK_VARIANTS",
    "KEPT_TOKENS",
    "MAX_DEPTH",
    "MAX_KEPT",
    "cut_name",
    "cut_variant",
    "kept_tokens",
]

LICENCE = "code Apache-2.0; weights: none stated, authors say non-commercial"
DEPTHS = {"tiny": 15, "nano": 10, "pico": 6}  # spec section 1
MAX_DEPTH = 15
MIN_KEPT, MAX_KEPT = 2, 49
"""Tokens of an old template: all of them at most; PyTorch exports no varying dimension of size 1."""
KEPT_TOKENS = 37
"""What the published sparse flavour keeps of an old template."""

_NAME = re.compile(r"(?P<base>fartrack(?:-[a-z]+)+?)(?:-d(?P<depth>\d{1,2}))?(?:-k(?P<kept>\d{1,2}))?")
_CHANNELS, _HIDDEN, _HEADS, _PATCH_VALUES, _CLASSES = 192, 768, 3, 3 * 16 * 16, 605
_SEARCH, _COMMANDS, _SLOTS = 196, 4, 5


def kept_tokens(name: str) -> int:
    """Return how many tokens a variant keeps of an old template: 49 in the flavours that do not prune."""
    base, _, kept = _parts(name)
    if _flavour(base) != "sparse":
        return MAX_KEPT
    return KEPT_TOKENS if kept is None else kept


def cut_name(name: str, depth: int | None, kept: int | None) -> str:
    """Return the name of a published variant cut to `depth` layers and `kept` tokens; None: as published.

    Raises:
        InputError: `name` is no published FARTrack, a number is out of range, or the flavour does not prune.
    """
    if depth is None and kept is None:
        return name
    base = next((variant for variant in FARTRACK_VARIANTS if variant.name == name), None)
    if base is None:
        published = ", ".join(variant.name for variant in FARTRACK_VARIANTS)
        raise InputError(f"{name} cannot be cut to a depth or to kept tokens; these can: {published}")
    if depth is not None and not 1 <= depth <= MAX_DEPTH:
        raise InputError(f"depth is {depth}; the checkpoint holds layers 1 to {MAX_DEPTH}")
    if kept is not None and base.flavour != "sparse":
        raise InputError(f"{name} prunes no templates (only the sparse flavour does), so it cannot keep {kept} tokens")
    if kept is not None and not MIN_KEPT <= kept <= MAX_KEPT:
        raise InputError(f"kept tokens are {kept}; give {MIN_KEPT} to {MAX_KEPT}, the tokens of a template")
    for variant in FARTRACK_VARIANTS:  # the published name of that depth, where there is one
        if (variant.flavour, variant.depth) == (base.flavour, base.depth if depth is None else depth):
            base, depth = variant, None
    layers = "" if depth is None else f"-d{depth}"
    return f"{base.name}{layers}{'' if kept in (None, KEPT_TOKENS) else f'-k{kept}'}"


def cut_variant(name: str) -> Variant | None:
    """Return the variant of a name that `cut_name` gives and the table has not; None for any other name."""
    base, depth, kept = _parts(name)
    found = next((variant for variant in FARTRACK_VARIANTS if variant.name == base), None)
    try:
        if found is None or (depth, kept) == (None, None) or cut_name(base, depth, kept) != name:
            return None
    except InputError:
        return None
    layers = found.depth if depth is None else depth
    tokens = f", {kept} tokens of an old template" if kept is not None else ""
    note = f"cut: the first {layers} of {MAX_DEPTH} layers{tokens}"
    return _variant(name, found.flavour, layers, kept_tokens(name), note)


def _cut_values(name: str) -> dict[str, float]:
    """Return depth and kept tokens of a FARTrack; nothing for any other name."""
    base, depth, _ = _parts(name)
    found = next((variant for variant in FARTRACK_VARIANTS if variant.name == base), None)
    return {} if found is None else {"depth": depth or found.depth, "keep": kept_tokens(name)}


def _parts(name: str) -> tuple[str, int | None, int | None]:
    """Split a name into the published one, depth and kept tokens."""
    match = _NAME.fullmatch(name)
    if match is None:
        return name, None, None
    depth, kept = (None if match[part] is None else int(match[part]) for part in ("depth", "kept"))
    return match["base"], depth, kept


def _flavour(base: str) -> str:
    return next((variant.flavour for variant in FARTRACK_VARIANTS if variant.name == base), "")


def _variant(name: str, flavour: str, depth: int, kept: int, note: str) -> Variant:
    return Variant(
        name=name,
        family="fartrack",
        flavour=flavour,
        depth=depth,
        parameters=_parameters(depth),
        gmacs=round(_graph_macs(depth, kept, signal=flavour == "sparse") / 1e9, 3),
        published_gmacs=round(_published_macs(depth) / 1e9, 3),
        licence=LICENCE,
        note=note,
        tokens=_tokens(kept),
        channels=_CHANNELS,
    )


# Parameters and costs are counted again from the networks and graphs in tests/export/test_fartrack_cost.py.


def _parameters(depth: int) -> int:
    """Return the parameters that inference uses."""
    layer = 12 * _CHANNELS**2 + 13 * _CHANNELS
    # Patch convolution, rows for slots, positions of search and template, words with bias, positions, final norm.
    rows = _PATCH_VALUES + 1 + _SLOTS + 1 + _SEARCH + MAX_KEPT + _CLASSES + _COMMANDS + 2
    return depth * layer + rows * _CHANNELS + _CLASSES


def _layer_macs(tokens: int) -> int:
    """Return multiply-accumulates of one block over so many tokens, attention products included."""
    return tokens * (4 * _CHANNELS**2 + 2 * _CHANNELS * _HIDDEN) + 2 * tokens**2 * _CHANNELS


def _tokens(kept: int) -> int:
    """Return the tokens of a steady-state frame: old templates, the newest one, search crop, coordinates."""
    return (_SLOTS - 1) * kept + MAX_KEPT + _SEARCH + _COMMANDS


def _graph_macs(depth: int, kept: int, *, signal: bool) -> int:
    """Return multiply-accumulates of a tracked frame in the deployment graphs (spec section 6.2)."""
    tokens = _tokens(kept)
    rows = _COMMANDS + signal
    last = rows * _HEADS * _CHANNELS * (_CHANNELS + tokens) + _COMMANDS * _HEADS * _CHANNELS * (tokens + _CHANNELS)
    last += 2 * _COMMANDS * _CHANNELS * _HIDDEN
    images = (MAX_KEPT + _SEARCH) * _PATCH_VALUES * _CHANNELS
    return images + (depth - 1) * _layer_macs(tokens) + last + _COMMANDS * _CHANNELS * _CLASSES


def _published_macs(depth: int) -> int:
    """Return multiply-accumulates of a tracked frame in the published loop: all tokens, six patch embeddings."""
    tokens = _SLOTS * MAX_KEPT + _SEARCH + _COMMANDS
    images = (_SLOTS * MAX_KEPT + _SEARCH) * _PATCH_VALUES * _CHANNELS
    return images + depth * _layer_macs(tokens) + _COMMANDS * _CHANNELS * _CLASSES


def _published(size: str, flavour: str, note: str) -> Variant:
    name = f"fartrack-{size}" if flavour == "sparse" else f"fartrack-{size}-{flavour}"
    return _variant(name, flavour, DEPTHS[size], KEPT_TOKENS if flavour == "sparse" else MAX_KEPT, note)


FARTRACK_VARIANTS = (
    _published("tiny", "sparse", "stage 3, as evaluated: all 15 layers"),
    _published("nano", "sparse", "stage 3, the first 10 layers of Tiny's checkpoint"),
    _published("pico", "sparse", "stage 3, the first 6 layers of Tiny's checkpoint"),
    _published("tiny", "distill", "stage 2, self-distilled: every depth from 5 was trained"),
    _published("nano", "distill", "stage 2, the first 10 layers"),
    _published("pico", "distill", "stage 2, the first 6 layers"),
    _published("tiny", "frame", "stage 1, frame-level pretraining"),
)

FARTRACK_CUTS = Alterations(("depth", "keep"), cut_name, cut_variant, _cut_values)
