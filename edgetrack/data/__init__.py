"""Annotated data: readers of published and plain data sets, and images from folders or from one packed file.

Boxes are (x, y, w, h) in pixels, as annotated; a row of nan where the target is absent.
"""

from __future__ import annotations

from edgetrack.data.pack import PackSummary, pack
from edgetrack.data.packed import PackedSource
from edgetrack.data.readers import DATASETS, read_tracks
from edgetrack.data.sources import FolderSource, ImageSource, IndexedTrack, open_source
from edgetrack.data.track import Track

__all__ = [
    "DATASETS",
    "FolderSource",
    "ImageSource",
    "IndexedTrack",
    "PackSummary",
    "PackedSource",
    "Track",
    "open_source",
    "pack",
    "read_tracks",
]
