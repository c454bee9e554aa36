"""What is measured: an artifact, or the published loop in eager PyTorch. Both look the same to the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgetrack.errors import EngineUnavailable, InputError

if TYPE_CHECKING:
    from edgetrack.benchmarks.frames import Box, Frame
    from edgetrack.export.source import Source
    from edgetrack.runtime.target_pack import TargetPack
    from edgetrack.runtime.tracker import Tracker

__all__ = [
    "MEMORIES",
    "STAGES",
    "Contender",
    "ContenderSpec",
    "artifact_spec",
    "described",
    "open_contender",
    "reference_spec",
    "with_unique_names",
]

MEMORIES = ("host", "gpu")
"""Where frames can be before the clock starts: in the memory of this machine, or in that of the artifact's GPU."""

STAGES = ("crop", "to_device", "run", "from_device", "decode", "memory", "text", "rest")
"""Stages of an update in their order; "text" is what describing the target took, for trackers that read text; "rest"
is what no other stage covers: the Python call around them."""

_BOUND = "none: the network reads and writes the tracker's own buffers"
_INSIDE_RUN = "not apart: the engine copies inside its call, so it is part of run"
_NO_TEXT = "none: the tracker reads no text"
_NOT_DIVIDED = "not apart: the eager loop is measured as a whole"


@dataclass(frozen=True)
class ContenderSpec:
    """Everything that opening a contender needs, so that another process can open it too.

    Attributes:
        kind: "artifact" or "reference".
        name: in tables; unique in a run.
        path: the artifact's folder, absolute; or a checkpoint, or "stand-in".
        variant: the network.
        precision: of the artifact's files; "fp32" for the reference.
        weights: "stand-in" or "checkpoint".
        engine: what runs it; "pytorch" for the reference.
        device: as `edgetrack.load` takes it.
        threads: None leaves the number to the engine.
        seed: of stand-in weights.
        text: what describes the target to a tracker with language.
        pack: instead of a text, the path of a target pack.
        text_encoder, vocabulary, diffusion, lora: paths of the files that the checkpoint of a tracker with language
            needs beside it, see `TextFiles`.
        frames_on: where the frames are when the clock starts, one of `MEMORIES`.
    """

    kind: str
    name: str
    path: str
    variant: str
    precision: str
    weights: str
    engine: str
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    text: str | None = None
    pack: str | None = None
    text_encoder: str | None = None
    vocabulary: str | None = None
    diffusion: str | None = None
    lora: str | None = None
    frames_on: str = "host"

    def source(self) -> Source:
        """Load the network of a reference.

        Raises:
            CheckpointError: the checkpoint cannot be read or is of another model.
            InputError: files of a tracker with language are missing or cannot be used.
            EngineUnavailable: PyTorch is not installed.
        """
        try:
            import torch  # noqa: F401 (only to tell a missing package from a broken one of ours)
        except ImportError as error:
            raise EngineUnavailable(f"a checkpoint needs PyTorch ({error}): pip install 'edgetrack[export]'") from error
        from edgetrack.export.language import TextFiles
        from edgetrack.export.source import load_source

        beside = (self.text_encoder, self.vocabulary, self.diffusion, self.lora)
        files = TextFiles(*(None if path is None else Path(path) for path in beside))
        return load_source(self.variant, self.path, self.seed, files)


class Contender(Protocol):
    """A tracking loop under the clock. Frames are uint8 RGB (height, width, 3)."""

    def place(self, frames: Sequence[Frame]) -> Sequence[Any]:
        """Return the frames where this contender is to find them, before the clock starts."""

    def init(self, frame: Any, box: Box) -> None:  # noqa: ANN401 (one of what `place` gave)
        """Start on `box` in `frame`."""

    def update(self, frame: Any) -> None:  # noqa: ANN401
        """Track one frame; exactly what a user's call costs."""

    @property
    def box(self) -> Box:
        """State of the loop after the last frame."""

    @property
    def state(self) -> str:
        """Name of the tracker's state; "" where there is none."""

    def stages_ms(self) -> Mapping[str, float]:
        """Return the stages of the last update that this contender can tell apart."""

    def stage_notes(self) -> Mapping[str, str]:
        """Return why a stage is always 0, for those that are."""

    def text_ms(self) -> float | None:
        """Return the longest that `init` took over a text; None for a tracker that reads none."""

    def describe(self) -> dict[str, str]:
        """Return engine, version and device."""

    def close(self) -> None:
        """Release the networks."""


