"""Memory of this process, from the system."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

__all__ = ["peak_rss_bytes", "rss_bytes"]


def rss_bytes() -> int:
    """Return the resident memory now; where the system has no /proc, the peak until now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_rss_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes() -> int:
    """Return the largest resident memory so far.

    Linux's getrusage counts the program that started this one too, so the process's own mark is read instead.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
