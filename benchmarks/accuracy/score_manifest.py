"""Stores a score rule in an artifact, in one step: the old artifact or the new one is there, nothing in between."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from edgetrack.artifact import MANIFEST_NAME, ArtifactWriter, read_artifact
from edgetrack.benchmarks.accuracy.score_rule import RULE_KEYS, ScoreRule
from edgetrack.errors import ArtifactError

__all__ = ["PROVENANCE", "store_rule"]

PROVENANCE = "score_calibration"
"""Key of the manifest that says where a rule came from; readers ignore it."""


def store_rule(path: Path, rule: ScoreRule, provenance: dict[str, Any]) -> None:
    """Put `rule` into the manifest of the artifact at `path`; all else stays as it is.

    Args:
        path: the artifact's folder.
        rule: goes into `tracker.score`.
        provenance: what the rule was made from; goes into `score_calibration`.

    Raises:
        ArtifactError: the artifact is damaged, has no score, or cannot be written; it then is as before.
    """
    artifact = read_artifact(path)
    manifest = dict(artifact.manifest)
    score = artifact.tracker.get("score")
    if not isinstance(score, dict) or not set(RULE_KEYS) <= set(score):
        raise ArtifactError(f"{path}: its tracker has no score to calibrate; export it with this version")
    manifest["tracker"] = {**artifact.tracker, "score": {**score, **rule.as_section()}}
    manifest[PROVENANCE] = provenance
    with ArtifactWriter(path, force=True) as writer:
        _copy(artifact.path, writer.folder)
        writer.write_manifest(manifest)
        read_artifact(writer.folder)
        writer.commit()


def _copy(source: Path, folder: Path) -> None:
    """Copy everything but the manifest, also files beside the artifact's own, which the user may have put there."""
    for path in sorted(source.iterdir()):
        if path.name == MANIFEST_NAME:
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(os.path.realpath(path), folder / path.name)
