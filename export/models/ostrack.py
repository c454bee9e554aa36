"""OSTrack as a model family."""

from __future__ import annotations

from torch import nn

from edgetrack.export.graphs.ostrack import SearchGraph
from edgetrack.export.models.centre import CentreFamily
from edgetrack.export.models.centre_variants import shape_of
from edgetrack.export.models.ostrack_net import OsTrackNet

__all__ = ["OSTRACK", "OsTrackFamily"]


class OsTrackFamily(CentreFamily):
    """See `ModelFamily`."""

    name = "ostrack"

    def network(self, variant: str) -> OsTrackNet:
        """See `CentreFamily.network`."""
        return OsTrackNet(shape_of(variant))

    def search_graph(self, net: nn.Module) -> SearchGraph:
        """See `CentreFamily.search_graph`."""
        if not isinstance(net, OsTrackNet):
            raise TypeError(f"expected an OsTrackNet, got {type(net).__name__}")
        return SearchGraph(net)


OSTRACK = OsTrackFamily()
