"""GLAD behind the `ModelFamily` seam: spec, text side, strict loading, limits, what the gate is fed."""

from __future__ import annotations

import numpy as np
import pytest
import small_glad
import torch
from diffusion_case import vector_shapes
from fartrack_case import golden_shapes
from glad_case import CASES
from golden_files import golden
from small_glad import SMALL, filled, lively, small_net
from test_checkpoint import Attack, TrainingSettings
from torch import nn

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.clip_files import text_state
from edgetrack.export.graphs.glad import told_names
from edgetrack.export.models import MODELS, VARIANTS, family_of
from edgetrack.export.models.diffusion import Diffusion
from edgetrack.export.models.diffusion_shape import STABLE_DIFFUSION_15
from edgetrack.export.models.glad import GLAD, PACK_BYTES
from edgetrack.export.models.glad_net import GladNet
from edgetrack.export.models.glad_variants import GLAD_VARIANTS, shape_of
from edgetrack.export.models.language import LanguageFamily
from edgetrack.export.models.ostrack_net import OsTrackNet
from edgetrack.export.parity.gate import _check_limits, _of_graphs
from edgetrack.export.standin import synth_box, synth_frame, synth_state

NAMES = [variant.name for variant in GLAD_VARIANTS]


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_has_its_family(name):
    assert family_of(name) is MODELS.get("glad") is GLAD
    assert VARIANTS[name].family == "glad"
    assert isinstance(GLAD, LanguageFamily)
    assert "bring your own" in VARIANTS[name].licence
    assert "OpenRAIL-M" in VARIANTS[name].licence


def test_tracker_spec():
    spec = GLAD.tracker_spec("glad-l384")
    assert spec == {
        "family": "centre-head",
        "color": "rgb",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "template": {"size": 512, "factor": 2.0},
        "search": {"size": 384, "factor": 5.0},
        "decode": {"kind": "centre", "grid": 24, "window": "hann", "divisor": 27},
        "told": ["key_0", "value_0", "key_1", "value_1", "key_2", "value_2"],
        "clip_margin_px": 10,
        "score": {"kind": "peak", "calibration": None, "uncertain_below": 0.3, "lost_below": 0.1},
    }
    assert GLAD.tracker_spec("glad-l384-s4")["search"] == {"size": 384, "factor": 4.0}
    assert "divisor" not in GLAD.tracker_spec("glad-b256")["decode"]
    assert GLAD.tracker_spec("glad-l384-d24")["decode"] == {"kind": "centre", "grid": 24, "window": "hann"}


@pytest.mark.parametrize(("name", "half"), [("glad-b256", False), ("glad-l384", True)])
def test_text_side(name, half):
    """What a pack holds takes at most 4 MB; float16 only where float32 would take more."""
    side, shape = GLAD.text_side(name), shape_of(name)
    count = 2 * sum(shape.latent_tokens) * shape.channels
    assert side.half == half == (4 * count > 4_000_000)
    assert count * (2 if half else 4) <= PACK_BYTES == 4_000_000
    assert (side.chain, side.encodes, side.entries()) == (("pool",), False, {})
    whole = side.diffusion.side
    assert (whole.chain, whole.encodes, whole.without_text) == (("text", "vae", "unet", "pool"), True, "empty")
    assert np.array_equal(whole.prompt["ids"][0, :9], [49406, 518, 786, 530, 1579, 2523, 49407, 49407, 49407])
    assert side.diffusion.shape is STABLE_DIFFUSION_15
    assert whole.rules.padding == 49407


class Zeros(dict):
    """A checkpoint of zeros that takes no memory to speak of."""

    def __init__(self, shapes):
        super().__init__({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()})


def loaded(state, name="glad-b256"):
    with torch.device("meta"):
        net = GladNet(shape_of(name))
    GLAD.load_state(net, name, state)
    return net


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("encoder.pos_embed_t"), "386 entries, 1 missing"),
        (lambda s: s.pop("pm.0.mlp.fc1.weight"), "1 missing"),  # never read, but part of every published file
        (lambda s: s.update({"fd.3.norm1.weight": torch.zeros(768)}), "1 unexpected"),
        (lambda s: s.update({"pm.2.pos_embed": torch.zeros(256, 1280)}), "instead of"),
        (lambda s: s.update({"norm_output.bias": torch.full((768,), torch.nan)}), "not finite"),
    ],
)
def test_strict_loading(change, words):
    state = Zeros(GLAD.entries("glad-b256"))
    change(state)
    with pytest.raises(CheckpointError, match=words) as error:
        loaded(state)
    assert "\n" not in str(error.value)


def test_a_neighbours_checkpoint_is_named():
    with pytest.raises(CheckpointError, match="layout of glad-l384: export that model"):
        loaded(Zeros(golden_shapes(golden("glad_l384"))))
    net = OsTrackNet(family_of("ostrack-256").network("ostrack-256").shape)
    with pytest.raises(CheckpointError, match="layout of glad-b256"):
        family_of("ostrack-256").load_state(net, "ostrack-256", Zeros(GLAD.entries("glad-b256")))


