"""The catalogue of published trackers. Importing it loads no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from edgetrack.errors import InputError
from edgetrack.export.models.base import ModelFamily, Variant
from edgetrack.export.models.centre_variants import CENTRE_VARIANTS, GRM_THRESHOLDS
from edgetrack.export.models.fartrack_variants import FARTRACK_CUTS, FARTRACK_VARIANTS
from edgetrack.export.models.glad_variants import GLAD_SETTINGS, GLAD_VARIANTS
from edgetrack.export.models.mvlm_variants import MVLM_VARIANTS
from edgetrack.registry import Registry

__all__ = ["ALTERATIONS", "MODELS", "VARIANTS", "altered_name", "family_of", "find_variant", "variant_values"]

MODELS: Registry[ModelFamily] = Registry("model family", InputError)
MODELS.register("fartrack", "edgetrack.export.models.fartrack:FARTRACK")
MODELS.register("ostrack", "edgetrack.export.models.ostrack:OSTRACK")
MODELS.register("grm", "edgetrack.export.models.grm:GRM")
MODELS.register("mvlm", "edgetrack.export.models.mvlm:MVLM")
MODELS.register("glad", "edgetrack.export.models.glad:GLAD")

VARIANTS: dict[str, Variant] = {
    variant.name: variant for variant in (*FARTRACK_VARIANTS, *CENTRE_VARIANTS, *MVLM_VARIANTS, *GLAD_VARIANTS)
}

ALTERATIONS = (FARTRACK_CUTS, GRM_THRESHOLDS, GLAD_SETTINGS)
"""What may be changed of the variants: FARTrack's layers and kept tokens, GRM's division threshold, GLAD's settings."""


def altered_name(name: str, options: Mapping[str, float | None]) -> str:
    """Return the name of the variant `name` changed as `options` say: option -> value, None: as published.

    Raises:
        InputError: the variant does not take an option, or not with this value.
    """
    for alterations in ALTERATIONS:
        values = [options.get(option) for option in alterations.options]
        if any(value is not None for value in values):
            name = alterations.name(name, *values)
    return name


def variant_values(name: str) -> dict[str, float]:
    """Return what the variant called `name` has of all that may be altered: option -> value."""
    return {option: value for alterations in ALTERATIONS for option, value in alterations.values(name).items()}


def find_variant(name: str) -> Variant:
    """Return the variant called `name`: one of the table, or one of these that its name alters (`ALTERATIONS`).

    Raises:
        InputError: there is none.
    """
    altered = (alterations.find(name) for alterations in ALTERATIONS)
    found = VARIANTS.get(name) or next(filter(None, altered), None)
    if found is None:
        raise InputError(f"unknown model {name!r}; known: {', '.join(VARIANTS)} (see `edgetrack models`)")
    return found


def family_of(name: str) -> ModelFamily:
    """Return the family of the variant called `name`; imports its network.

    Raises:
        InputError: there is no such variant.
    """
    return MODELS.get(find_variant(name).family)
