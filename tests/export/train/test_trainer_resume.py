"""A run that is interrupted and resumed ends bit for bit as one that is not."""

import json
import signal

import pytest
import torch
from train_case import NoiseSource, small_config, small_stage

from edgetrack.errors import CheckpointError
from edgetrack.export.train.state_files import LAST, PREVIOUS, load_state
from edgetrack.export.train.trainer import Trainer

pytestmark = pytest.mark.usefixtures("no_flush")


class StopAt:
    """A progress that sends a signal after some steps, as a user would."""

    def __init__(self, steps, number=signal.SIGTERM):
        self.left, self.number = steps, number

    def advance(self, steps=1):
        self.left -= steps

    def stage(self, label):
        if self.left == 0:
            signal.raise_signal(self.number)
            self.left = -1


def trainer_for(config, out):
    model, stage = small_stage(config)
    return Trainer(stage, model, config, out), model


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_and_resumed_is_bit_identical(tmp_path, number):
    config = small_config(ema=0.9, micro_steps=2, samples_per_epoch=8)
    straight, model = trainer_for(config, tmp_path / "straight")
    assert straight.run().reason == "finished"

    first, _ = trainer_for(config, tmp_path / "parts")
    end = first.run(progress=StopAt(3, number))
    assert (end.reason, end.step, end.total_steps) == ("interrupted", 4, 6)
    torch.manual_seed(999)  # whatever happened in between must not matter
    second, resumed_model = trainer_for(config, tmp_path / "parts")
    second.resume()
    assert second.step == 4
    assert second.run().reason == "finished"

    assert_same(load_state(tmp_path / "straight"), load_state(tmp_path / "parts"))
    assert_same(model.state_dict(), resumed_model.state_dict())
    whole, parts = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("straight", "parts")
    )
    timeless = [{key: line[key] for key in line if "_per_s" not in key} for line in whole]
    assert timeless == [{key: line[key] for key in line if "_per_s" not in key} for line in parts]
    assert [line["step"] for line in whole] == [1, 2, 3, 4, 5, 6]


def test_time_limit_ends_and_resume_goes_on(tmp_path):
    config = small_config()
    trainer, _ = trainer_for(config, tmp_path)
    end = trainer.run(minutes=0.0)
    assert (end.reason, end.step) == ("time", 1)
    again, _ = trainer_for(config, tmp_path)
    again.resume()
    assert again.run().step == 6


def test_log_lines_after_the_state_are_done_again_not_twice(tmp_path):
    config = small_config(save_every=2)
    trainer, _ = trainer_for(config, tmp_path)
    trainer.run(progress=StopAt(2))
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 5, "loss": 1.0, "iou": 0.5}\n{"step": 6, "lo')
    again, _ = trainer_for(config, tmp_path)
    again.resume()
    again.run()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_other_configuration_is_refused_by_name(tmp_path):
    trainer, _ = trainer_for(small_config(), tmp_path)
    trainer.run(minutes=0.0)
    model, stage = small_stage(small_config(seed=5, batch=1))
    with pytest.raises(CheckpointError, match=r"another run\.batch, run\.seed"):
        Trainer(stage, model, small_config(seed=5, batch=1), tmp_path).resume()


def test_how_often_to_log_may_change(tmp_path):
    trainer, _ = trainer_for(small_config(), tmp_path)
    trainer.run(minutes=0.0)
    again, _ = trainer_for(small_config(log_every=3, save_every=2), tmp_path)
    again.resume()
    assert again.run().reason == "finished"


def test_states_on_disk_are_whole_or_absent(tmp_path):
    config = small_config(save_every=1)
    trainer, _ = trainer_for(config, tmp_path)
    trainer.run()
    assert load_state(tmp_path)["step"] == 6
    (tmp_path / LAST).unlink()
    assert load_state(tmp_path)["step"] == 5, "previous.pt stands in between the two renamings"
    (tmp_path / PREVIOUS).rename(tmp_path / LAST)
    data = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="cannot read"):
        load_state(tmp_path)
    torch.save({"net": {}}, tmp_path / LAST)
    with pytest.raises(CheckpointError, match="not a training state"):
        load_state(tmp_path)
    (tmp_path / LAST).unlink()
    with pytest.raises(CheckpointError, match="without --resume"):
        load_state(tmp_path)


def test_state_of_another_network_is_refused(tmp_path):
    config = small_config()
    trainer, _ = trainer_for(config, tmp_path)
    trainer.run(minutes=0.0)
    state = torch.load(tmp_path / LAST, weights_only=True)
    del state["model"]["net.identity"]
    torch.save(state, tmp_path / LAST)
    again, _ = trainer_for(config, tmp_path)
    with pytest.raises(CheckpointError, match="another network or damaged"):
        again.resume()


def test_a_state_that_would_execute_code_is_not_read(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"format": "edgetrack training state", "version": 1, "x": Evil()}, tmp_path / LAST)
    with pytest.raises(CheckpointError, match="cannot read"):
        load_state(tmp_path)
    assert not (tmp_path / "made").exists()


def test_the_source_continues_where_it_was():
    source = NoiseSource()
    source.batch(2)
    state = source.state_dict()
    expected = source.batch(2)
    again = NoiseSource(seed=8)
    again.load_state_dict(state)
    assert_same(list(expected), list(again.batch(2)))