def test_published_files(tmp_path, monkeypatch):
    """bfloat16, with the batch counters that BatchNorm keeps in int64, beside classes of the training code."""
    small_glad.install(monkeypatch)
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in GladNet(SMALL).state_dict().items()}
    state = {name: torch.from_numpy(value) for name, value in synth_state(shapes).items()}
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in state.items()}
    content = {"net": half, "epoch": 300, "stats": TrainingSettings(), "settings": Attack(tmp_path / "executed")}
    torch.save(content, tmp_path / "GLAD.pth.tar")
    checkpoint = load_checkpoint(tmp_path / "GLAD.pth.tar")
    net = GLAD.build("glad-b256")
    GLAD.load_state(net, "glad-b256", checkpoint.state)
    assert not (tmp_path / "executed").exists()
    floats = [value for value in net.state_dict().values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float32}
    name = "fd.0.attn3.pos_embed_q.inv_freq"
    assert torch.equal(net.state_dict()[name], lively(half)[name].float())


def test_the_diffusion_model_is_no_part_of_the_checkpoint():
    """Its parameters come under a prefix of their own; with them there are three graphs more."""
    text = vector_shapes("sd")
    own = {k: v for k, v in text.items() if not k.startswith("text_encoder.")}
    words = {k.removeprefix("text_encoder."): torch.zeros(()).expand(v) for k, v in text.items() if "text_model" in k}
    own |= {f"text_encoder.{k}": tuple(v.shape) for k, v in text_state(words, STABLE_DIFFUSION_15.text).items()}
    with torch.device("meta"):
        assert {k: tuple(v.shape) for k, v in Diffusion(STABLE_DIFFUSION_15).state_dict().items()} == own
    net = loaded(Zeros(GLAD.entries("glad-b256")))
    assert net.diffusion is None
    assert set(net.state_dict()) == set(GLAD.entries("glad-b256"))


def test_every_entry_but_the_unused_is_used():
    net = filled().requires_grad_()
    template, search, features = small_glad.small_inputs()
    output = net(template, search, net.pooled(features))
    sum(value.square().sum() for value in output.maps).backward()
    silent = {key for key, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0}
    unused = tuple(GLAD.unused("glad-b256"))
    assert silent == {key for key, _ in net.named_parameters() if key.startswith(unused)}
    assert {key for key, _ in net.named_buffers() if key.startswith(unused)} == {
        key for key in net.state_dict() if key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("name", NAMES)
def test_limits_fit_the_graphs(name):
    with torch.device("meta"):
        graphs = GLAD.deploy_graphs(name, GLAD.network(name))
    for precision in ("fp32", "fp16"):
        _check_limits(_of_graphs(GLAD.thresholds(name, precision), graphs).tensor_max_abs, graphs, precision)
    exact = GLAD.thresholds(name, "fp32")
    # Section 7: score and size maps 1e-5, offset 1e-4, pooled 1e-4, text 1e-4, x_t 1e-3, G_k 2e-2.
    wanted = {"score": 1e-5, "size": 1e-5, "offset": 1e-4, "key_0": 1e-4, "context": 1e-4, "noisy": 1e-3}
    assert {key: exact.tensor_max_abs[key] for key in wanted} == wanted
    assert exact.tensor_max_abs["latent_2"] == 2e-2
    assert exact.box_px == 0.05
    with pytest.raises(InputError, match="glad states no limits for precision 'int8'; known: fp32, fp16"):
        GLAD.thresholds(name, "int8")


def test_a_network_of_another_family():
    with pytest.raises(TypeError, match="Linear"):
        GLAD.deploy_graphs("glad-b256", nn.Linear(1, 1))


def test_parity_inputs_are_what_the_loop_sees(monkeypatch):
    small_glad.install(monkeypatch)
    net, frames = small_net(), [synth_frame(index) for index in range(4)]
    fed = list(GLAD.parity_inputs("glad-b256", net, frames, synth_box(0)))
    graphs = {graph.role: graph for graph in GLAD.deploy_graphs("glad-b256", net)}
    assert [entry.role for entry in fed] == ["pool", "template", "search", "search", "search"]
    loop = GLAD.reference("glad-b256", net)
    loop.init(frames[0], synth_box(0))
    assert np.array_equal(fed[1].inputs["image"], loop.template)
    with torch.no_grad():
        told = graphs["pool"].module(*map(torch.from_numpy, fed[0].inputs.values()))
    for frame, entry in zip(frames[1:], fed[2:], strict=True):
        assert list(entry.inputs) == list(graphs["search"].inputs)
        for name, value in zip(told_names(3), told, strict=True):
            np.testing.assert_allclose(entry.inputs[name], value, rtol=0, atol=1e-6)
        assert np.array_equal(entry.inputs["search"], loop.search_input(frame)[0])
        loop.update(frame)
        with torch.no_grad():
            score, _, _ = graphs["search"].module(*map(torch.from_numpy, entry.inputs.values()))
        torch.testing.assert_close(score, loop.step.output.maps.score, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_vectors_have_exact_tables(name):
    assert not shape_of(CASES[name]).bf16_positions
    assert shape_of(CASES[name].removesuffix("-p32")).bf16_positions
