"""Image files: their size from the header alone, and their pixels."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError
from edgetrack.video.opencv import import_cv2

__all__ = ["IMAGE_SUFFIXES", "MAX_SIDE", "Image", "Shape", "decode_bgr", "decode_rgb", "image_shape", "read_bytes"]

Image = NDArray[np.uint8]
Shape = tuple[int, int]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
MAX_SIDE = 16384
"""Longest side of an image that is decoded, in pixels: a small file can announce a huge picture."""

_MAX_BYTES = 1 << 28
_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_BMP = b"BM"
_WEBP_SIZE = 30  # RIFF header, chunk header, frame header
_REMEDY = "get the file anew or leave it out"
# Start-of-frame markers of JPEG; C4, C8 and CC in between mean other things.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_bytes(path: Path) -> bytes:
    """Read an image file.

    Raises:
        InputError: it is missing, cannot be read, is empty, or larger than 256 MiB.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"image {path} is larger than 256 MiB; {_REMEDY}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"image {path} cannot be read ({error.strerror}); {_REMEDY}") from error
    if not data:
        raise InputError(f"image {path} is empty; {_REMEDY}")
    return data


def image_shape(data: bytes | memoryview, name: str) -> Shape:
    """Return height and width of a JPEG, PNG, BMP or WebP, from its header.

    Args:
        data: the file, or so much of it that the header is within.
        name: of the image, for messages.

    Raises:
        InputError: it is none of these, or its header is damaged or announces more than 16384 pixels a side.
    """
    shape = _jpeg_shape(data)[0] if data[:2] == _JPEG else _raster_shape(data)
    if shape is None:
        raise InputError(f"image {name} is damaged or is no JPEG, PNG, BMP or WebP; {_REMEDY}")
    if not (0 < shape[0] <= MAX_SIDE and 0 < shape[1] <= MAX_SIDE):
        raise InputError(f"image {name} is {shape[1]}x{shape[0]} pixels, must have 1 to {MAX_SIDE} a side; {_REMEDY}")
    return shape


def decode_bgr(data: bytes | memoryview, name: str) -> Image:
    """Decode an image to uint8 (height, width, 3) BGR; rotation that a camera noted is not applied.

    Annotations count pixels as they are stored.

    Raises:
        InputError: it cannot be decoded, is cut off, or is too large.
        EngineUnavailable: OpenCV is not installed.
    """
    cv2 = import_cv2()
    shape = image_shape(data, name)
    image: Image | None = None
    if _whole(data):
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:
            image = None
    if image is None or image.shape != (*shape, 3):
        raise InputError(f"image {name} cannot be decoded, it is damaged or cut off; {_REMEDY}")
    return image


def decode_rgb(data: bytes | memoryview, name: str) -> Image:
    """Decode an image to uint8 (height, width, 3) RGB; else as `decode_bgr`."""
    image = decode_bgr(data, name)
    cv2 = import_cv2()
    rgb: Image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


def _whole(data: bytes | memoryview) -> bool:
    """Tell whether the end of a JPEG is there: some decoders fill what is missing with grey and say nothing."""
    return data[:2] != _JPEG or bytes(data).rfind(_JPEG_END) > _jpeg_shape(data)[1]


def _jpeg_shape(data: bytes | memoryview) -> tuple[Shape | None, int]:
    """Walk the segments of a JPEG up to its frame header; return height and width, and where that header is."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None, at
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (height, width), at
        else:
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
    return None, at


def _raster_shape(data: bytes | memoryview) -> Shape | None:
    if len(data) >= 26 and data[:8] == _PNG and data[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    if len(data) >= 26 and data[:2] == _BMP:
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(height), width
    if len(data) >= _WEBP_SIZE and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_shape(data)
    return None


def _webp_shape(data: bytes | memoryview) -> Shape | None:
    """Read the first chunk of a WebP file: lossy, lossless, or the header of the extended format."""
    chunk = bytes(data[12:16])
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF  # the upper bits ask a viewer to scale
    if chunk == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if chunk == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    return None
