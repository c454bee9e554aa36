"""Optimiser groups, schedule, clipping, precision, what is written, and the end of a run that goes wrong."""

import json
import math

import pytest
import torch
from train_case import NoiseSource, small_config, small_stage

from edgetrack.errors import InputError
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.models import MODELS
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.train.average import WeightAverage
from edgetrack.export.train.config import OptimiserConfig
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.optimiser import learning_rate_factor, parameter_groups
from edgetrack.export.train.state_files import LAST, load_state
from edgetrack.export.train.trainer import CURVE, LOG, Loss, Trainer

pytestmark = pytest.mark.usefixtures("no_flush")


def names_of(groups, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {group["name"]: {names[id(parameter)] for parameter in group["params"]} for group in groups}


def test_published_groups():
    model = TrainNet(FarTrackNet("distill", 15))
    config = OptimiserConfig(lr=4e-4, backbone_multiplier=0.1, weight_decay=1e-4)
    groups = parameter_groups(model, config)
    found = names_of(groups, model)
    assert found["outside"] == {"net.identity"}
    head = found["head"]
    assert {"net.backbone.output_bias", "net.backbone.word_embeddings.weight"} <= head
    assert "net.backbone.position_embeddings.weight" in head
    assert sum(".extension." in name for name in head) == 3 * 12
    assert len(head) == 3 * 12 + 3
    assert all(
        ".blocks." in n or ".patch_embed." in n or ".norm." in n or ".pos_embed_" in n for n in found["backbone"]
    )
    rates = {group["name"]: group["base_lr"] for group in groups}
    assert rates == {"outside": 4e-4, "head": 4e-4, "backbone": pytest.approx(4e-5)}
    assert {group["weight_decay"] for group in groups} == {1e-4}


@pytest.mark.parametrize(("flavour", "depth"), [("frame", 6), ("sparse", 6), ("sparse", 15)])
def test_only_what_the_forward_pass_reads_is_trained(flavour, depth):
    model = TrainNet(FarTrackNet(flavour, depth))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model(torch.randn(1, 5, 3, 112, 112), torch.randn(1, 3, 224, 224)).square().mean().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == reached


def test_without_decay_all_only_matrices_decay():
    model = TrainNet(FarTrackNet("frame", 15), aux=True)
    groups = parameter_groups(model, OptimiserConfig(weight_decay=0.05, decay_all=False))
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            matrix = name.endswith(("qkv.weight", "attn.proj.weight", "fc1.weight", "fc2.weight", "aux.weight"))
            assert (id(parameter) in decayed) == (matrix or name.endswith("patch_embed.proj.weight")), name


def test_step_schedule_drops_once():
    config = OptimiserConfig(schedule="step", drop_epoch=400)
    factors = [learning_rate_factor(config, step, 10, 5000) for step in (0, 3999, 4000, 4999)]
    assert factors == [1.0, 1.0, 0.1, 0.1]
    assert learning_rate_factor(OptimiserConfig(schedule="step", drop_epoch=0), 4999, 10, 5000) == 1.0


def test_cosine_schedule_warms_up_and_falls_to_its_end():
    config = OptimiserConfig(schedule="cosine", warmup_steps=4, final_factor=0.1)
    factors = [learning_rate_factor(config, step, 10, 104) for step in range(104)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[54] == pytest.approx(0.55)
    assert factors[103] == pytest.approx(0.1, abs=1e-3)
    assert factors[4:] == sorted(factors[4:], reverse=True)


class Quadratic:
    """A stage whose gradient is known: sum of the identity rows times a factor."""

    micro_steps = 2

    def __init__(self, model, factor):
        self.model, self.factor = model, factor

    def loss(self, step, micro):
        return Loss(self.factor * self.model.net.identity.sum(), {}, 0.5, "quadratic")

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_micro_steps_sum_and_the_norm_is_clipped(tmp_path):
    config = small_config(epochs=1, samples_per_epoch=2)
    model, _ = small_stage(config)
    trainer = Trainer(Quadratic(model, 3.0), model, config, tmp_path)
    trainer.run()
    line = json.loads((tmp_path / LOG).read_text())
    count = model.net.identity.numel()
    assert line["grad_norm"] == pytest.approx(2 * 3.0 * math.sqrt(count), rel=1e-5)
    assert model.net.identity.grad.norm().item() == pytest.approx(1.0, rel=1e-4)
    assert line["iou"] == 0.5


def test_a_finished_run_leaves_weights_that_export_reads(tmp_path):
    config = small_config(ema=0.5, plot_every=2, keep_epochs=2)
    model, stage = small_stage(config)
    end = Trainer(stage, model, config, tmp_path).run()
    assert end.reason == "finished"
    state = load_checkpoint(end.weights).state
    net = FarTrackNet("frame", 15)
    MODELS.get("fartrack").load_state(net, "fartrack-tiny-frame", state)
    assert torch.equal(state["backbone.pos_embed_z0"], state["backbone.pos_embed_z1"])
    average = load_state(tmp_path)["average"]["values"]
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    for name, value in zip(trained, average, strict=True):
        if name.startswith("net."):
            assert torch.equal(state[name.removeprefix("net.")], value), name
    assert (tmp_path / "weights-ep0002.pt").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    pytest.importorskip("matplotlib")
    assert (tmp_path / CURVE).read_bytes().startswith(b"\x89PNG")


def test_training_lowers_the_loss(tmp_path):
    config = small_config(epochs=12)

    class Same(NoiseSource):
        def batch(self, size):
            self.generator.manual_seed(1)
            return super().batch(size)

    model, stage = small_stage(config, Same())
    Trainer(stage, model, config, tmp_path).run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / LOG).read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]


def test_a_loss_that_is_no_number_stops_before_the_weights(tmp_path):
    config = small_config(save_every=2)
    model, stage = small_stage(config, NoiseSource(bad=3))
    before = {}
    trainer = Trainer(stage, model, config, tmp_path)
    original = stage.loss

    def remember(step, micro):
        before.update({name: value.clone() for name, value in model.state_dict().items()})
        return original(step, micro)

    stage.loss = remember
    with pytest.raises(InputError, match=r"loss nan in optimiser step 3 \(batch: noise_3, noise_3\)"):
        trainer.run()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert load_state(tmp_path)["step"] == 2
    assert all(value.isfinite().all() for value in torch.load(tmp_path / LAST, weights_only=True)["model"].values())


def test_precisions(tmp_path):
    for precision in ("tf32", "fp16"):
        config = small_config(precision=precision)
        model, stage = small_stage(config)
        with pytest.raises(InputError, match="use fp32"):
            Trainer(stage, model, config, tmp_path)
    config = small_config(precision="bf16", epochs=1)
    model, stage = small_stage(config)
    Trainer(stage, model, config, tmp_path).run()
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_average_follows_its_formula():
    parameter = torch.nn.Parameter(torch.zeros(3))
    average = WeightAverage([parameter], 0.5)
    expected = 0.0
    for step in range(1, 9):
        with torch.no_grad():
            parameter.fill_(float(step))
        average.update([parameter])
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.swapped_in([parameter]):
        assert parameter.detach().tolist() == pytest.approx([expected] * 3)
    assert parameter.detach().tolist() == [8.0] * 3


def test_an_epoch_without_a_step_is_refused(tmp_path):
    config = small_config(samples_per_epoch=4, batch=4)
    model, stage = small_stage(config)
    from edgetrack.export.train.distributed import Team

    with pytest.raises(InputError, match="less than one step of 2 processes"):
        Trainer(stage, model, config, tmp_path, team=Team(0, 2, 0))
