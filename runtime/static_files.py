"""Names of engine files that hold a graph at fixed sizes, one file for every value of its symbolic dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgetrack.errors import ArtifactError

__all__ = ["all_sizes", "file_for", "sized_name"]


def all_sizes(values: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    """Yield every combination of the values that symbolic dimensions take, the first values first."""
    for sizes in itertools.product(*values.values()):
        yield dict(zip(values, sizes, strict=True))


def sized_name(role: str, dims: Mapping[str, int], suffix: str) -> str:
    """Return a file's name, as in "search.kept-37.om"; without dimensions "search.om"."""
    return ".".join((role, *(f"{symbol}-{value}" for symbol, value in dims.items()))) + suffix


def file_for(path: Path, dims: Mapping[str, int]) -> Path:
    """Return the file beside `path` that holds the same graph at the sizes `dims`.

    Args:
        path: the graph's main file, named by `sized_name` for some values of its dimensions.
        dims: value by symbol; symbols that the name does not have are ignored.

    Raises:
        ArtifactError: the name has a dimension that is not in `dims`.
    """
    parts = path.name.split(".")
    for place, part in enumerate(parts[1:-1], start=1):
        symbol, dash, value = part.rpartition("-")
        if dash and value.isdigit():
            if symbol not in dims:
                raise ArtifactError(
                    f"{path}: is for one size of {symbol!r}, and none was asked for; export the artifact again"
                )
            parts[place] = f"{symbol}-{dims[symbol]}"
    return path.with_name(".".join(parts))
