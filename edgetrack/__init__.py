"""edgetrack: run published single-object trackers on edge devices.

Example:
    tracker = edgetrack.load("fartrack-pico-onnx-fp32/")
    tracker.init(frame, (x, y, w, h))
    ok, box = tracker.update(next_frame)

Everything but `load`, `encode_text` and `errors` is imported at first use, so that `import edgetrack` costs next to
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetrack import errors
from edgetrack.loading import encode_text, load

if TYPE_CHECKING:
    from edgetrack.runtime.core import State
    from edgetrack.runtime.tracker import Tracker

    __version__: str

__all__ = ["State", "Tracker", "__version__", "encode_text", "errors", "load"]


def __getattr__(name: str) -> object:
    """Import `State`, `Tracker` and `__version__` when they are first asked for (PEP 562)."""
    value: object
    if name == "State":
        from edgetrack.runtime.core import State as value
    elif name == "Tracker":
        from edgetrack.runtime.tracker import Tracker as value
    elif name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value = version("edgetrack")
        except PackageNotFoundError:  # a source tree on the path that was not installed
            value = "unknown"
    else:
        raise AttributeError(f"module 'edgetrack' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, also those not imported yet."""
    return sorted(__all__)
