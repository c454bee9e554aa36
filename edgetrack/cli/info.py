"""`edgetrack info`: what an artifact is, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgetrack.cli import console
from edgetrack.cli.options import ArtifactArgument, JsonOption
from edgetrack.cli.speed import in_words

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact, TensorInfo

__all__ = ["run"]


def run(artifact: ArtifactArgument, as_json: JsonOption = False) -> None:
    """Check an artifact and say what it is: model, graphs, target, precision, and what was verified."""
    from edgetrack.artifact import read_artifact

    found = read_artifact(artifact)
    if as_json:
        console.emit_json({"path": str(found.path), "size_bytes": found.size_bytes(), "manifest": dict(found.manifest)})
        return
    facts = list(_facts(found))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        console.line(f"{name.ljust(width)}  {value}")
    console.line()
    rows = [
        (entry.role, entry.file, kind, tensor.name, tensor.dtype, _shape(tensor), tensor.layout)
        for entry in found.graphs
        for kind, tensors in (("in", entry.inputs), ("out", entry.outputs))
        for tensor in tensors
    ]
    console.table(("graph", "file", "", "tensor", "type", "shape", "layout"), rows)
    for entry in found.graphs:
        for symbol, values in entry.dims.items():
            console.line(f"{entry.role}: {symbol} is {' or '.join(map(str, values))}")


def _facts(found: Artifact) -> Iterator[tuple[str, str]]:
    model, target, precision, tracker = found.model, found.target, found.precision, found.tracker
    yield "artifact", str(found.path)
    yield "size", f"{found.size_bytes() / 1e6:.1f} MB, checksums match"
    yield "model", f"{model.variant} ({model.family}, {model.flavour})"
    yield "weights", f"{model.weights}, sha256 {model.checkpoint_sha256[:16]}"
    yield "licence", model.licence
    yield "target", f"{target.name} for {target.engine} {target.version} on {target.device}"
    if target.driver or target.soc:
        yield "hardware", ", ".join(filter(None, (target.soc, target.driver)))
    islands = f", fp32 kept in {len(precision.fp32_islands)} layers" if precision.fp32_islands else ""
    widened = f", computed in {precision.computed} on {target.device}" if precision.computed != precision.actual else ""
    yield "precision", f"{precision.actual} (asked: {precision.asked}){widened}{islands}"
    if found.calibration is not None:
        made = found.calibration
        yield "calibrated", f"{made.get('count')} frames of {made.get('source')}, seed {made.get('seed')}"
    if (words := in_words(found.manifest["precision"].get("speed"))) is not None:
        yield "speed", words
    template, search = tracker["template"], tracker["search"]
    if template is None:
        yield "template", "none, it follows a sentence"
    else:
        yield "template", f"{template['size']} px square, {template['factor']:g} times the target"
    yield "search", f"{search['size']} px square, {search['factor']:g} times the target"
    if isinstance(tracker.get("language"), dict):
        yield "language", _language(found)
    if isinstance(tracker.get("score"), dict):
        yield "score", _score(tracker["score"])
    yield "verified", str((found.verification or {}).get("verdict", "not verified"))
    yield "built", f"{found.build.time} by edgetrack {found.build.edgetrack}: {found.build.command}"


def _language(found: Artifact) -> str:
    roles = {entry.role for entry in found.graphs}
    chain = found.tracker["language"].get("chain", ["text"])
    if "text" in chain and roles.issuperset(chain):
        return f"text is encoded here, by {', '.join(chain)}"
    return "follows target packs that `edgetrack encode` made elsewhere"


def _score(score: Mapping[str, Any]) -> str:
    limits = f"uncertain below {score.get('uncertain_below')}, lost below {score.get('lost_below')}"
    calibrated = "not calibrated (default limits)" if score.get("calibration") is None else "calibrated"
    return f"{score.get('kind')}, {limits}, {calibrated}"


def _shape(tensor: TensorInfo) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
