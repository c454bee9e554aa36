"""MVLM behind the `ModelFamily` seam: spec, text side, strict loading, limits, what the gate is fed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fartrack_case import golden_shapes
from golden_files import golden
from mvlm_case import clip_shapes
from small_mvlm import SMALL, filled, small_inputs, small_net

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.loops.mvlm import MvlmReference
from edgetrack.export.models import MODELS, VARIANTS, family_of
from edgetrack.export.models import mvlm as module
from edgetrack.export.models.clip_text import ClipText, TextShape
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.models.language import LanguageFamily
from edgetrack.export.models.mvlm import MVLM
from edgetrack.export.models.mvlm_net import CLIP_PREFIX, MvlmNet
from edgetrack.export.models.mvlm_variants import MVLM_VARIANTS, gate_of
from edgetrack.export.models.ostrack_net import OsTrackNet
from edgetrack.export.parity.gate import _check_limits
from edgetrack.export.standin import synth_box, synth_frame, synth_param

NAMES = [variant.name for variant in MVLM_VARIANTS]
TINY_CLIP = TextShape("a small CLIP", width=24, heads=2, layers=1, context=5)


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_has_its_family(name):
    assert family_of(name) is MODELS.get("mvlm") is MVLM
    assert VARIANTS[name].family == "mvlm"
    assert isinstance(MVLM, LanguageFamily)


def test_tracker_spec():
    assert MVLM.tracker_spec("mvlm-bbox") == {
        "family": "mvlm",
        "color": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "template": {
            "size": 112,
            "factor": 2.0,
            "tokens": 49,
            "count": 2,
            "update": {"interval": 25, "above": 0.70},
        },
        "search": {"size": 224, "factor": 4.0},
        "text": {"tokens": 77, "channels": 512},
        "decode": {"kind": "candidates", "grid": 14},
        "gate": {"alpha": 0.5, "tau": 0.2, "omega": 0.9, "lam": 0.9, "psi": 0.3},
        "clip_margin_px": 10,
        "score": {"kind": "margin", "calibration": None, "uncertain_below": 0.65, "lost_below": 0.6},
    }
    assert MVLM.tracker_spec("mvlm-tf")["template"] is None


@pytest.mark.parametrize("name", NAMES)
def test_text_side(name):
    """The gate's sentence is the vectors', in their tokens; padding is part of it."""
    side = MVLM.text_side(name)
    assert np.array_equal(side.prompt["ids"], golden("mvlm_tf")["tok_ids"][:1])
    assert str(golden("mvlm_tf")["tok_texts"][0]) == module.PROMPT
    assert side.without_box == name.startswith("mvlm-tf")
    assert side.without_text == ("padding" if name == "mvlm-bbox" else "refuse")


def test_the_text_encoder_is_all_of_clips_but_what_nobody_reads():
    entries = MVLM.text_side("mvlm-tf").entries()
    assert entries.items() <= clip_shapes().items()
    missing = set(clip_shapes()) - set(entries)
    unread = ("text_projection", "logit_scale", "ln_final.weight", "ln_final.bias")
    assert missing == {CLIP_PREFIX + key for key in unread}


def test_the_two_configurations_without_a_box_are_one_network():
    assert MVLM.entries("mvlm-tf") == MVLM.entries("mvlm-tf-tnl2k") == MVLM.entries("mvlm-bbox")
    assert gate_of("mvlm-tf") != gate_of("mvlm-tf-tnl2k")


class Zeros(dict):
    """A checkpoint of zeros that takes no memory to speak of."""

    def __init__(self, shapes):
        super().__init__({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()})


def loaded(state):
    net = MvlmNet(MVLM.build("mvlm-tf").shape).to("meta")
    MVLM.load_state(net, "mvlm-tf", state)
    return net


@pytest.mark.parametrize("outside", [False, True])
def test_published_files_with_clip_inside_load_too(outside):
    """With or without what of CLIP is not used."""
    clip = clip_shapes() if outside else MVLM.text_side("mvlm-tf").entries()
    net = loaded(Zeros(golden_shapes(golden("mvlm_tf")) | clip))
    assert net.text_encoder.clip is not None
    assert [graph.role for graph in MVLM.deploy_graphs("mvlm-tf", net)] == ["text", "search"]
    assert [graph.role for graph in MVLM.deploy_graphs("mvlm-bbox", net)] == ["text", "template", "search"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("encoder.body.pos_embed"), "658 entries, 1 missing"),
        (lambda s: s.pop("text_encoder.text_proj.bias"), "1 missing"),
        (lambda s: s.update({"encoder.body.blocks.32.gamma_1": torch.zeros(512)}), "1 unexpected"),
        (lambda s: s.update({"encoder.body.pos_embed": torch.zeros(1, 196, 512)}), "instead of"),
        (lambda s: s.update({"encoder.body.fc_norm.bias": torch.full((512,), torch.nan)}), "not finite"),
        (lambda s: s.pop(f"{CLIP_PREFIX}positional_embedding"), "text transformer of CLIP ViT-L/14"),
        (lambda s: s.update({f"{CLIP_PREFIX}transformer.more": torch.zeros(1)}), "1 unexpected"),
        (lambda s: [s.pop(key) for key in list(s) if key.startswith(CLIP_PREFIX)], "without its text encoder"),
    ],
)
def test_strict_loading(change, words):
    state = Zeros(MVLM.entries("mvlm-tf") | MVLM.text_side("mvlm-tf").entries())
    change(state)
    with pytest.raises(CheckpointError, match=words) as error:
        loaded(state)
    assert "\n" not in str(error.value)


def test_a_neighbours_checkpoint_is_named():
    ostrack = family_of("ostrack-256").entries("ostrack-256")
    with pytest.raises(CheckpointError, match="layout of ostrack-256 or ostrack-256-ce"):
        MVLM.load_published(MvlmNet(MVLM.build("mvlm-tf").shape), "mvlm-tf", Zeros(ostrack))
    net = OsTrackNet(family_of("ostrack-256").network("ostrack-256").shape)
    with pytest.raises(CheckpointError, match="layout of mvlm-tf or mvlm-tf-tnl2k or mvlm-bbox"):
        family_of("ostrack-256").load_state(net, "ostrack-256", Zeros(MVLM.entries("mvlm-tf")))


@pytest.mark.parametrize("kind", SMALL)
def test_every_entry_but_the_unused_is_used(kind):
    net = filled(MvlmNet(SMALL[kind]))
    search, text, images = small_inputs(kind)
    output = net(search, net.text_encoder.text_proj(torch.randn(1, 5, 24)) + text, images)
    (output.features.square().sum() + sum(value.square().sum() for value in output.maps)).backward()
    silent = {key for key, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0}
    assert silent == set()
    counters = {key for key in net.state_dict() if key.endswith("num_batches_tracked")}
    assert set(MVLM.unused("mvlm-tf")) == counters
    rows = net.encoder.body.pos_embed.grad[0].abs().sum(1)
    assert bool((rows[36:] > 0).all()) == (kind == "bbox")


@pytest.mark.parametrize("name", NAMES)
def test_limits_fit_the_graphs(name):
    with torch.device("meta"):
        net = MVLM.network(name)
        net.add_clip(ClipText(TINY_CLIP, final_norm=False))
        graphs = MVLM.deploy_graphs(name, net)
    for precision in ("fp32", "fp16"):
        _check_limits(MVLM.thresholds(name, precision).tensor_max_abs, graphs, precision)
    exact = MVLM.thresholds(name, "fp32")
    # Section 7: score and size maps 5e-6, offset 3e-5 of a cell (of 14), sims 1e-5.
    assert exact.tensor_max_abs["cls"] == 5e-6
    assert exact.tensor_max_abs["boxes"] == 5e-6
    assert exact.tensor_max_abs["sims"] == 1e-5
    assert exact.box_px == 0.05
    with pytest.raises(InputError, match="mvlm states no limits for precision 'int8'; known: fp32, fp16"):
        MVLM.thresholds(name, "int8")


def test_a_network_of_another_family():
    with pytest.raises(TypeError, match="FarTrackNet"):
        MVLM.deploy_graphs("mvlm-tf", FarTrackNet("sparse", 1))


@pytest.fixture(params=SMALL)
def small_family(request, monkeypatch):
    """The family with small sizes and a small text encoder, which shows the whole of what the gate is fed."""
    kind = request.param
    net = filled(MvlmNet(SMALL[kind])).requires_grad_(False)
    clip = ClipText(TINY_CLIP, final_norm=False)
    clip.load_state_dict(
        {key: torch.from_numpy(synth_param(key, tuple(value.shape))) for key, value in clip.state_dict().items()}
    )
    net.add_clip(clip.requires_grad_(False).eval())
    monkeypatch.setattr(module, "PROMPT_IDS", (49406, 518, 786))
    monkeypatch.setattr(module, "shape_of", lambda _: SMALL[kind])
    return kind, net, "mvlm-bbox" if kind == "bbox" else "mvlm-tf"


def test_parity_inputs_are_what_the_loop_sees(small_family):
    kind, net, name = small_family
    frames = [synth_frame(index) for index in range(9)]
    fed = list(MVLM.parity_inputs(name, net, frames, synth_box(0)))
    graphs = {graph.role: graph for graph in MVLM.deploy_graphs(name, net)}
    roles = [entry.role for entry in fed]
    assert roles[: 2 if kind == "bbox" else 1] == ["text", "template"][: 2 if kind == "bbox" else 1]
    assert roles.count("search") >= 4
    assert fed[0].inputs["ids"].dtype == np.int32
    loop = MVLM.reference(name, net)
    with torch.no_grad():
        text = graphs["text"].module(torch.from_numpy(fed[0].inputs["ids"]))
    torch.testing.assert_close(text, loop.text, rtol=0, atol=1e-6)
    loop.init(frames[0], synth_box(0))
    loop.is_global = True
    first = next(entry for entry in fed if entry.role == "search")
    assert list(first.inputs) == list(graphs["search"].inputs)
    assert np.array_equal(first.inputs["search"], loop.search_input(frames[1])[0])
    loop.update(frames[1])
    with torch.no_grad():
        cls, boxes, sims = graphs["search"].module(*map(torch.from_numpy, first.inputs.values()))
    torch.testing.assert_close(cls[0], loop.step.cls, rtol=0, atol=5e-6)
    torch.testing.assert_close(boxes[0], loop.step.boxes, rtol=0, atol=5e-6)
    torch.testing.assert_close(sims[0], loop.step.sims, rtol=0, atol=1e-5)


def test_pictures_in_which_rounding_decides_are_not_compared(small_family, monkeypatch):
    kind, net, name = small_family
    monkeypatch.setattr("edgetrack.export.loops.mvlm.SAFE_EDGE", 0.5)
    fed = MVLM.parity_inputs(name, net, [synth_frame(index) for index in range(3)], synth_box(0))
    assert [entry.role for entry in fed] == ["text", "template"][: 2 if kind == "bbox" else 1]


def test_safe_means_far_from_a_half():
    net = small_net("tf")
    tracker = MvlmReference(net, gate_of("mvlm-tf"), small_inputs("tf")[1])
    tracker.init(synth_frame(0), synth_box(0))
    tracker.update(synth_frame(1))
    boxes = torch.full((36, 4), 0.5)
    boxes[:, 2:] = 0.2  # edges at 5 * 0.4 and 5 * 0.6
    step = tracker.step
    assert type(step)(**{**vars(step), "boxes": boxes}).safe
    boxes[7, 0] = 0.5 + 0.1 + 1e-6  # an edge at 2.5
    assert not type(step)(**{**vars(step), "boxes": boxes}).safe
