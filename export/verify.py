"""The gate once more, on an artifact that was written before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgetrack.artifact import Artifact, read_artifact, sha256_of
from edgetrack.demo import WEIGHTS
from edgetrack.errors import InputError
from edgetrack.export.language import TOKENIZER_FILE, TextFiles
from edgetrack.export.parity.clip import Clip, demo_clip
from edgetrack.export.parity.gate import Progress, Silent, check_against_source
from edgetrack.export.parity.report import ParityReport
from edgetrack.export.source import STAND_IN, Source, load_source

__all__ = ["source_of", "verify_artifact"]


def verify_artifact(
    path: str | Path,
    weights: str | Path | None = None,
    *,
    seed: int | None = None,
    text: TextFiles | None = None,
    clip: Clip | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Run the gate again on an artifact that was written before, on this machine.

    Args:
        path: the artifact's folder.
        weights: the checkpoint it was built from, or "stand-in"; None: only where edgetrack's own or stand-in weights
            are in it.
        seed: of stand-in weights; None: the one in the manifest.
        text: files of the text side, for trackers with language.
        clip: see `edgetrack.export.pipeline.run_plan`.
        device: what to run the artifact on; "auto": what it was built for.
        threads: see `run_plan` there.
        progress: told of stages and steps.

    Raises:
        ArtifactError: the artifact is damaged or of a model that this version does not know.
        CheckpointError: the checkpoint cannot be read or is of another model.
        InputError: no weights are given, or the clip cannot be used.
    """
    artifact = read_artifact(path)
    (progress or Silent()).stage("load weights")
    source = source_of(artifact, weights, seed, text)
    return check_against_source(
        source, artifact, clip or demo_clip(), device=device, threads=threads, progress=progress
    )


def source_of(
    artifact: Artifact, weights: str | Path | None, seed: int | None, text: TextFiles | None = None
) -> Source:
    """Load what an artifact was built from; see `verify_artifact` for arguments and errors."""
    if weights is None:
        weights = _known_weights(artifact)
    used_seed = seed if seed is not None else artifact.build.seed or 0
    return load_source(artifact.model.variant, weights, used_seed, _with_vocabulary(artifact, text or TextFiles()))


def _with_vocabulary(artifact: Artifact, text: TextFiles) -> TextFiles:
    """Return the files with the artifact's own vocabulary, where it has one and none is given."""
    if text.vocabulary is not None or not artifact.tracker.get("language", {}).get("tokenizer"):
        return text
    return replace(text, vocabulary=artifact.file(TOKENIZER_FILE))


def _known_weights(artifact: Artifact) -> str:
    """Return the weights of an artifact that was built without a file of the user's."""
    if artifact.model.weights == STAND_IN:
        return STAND_IN
    for path in WEIGHTS.values():
        if path.is_file() and sha256_of(path) == artifact.model.checkpoint_sha256:
            return str(path)
    raise InputError(f"{artifact.path} was built from a checkpoint; give it with --weights to verify against")
