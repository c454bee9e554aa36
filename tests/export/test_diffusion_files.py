"""A diffusion model's files: a folder in diffusers' layout, whole files or not, old names, and the LoRA beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_case import SHAPES, loaded_diffusion, made_up_lora, model_inputs, values, vector_shapes
from golden_files import golden
from safetensors.torch import save_file

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.diffusion_files import (
    image_encoder_state,
    read_diffusion,
    unet_state,
    vocabulary_of,
)
from edgetrack.export.lora import merged
from edgetrack.export.models.diffusion import load_diffusion

SHAPE = SHAPES["sdtiny"]
FILES = {
    "text_encoder": "model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "unet": "diffusion_pytorch_model.safetensors",
}
# What whole files hold besides, and what transformers keeps beside parameters.
MORE = {
    "text_encoder": {"text_model.embeddings.position_ids": torch.arange(77)[None]},
    "vae": {"decoder.conv_in.weight": torch.zeros(1), "post_quant_conv.bias": torch.zeros(4)},
    "unet": {"up_blocks.0.resnets.0.conv1.bias": torch.zeros(1), "conv_out.bias": torch.zeros(4)},
}


def parts() -> dict[str, dict[str, torch.Tensor]]:
    state = values("sdtiny", vector_shapes("sdtiny"))
    return {
        part: {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
        for part in FILES
    }


def write_folder(folder, change=lambda state: None, half=False):
    states = parts()
    for part, state in states.items():
        state.update(MORE[part])
    change(states)
    for part, state in states.items():
        (folder / part).mkdir(parents=True)
        kept = {key: value.half() if half and value.is_floating_point() else value for key, value in state.items()}
        save_file({key: value.contiguous() for key, value in kept.items()}, folder / part / FILES[part])
    return folder


def old_names(states) -> None:
    """The image encoder's attention as earlier versions saved it: other names, 1x1 convolutions."""
    vae = states["vae"]
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        for kind in ("weight", "bias"):
            value = vae.pop(f"encoder.mid_block.attentions.0.{new}.{kind}")
            vae[f"encoder.mid_block.attentions.0.{old}.{kind}"] = value[..., None, None] if kind == "weight" else value


@pytest.mark.parametrize("change", [lambda states: None, old_names])
def test_a_folder(tmp_path, change):
    weights = read_diffusion(write_folder(tmp_path / "sd", change), SHAPE)
    expected = loaded_diffusion("sdtiny").state_dict()
    assert weights.state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in weights.state.items())
    assert len(weights.sha256) == 64


def test_half_precision_files_are_widened(tmp_path):
    weights = read_diffusion(write_folder(tmp_path / "sd", half=True), SHAPE)
    assert {value.dtype for value in weights.state.values()} == {torch.float32}


def test_a_lora_beside_the_folder(tmp_path):
    """Merged into the UNet, and part of what identifies the weights; recorded features come out."""
    folder = write_folder(tmp_path / "sd")
    unet = {key.removeprefix("unet."): v for key, v in loaded_diffusion("sdtiny").state_dict().items() if "unet" in key}
    lora = made_up_lora(unet)
    lora |= {f"lora_unet_up_blocks_0_resnets_0_conv1{key}": value for key, value in _pair(3, 5).items()}  # not used
    save_file({key: value.contiguous() for key, value in lora.items()}, tmp_path / "lcm.safetensors")
    plain, weights = read_diffusion(folder, SHAPE), read_diffusion(folder, SHAPE, tmp_path / "lcm.safetensors")
    assert plain.sha256 != weights.sha256
    vectors, given = golden("glad_b256"), model_inputs("sdtiny")
    noises = [
        torch.from_numpy(vectors[f"sd_noise_{key}"].ravel()[:1024].reshape(1, 4, 16, 16))
        for key in ("vae", "diffusion")
    ]
    with torch.no_grad():
        found = load_diffusion(weights.state, SHAPE)(given.ids, given.image, *noises)
    for k, value in enumerate(found):
        np.testing.assert_allclose(value, vectors[f"lora_feat_{k}"], rtol=0, atol=2e-3)


