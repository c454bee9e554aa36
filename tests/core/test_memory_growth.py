"""Resident memory over long videos: flat once the stated bound of the template history is reached.

Each is measured in a process of its own: in the suite's, other tests' memory comes and goes in hundreds of MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CASE = Path(__file__).with_name("memory_growth_case.py")
MIB = 1 << 20


def measured(name: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(CASE), name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_100000_updates_are_flat_after_the_bound() -> None:
    found = measured("small")
    assert max(found["readings"]) - min(found["readings"]) < 2_000_000
    assert found["memory"]["stride"] == 8
    assert found["memory"]["used_bytes"] <= found["memory"]["limit_bytes"] == MIB // 2


def test_the_default_bound_holds_for_published_sizes() -> None:
    found = measured("published")
    assert found["start"] - found["before"] < 8 * MIB  # nothing of the pool is resident before it is used
    assert 25 * MIB < found["half"] - found["start"] < 33 * MIB  # 0.7 templates a frame
    assert found["exact_frames"] == 3161
    assert found["full"] - found["before"] < 64_000_000
    assert found["stride"] == 2
    assert abs(found["late"] - found["full"]) < 2_000_000
    assert found["used_bytes"] <= 60 * MIB
