"""The training network against the published forward pass, and the starts of a run."""

import pytest
import torch
from fartrack_case import golden, loaded_network, network_inputs
from torch.nn import functional

from edgetrack.errors import CheckpointError, InputError
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.train.init import initialise, load_mae, load_stage, patches_of
from edgetrack.export.train.network import TrainNet, drop_path_rates

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def distill():
    """The network, its inputs in a batch, and what the published forward pass makes of them."""
    net = loaded_network("fartrack_distill_tiny")
    templates, search = network_inputs("fartrack_distill_tiny")
    return net, torch.cat(templates)[None], search


@torch.no_grad()
@pytest.mark.parametrize("name", ["fartrack_pico", "fartrack_frame_tiny"])
def test_equals_the_recorded_logits(name):
    templates, search = network_inputs(name)
    out = TrainNet(loaded_network(name)).eval()(torch.cat(templates)[None], search)
    assert out.shape == (1, 1, 4, 605)
    torch.testing.assert_close(out[0, 0], torch.from_numpy(golden(name)["net_full_logits"]), rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_all_exits_equal_the_published_ones(distill):
    net, templates, search = distill
    out = TrainNet(net).eval()(templates, search, exits=range(5, 16))
    torch.testing.assert_close(out[:, 0], net.exits(list(templates[0].split(1)), search), rtol=0, atol=TOLERANCE)
    vectors = golden("fartrack_distill_tiny")
    torch.testing.assert_close(out[:, 0, :, ::5], torch.from_numpy(vectors["net_exit_logits"]), rtol=0, atol=TOLERANCE)
    some = TrainNet(net).eval()(templates, search, exits=[6, 9])
    torch.testing.assert_close(some, out[[1, 4]], rtol=0, atol=TOLERANCE)


def masked_case():
    """Return a network, its inputs, the same twice in a batch, the recorded mask, and one that keeps a token less."""
    templates, search = inputs = network_inputs("fartrack_pico")
    batch = torch.cat(templates)[None].expand(2, -1, -1, -1, -1), search.expand(2, -1, -1, -1)
    keep = torch.from_numpy(golden("fartrack_pico")["net_keep_mask"])
    fewer = keep.clone()
    fewer[3] = False
    return loaded_network("fartrack_pico"), inputs, batch, keep, fewer


@torch.no_grad()
def test_masked_tokens_are_left_out_or_masked_with_the_same_result():
    net, (templates, search), batch, keep, fewer = masked_case()
    model = TrainNet(net).eval()
    alike = model(*batch, torch.stack((keep, keep)))[0]
    mixed = model(*batch, torch.stack((keep, fewer)))[0]
    expected, of_fewer = net(templates, search, keep).logits, net(templates, search, fewer).logits
    for found in (alike[0], alike[1], mixed[0]):
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(mixed[1], of_fewer, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_bfloat16_on_a_cpu_is_near_with_and_without_a_mask():
    net, _, batch, keep, fewer = masked_case()
    model = TrainNet(net).eval()
    for mask in (None, torch.stack((keep, fewer))):
        exact = model(*batch, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(*batch, mask)
        # Eight bits of a number of size 4 to 8 are 0.03; a wrong scale or a lost mask changes logits by 1 and more.
        assert 0 < (rounded.float() - exact).abs().max() < 0.3
        assert 1 - functional.cosine_similarity(rounded.float(), exact, -1).min() < 1e-3


@torch.no_grad()
def test_fewer_templates_in_any_slots(distill):
    net, templates, search = distill
    model = TrainNet(net).eval()
    two = templates[:, :2]
    first = model(two, search)
    torch.testing.assert_close(first[0, 0], net(list(two[0].split(1)), search).logits, rtol=0, atol=TOLERANCE)
    swapped = model(two.flip(1), search, slots=[1, 0])
    torch.testing.assert_close(swapped, first, rtol=0, atol=TOLERANCE)
    assert (model(two, search, slots=[3, 4]) - first).abs().max() > 1e-3


def test_gradients_equal_those_of_the_published_forward(distill):
    _, templates, search = distill
    nets = [FarTrackNet("distill", 4) for _ in range(2)]
    for net in nets:
        net.load_state_dict(loaded_network("fartrack_distill_tiny").state_dict())
        net.requires_grad_(True)
    weights = torch.randn(4, 605, generator=torch.Generator().manual_seed(0))
    (TrainNet(nets[0])(templates, search)[0, 0] * weights).sum().backward()
    (nets[1](list(templates[0].split(1)), search).logits * weights).sum().backward()
    for (name, one), (_, other) in zip(nets[0].named_parameters(), nets[1].named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3 * other.grad.abs().max().item()), name


def test_bad_slots_and_exits_are_refused(distill):
    net, templates, search = distill
    model = TrainNet(net).eval()
    for slots in ([0, 1], [0, 1, 2, 3, 5]):
        with pytest.raises(InputError, match="slots"):
            model(templates, search, slots=slots)
    for exits in ([], [0], [16], [6, 5], [5, 5]):
        with pytest.raises(InputError, match="exits"):
            model(templates, search, exits=exits)


def test_auxiliary_head_is_for_training_only():
    model = TrainNet(FarTrackNet("frame", 2), aux=True)
    inputs = torch.randn(2, 1, 3, 112, 112), torch.randn(2, 3, 224, 224)
    assert model.train().run(*inputs).aux.shape == (2, 196)
    assert model.eval().run(*inputs).aux is None
    assert not any("aux" in name for name in model.published_state())


def test_drop_path_rates_are_the_published_ones():
    rates = drop_path_rates(0.1)
    assert rates[0] == 0
    assert rates[11] == pytest.approx(0.1)
    assert rates[12:] == rates[:3]
    assert rates[6] == pytest.approx(0.6 / 11)


def test_drop_path_leaves_out_branches_and_keeps_the_mean():
    from edgetrack.export.train.network import _drop_path

    torch.manual_seed(0)
    out = _drop_path(torch.ones(4000, 2, 3), 0.25)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (out == out[:, :1, :1]).all(), "a sample's branch is left out as a whole"
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    model = TrainNet(loaded_network("fartrack_frame_tiny"), drop_path=0.5)
    inputs = torch.randn(1, 1, 3, 112, 112), torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(model.eval()(*inputs), model(*inputs))
        assert not torch.equal(model.train()(*inputs), model(*inputs))


def test_sparse_training_renormalises_the_commands():
    net = FarTrackNet("sparse", 1)
    torch.nn.init.normal_(net.backbone.word_embeddings.weight)
    model = TrainNet(net).train()
    model(torch.randn(1, 1, 3, 112, 112), torch.randn(1, 3, 224, 224))
    norms = net.backbone.word_embeddings.weight.detach().norm(dim=1)
    assert (norms[600:604] <= 1 + 1e-5).all()
    assert (norms[:600] > 5).all()


def saved(path, state):
    torch.save({"net": state}, path)
    return path


@torch.no_grad()
def test_stage_2_to_stage_3_copies_the_norms(tmp_path):
    source = loaded_network("fartrack_distill_tiny")
    path = saved(tmp_path / "distill.pt", source.state_dict())
    sparse = FarTrackNet("sparse", 15)
    load_stage(sparse, path)
    for mine, theirs in zip(sparse.layers(), source.layers(), strict=True):
        for own, given in zip(mine.live_norms(), theirs.live_norms(), strict=True):
            assert torch.equal(own.weight, given.weight)
            assert torch.equal(own.bias, given.bias)
    assert torch.equal(sparse.backbone.pos_embed_z, source.backbone.pos_embed_z1)
    back = FarTrackNet("frame", 15)
    load_stage(back, saved(tmp_path / "sparse.pt", sparse.state_dict()))
    for name, value in back.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def test_stage_files_of_something_else_are_refused(tmp_path):
    state = dict(loaded_network("fartrack_distill_tiny").state_dict())
    state.pop("backbone.blocks.3.norm1.weight")
    with pytest.raises(CheckpointError, match="1 missing"):
        load_stage(FarTrackNet("frame", 15), saved(tmp_path / "x.pt", state))


def mae_state(prefix=""):
    generator = torch.Generator().manual_seed(2)
    net = FarTrackNet("frame", 12)
    names = ("blocks.", "patch_embed.", "norm.", "pos_embed", "cls_token")
    state = {}
    for name, value in net.backbone.state_dict().items():
        if name.startswith(names) and not name.startswith(("pos_embed_", "norm1")):
            state[prefix + name] = torch.randn(value.shape, generator=generator)
    return state | {f"{prefix}mask_token": torch.zeros(1, 1, 192), f"{prefix}decoder_embed.bias": torch.zeros(3)}


@pytest.mark.parametrize(("key", "prefix"), [("model", "module.model."), ("state_dict", ""), (None, "")])
@torch.no_grad()
def test_masked_autoencoder_as_published(tmp_path, key, prefix):
    state = mae_state(prefix)
    torch.save(state if key is None else {key: state, "epoch": 400}, tmp_path / "mae.pth.tar")
    net = FarTrackNet("frame", 15)
    load_mae(net, tmp_path / "mae.pth.tar", 0)
    own = net.backbone.state_dict()
    for j in range(3):
        for name in ("attn.qkv.weight", "norm2.bias", "mlp.fc2.weight"):
            assert torch.equal(own[f"extension.{j}.{name}"], state[f"{prefix}blocks.{9 + j}.{name}"])
    assert torch.equal(own["blocks.4.mlp.fc1.bias"], state[f"{prefix}blocks.4.mlp.fc1.bias"])
    grid = state[f"{prefix}pos_embed"][:, 1:]
    assert torch.equal(own["pos_embed_x"], grid)
    small = functional.interpolate(grid.view(1, 14, 14, 192).permute(0, 3, 1, 2), size=(7, 7), mode="bicubic")
    for name in ("pos_embed_z0", "pos_embed_z1"):
        torch.testing.assert_close(own[name], small.permute(0, 2, 3, 1).reshape(1, 49, 192))
    deviation = own["word_embeddings.weight"].std().item()
    assert deviation == pytest.approx((2 / 192) ** 0.5, rel=0.02), "Kaiming-normal"
    assert own["output_bias"].abs().sum() == 0


def test_masked_autoencoders_that_do_not_fit_are_refused(tmp_path):
    path, net = tmp_path / "mae.pth", FarTrackNet("frame", 15)
    for state, message in (
        ({"head.weight": torch.zeros(3)}, "it has no"),
        (mae_state() | {"norm.weight": torch.zeros(384)}, r"\(384,\) instead of \(192,\)"),
        (mae_state() | {"norm.weight": torch.full((192,), torch.nan)}, "not finite"),
    ):
        torch.save({"model": state}, path)
        with pytest.raises(CheckpointError, match=message):
            load_mae(net, path, 0)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError):
        load_mae(net, path, 0)
    with pytest.raises(CheckpointError, match="check the path"):
        load_mae(net, tmp_path / "absent.pth", 0)


def test_a_start_needs_exactly_its_file(tmp_path):
    net = FarTrackNet("frame", 1)
    with pytest.raises(InputError, match="name the file"):
        initialise(net, "stage", 0)
    with pytest.raises(InputError, match="takes no weights"):
        initialise(net, "scratch", 0, tmp_path / "x.pt")


def test_patches_are_pieces_of_the_images():
    images = torch.randn(2, 3, 32, 48)
    patches = patches_of(images)
    assert patches.shape == (12, 3, 16, 16)
    assert torch.equal(patches[7], images[1, :, :16, 16:32])
