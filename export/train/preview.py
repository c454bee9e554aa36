"""A picture of a training batch, to see with one's own eyes what a network is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.errors import InputError
from edgetrack.export.train.augment import MEAN, STD
from edgetrack.export.train.sampler import Batch
from edgetrack.video.opencv import import_cv2

__all__ = ["contact_sheet", "write_contact_sheet"]

_GAP = 4
_LINE = (0, 255, 0)


def contact_sheet(batch: Batch, columns: int = 2) -> NDArray[np.uint8]:
    """Draw every sample as its templates and its search view with the target's box.

    Args:
        batch: on any device.
        columns: samples beside each other.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    cv2 = import_cv2()
    samples = []
    for templates, search, corners in zip(
        _pictures(batch.templates), _pictures(batch.search), batch.corners, strict=True
    ):
        size = search.shape[0]
        # 8 fractional bits: the line lies on the box, not on the nearest pixel.
        left, top, right, bottom = (round((float(value) * size - 0.5) * 256) for value in corners)
        shown = cv2.rectangle(np.ascontiguousarray(search), (left, top), (right, bottom), _LINE, 1, cv2.LINE_AA, 8)
        samples.append(_row([*templates, shown]))
    rows = [_row(samples[start : start + columns]) for start in range(0, len(samples), columns)]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0))) for row in rows])


def write_contact_sheet(batch: Batch, path: Path, columns: int = 2) -> None:
    """Write `contact_sheet` as a PNG.

    Raises:
        InputError: the file cannot be written.
        EngineUnavailable: OpenCV is not installed.
    """
    cv2 = import_cv2()
    _, data = cv2.imencode(".png", np.ascontiguousarray(contact_sheet(batch, columns)[..., ::-1]))
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"cannot write the preview {path}: {error.strerror}; name another file") from error


def _pictures(images: Tensor) -> NDArray[np.uint8]:
    """Turn normalised (..., 3, H, W) into uint8 (..., H, W, 3)."""
    values = images.detach().float().cpu().movedim(-3, -1).numpy() * STD + MEAN
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def _row(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put pictures beside each other, aligned at the top."""
    height = max(picture.shape[0] for picture in pictures)
    padded = [np.pad(picture, ((0, height - picture.shape[0]), (0, _GAP), (0, 0))) for picture in pictures]
    return np.concatenate(padded, axis=1)