def artifact_spec(
    path: Path,
    *,
    device: str = "auto",
    engine: str | None = None,
    threads: int | None = None,
    text: str | None = None,
    pack: Path | None = None,
    usual_text: str | None = None,
    frames_on: str = "host",
) -> ContenderSpec:
    """Return the spec of an artifact; see `edgetrack.load` and `Tracker.init` for arguments and errors.

    `usual_text` is for trackers that encode text and are given neither text nor pack; others do not hear it. An engine
    that cannot take frames where `frames_on` says raises EngineUnavailable.
    """
    from edgetrack.artifact import read_artifact
    from edgetrack.runtime.engines import ENGINES
    from edgetrack.runtime.language_spec import TEXT_ROLE

    artifact = read_artifact(path)
    if text is None and pack is None and any(entry.role == TEXT_ROLE for entry in artifact.graphs):
        text = usual_text
    name = ENGINES.resolve(engine or artifact.target.engine)
    if frames_on != "host" and not ENGINES.get(name).takes_device_frames:
        raise EngineUnavailable(
            f"{path}: engine {name} reads frames in host memory only, so they cannot be put on the {frames_on}; "
            "artifacts of target trt take them there"
        )
    return ContenderSpec(
        kind="artifact",
        name=path.resolve().name,
        path=str(path.resolve()),
        variant=artifact.model.variant,
        precision=artifact.precision.actual,
        weights=artifact.model.weights,
        engine=name,
        device=device,
        threads=threads,
        seed=artifact.build.seed or 0,
        text=text,
        pack=None if pack is None else str(pack.resolve()),
        frames_on=frames_on,
    )


def reference_spec(
    weights: str,
    artifacts: Sequence[ContenderSpec],
    beside: Mapping[str, Path | None] | None = None,
) -> ContenderSpec:
    """Return the spec of the published loop that `artifacts` were built from.

    Args:
        weights: path of a checkpoint, or "stand-in" (then with the first artifact's seed).
        artifacts: contenders of one variant; what they follow, it follows.
        beside: files that the checkpoint of a tracker with language needs, by their names in `ContenderSpec`.

    Raises:
        InputError: they are of several variants.
    """
    variants = sorted({spec.variant for spec in artifacts})
    if len(variants) > 1:
        raise InputError(
            f"artifacts of {', '.join(variants)} have no reference in common; compare one variant at a time"
        )
    first = artifacts[0]
    stand_in = weights == "stand-in"
    return ContenderSpec(
        kind="reference",
        name=f"{first.variant}, eager PyTorch",
        path=weights if stand_in else str(Path(weights).resolve()),
        variant=first.variant,
        precision="fp32",
        weights="stand-in" if stand_in else "checkpoint",
        engine="pytorch",
        device="cpu",
        threads=first.threads,
        seed=first.seed,
        text=first.text,
        pack=first.pack,
        **{name: str(path.resolve()) for name, path in (beside or {}).items() if path is not None},
    )


def with_unique_names(specs: Sequence[ContenderSpec]) -> list[ContenderSpec]:
    """Return the specs; names that came up before get a number."""
    seen: dict[str, int] = {}
    unique = []
    for spec in specs:
        seen[spec.name] = number = seen.get(spec.name, 0) + 1
        unique.append(spec if number == 1 else replace(spec, name=f"{spec.name} ({number})"))
    return unique


def described(
    tracker: Tracker, weights: str, text: str | None, pack: str | None
) -> tuple[str | None, str | TargetPack | None]:
    """Return the text or the pack to start a tracker with.

    One with stand-in weights that cannot encode text, and is given nothing, is told noise: such weights follow nothing,
    and the time does not depend on what is told.
    """
    language = tracker.language
    if language is None or language.encodes or text is not None or pack is not None or weights != "stand-in":
        return text, pack
    return None, language.made_up()


