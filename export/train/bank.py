"""Every training image, decoded once, as one flat tensor on the device that trains."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgetrack.data.sources import ImageSource
from edgetrack.errors import InputError

__all__ = ["ImageBank"]

_CHUNK = 128  # images decoded between two copies to the device: bounds what waits in host memory


class ImageBank:
    """All images of a source as one flat tensor; a crop is a gather from it.

    A pixel takes four bytes, R G B and a zero, so that one 32-bit read brings a whole pixel.

    Attributes:
        words: int32 (pixels,) on the device, `0x00BBGGRR` each: image after image, rows from top to bottom.
        offsets: int64 (N,) on the host, where each image starts in `words`.
        heights: int64 (N,) on the host, pixels.
        widths: int64 (N,) on the host, pixels.
        device: where `words` is.
    """

    def __init__(
        self, source: ImageSource, device: torch.device | str = "cpu", progress: Callable[[int], None] | None = None
    ) -> None:
        """Decode everything with a pool of threads.

        Args:
            source: the images.
            device: where the pixels go.
            progress: called with the number of images done since the last call.

        Raises:
            InputError: there is no image, one cannot be read or is not uint8 RGB of the announced shape, or they do not
                fit into the device's memory.
        """
        count = len(source)
        if count == 0:
            raise InputError("no training images: the list is empty; name data that has some")
        self.device = torch.device(device)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode") as pool:
            shapes = np.array(list(pool.map(source.shape, range(count))), np.int64)
            self.heights, self.widths = shapes.T.copy()
            ends = np.cumsum(self.heights * self.widths)
            self.offsets = ends - self.heights * self.widths
            self.words = self._allocate(int(ends[-1]))
            for start in range(0, count, _CHUNK):
                numbers = range(start, min(start + _CHUNK, count))
                chunk = np.concatenate(list(pool.map(lambda number: self._packed(source, number), numbers)))
                self.words[self.offsets[start] : ends[numbers[-1]]].copy_(torch.from_numpy(chunk))
                if progress is not None:
                    progress(len(numbers))

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def pixels(self) -> Tensor:
        """The same memory as uint8 (pixels, 4): R, G, B, 0."""
        return self.words.view(torch.uint8).view(-1, 4)

    def image(self, number: int) -> Tensor:
        """Return a view of one image, uint8 RGB (H, W, 3), on the device."""
        height, width, start = (int(table[number]) for table in (self.heights, self.widths, self.offsets))
        return self.pixels[start : start + height * width].view(height, width, 4)[..., :3]

    def _allocate(self, pixels: int) -> Tensor:
        try:
            return torch.empty(pixels, dtype=torch.int32, device=self.device)
        except RuntimeError as error:  # OutOfMemoryError on an accelerator, the plain class on the CPU
            raise InputError(
                f"{len(self)} images take {4 * pixels / 2**30:.1f} GiB, more than {self.device} has; pack them with a "
                "smaller side, or train on fewer"
            ) from error

    def _packed(self, source: ImageSource, number: int) -> NDArray[np.int32]:
        """Decode an image to words (H * W,)."""
        image = source.read(number)
        shape = (int(self.heights[number]), int(self.widths[number]), 3)
        if image.dtype != np.uint8 or image.shape != shape:
            raise InputError(
                f"training image {number} is {image.dtype} {image.shape}, announced as uint8 {shape}; get it anew or "
                "leave it out"
            )
        packed = np.zeros((shape[0] * shape[1], 4), np.uint8)
        packed[:, :3] = image.reshape(-1, 3)
        return packed.view("<i4")[:, 0]
