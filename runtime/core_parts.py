"""What some compiled trackers offer besides `CropLoop`, told by whether they have it and not by their names."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

__all__ = ["GatedCore", "TextCore", "ToldCore"]


@runtime_checkable
class ToldCore(Protocol):
    """Of a tracker whose search graph has inputs that it does not fill by itself."""

    def set_told(self, name: str, values: NDArray[Any]) -> None:
        """Take target data under the name that the manifest's `tracker.language.feeds` lists."""


@runtime_checkable
class TextCore(Protocol):
    """Of a tracker that has to know that its target was described anew."""

    def set_text(self, features: NDArray[Any]) -> None:
        """Take the target data of the first name that the manifest's `tracker.language.feeds` lists.

        Called after every `init`, and between two frames: then what was learnt of the old target is forgotten.
        """


@runtime_checkable
class GatedCore(Protocol):
    """Of a tracker that judges its boxes by thresholds that may be changed between two frames."""

    @property
    def threshold_ranges(self) -> dict[str, tuple[float, float]]:
        """Least and largest value of each threshold, by name."""

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds now."""

    def set_thresholds(self, values: dict[str, float]) -> None:
        """Judge by other ones from the next frame on; InputError for a name or value that cannot be."""
