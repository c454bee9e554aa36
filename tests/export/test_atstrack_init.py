"""ATSTrack starts from OSTrack, ODTrack or MAE: every key of theirs has its place, and what is new is drawn."""

from __future__ import annotations

import math

import pytest
import torch
from small_atstrack import SMALL

from edgetrack.errors import CheckpointError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.models import atstrack_init as module
from edgetrack.export.models import family_of
from edgetrack.export.models.atstrack_init import initial_state, start_checkpoint
from edgetrack.export.models.atstrack_net import AtsNet
from edgetrack.export.models.atstrack_variants import shape_of
from edgetrack.export.models.ostrack_net import OsTrackNet
from edgetrack.export.standin import synth_state

NAME = "atstrack-384"


def made_up(shapes, seed: int = 3) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in synth_state(shapes, seed).items()}


@pytest.fixture
def small(monkeypatch) -> dict[str, torch.Tensor]:
    """The variant at small sizes; gives an OSTrack of them."""
    monkeypatch.setattr(module, "shape_of", lambda _: SMALL[3])
    with torch.device("meta"):
        net = OsTrackNet(SMALL[3])
    return made_up({name: tuple(value.shape) for name, value in net.state_dict().items()})


def test_published_layouts_fit_whole():
    """242 entries of OSTrack-384 and 243 of ODTrack-B, none of another shape, none left over (spec section 2.4)."""
    ostrack = family_of("ostrack-384-ce").entries("ostrack-384-ce")
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in AtsNet(shape_of(NAME)).state_dict().items()}
    assert len(ostrack) == 242
    odtrack = ostrack | {"backbone.cls_pos_embed": (1, 1, 768)}
    assert odtrack.items() <= own.items()
    assert len(own) == 288


def test_from_ostrack(small):
    state = initial_state(NAME, small)
    assert all(torch.equal(state[name], value) for name, value in small.items())
    assert torch.equal(state["backbone.cls_pos_embed"], small["backbone.pos_embed"][:, :1])
    assert state["vl_gain"].tolist() == [1.0, 0.0, 0.0]
    AtsNet(SMALL[3]).load_state_dict(state, strict=True)


def test_from_odtrack(small):
    small["backbone.cls_pos_embed"] = torch.full((1, 1, 64), 0.25)
    state = initial_state(NAME, small)
    assert torch.equal(state["backbone.cls_pos_embed"], small["backbone.cls_pos_embed"])
    assert state["vl_gain"].tolist() == [0.0, 1.0, 0.0]


def test_what_is_new_is_drawn_as_stated(small):
    state = initial_state(NAME, small)
    assert float(state["fgm.lfa.lam"]) == 1.0
    assert float(state["fgm.lfa.kappa"]) == pytest.approx(3.9815, abs=5e-5)
    assert math.log1p(math.exp(float(state["fgm.lfa.kappa"]))) == pytest.approx(4.0, abs=1e-5)
    new = {name: value for name, value in state.items() if name not in small and value.dtype == torch.float32}
    drawn = [name for name, value in new.items() if value.numel() >= 64 and not name.endswith("bias")]
    drawn = [name for name in drawn if ".norm" not in name and "lang_norm" not in name and "cls_pos" not in name]
    assert len(drawn) == 5 * 2 + 2 + 3 + 2  # two modules, the gate, tokens of the FGM, and the two of language
    for name in drawn:
        assert float(new[name].abs().max()) <= 0.04
        assert float(new[name].std()) == pytest.approx(0.0176, rel=0.35), name  # of a normal cut at two sigma
    for name, value in new.items():
        if "norm" in name:
            assert torch.equal(value, torch.full_like(value, float(name.endswith("weight")))), name
        elif name.endswith("bias"):
            assert not value.any(), name
    assert torch.equal(initial_state(NAME, small)["lang_proj.weight"], state["lang_proj.weight"])
    assert not torch.equal(initial_state(NAME, small, seed=1)["lang_proj.weight"], state["lang_proj.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("backbone.pos_embed_z"), "of 122 entries of an OSTrack of its sizes, 1 missing"),
        (lambda s: s.update({"backbone.more": torch.zeros(1)}), "1 unexpected"),
        (lambda s: s.update({"backbone.pos_embed_x": torch.zeros(1, 25, 64)}), r"\(1, 25, 64\) instead of"),
        (lambda s: s.update({"backbone.norm.bias": torch.full((64,), torch.nan)}), "not finite"),
    ],
)
def test_another_trackers_file_is_refused(small, change, words):
    change(small)
    with pytest.raises(CheckpointError, match=words) as error:
        initial_state(NAME, small)
    assert "\n" not in str(error.value)


def mae(grid: int = 14) -> dict[str, torch.Tensor]:
    """A masked autoencoder of the small width, with its decoder."""
    with torch.device("meta"):
        own = AtsNet(SMALL[3]).backbone.state_dict()
    kept = ("cls_token", "pos_embed", "patch_embed", "blocks", "norm")
    shapes = {name: tuple(value.shape) for name, value in own.items() if name.split(".")[0] in kept}
    return made_up(shapes) | {"mask_token": torch.zeros(1, 1, 4), "decoder_embed.weight": torch.zeros(4, 64)}


def test_from_mae(small):
    source = mae()
    state = initial_state(NAME, source)
    assert state["vl_gain"].tolist() == [0.0, 1.0, 0.0]
    assert torch.equal(state["backbone.blocks.1.attn.qkv.weight"], source["blocks.1.attn.qkv.weight"])
    assert torch.equal(state["backbone.cls_pos_embed"], source["pos_embed"][:, :1])
    ramp = torch.arange(14.0).repeat(14).view(1, 196, 1).expand(1, 196, 64)
    source["pos_embed"] = torch.cat([source["pos_embed"][:, :1], ramp], dim=1)
    table = initial_state(NAME, source)["backbone.pos_embed_x"].reshape(4, 4, 64)
    assert torch.equal(table[0], table[3])  # a ramp along x stays one
    middle = [float(value) for value in table[0, :, 0]]
    assert middle == sorted(middle)
    assert sum(middle) / 4 == pytest.approx(6.5, abs=1e-3)
    assert torch.equal(state["backbone.patch_embed.proj.weight"], source["patch_embed.proj.weight"])
    head = state["box_head.conv1_ctr.0.weight"]
    assert float(head.abs().max()) <= (6 / (9 * (64 + 256))) ** 0.5
    with pytest.raises(CheckpointError, match=r"does not hold MAE's ViT-B: of .* 1 missing"):
        initial_state(NAME, {name: value for name, value in mae().items() if name != "blocks.0.norm1.weight"})


@pytest.mark.parametrize("entry", ["net", "model"])
def test_a_written_start_is_a_checkpoint(small, tmp_path, entry):
    content = small if entry == "net" else mae()
    torch.save({entry: content, "epoch": 300}, tmp_path / "source.pth")
    path = start_checkpoint(NAME, tmp_path / "source.pth", tmp_path / "start.pth.tar", seed=4)
    read = load_checkpoint(path)
    whole = torch.load(path, weights_only=True)
    assert whole["format"] == "atstrack-edge/1"
    assert whole["config"]["seed"] == 4
    assert set(read.state) == set(AtsNet(SMALL[3]).state_dict())
