"""ATSTrack behind the `ModelFamily` seam: spec, text side, strict loading, limits, what the gate is fed."""

from __future__ import annotations

import numpy as np
import pytest
import small_atstrack
import torch
from small_atstrack import SMALL, filled, small_inputs, small_net, small_told

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.loops.atstrack import AtsReference, SlotHistory
from edgetrack.export.models import MODELS, VARIANTS, family_of
from edgetrack.export.models.atstrack import ATSTRACK
from edgetrack.export.models.atstrack_net import CLIP_PREFIX, AtsNet
from edgetrack.export.models.atstrack_variants import ATSTRACK_VARIANTS, SlotRule
from edgetrack.export.models.clip_text import ClipText, TextShape
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.models.language import LanguageFamily
from edgetrack.export.parity.gate import _check_limits
from edgetrack.export.standin import synth_box, synth_frame

NAMES = [variant.name for variant in ATSTRACK_VARIANTS]


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_has_its_family(name):
    assert family_of(name) is MODELS.get("atstrack") is ATSTRACK
    assert isinstance(ATSTRACK, LanguageFamily)
    assert "built from the paper's idea" in VARIANTS["atstrack-384"].note


def test_tracker_spec():
    assert ATSTRACK.tracker_spec("atstrack-384-t2") == {
        "family": "centre-head",
        "color": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "template": {
            "size": 192,
            "factor": 2.0,
            "slots": {"count": 2, "interval": 10, "at_least": 0.5, "history": 64},
        },
        "search": {"size": 384, "factor": 5.0},
        "told": ["vl_state", "lang", "lang_mask"],
        "state": {"output": "vl_state_next", "input": "vl_state", "kept": 768},
        "decode": {"kind": "centre", "grid": 24, "window": "hann"},
        "clip_margin_px": 10,
        "score": {"kind": "peak", "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1},
    }


def test_text_side():
    """The gate's phrases are those of the spec's section 4.7, each with its end, and the start counts for nothing."""
    side = ATSTRACK.text_side("atstrack-384")
    ids, mask = side.prompt["ids"][0], side.prompt["lang_mask"][0]
    assert ids[1].tolist() == [49406, 1449, 537, 1579, 49407] + [0] * 11
    assert mask[1].tolist() == [0, 1, 1, 1, 1] + [0] * 11
    assert mask.sum(axis=1).tolist() == [2, 4, 2, 5]
    assert (ids.dtype, mask.dtype, ids.shape) == (np.int32, np.float32, (4, 16))
    entries = side.entries()
    assert len(entries) == 148
    assert entries[f"{CLIP_PREFIX}token_embedding.weight"] == (49408, 512)
    assert entries[f"{CLIP_PREFIX}transformer.resblocks.11.attn.in_proj_weight"] == (1536, 512)


def test_the_checkpoint_has_288_entries():
    assert len(ATSTRACK.entries("atstrack-384")) == 288
    assert not any(name.startswith(CLIP_PREFIX) for name in ATSTRACK.entries("atstrack-384"))
    shapes = [ATSTRACK.entries(name)["fgm.time_embed"] for name in NAMES]
    assert [shape[1] for shape in shapes] == [3, 2, 1, 3, 2]


class Zeros(dict):
    """A checkpoint of zeros that takes no memory to speak of."""

    def __init__(self, shapes):
        super().__init__({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()})


def loaded(state, name: str = "atstrack-384"):
    with torch.device("meta"):
        net = ATSTRACK.network(name)
    ATSTRACK.load_state(net, name, state)
    return net


def whole(name: str = "atstrack-384") -> Zeros:
    return Zeros(ATSTRACK.entries(name) | ATSTRACK.text_side(name).entries())


def test_a_checkpoint_with_clip_loads():
    net = loaded(whole())
    assert [graph.role for graph in ATSTRACK.deploy_graphs("atstrack-384", net)] == ["text", "template", "search"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("fgm.null_token"), "288 entries, 1 missing"),
        (lambda s: s.update({"backbone.more": torch.zeros(1)}), "1 unexpected"),
        (lambda s: s.update({"fgm.time_embed": torch.zeros(1, 2, 1, 768)}), r"\(1, 2, 1, 768\) instead of"),
        (lambda s: s.update({"vl_gain": torch.full((3,), torch.nan)}), "not finite"),
        (lambda s: s.pop(f"{CLIP_PREFIX}positional_embedding"), "text transformer of CLIP ViT-B/32"),
        (lambda s: [s.pop(key) for key in list(s) if key.startswith(CLIP_PREFIX)], "without its text encoder"),
    ],
)
def test_strict_loading(change, words):
    state = whole()
    change(state)
    with pytest.raises(CheckpointError, match=words) as error:
        loaded(state)
    assert "\n" not in str(error.value)


