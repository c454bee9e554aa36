"""The catalogue of published trackers. Importing it loads no PyTorch."""

from __future__ import annotations

from edgetrack.errors import InputError
from edgetrack.export.models.base import ModelFamily, Variant
from edgetrack.export.models.centre_variants import CENTRE_VARIANTS, threshold_variant
from edgetrack.export.models.fartrack_variants import FARTRACK_VARIANTS, cut_variant
from edgetrack.export.models.mvlm_variants import MVLM_VARIANTS
from edgetrack.registry import Registry

__all__ = ["MODELS", "VARIANTS", "family_of", "find_variant"]

MODELS: Registry[ModelFamily] = Registry("model family", InputError)
MODELS.register("fartrack", "edgetrack.export.models.fartrack:FARTRACK")
MODELS.register("ostrack", "edgetrack.export.models.ostrack:OSTRACK")
MODELS.register("grm", "edgetrack.export.models.grm:GRM")
MODELS.register("mvlm", "edgetrack.export.models.mvlm:MVLM")

VARIANTS: dict[str, Variant] = {
    variant.name: variant for variant in (*FARTRACK_VARIANTS, *CENTRE_VARIANTS, *MVLM_VARIANTS)
}


def find_variant(name: str) -> Variant:
    """Return the variant called `name`: one of the table, or one of these that its name alters.

    A FARTrack may be cut to fewer layers or tokens, a GRM be given another division threshold.

    Raises:
        InputError: there is none.
    """
    found = VARIANTS.get(name) or cut_variant(name) or threshold_variant(name)
    if found is None:
        raise InputError(f"unknown model {name!r}; known: {', '.join(VARIANTS)} (see `edgetrack models`)")
    return found


def family_of(name: str) -> ModelFamily:
    """Return the family of the variant called `name`; imports its network.

    Raises:
        InputError: there is no such variant.
    """
    return MODELS.get(find_variant(name).family)
