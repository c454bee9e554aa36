"""Manifest sections with one value replaced by a number or by something that is none, for property tests."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from edgetrack.errors import ArtifactError

__all__ = ["built_or_refused", "paths", "values"]

_NUMBERS = st.integers(-5, 5000) | st.floats(-5000, 5000) | st.sampled_from([0, -1, 1e6, 2**31])
_OTHERS = st.none() | st.booleans() | st.text(max_size=5) | st.lists(_NUMBERS, max_size=3)
values = _NUMBERS | _OTHERS


def paths(section: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the ways to all entries of a section, objects included."""
    found: list[tuple[str, ...]] = []
    for key, value in section.items():
        found += [(*path, key)] + (paths(value, (*path, key)) if isinstance(value, Mapping) else [])
    return found


def built_or_refused(build: Callable[[dict[str, Any]], Any], spec: Mapping[str, Any], path, value) -> Any:
    """Return what is built of a section with `value` at `path`; None where it is refused, in one line."""
    section = changed = copy.deepcopy(dict(spec))
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    try:
        return build(changed)
    except ArtifactError as error:
        assert "\n" not in str(error)  # noqa: PT017 (building is right as well)
        return None
