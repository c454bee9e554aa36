"""What `export` and `info` say of an artifact's speed against float32 on the machine that built it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.export.speed import NOT_WANTED

if TYPE_CHECKING:
    from edgetrack.export.parity.clip import Clip
    from edgetrack.export.speed import SpeedCheck

__all__ = ["NoSpeedCheckOption", "in_words", "speed_check", "warn_if_slow"]

NoSpeedCheckOption = Annotated[
    bool,
    typer.Option("--no-speed-check", help="Do not compare the whole loop with an fp32 build's, at other precisions."),
]


def speed_check(clip: Clip, threads: int | None, progress: console.Progress) -> SpeedCheck:
    """Return what the export pipeline measures with; frames are those of the clip."""

    def check(base: Path, artifact: Path) -> Mapping[str, Any]:
        from edgetrack.benchmarks.frames import load_footage
        from edgetrack.benchmarks.speed_check import compare_speed

        return compare_speed(base, artifact, load_footage(clip.path, clip.box), _Quiet(progress), threads=threads)

    return check


def in_words(speed: object) -> str | None:
    """Return the manifest's `precision.speed` as one line, None where it holds nothing that is known."""
    if not isinstance(speed, Mapping):
        return None
    if "not_measured" in speed:
        return f"not compared with fp32: {speed['not_measured']}"
    numbers = [speed.get(name) for name in ("fps", "fp32_fps", "ratio", "low", "high")]
    if not all(isinstance(number, int | float) for number in numbers):
        return None
    fps, base, ratio, low, high = numbers
    verdict = "faster than" if speed.get("faster") is True else "not faster than"
    threads = f"{speed['threads']} threads" if speed.get("threads") else "the engine's number of threads"
    return (
        f"{verdict} fp32: {ratio:.2f}x ({low:.2f} to {high:.2f}), {fps:.1f} against {base:.1f} updates/s, "
        f"{speed.get('frames')} frames, {threads}, on {speed.get('where')}"
    )


def warn_if_slow(precision: Mapping[str, Any]) -> None:
    """Say on stderr, in one line, that an artifact is not faster than float32, if that is so or was not measured."""
    speed = precision.get("speed")
    words = in_words(speed)
    if not isinstance(speed, Mapping) or words is None or speed.get("faster") is True:
        return
    if "not_measured" not in speed:
        console.warn(f"{precision['actual']} is {words}")
    elif speed["not_measured"] != NOT_WANTED:
        console.warn(words)


class _Quiet:
    """Tells of stages alone: the bar of an export counts other steps."""

    def __init__(self, progress: console.Progress) -> None:
        self._progress = progress

    def stage(self, label: str) -> None:
        self._progress.stage(f"compare the speed with fp32: {label}")

    def advance(self, steps: int = 1) -> None:
        """Count nothing."""
