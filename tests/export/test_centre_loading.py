"""Published centre-head checkpoints load strictly, and a neighbour's is named."""

from __future__ import annotations

import pytest
import torch
from small_centre import SMALL, filled, small_inputs, small_net

from edgetrack.errors import CheckpointError
from edgetrack.export.models import family_of
from edgetrack.export.models.centre_variants import shape_of
from edgetrack.export.models.ostrack_net import OsTrackNet
from edgetrack.export.source import load_source

ALIKE = "the same entries, so the file cannot tell which"


class Zeros(dict):
    """A checkpoint of zeros that takes no memory to speak of."""

    def __init__(self, variant):
        super().__init__(
            {key: torch.zeros(()).expand(shape) for key, shape in family_of(variant).entries(variant).items()}
        )


def refused(variant: str, state) -> str:
    with torch.device("meta"):
        net = family_of(variant).build(variant)
    with pytest.raises(CheckpointError) as error:
        family_of(variant).load_state(net, variant, state)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("asked", "given", "named"),
    [
        ("ostrack-384-ce", "ostrack-256", f"layout of ostrack-256 or ostrack-256-ce ({ALIKE})"),
        ("ostrack-256-ce", "ostrack-384-ce", "layout of ostrack-384-ce: export that model"),
        ("ostrack-256", "grm-256", f"layout of grm-256 or grm-256-got ({ALIKE})"),
        ("grm-256", "ostrack-256-ce", f"layout of ostrack-256 or ostrack-256-ce ({ALIKE})"),
        ("grm-256", "grm-l320", "layout of grm-l320: export that model"),
        ("grm-l320", "grm-256-got", f"layout of grm-256 or grm-256-got ({ALIKE})"),
        ("grm-256-t40", "ostrack-384-ce", "layout of ostrack-384-ce"),
        ("ostrack-256", "fartrack-pico", "layout of fartrack-tiny or fartrack-nano or fartrack-pico"),
        ("fartrack-pico", "ostrack-256", "layout of ostrack-256 or ostrack-256-ce"),
    ],
)
def test_a_neighbours_checkpoint_is_named(asked, given, named):
    message = refused(asked, Zeros(given))
    assert message.startswith(f"the checkpoint is not one of {asked}")
    assert named in message


def test_elimination_or_not_is_the_same_file():
    plain, eliminating = (family_of(name).entries(name) for name in ("ostrack-256", "ostrack-256-ce"))
    assert plain == eliminating


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("backbone.pos_embed_z"), ["1 missing", "pos_embed_z"]),
        (lambda s: s.pop("box_head.conv1_ctr.1.num_batches_tracked"), ["1 missing", "num_batches_tracked"]),
        (lambda s: s.update({"backbone.blocks.12.norm1.weight": torch.zeros(768)}), ["1 unexpected", "blocks.12"]),
        (lambda s: s.update({"backbone.norm.bias": torch.zeros(3)}), ["of another shape", "(3,) instead of (768,)"]),
        (lambda s: s.update({"backbone.norm.bias": torch.full((768,), torch.inf)}), ["not finite", "norm.bias"]),
        (lambda s: s.update({"backbone.norm.bias": torch.zeros(768, dtype=torch.int64)}), ["element type int64"]),
        (
            lambda s: s.update({"box_head.conv1_ctr.1.num_batches_tracked": torch.zeros((), dtype=torch.bool)}),
            ["element type bool"],
        ),
    ],
)
def test_strict_loading(change, words):
    state = Zeros("ostrack-256-ce")
    change(state)
    message = refused("ostrack-256-ce", state)
    for word in words:
        assert word in message


def test_counters_of_any_value_are_loaded(tmp_path):
    """A real checkpoint counts in int64, as nothing else of it may be; read as `torch.save` writes it."""
    state = {key: torch.zeros(shape) for key, shape in family_of("ostrack-256").entries("ostrack-256").items()}
    for key in state:
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(562_500)
    torch.save({"net": state, "epoch": 300, "net_type": "OSTrack"}, tmp_path / "OSTrack_ep0300.pth.tar")
    source = load_source("ostrack-256", tmp_path / "OSTrack_ep0300.pth.tar")
    assert source.net.box_head.conv4_size[1].num_batches_tracked == 562_500
    assert source.weights == "checkpoint"
    assert [graph.role for graph in source.graphs] == ["template", "search"]


@pytest.mark.parametrize("kind", SMALL)
def test_unused_entries_do_not_change_the_result(kind):
    net, family = small_net(kind), family_of("ostrack-256")
    state = dict(net.state_dict())
    unused = [key for key in family.unused("ostrack-256") if key in state]
    assert len(unused) == 14
    for key in unused:
        state[key] = state[key] + 1
    other = type(net)(net.shape).eval()
    other.load_state_dict(state)
    with torch.no_grad():
        for found, expected in zip(other(*small_inputs()).maps, net(*small_inputs()).maps, strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", SMALL)
def test_every_other_entry_is_used(kind):
    """Each entry that the table does not name changes the maps: a gradient, or another output with another value."""
    net = filled(type(small_net(kind))(SMALL[kind]))
    family = family_of("ostrack-256")
    maps = net(*small_inputs()).maps
    sum(value.square().sum() for value in maps).backward()
    silent = {key for key, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0}
    undecided = {key for key in silent if "divide_predict" in key}  # a decision passes no gradient
    assert silent - undecided == {"backbone.cls_token", "backbone.pos_embed"}
    assert bool(undecided) == (kind == "grm")
    named = set(family.unused("ostrack-256"))
    assert named == silent - undecided | {key for key in net.state_dict() if key.endswith("num_batches_tracked")}


def test_stand_in_weights_of_every_entry():
    source = load_source("ostrack-256-ce", "stand-in", 5)
    assert source.seed == 5
    state = source.net.state_dict()
    assert all(value.isfinite().all() for value in state.values())
    assert all(state[key] == 0 for key in state if key.endswith("num_batches_tracked"))
    assert state["backbone.blocks.7.mlp.fc1.weight"].std() == pytest.approx(768**-0.5, rel=0.01)
    assert isinstance(source.net, OsTrackNet)
    assert source.net.shape == shape_of("ostrack-256-ce")
