"""CLIP's text transformer against the recorded outputs of the published code, and in engines."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from building import build_files
from fartrack_case import golden_shapes
from golden_files import golden
from torch import nn

from edgetrack.export.clip_files import text_state
from edgetrack.export.models.clip_text import (
    CLIP_VIT_B32,
    CLIP_VIT_L14,
    CONTEXT,
    END,
    START,
    ClipText,
    TextShape,
    text_graph,
)
from edgetrack.export.standin import synth_param, synth_state

# Section 7 of the specs, fp32. MVLM: block outputs; the mean of its text features follows from them.
BLOCK, FEATURES = 1e-4, 1e-4
SMALL = TextShape("a small CLIP", width=16, heads=2, layers=2, vocabulary=40, context=9)


def loaded(shape: TextShape, state: dict[str, torch.Tensor], *, final_norm: bool = True) -> ClipText:
    with torch.device("meta"):
        net = ClipText(shape, final_norm=final_norm)
    net.load_state_dict(text_state(state, shape, final_norm=final_norm), strict=True, assign=True)
    return net.requires_grad_(False).eval()


def stand_in(shapes, prefix: str) -> dict[str, torch.Tensor]:
    """Stand-in values as the vectors were recorded, names without their prefix."""
    state = synth_state({name: shape for name, shape in shapes.items() if name.startswith(prefix)})
    return {name.removeprefix(prefix): torch.from_numpy(value) for name, value in state.items()}


def small_net(shape: TextShape = SMALL, *, final_norm: bool = True) -> ClipText:
    state = {name: torch.from_numpy(synth_param(name, size)) for name, size in shape.entries().items()}
    return loaded(shape, state, final_norm=final_norm)


def test_mvlm_golden():
    """Before the final norm, through the tracker's projection; the second text is None: 77 zeros."""
    vectors = golden("mvlm_tf")
    shapes = golden_shapes({"keys": vectors["clip_keys"], "shapes": vectors["clip_shapes"]})
    net = loaded(CLIP_VIT_L14, stand_in(shapes, "text_encoder.clip."), final_norm=False)
    assert net.ln_final is None
    seen: dict[int, np.ndarray] = {}

    def keep(number: int):
        def hook(module, args, out) -> None:
            seen.setdefault(number, out[0].numpy())

        return hook

    for number in (0, 5, 11):
        net.transformer.resblocks[number].register_forward_hook(keep(number))
    projection = nn.Linear(768, 512)
    projection.load_state_dict(
        {
            name: torch.from_numpy(synth_param(f"text_encoder.text_proj.{name}", tuple(value.shape)))
            for name, value in projection.state_dict().items()
        }
    )
    ids = torch.from_numpy(vectors["tok_ids"][:1])  # "the man in white shirt", as in the whole file
    with torch.no_grad():
        features = projection(net(ids))[0].numpy()
        without = projection(net(torch.zeros(1, CONTEXT, dtype=torch.int32)))[0].numpy()
    for number, out in seen.items():
        np.testing.assert_allclose(out[::8, ::8], vectors[f"text_clip_block{number}_s"], rtol=0, atol=BLOCK)
    np.testing.assert_allclose(features[::4, ::4], vectors["text_emb_s"], rtol=0, atol=FEATURES)
    np.testing.assert_allclose(features.mean(0), vectors["text_vec"], rtol=0, atol=FEATURES)
    np.testing.assert_allclose(without.mean(0), vectors["text_none_vec"], rtol=0, atol=FEATURES)


def glad_shapes(key: str) -> dict[str, tuple[int, ...]]:
    vectors = golden("glad_b256")
    return golden_shapes({"keys": vectors[f"{key}_keys"], "shapes": vectors[f"{key}_shapes"]})


