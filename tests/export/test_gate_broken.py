"""The gate at reduced precision: our own Pico passes, in half and in 8 bits, and what is wrong anywhere does not.

Both are broken as they were built. The 8-bit one has calibrated ranges of its own that can be wrong.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgetrack.artifact import read_artifact, sha256_of
from edgetrack.demo import demo_weights
from edgetrack.export.parity.clip import demo_clip
from edgetrack.export.parity.gate import check_against_source
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.precision import CalibrationPlan
from edgetrack.export.source import load_source

pytest.importorskip("onnxruntime")
PICO = "fartrack-pico"


@pytest.fixture(scope="module", params=["fp16", "int8"])
def built(request, tmp_path_factory):
    """Our own Pico, which has to pass."""
    path = tmp_path_factory.mktemp("gate") / "pico"
    given = {}
    if request.param == "int8":
        given = {"calibration": CalibrationPlan("demo", frames=16), "options": {"int8-path": "static"}}
    result = export_tracker(
        PICO, demo_weights(PICO), precision=request.param, output=path, clip=clip(), threads=2, **given
    )
    assert result.report.verdict == "passed"
    forced = result.report.forced
    assert forced.undecided < (0.25 if request.param == "fp16" else 0.5) * 4 * forced.frames, "most corners are judged"
    return load_source(PICO, demo_weights(PICO)), path


def clip():
    return replace(demo_clip(), count=16)


def stored_of(model, ending):
    return next(item for item in model.graph.initializer if item.name.endswith(ending))


def swap_weights(model, manifest):
    one, two = (stored_of(model, _weight(model, f"blocks.{number}.mlp.fc1")) for number in (1, 2))
    one.raw_data, two.raw_data = two.raw_data, one.raw_data


def wrong_layer(model, manifest):
    """Leave the third block's MLP out."""
    weight = stored_of(model, _weight(model, "blocks.2.mlp.fc2"))
    weight.raw_data = bytes(len(weight.raw_data))


def _weight(model, module):
    """Return the name of the constant that holds a module's weights, whatever its precision."""
    large = [item.name for item in model.graph.initializer if module in item.name and len(item.raw_data) > 100_000]
    assert len(large) <= 1
    if large:
        return large[0]
    node = next(node for node in model.graph.node if node.name == f"{module}.linear")
    return node.input[1]


def wrong_range(model, manifest):
    """Let an activation saturate at a sixteenth of its calibrated range."""
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    if not pairs:
        pytest.skip("nothing is calibrated in half precision")
    scale = stored_of(model, pairs[len(pairs) // 2].input[1])
    scale.raw_data = (onnx.numpy_helper.to_array(scale) / np.float32(16)).tobytes()


def wrong_mean(model, manifest):
    manifest["tracker"]["mean"] = [0.5, 0.5, 0.5]
    manifest["tracker"]["std"] = [0.5, 0.5, 0.5]


def wrong_bins(model, manifest):
    manifest["tracker"]["decode"]["expectation"] = False
    manifest["tracker"]["search"]["factor"] = 4.4


@pytest.mark.parametrize("breaks", [swap_weights, wrong_layer, wrong_range, wrong_mean, wrong_bins])
def test_a_broken_artifact_fails(built, tmp_path, breaks):
    source, path = built
    shutil.copytree(path, tmp_path / "x")
    manifest = json.loads((path / "edgetrack.json").read_text())
    model = onnx.load(path / "search.onnx")
    breaks(model, manifest)
    onnx.save_model(model, tmp_path / "x" / "search.onnx")
    manifest["graphs"][1]["sha256"]["search.onnx"] = sha256_of(tmp_path / "x" / "search.onnx")
    (tmp_path / "x" / "edgetrack.json").write_text(json.dumps(manifest))
    report = check_against_source(source, read_artifact(tmp_path / "x"), clip(), threads=2)
    assert report.verdict == "failed", report.rows()
