"""The compiled core, or a message that says why it cannot be loaded here."""

from __future__ import annotations

import platform
import sys

from edgetrack.errors import EngineUnavailable

try:
    from edgetrack._core import (
        CentreHeadTracker,
        CropLoop,
        DeviceArray,
        FarTracker,
        Graph,
        MvlmTracker,
        State,
        crop_normalized,
    )
except ImportError as error:
    raise EngineUnavailable(
        f"the compiled core edgetrack._core cannot be loaded ({error}) by Python {platform.python_version()} "
        f"({sys.executable}) on {platform.system()} {platform.machine()}; reinstall with this interpreter: "
        f"{sys.executable} -m pip install --force-reinstall edgetrack"
    ) from error

__all__ = [
    "CentreHeadTracker",
    "CropLoop",
    "DeviceArray",
    "FarTracker",
    "Graph",
    "MvlmTracker",
    "State",
    "crop_normalized",
]
