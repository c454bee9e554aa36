"""How busy other processes kept the machine while something was measured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

__all__ = ["QUIET_SHARE", "OtherLoad", "others_line"]

QUIET_SHARE = 0.05
"""Above this share of the cores in other hands, times say more about them than about us."""

_STAT = Path("/proc/stat")
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal; not idle and iowait


class OtherLoad:
    """Context manager; afterwards `share` is what others used of the cores that this process may use, 0 to 1.

    Child processes that have ended, and were waited for, are not others.
    None where the system does not tell. A hypervisor that gives the time to another machine counts as "others".
    """

    share: float | None = None

    def __enter__(self) -> OtherLoad:
        """Start to count."""
        self._began = (time.perf_counter(), _busy_s(), _own_s())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Set `share`."""
        wall, busy, own = self._began
        now = _busy_s()
        if busy is None or now is None:
            return
        available = (time.perf_counter() - wall) * len(os.sched_getaffinity(0))
        others = now - busy - (_own_s() - own)
        self.share = min(1.0, max(0.0, others / available)) if available > 0 else 0.0


def others_line(share: float | None) -> str | None:
    """Return a warning if others were busy, else None."""
    if share is None or share <= QUIET_SHARE:
        return None
    return f"other processes used {share:.0%} of the cores meanwhile; measure again on a quiet machine"


def _own_s() -> float:
    """Return the processor time of this process and of its children that were waited for."""
    return sum(os.times()[:4])


def _busy_s() -> float | None:
    """Return how long the cores that this process may use have been busy since the system started, together."""
    try:
        rows = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    ticks = sum(int(row[1 + field]) for row in rows if row[0] in allowed for field in _BUSY_FIELDS)
    return ticks / os.sysconf("SC_CLK_TCK")
