"""How many tokens a network sees of crops that it cuts into patches."""

from __future__ import annotations

from typing import Protocol

__all__ = ["PATCH_PX", "PatchCounts"]

PATCH_PX = 16
"""Side of a patch, of all families that are here."""


class _Crops(Protocol):
    @property
    def search_size(self) -> int: ...

    @property
    def template_seen(self) -> int: ...


class PatchCounts:
    """Counts of a network's shape, which has `search_size` and `template_seen`: sides in pixels of what is cut."""

    @property
    def template_grid(self: _Crops) -> int:
        """Patches along a side of the template."""
        return self.template_seen // PATCH_PX

    @property
    def template_tokens(self: _Crops) -> int:
        """Tokens of one template."""
        return (self.template_seen // PATCH_PX) ** 2

    @property
    def search_grid(self: _Crops) -> int:
        """Patches along a side of the search crop, cells along a side of the head's maps."""
        return self.search_size // PATCH_PX

    @property
    def search_tokens(self: _Crops) -> int:
        """Tokens of the search crop: as many cells, or candidates."""
        return (self.search_size // PATCH_PX) ** 2
