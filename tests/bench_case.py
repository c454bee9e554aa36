"""A short `edgetrack bench` of an artifact that reads text against its loop in PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgetrack import demo


def bench_entry(run: Callable[..., tuple[int, str, str]], artifact: Path) -> dict[str, Any]:
    """Return what the document says of the artifact; `run` calls the command line."""
    told = ("--source", demo.CLIP, "--init", "286,321,195,111", "--text", "man")
    measured = ("--compare", "--reference", "stand-in", "--frames", 12, "--warmup", 0, "--threads", 1, "--no-fresh")
    code, out, err = run("bench", artifact, *told, *measured, "--json")
    assert code == 0, err
    reference, entry = json.loads(out)["contenders"]
    assert "text_ms" not in reference
    code, _, err = run("bench", artifact, *told[:4], "--pack", artifact / "x.pack", *measured)
    assert (code, "give --text, not --pack" in " ".join(err.split())) == (5, True)
    return entry
