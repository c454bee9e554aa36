"""OSTrack and GRM as model families: what the manifest, the gate and the pipeline get of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from centre_case import CASES, MAPS, loaded_network
from small_centre import small_net

from edgetrack.errors import InputError
from edgetrack.export.loops.centre_head import CentreReference
from edgetrack.export.models import MODELS, VARIANTS, family_of
from edgetrack.export.models.centre_net import CentreOutput
from edgetrack.export.models.centre_variants import CENTRE_VARIANTS
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.parity.gate import _check_limits
from edgetrack.export.standin import synth_box, synth_frame

NAMES = [variant.name for variant in CENTRE_VARIANTS]
CE = "ostrack_b256_ce"


@pytest.mark.parametrize(
    ("name", "template", "search", "grid"),
    [
        ("ostrack-256", (128, 2.0), (256, 4.0), 16),
        ("ostrack-256-ce", (128, 2.0), (256, 4.0), 16),
        ("ostrack-384-ce", (192, 2.0), (384, 5.0), 24),
        ("grm-256", (128, 2.0), (256, 4.0), 16),
        ("grm-256-got", (128, 2.0), (256, 4.0), 16),
        ("grm-256-t40", (128, 2.0), (256, 4.0), 16),
        ("grm-l320", (128, 2.0), (320, 5.0), 20),
    ],
)
def test_tracker_spec(name, template, search, grid):
    assert family_of(name).tracker_spec(name) == {
        "family": "centre-head",
        "color": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "template": {"size": template[0], "factor": template[1]},
        "search": {"size": search[0], "factor": search[1]},
        "decode": {"kind": "centre", "grid": grid, "window": "hann"},
        "clip_margin_px": 10,
        "score": {"kind": "peak", "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1},
    }


def test_specs_are_not_shared():
    family_of("grm-256").tracker_spec("grm-256")["score"]["calibration"] = "changed"
    assert family_of("grm-256").tracker_spec("grm-256")["score"]["calibration"] is None


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_has_its_family(name):
    family = family_of(name)
    assert family.name == VARIANTS[name].family
    assert family is MODELS.get(family.name)
    assert "MIT" in VARIANTS[name].licence


@pytest.mark.parametrize("name", NAMES)
def test_limits_fit_the_graphs(name):
    family = family_of(name)
    with torch.device("meta"):
        graphs = family.deploy_graphs(name, family.network(name))
    for precision in ("fp32", "fp16", "int8", "mixed"):
        _check_limits(family.thresholds(name, precision).tensor_max_abs, graphs, precision)
    exact = family.thresholds(name, "fp32")
    assert {key: exact.tensor_max_abs[key] for key in MAPS} == MAPS
    assert exact.box_px == 0.05
    known = "known: fp32, fp16, int8, mixed"
    with pytest.raises(InputError, match=f"{family.name} states no limits for precision 'fp8'; {known}"):
        family.thresholds(name, "fp8")


def test_a_network_of_another_family():
    net = FarTrackNet("sparse", 1)
    for name in ("ostrack-256", "grm-256"):
        with pytest.raises(TypeError, match="FarTrackNet"):
            family_of(name).deploy_graphs(name, net)
    with pytest.raises(TypeError, match="FarTrackNet"):
        family_of("grm-256").reference("grm-256", net)


def fed(frames):
    variant = CASES[CE]
    clip = [synth_frame(index) for index in range(frames)]
    return list(family_of(variant).parity_inputs(variant, loaded_network(CE), clip, synth_box(0)))


def test_parity_inputs_are_what_the_loop_sees():
    variant, net = CASES[CE], loaded_network(CE)
    family = family_of(variant)
    template, first = fed(2)
    graphs = {graph.role: graph for graph in family.deploy_graphs(variant, net)}
    assert [entry.role for entry in (template, first)] == ["template", "search"]
    loop = family.reference(variant, net)
    loop.init(synth_frame(0), synth_box(0))
    cached = graphs["template"].module(torch.from_numpy(template.inputs["image"]))
    assert list(first.inputs) == list(graphs["search"].inputs)
    assert all(value.dtype == np.float32 for value in first.inputs.values())
    for name, value in zip(graphs["template"].outputs, cached, strict=True):
        assert np.array_equal(first.inputs[name], value)
    loop.update(synth_frame(1))
    with torch.no_grad():
        maps = graphs["search"].module(*map(torch.from_numpy, first.inputs.values()))
    for key, found, expected in zip(MAPS, maps, loop.step.output.maps, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=MAPS[key])


def test_frames_that_rounding_may_turn_are_not_compared(monkeypatch):
    monkeypatch.setattr(CentreOutput, "safe", False)
    assert [entry.role for entry in fed(2)] == ["template"]


@pytest.mark.parametrize("clear", [(True, True, False), (False, False, False, True, True)])
def test_without_a_clear_frame_the_state_is_put_back(clear, monkeypatch):
    """Three tracked frames on which the box is made to run away; `clear` says of which runs the decisions are."""
    family, net = family_of("ostrack-256-ce"), small_net("ostrack-ce")
    said = iter((*clear, False, False, False))
    monkeypatch.setattr(CentreOutput, "safe", property(lambda _: next(said)))
    monkeypatch.setattr(CentreReference, "_place", lambda self, *_: (self.box[0] + 30, *self.box[1:]))
    frames, box = [synth_frame(index) for index in range(4)], synth_box(0)
    _, *inputs = family.parity_inputs("ostrack-256-ce", net, frames, box)
    loop = CentreReference(net)
    shifts = (0, 30) if clear[0] else (0, 0)
    assert len(inputs) == 2
    for entry, frame, shift in zip(inputs, frames[1:], shifts, strict=False):
        loop.set_state((box[0] + shift, *box[1:]))
        assert np.array_equal(entry.inputs["search"], loop.search_input(frame)[0].numpy())