def open_contender(spec: ContenderSpec) -> Contender:
    """Load what `spec` names.

    Raises:
        ArtifactError: the artifact cannot be loaded.
        CheckpointError: the reference's checkpoint cannot be read.
        EngineUnavailable: an engine, device or package is not here.
    """
    return _Artifact(spec) if spec.kind == "artifact" else _Reference(spec)


class _Artifact:
    """A loaded artifact."""

    def __init__(self, spec: ContenderSpec) -> None:
        from edgetrack.loading import load

        self._tracker = load(spec.path, device=spec.device, engine=spec.engine, threads=spec.threads)
        self._text, self._pack = described(self._tracker, spec.weights, spec.text, spec.pack)
        self._text_ms = 0.0
        self._on_device = spec.frames_on != "host"
        self._text_in_update_ms = 0.0

    def place(self, frames: Sequence[Frame]) -> Sequence[Any]:
        return [self._tracker.engine.place_frame(frame) for frame in frames] if self._on_device else frames

    def init(self, frame: Any, box: Box) -> None:  # noqa: ANN401
        self._tracker.init(frame, box, text=self._text, pack=self._pack, color="rgb")
        self._text_ms = max(self._text_ms, self._tracker.text_ms)

    def text_ms(self) -> float | None:
        return None if self._tracker.language is None else self._text_ms

    def update(self, frame: Any) -> None:  # noqa: ANN401
        before = self._spent_on_text_ms()
        self._tracker.update(frame, color="rgb")
        self._text_in_update_ms = self._spent_on_text_ms() - before

    def _spent_on_text_ms(self) -> float:
        language = self._tracker.language
        return 0.0 if language is None else language.spent_ms

    @property
    def box(self) -> Box:
        # The state that the loop carries on, also while the tracker reports "lost" and repeats its last box.
        x, y, w, h = self._tracker.core.raw_box
        return (x, y, w, h)

    @property
    def state(self) -> str:
        return self._tracker.state.name

    def stages_ms(self) -> Mapping[str, float]:
        stages = {stage: ms for stage, ms in self._tracker.timings_ms.items() if stage in STAGES}
        return stages | {"text": self._text_in_update_ms}

    def stage_notes(self) -> Mapping[str, str]:
        on_cpu = self.describe()["device"].lower() == "cpu"
        notes = dict.fromkeys(("to_device", "from_device"), _BOUND if on_cpu else _INSIDE_RUN)
        return notes if self._tracker.language is not None else notes | {"text": _NO_TEXT}

    def describe(self) -> dict[str, str]:
        return self._tracker.engine.describe()

    def close(self) -> None:
        self._tracker.close()


class _Reference:
    """The published loop in eager PyTorch."""

    def __init__(self, spec: ContenderSpec) -> None:
        source = spec.source()
        if source.text is not None and spec.pack is not None:
            raise InputError("a target pack does not tell the published loop what to follow; give --text, not --pack")
        from edgetrack.export.parity.gate import torch_threads

        with ExitStack() as stack:
            stack.enter_context(torch_threads(spec.threads))
            self._loop = (
                source.loop(spec.text)
                if source.tellable or spec.text is not None
                else source.family.reference(spec.variant, source.net)
            )
            self._close = stack.pop_all().close

    def place(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        return frames

    def init(self, frame: Frame, box: Box) -> None:
        self._loop.init(frame, box)

    def text_ms(self) -> float | None:
        return None

    def update(self, frame: Frame) -> None:
        self._loop.update(frame)

    @property
    def box(self) -> Box:
        return self._loop.box

    @property
    def state(self) -> str:
        return ""

    def stages_ms(self) -> Mapping[str, float]:
        return {}

    def stage_notes(self) -> Mapping[str, str]:
        return dict.fromkeys(STAGES, _NOT_DIVIDED)

    def describe(self) -> dict[str, str]:
        import torch

        return {"engine": "pytorch", "version": torch.__version__, "device": "cpu"}

    def close(self) -> None:
        self._close()
