"""Weight files of CLIP and Stable Diffusion: what is taken, under which name, and what is refused."""

from __future__ import annotations

import warnings
import zipfile

import pytest
import torch
from test_clip_text import SMALL
from torch import nn

from edgetrack.errors import CheckpointError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.clip_files import load_clip_text, read_clip_text, text_state
from edgetrack.export.models.clip_text import ClipText
from edgetrack.export.standin import synth_state

PLACES = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
PARTS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def openai(half: bool = False) -> dict[str, torch.Tensor]:
    kind = torch.float16 if half else torch.float32
    return {name: torch.from_numpy(value).to(kind) for name, value in synth_state(SMALL.entries()).items()}


def whole_clip(half: bool = False) -> dict[str, torch.Tensor]:
    """With what else a published CLIP holds."""
    return {
        **openai(half),
        "text_projection": torch.zeros(16, 16),
        "logit_scale": torch.tensor(4.6),
        "visual.transformer.resblocks.0.ln_1.weight": torch.zeros(4),
        "visual.proj": torch.zeros(4, 4),
        "input_resolution": torch.tensor(224),
        "context_length": torch.tensor(9),
        "vocab_size": torch.tensor(40),
    }


def transformers() -> dict[str, torch.Tensor]:
    """The same parameters under the names of transformers, in another order."""
    state = {}
    for name, value in reversed(openai().items()):
        if name in PLACES:
            state[PLACES[name]] = value
            continue
        number, _, inner = name.removeprefix("transformer.resblocks.").partition(".")
        layer = f"text_model.encoder.layers.{number}"
        if "in_proj" in inner:
            for row, part in zip("qkv", value.chunk(3), strict=True):
                state[f"{layer}.self_attn.{row}_proj.{inner.rpartition('_')[2]}"] = part
        else:
            part, _, kind = inner.rpartition(".")
            state[f"{layer}.{PARTS[part]}.{kind}"] = value
    return {**state, "text_model.embeddings.position_ids": torch.arange(9)[None]}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        value.dtype == torch.float32 and torch.equal(value, expected[name]) for name, value in found.items()
    )


def message_of(state: dict[str, torch.Tensor], **options: bool) -> str:
    with pytest.raises(CheckpointError) as caught:
        text_state(state, SMALL, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize("layout", [openai, whole_clip, transformers])
def test_layouts(layout):
    assert same(text_state(layout(), SMALL), openai())


def test_transformers_whole_clip():
    others = {"vision_model.embeddings.class_embedding": torch.zeros(4), "visual_projection.weight": torch.zeros(4, 4)}
    others |= {"text_projection.weight": torch.zeros(4, 4), "logit_scale": torch.tensor(1.0)}
    assert same(text_state({**transformers(), **others}, SMALL), openai())


def test_half_precision_is_widened():
    assert same(
        text_state(whole_clip(half=True), SMALL), {name: value.float() for name, value in openai(half=True).items()}
    )


@pytest.mark.parametrize("layout", [whole_clip, transformers])
def test_without_final_norm(layout):
    expected = {name: value for name, value in openai().items() if not name.startswith("ln_final")}
    assert same(text_state(layout(), SMALL, final_norm=False), expected)
    assert same(text_state(expected, SMALL, final_norm=False), expected)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    if suffix == ".safetensors":
        save_file = pytest.importorskip("safetensors.torch").save_file
        save_file({name: value.contiguous() for name, value in transformers().items()}, path)
    else:
        torch.save(whole_clip(), path)
    net, sha256 = load_clip_text(path, SMALL)
    assert same(dict(net.state_dict()), openai())
    assert len(sha256) == 64
    assert not net.training
    assert sha256 == read_clip_text(path, SMALL).sha256


class Clip(nn.Module):
    """A text transformer with what else OpenAI's archive has: an image side, plain numbers, a mask."""

    def __init__(self) -> None:
        super().__init__()
        net = ClipText(SMALL)
        net.load_state_dict(openai())
        self.token_embedding, self.transformer, self.ln_final = net.token_embedding, net.transformer, net.ln_final
        self.positional_embedding = net.positional_embedding
        self.visual = nn.Linear(2, 2)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.input_resolution = 224
        self.transformer.resblocks[0].attn_mask = torch.zeros(9, 9)

    def forward(self, ids):
        x = self.token_embedding(ids) + self.positional_embedding
        x = self.ln_final(self.transformer(x)) * self.logit_scale
        return self.visual(x[..., :2]) + self.transformer.resblocks[0].attn_mask.sum()


def test_torchscript_archive(tmp_path):
    path = tmp_path / "ViT-L-14.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Clip(), torch.zeros(1, 9, dtype=torch.int64)), path)
    assert same(read_clip_text(path, SMALL).state, openai())
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(path)
    names = set(load_checkpoint(path, scripted=True).state)
    assert {"visual.weight", "logit_scale"} <= names


def endless_module() -> bytes:
    """A pickled module that holds itself twice."""
    return b"\x80\x02c__torch__ M\n)\x81q\x00}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00ub.".replace(b" M", b"\nM")


def test_a_module_without_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", endless_module())
        archive.writestr("a/constants.pkl", b"\x80\x02).")
    with pytest.raises(CheckpointError, match="without end"):
        load_checkpoint(tmp_path / "a.pt", scripted=True)


def test_the_file_is_named(tmp_path):
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"text encoder .*other\.pt: .*a small CLIP.*unexpected \(other\)"):
        read_clip_text(tmp_path / "other.pt", SMALL)


def test_refused():
    for layout, name in ((openai, "transformer.resblocks.1.ln_2.bias"), (transformers, PLACES["ln_final.bias"])):
        state = layout()
        del state[name]
        assert "1 missing" in message_of(state)
    assert "1 unexpected (extra)" in message_of({**openai(), "extra": torch.zeros(1)})
    assert "of another shape" in message_of({**openai(), "positional_embedding": torch.zeros(77, 16)})
    assert "not finite" in message_of({**openai(), "positional_embedding": torch.full((9, 16), torch.nan)})
    assert "int64" in message_of({**openai(), "positional_embedding": torch.zeros(9, 16, dtype=torch.int64)})
    other_depth = {"transformer.resblocks.2.ln_1.bias": torch.zeros(16)}
    assert "1 unexpected" in message_of({**openai(), **other_depth})


@pytest.mark.parametrize("part", ["q", "k", "v"])
@pytest.mark.parametrize("change", ["missing", "short", "scalar"])
def test_attention_rows_must_be_whole(part, change):
    state, name = transformers(), f"text_model.encoder.layers.0.self_attn.{part}_proj.weight"
    if change == "missing":
        del state[name]
    else:
        state[name] = torch.zeros(15, 16) if change == "short" else torch.tensor(1.0)
    assert "transformer.resblocks.0.attn.in_proj_weight" in message_of(state)