def _pair(out: int, width: int, rank: int = 2) -> dict[str, torch.Tensor]:
    down, up = torch.ones(rank, width), torch.ones(out, rank)
    return {".lora_down.weight": down, ".lora_up.weight": up, ".alpha": torch.tensor(1.0)}


def test_merged_weights_are_the_recorded_ones():
    vectors = golden("glad_b256")
    state = {key.removeprefix("unet."): v for key, v in values("sdtiny", vector_shapes("sdtiny")).items()}
    lora = made_up_lora(state)
    assert len(lora) == 3 * 119
    done = merged(state, lora)
    for k, name in enumerate(map(str, vectors["lora_fused_names"])):
        np.testing.assert_allclose(done[f"{name}.weight"][:8], vectors[f"lora_fused_{k}"], rtol=0, atol=1e-6)
    assert all(torch.equal(done[key], state[key]) for key in state if key.endswith("bias"))


def test_the_formula_of_a_lora():
    state = {"a.b.weight": torch.zeros(2, 3), "c.weight": torch.zeros(2, 3, 1, 1)}
    change = _pair(2, 3)
    done = merged(state, {f"lora_unet_a_b{key}": value for key, value in change.items()})
    assert torch.equal(done["a.b.weight"], torch.full((2, 3), 0.5 * 2))  # alpha / rank, over a rank of 2
    assert torch.equal(done["c.weight"], state["c.weight"])


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"lora_unet_a_b.lora_up.weight": torch.ones(2, 2)}, r"lacks '\.lora_down\.weight'"),
        ({"lora_te_a_b.alpha": torch.ones(())}, "no part of a UNet's LoRA"),
        ({f"lora_unet_x{key}": value for key, value in _pair(2, 3).items()}, "changes no layer"),
        ({f"lora_unet_a_b{key}": value for key, value in _pair(2, 4).items()}, r"does not fit a weight of \[2, 3\]"),
        ({f"lora_unet_a_b{key}": value * torch.nan for key, value in _pair(2, 3).items()}, "not finite"),
    ],
)
def test_a_lora_of_something_else(lora, words):
    with pytest.raises(CheckpointError, match=words):
        merged({"a.b.weight": torch.zeros(2, 3)}, lora)


def test_what_is_missing(tmp_path):
    folder = write_folder(tmp_path / "sd")
    (folder / "unet" / FILES["unet"]).unlink()
    with pytest.raises(InputError, match=r"holds no unet/diffusion_pytorch_model.safetensors; give a folder of Stable"):
        read_diffusion(folder, SHAPE)
    with pytest.raises(InputError, match=r"holds no tokenizer/tokenizer\.json or tokenizer/vocab\.json"):
        vocabulary_of(folder)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    assert vocabulary_of(folder).name == "vocab.json"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: s["unet"].pop("conv_in.bias"),
            r"unet.*does not hold the UNet of a small diffusion model.*1 missing",
        ),
        (lambda s: s["vae"].update({"encoder.more": torch.zeros(1)}), r"vae.*image encoder.*1 unexpected"),
        (lambda s: s["unet"].update({"conv_in.bias": torch.zeros(5)}), r"instead of \(32,\)"),
        (lambda s: s["vae"]["quant_conv.bias"].fill_(torch.nan), "not finite"),
        (lambda s: s["text_encoder"].popitem(), "text_encoder.*text transformer of a small CLIP"),
    ],
)
def test_files_of_something_else(tmp_path, change, words):
    with pytest.raises(CheckpointError, match=words) as error:
        read_diffusion(write_folder(tmp_path / "sd", change_more(change)), SHAPE)
    assert "\n" not in str(error.value)


def change_more(change):
    def both(states) -> None:
        states["text_encoder"].pop("text_model.embeddings.position_ids")
        change(states)

    return both


def test_only_the_used_half_is_kept():
    states = parts()
    assert unet_state(states["unet"] | MORE["unet"], SHAPE).keys() == states["unet"].keys()
    assert image_encoder_state(states["vae"] | MORE["vae"], SHAPE).keys() == states["vae"].keys()
