"""What users hand to a tracker, checked before the core sees it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

__all__ = ["Box", "Frame", "SupportsCuda", "SupportsDlpack", "checked_box", "checked_frame", "lies_on_device"]

Box = tuple[float, float, float, float]
"""A box (x, y, w, h) in pixels, top-left corner, 0-based."""


_CPU = 1  # DLPack's device type of host memory


class SupportsDlpack(Protocol):
    """An array of any package that speaks DLPack, wherever it lies."""

    def __dlpack__(self, *, stream: int | None = None) -> object:
        """Return a capsule with the array; work on `stream` comes after what was enqueued for the array."""
        ...

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the kind of device and its index."""
        ...


class SupportsCuda(Protocol):
    """An array of any package that speaks the CUDA array interface."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Address, shape, strides, type and stream."""
        ...


Frame = NDArray[np.uint8] | SupportsDlpack | SupportsCuda
"""A frame in host memory as a numpy array, or an array in the memory of the device that runs the networks."""


def lies_on_device(frame: object) -> bool:
    """Say whether a frame is an array outside host memory, by DLPack or the CUDA array interface."""
    if isinstance(frame, np.ndarray):
        return False
    if hasattr(frame, "__dlpack_device__"):
        return int(frame.__dlpack_device__()[0]) != _CPU
    return hasattr(frame, "__cuda_array_interface__")


def checked_frame(frame: object) -> NDArray[np.uint8]:
    """Return a frame as the array that the core reads; InputError where it is none."""
    if isinstance(frame, np.ndarray):
        return frame
    if frame is None:
        raise InputError("the frame is None: the video has ended or could not be read; check what read() returned")
    raise InputError(f"the frame is a {type(frame).__name__}, must be a numpy array of uint8; convert it first")


def checked_box(box: object) -> Box:
    """Return x, y, w, h as floats; InputError where `box` is not four numbers."""
    try:
        if isinstance(box, str | bytes):
            raise TypeError
        x, y, w, h = (float(value) for value in box)  # type: ignore[attr-defined]
    except OverflowError as error:
        raise InputError(
            "the box holds a number too large for a float; give four numbers x, y, w, h in pixels"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"the box is {box!r}, must be four numbers x, y, w, h in pixels") from error
    return (x, y, w, h)
