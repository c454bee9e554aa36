"""GRM as a model family."""

from __future__ import annotations

from torch import nn

from edgetrack.export.graphs.grm import SearchGraph
from edgetrack.export.models.centre import CentreFamily
from edgetrack.export.models.centre_variants import division_threshold, shape_of
from edgetrack.export.models.grm_net import GrmNet

__all__ = ["GRM", "GrmFamily"]


class GrmFamily(CentreFamily):
    """See `ModelFamily`."""

    name = "grm"

    def network(self, variant: str) -> GrmNet:
        """See `CentreFamily.network`; the division threshold is the one that the variant's name says."""
        return GrmNet(shape_of(variant), division_threshold(variant))

    def search_graph(self, net: nn.Module) -> SearchGraph:
        """See `CentreFamily.search_graph`."""
        if not isinstance(net, GrmNet):
            raise TypeError(f"expected a GrmNet, got {type(net).__name__}")
        return SearchGraph(net)


GRM = GrmFamily()