def test_the_layout_of_another_variant_is_named():
    with pytest.raises(CheckpointError, match="layout of atstrack-384-t2: export that model"):
        loaded(whole("atstrack-384-t2"))


def test_every_entry_but_the_unused_is_used():
    net = filled(AtsNet(SMALL[3]))
    told, (search, template) = small_told(net, 1, 0, 2, 3), small_inputs()
    outputs = net(search, template, told.state, told.lang, told.mask)
    (sum(value.square().sum() for value in outputs.maps) + outputs.state[:, 1].square().sum()).backward()
    silent = {key for key, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0}
    # The null token counts where there is no phrase; the templates came embedded.
    assert silent == {"backbone.pos_embed", "backbone.pos_embed_z", "fgm.null_token"}
    counters = {key for key in net.state_dict() if key.endswith("num_batches_tracked")}
    assert set(ATSTRACK.unused("atstrack-384")) == counters | {"backbone.pos_embed"}


@pytest.mark.parametrize("name", NAMES)
def test_limits_fit_the_graphs(name):
    with torch.device("meta"):
        net = ATSTRACK.network(name)
        net.add_clip(ClipText(TextShape("a small CLIP", width=512, heads=2, layers=1)))
        graphs = ATSTRACK.deploy_graphs(name, net)
    for precision in ("fp32", "fp16"):
        _check_limits(ATSTRACK.thresholds(name, precision).tensor_max_abs, graphs, precision)
    exact = ATSTRACK.thresholds(name, "fp32")
    assert {key: exact.tensor_max_abs[key] for key in ("score", "vl_state_next", "lang", "vl_state")} == {
        "score": 1e-4,
        "vl_state_next": 1e-4,
        "lang": 1e-5,
        "vl_state": 1e-5,
    }
    assert exact.box_px == 0.05
    with pytest.raises(InputError, match="atstrack states no limits for precision 'int8'; known: fp32, fp16"):
        ATSTRACK.thresholds(name, "int8")


def test_a_network_of_another_family():
    with pytest.raises(TypeError, match="FarTrackNet"):
        ATSTRACK.deploy_graphs("atstrack-384", FarTrackNet("sparse", 1))


def test_parity_inputs_are_what_the_loop_sees(monkeypatch):
    small_atstrack.install(monkeypatch)
    net = small_net(clip=True)
    frames = [synth_frame(index) for index in range(9)]
    fed = list(ATSTRACK.parity_inputs("atstrack-384", net, frames, synth_box(0)))
    assert [entry.role for entry in fed] == ["text", "template", *["search"] * 8]
    graphs = {graph.role: graph for graph in ATSTRACK.deploy_graphs("atstrack-384", net)}
    loop = ATSTRACK.reference("atstrack-384", net)
    loop.init(frames[0], synth_box(0))
    for entry, frame in zip(fed[2:], frames[1:], strict=True):
        assert list(entry.inputs) == list(graphs["search"].inputs)
        assert np.array_equal(entry.inputs["vl_state"], loop.state)
        loop.update(frame)
        with torch.no_grad():
            *maps, state = graphs["search"].module(*map(torch.from_numpy, entry.inputs.values()))
        for one, other in zip((*maps, state), (*loop.step.output.maps, loop.state), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert loop.shown[2] == 8  # templates were renewed on the way


def test_templates_of_a_low_score_are_not_taken():
    net, taken = small_net(), []
    for at_least in (0.0, 1.0):
        loop = AtsReference(net, small_told(net), SlotRule(1, at_least, 4))
        loop.init(synth_frame(0), synth_box(0))
        loop.update(synth_frame(1))
        taken.append(loop.shown)
    assert taken == [[0, 1, 1], [0, 0, 0]]


def test_the_history_is_bounded_and_thinned():
    """Section 4.4: at most 64 entries; every second one goes, and the interval doubles."""
    history, crop = SlotHistory(SlotRule()), np.zeros((1, 1, 3), np.uint8)
    for frame in range(10, 660, 10):
        history.add(frame, crop)
        assert len(history.entries) <= 64
    assert [frame for frame, _ in history.entries] == [*range(10, 640, 20), 650]
    assert history.interval == 20
    assert history.closest(60)[0] == 50  # of two equally near the earlier one
    assert SlotHistory(SlotRule()).closest(3) is None
