"""Two processes under torchrun train what one trains on both their batches, stop together and resume exactly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_case import NoiseSource, small_config, small_stage

from edgetrack.errors import CheckpointError, EngineUnavailable, InputError
from edgetrack.export.train.distributed import Team, team
from edgetrack.export.train.stage import Loss
from edgetrack.export.train.trainer import Trainer

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(HERE / "distributed_program.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def read(path):
    return torch.load(path, weights_only=True)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_all_processes_have_the_same_weights(out):
    assert_equal(read(out / "straight-0.pt"), read(out / "straight-1.pt"))


def test_a_signal_to_one_stops_all_and_resuming_is_exact(out):
    for rank in (0, 1):
        assert_equal(read(out / f"straight-{rank}.pt"), read(out / f"parts-{rank}.pt"))


def test_only_the_leader_writes(out):
    assert sorted(path.name for path in (out / "straight").iterdir() if path.suffix != ".png") == [
        "last.pt",
        "log.jsonl",
        "weights.pt",
    ]
    steps = [line for line in (out / "straight" / "log.jsonl").read_text().splitlines() if line]
    assert len(steps) == 4


class Both:
    """One process that takes both processes' batches in two micro steps, with the paths that each of them drops."""

    micro_steps = 2

    def __init__(self, stages, seed):
        self.stages = stages
        self.states = [torch.Generator().manual_seed(seed + rank).get_state() for rank in (0, 1)]

    def loss(self, step, micro):
        torch.set_rng_state(self.states[micro])
        loss = self.stages[micro].loss(step, 0)
        self.states[micro] = torch.get_rng_state()
        return Loss(loss.total / 2, loss.parts, loss.iou, loss.where)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_equals_one_process_on_both_batches(out, tmp_path, no_flush):
    config = small_config(samples_per_epoch=4, epochs=2)
    model, first = small_stage(config, NoiseSource(seed=0))
    _, second = small_stage(config, NoiseSource(seed=1))
    second._model = model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Trainer(Both([first, second], config.run.seed), model, config, tmp_path).run()
    together = read(out / "straight-0.pt")
    moved = sum((value - before[name]).abs().sum() for name, value in model.state_dict().items())
    apart = sum((value - together[name]).abs().sum() for name, value in model.state_dict().items())
    assert moved > 100
    assert apart < 1e-3 * moved


def test_a_run_of_two_is_not_resumed_by_one(out):
    config = small_config(samples_per_epoch=8, epochs=2)
    model, stage = small_stage(config)
    with pytest.raises(CheckpointError, match="had 2 processes, this one has 1"):
        Trainer(stage, model, config, out / "straight").resume()


def test_alone_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with team("cpu") as (place, device):
        assert place == Team(0, 1, 0)
        assert device == torch.device("cpu")
    assert Team().any(True, torch.device("cpu"))
    assert Team().gather("state") == ["state"]


def test_bad_devices_and_variables(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name in ("gpu", "mps", "meta"):
        with pytest.raises(InputError, match="give auto, cpu, cuda"), team(name):
            pass
    with pytest.raises(EngineUnavailable, match="use --device cpu"), team("cuda:9999"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "x")
    with pytest.raises(InputError, match="RANK is 'x'"), team("cpu"):
        pass
