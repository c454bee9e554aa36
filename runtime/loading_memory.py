"""What loading a large network would leave resident, given back: freed blocks, and pages of its file.

Both are questions to Linux and its C library; elsewhere nothing is done, and the network takes more memory.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["dropping_pages", "return_freed", "returning_blocks"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE_BYTES = 1 << 20
_GLIBC_MOST_BYTES = 32 << 20
_MADV_DONTNEED = 4  # mman.h
_MAPS = Path("/proc/self/maps")
_PERIOD_S = 0.05


@contextmanager
def returning_blocks() -> Iterator[None]:
    """Let blocks of 1 MiB and more go back to the system as soon as they are freed, inside the block.

    glibc keeps what is freed: after the first freed block of up to 32 MiB it serves the next ones of that size from its
    heap, where the copies of the weights that an engine makes and drops leave holes. They were seen to cost a ViT-B 120
    MB for good. Behind the block stands the threshold that glibc itself arrives at by then.
    """
    library = _library()
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    try:
        yield
    finally:
        library.mallopt(_M_MMAP_THRESHOLD, _GLIBC_MOST_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _GLIBC_MOST_BYTES)


def return_freed() -> None:
    """Give everything that is freed back to the system now, objects in cycles included.

    For the end of a step that made copies of all weights: the next step's come on top of what its heap keeps.
    """
    gc.collect()
    library = _library()
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@contextmanager
def dropping_pages(*paths: Path) -> Iterator[None]:
    """Drop the pages of files that somebody in this process maps read-only, inside the block and at its end.

    An engine that maps its weights reads them once, to pack them for its kernels, and keeps the mapping: the weights
    are resident twice. Pages that are read again come back from the file (its cache, as a rule).
    """
    library = _library()
    if library is None or not _MAPS.exists():
        yield
        return
    done = threading.Event()

    def keep_dropping() -> None:
        while not done.wait(_PERIOD_S):
            _drop(library, paths)

    thread = threading.Thread(target=keep_dropping, name="edgetrack-dropping-pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _drop(library, paths)


def _library() -> Any:  # noqa: ANN401 (a ctypes.CDLL)
    """Return the C library of this process; None where the system is not Linux."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _drop(library: Any, paths: Sequence[Path]) -> None:  # noqa: ANN401
    names = {str(path) for path in paths}
    for line in _MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        span, rights, _, _, _, *name = line.split(maxsplit=5)
        if not names.intersection(name) or "w" in rights:  # what was written into a private mapping would be lost
            continue
        begin, end = (int(value, 16) for value in span.split("-"))
        library.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)
