"""`edgetrack train`, `distill` and `sparsify` from data to weights, and their refusals."""

import json

import cv2
import pytest
import torch
from train_case import write_sequence

from edgetrack.cli import main
from edgetrack.export.models.fartrack_net import FarTrackNet
from edgetrack.export.train.network import TrainNet

pytestmark = pytest.mark.usefixtures("no_flush")
SHORT = [
    "run.epochs=1",
    "run.samples_per_epoch=4",
    "run.batch=2",
    "run.log_every=1",
    "model.depth=1",
    "model.templates=1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_sequence(folder / "square", 40)
    return f"sequences:{folder}"


@pytest.fixture(scope="module")
def stage_1(data, tmp_path_factory):
    """A run of stage 1 from scratch; its folder."""
    out = tmp_path_factory.mktemp("runs") / "frame"
    assert main(command("train", "small-frame", data, out)) == 0
    return out


def command(name, recipe, data, out, *more, settings=()):
    words = [name, str(recipe), "--data", str(data), "--output", str(out), "--device", "cpu", *more]
    for setting in [*SHORT, *settings]:
        words += ["--set", setting]
    return words


def read(path):
    return torch.load(path, weights_only=True)


def test_stage_1_from_nothing(stage_1):
    found = read(stage_1 / "weights.pt")
    assert (found["step"], found["depth"], found["stage"]) == (2, 1, "frame")
    assert all(value.isfinite().all() for value in found["net"].values())
    lines = [json.loads(line) for line in (stage_1 / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"loss", "siou", "ce", "iou", "lr", "grad_norm", "samples_per_s"} <= lines[0].keys()


def test_a_time_limit_and_resuming(data, tmp_path, capsys, stage_1):
    out = tmp_path / "run"
    assert main(command("train", "small-frame", data, out, "--minutes", "0")) == 0
    assert "continue with the same command and --resume" in capsys.readouterr().out
    assert read(out / "last.pt")["step"] == 1
    assert main(command("train", "small-frame", data, out)) == 5
    assert "continue it with --resume, or name another --output" in capsys.readouterr().err
    assert main(command("train", "small-frame", data, out, "--resume", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reason"], found["step"], found["total_steps"]) == ("finished", 2, 2)
    straight, parts = read(stage_1 / "weights.pt")["net"], read(out / "weights.pt")["net"]
    assert all(torch.equal(straight[name], parts[name]) for name in straight)


def test_a_preview_uses_no_sample_of_the_run_up(data, tmp_path, stage_1, capsys):
    picture = tmp_path / "samples.png"
    assert main(command("train", "small-frame", data, tmp_path / "run", "--preview", str(picture))) == 0
    drawn = cv2.imread(str(picture)).astype(int)
    assert drawn.shape[0] > 8 * 224
    green = drawn[..., 1] - drawn[..., [0, 2]].max(-1)
    assert (green > 60).sum() > 16 * 40  # the target's box of each sample
    straight, other = read(stage_1 / "weights.pt")["net"], read(tmp_path / "run" / "weights.pt")["net"]
    assert all(torch.equal(straight[name], other[name]) for name in straight)
    words = ["sparsify", "sparse", "--data", data, "--output", str(tmp_path / "three"), "--preview", str(picture)]
    assert main(words) == 5
    assert "leave --preview out" in capsys.readouterr().err


def test_stages_2_and_3_follow(data, stage_1, tmp_path):
    settings = ["model.depth=2", "distill.exits=[1, 2]"]
    words = command(
        "distill", "distill", data, tmp_path / "two", "--weights", str(stage_1 / "weights.pt"), settings=settings
    )
    assert main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert lines[0]["kl"] > 0
    settings = [
        "model.depth=2",
        "model.templates=5",
        "sparse.clips=1",
        "sparse.clip.frames=4",
        "sparse.clip.min_visible=10",
        "run.samples_per_epoch=2",
    ]
    words = command(
        "sparsify",
        "sparse",
        data,
        tmp_path / "three",
        "--weights",
        str(tmp_path / "two" / "weights.pt"),
        settings=settings,
    )
    assert main(words) == 0
    assert any(".masknorm1." in name for name in read(tmp_path / "three" / "weights.pt")["net"])


def test_distilling_from_a_teacher(data, stage_1, tmp_path, capsys):
    weights = str(stage_1 / "weights.pt")
    name = ["distill.teacher=fartrack-pico-distill"]
    words = command("distill", "distill", data, tmp_path / "x", "--weights", weights, settings=name)
    assert main(words) == 5
    assert "give it with --teacher" in capsys.readouterr().err
    assert main([*words, "--teacher", weights]) == 0
    line = json.loads((tmp_path / "x" / "log.jsonl").read_text().splitlines()[0])
    assert line["teacher_kl"] > 0
    words = command("distill", "distill", data, tmp_path / "y", "--weights", weights, "--teacher", weights)
    assert main(words) == 5
    assert "set distill.teacher" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(data, tmp_path, capsys):
    assert main(command("train", "small-frame", data, tmp_path / "run", "--dry-run", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    model = TrainNet(FarTrackNet("frame", 1), aux=True)
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert (found["trained_parameters"], found["total_steps"], found["images"]) == (count, 2, 40)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "no-such", "--data", "x"], "there is no recipe 'no-such'"),
        (["train", "distill", "--data", "x"], "start it with `edgetrack distill`"),
        (["sparsify", "frame", "--data", "x"], "start it with `edgetrack train`"),
        (["train", "frame", "--data", "/no/such.etpack"], "/no/such.etpack"),
        (["train", "frame", "--data", "x", "--set", "run.bach=3"], "did you mean batch"),
        (["train", "frame", "--data", "x", "--resume"], "without --resume"),
    ],
)
def test_refusals(words, message, tmp_path, capsys):
    assert main([*words, "--output", str(tmp_path / "out")]) == 5
    text = capsys.readouterr().err.strip()
    assert message in text
    assert "\n" not in text


def test_weights_are_asked_for(data, tmp_path, capsys):
    assert main(command("train", "frame", data, tmp_path / "a")) == 5
    assert "name the file with --weights" in capsys.readouterr().err
    assert main(command("train", "small-frame", data, tmp_path / "b", "--weights", "x.pt")) == 5
    assert "takes no weights" in capsys.readouterr().err


def test_an_interrupted_run_ends_with_130_and_its_state(data, tmp_path, monkeypatch):
    import signal

    from edgetrack.export.train.trainer import Trainer

    step = Trainer._take_step

    def interrupted(self):
        step(self)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_take_step", interrupted)
    assert main(command("train", "small-frame", data, tmp_path)) == 130
    assert read(tmp_path / "last.pt")["step"] == 1