def test_glad_small_golden():
    """Stable Diffusion's text encoder, small: transformers' names, final norm, two rows."""
    vectors = golden("glad_b256")
    sizes = json.loads(str(vectors["sdtiny_config"]))["text"]
    shape = TextShape("small", sizes["hidden"], sizes["heads"], sizes["layers"], sizes["intermediate"])
    shapes = {f"sdtiny.{name}": size for name, size in glad_shapes("sdtiny").items()}
    net = loaded(shape, stand_in(shapes, "sdtiny.text_encoder."))
    with torch.no_grad():
        found = net(torch.from_numpy(vectors["sd_ids"])).numpy()
    np.testing.assert_allclose(found, vectors["sdtiny_text"], rtol=0, atol=FEATURES)


@pytest.mark.big
def test_glad_golden():
    vectors = golden("glad_b256")
    net = loaded(CLIP_VIT_L14, stand_in(glad_shapes("sd"), "text_encoder."))
    with torch.no_grad():
        found = net(torch.from_numpy(vectors["sd_ids"])).numpy()
    np.testing.assert_allclose(found[:, ::7, ::16], vectors["sd_text"], rtol=0, atol=FEATURES)


def test_published_layouts():
    vectors = golden("mvlm_tf")
    published = golden_shapes({"keys": vectors["clip_keys"], "shapes": vectors["clip_shapes"]})
    published = {name.removeprefix("text_encoder.clip."): size for name, size in published.items()}
    outside = {"text_projection": (768, 768), "logit_scale": ()}
    assert {**CLIP_VIT_L14.entries(), **outside} == published
    entries = CLIP_VIT_B32.entries()
    assert len(entries) == 148  # ATSTrack spec, section 2.2
    assert entries["token_embedding.weight"] == (49408, 512)
    assert entries["transformer.resblocks.11.mlp.c_fc.weight"] == (2048, 512)
    assert (START, END) == (49406, 49407)


def test_a_shorter_context_gives_the_same_features():
    """ATSTrack spec, section 8 test 4: a token sees only those before it."""
    net = small_net()
    ids = torch.tensor([[3, 9, 4, 0, 0, 0, 0, 0, 0], [5, 6, 7, 8, 1, 2, 3, 4, 5]])
    with torch.no_grad():
        whole, cut = net(ids), net(ids[:, :4])
    torch.testing.assert_close(whole[:, :4], cut, rtol=0, atol=1e-6)
    assert not torch.allclose(whole[0, 4:], whole[1, 4:], atol=1e-3)


def test_later_tokens_have_no_influence():
    net = small_net()
    ids = torch.tensor([[3, 9, 4, 0, 0, 0, 0, 0, 0], [3, 9, 4, 7, 7, 7, 7, 7, 7]])
    with torch.no_grad():
        first, second = net(ids)
    torch.testing.assert_close(first[:3], second[:3], rtol=0, atol=1e-6)
    assert not torch.allclose(first[3:], second[3:], atol=1e-3)


@pytest.mark.parametrize("final_norm", [True, False])
def test_text_graph_in_onnx_runtime(tmp_path, final_norm):
    """Ids are int32, and everything but looking them up is a plain operator."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    projection = nn.Linear(SMALL.width, 5).requires_grad_(False)
    net = nn.Sequential(small_net(final_norm=final_norm), projection)
    graph = text_graph(net, ("text",), shape=(1, SMALL.context), layouts={"text": "N,token,C"})
    assert graph.role == "text"
    assert graph.inputs["ids"].dtype == torch.int32
    assert graph.layouts == {"ids": "N,token", "text": "N,token,C"}
    build_files("onnx", graph, tmp_path)
    operators = {node.op_type for node in onnx.load(tmp_path / "text.onnx").graph.node}
    assert operators <= {
        *("Gather", "Add", "Mul", "MatMul", "Gemm", "LayerNormalization", "Softmax", "Sigmoid"),
        *("Reshape", "Transpose", "Split", "Squeeze", "Unsqueeze"),
    }
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx", providers=["CPUExecutionProvider"])
    assert [(item.name, item.type, item.shape) for item in session.get_inputs()] == [("ids", "tensor(int32)", [1, 9])]
    ids = np.array([[38, 3, 9, 4, 39, 0, 0, 0, 0]], np.int32)
    (found,) = session.run(["text"], {"ids": ids})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(torch.from_numpy(ids)).numpy(), rtol=0, atol=1e-5)
