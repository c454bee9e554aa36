"""The gate at reduced precision: our own Pico passes, and a graph that is wrong anywhere does not."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest

from edgetrack.artifact import read_artifact, sha256_of
from edgetrack.demo import demo_weights
from edgetrack.export.models.fartrack import THRESHOLDS
from edgetrack.export.parity.clip import demo_clip
from edgetrack.export.parity.gate import check_against_source
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.source import load_source

pytest.importorskip("onnxruntime")
PICO = "fartrack-pico"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Our own Pico at fp16, which has to pass."""
    path = tmp_path_factory.mktemp("gate") / "pico"
    result = export_tracker(PICO, demo_weights(PICO), precision="fp16", output=path, threads=2)
    assert result.report.verdict == "passed"
    assert result.report.forced.undecided < 0.25 * 4 * result.report.forced.frames, "most corners are judged"
    return load_source(PICO, demo_weights(PICO)), path


def swap_weights(model, manifest):
    stored = {item.name: item for item in model.graph.initializer}
    one, two = (stored[f"blocks.{number}.mlp.fc1.weight"] for number in (1, 2))
    one.raw_data, two.raw_data = two.raw_data, one.raw_data


def wrong_layer(model, manifest):
    """Leave the third block's MLP out."""
    node = next(node for node in model.graph.node if node.name == "blocks.2.mlp.fc2.linear")
    for item in model.graph.initializer:
        if item.name == node.input[1]:
            item.raw_data = bytes(len(item.raw_data))


def wrong_mean(model, manifest):
    manifest["tracker"]["mean"] = [0.5, 0.5, 0.5]
    manifest["tracker"]["std"] = [0.5, 0.5, 0.5]


def wrong_bins(model, manifest):
    manifest["tracker"]["decode"]["expectation"] = False
    manifest["tracker"]["search"]["factor"] = 4.4


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("breaks", [swap_weights, wrong_layer, wrong_mean, wrong_bins])
def test_a_broken_artifact_fails(built, tmp_path, monkeypatch, breaks, precision):
    """Judged by the limits of fp16, and by int8's, which are wider: rounding adds to what is broken, if anything."""
    source, path = built
    (tmp_path / "x").mkdir()
    for file in path.iterdir():
        (tmp_path / "x" / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((path / "edgetrack.json").read_text())
    model = onnx.load(path / "search.onnx")
    breaks(model, manifest)
    onnx.save_model(model, tmp_path / "x" / "search.onnx")
    manifest["graphs"][1]["sha256"]["search.onnx"] = sha256_of(tmp_path / "x" / "search.onnx")
    (tmp_path / "x" / "edgetrack.json").write_text(json.dumps(manifest))
    monkeypatch.setitem(THRESHOLDS, "fp16", THRESHOLDS[precision])
    clip = demo_clip()
    report = check_against_source(source, read_artifact(tmp_path / "x"), replace(clip, count=16), threads=2)
    assert report.verdict == "failed", report.rows()
