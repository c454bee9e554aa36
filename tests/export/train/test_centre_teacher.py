"""OSTrack and GRM as teachers: their box by hand, their crops, and how it arrives in the student's crop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sampler_data import MemorySource, made_source
from small_centre import small_net
from sparse_case import small_net as student_net
from train_case import write_sequence

from edgetrack.cli import main
from edgetrack.data.sources import IndexedTrack
from edgetrack.errors import InputError
from edgetrack.export.models.centre_head import CentreMaps
from edgetrack.export.train.augment import MEAN, STD
from edgetrack.export.train.bank import ImageBank
from edgetrack.export.train.centre_teacher import CentreTeacher
from edgetrack.export.train.config import DistillConfig, LossConfig, ModelConfig, RunConfig, TrainConfig
from edgetrack.export.train.geometry import CropSizes
from edgetrack.export.train.network import TrainNet
from edgetrack.export.train.prefetch import Prefetcher
from edgetrack.export.train.sampler import Sampler, SamplerSettings
from edgetrack.export.train.teacher import Answer, TeacherSettings, rescaled
from edgetrack.export.train.teacher_stage import TeacherStage

WIDE = CropSizes(48, 2.0, 160, 5.0)
PLAIN = SamplerSettings(
    templates=1, joint_flip=0, flip=0, gray=0, brightness=0, centre_jitter=0.5, scale_jitter=0.2, exact_centre=True
)


def inputs(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    templates = torch.randn(count, 1, 3, 48, 48, generator=generator)
    return templates, torch.randn(count, 3, 96, 96, generator=generator)


def test_the_box_of_the_best_cell_by_hand(monkeypatch):
    """A 6 x 6 map whose best cell is column 4, row 1: the centre is (4.5, 1.25) / 6, the sides are 0.25 and 0.5."""
    score, size, offset = torch.full((1, 1, 6, 6), 0.1), torch.full((1, 2, 6, 6), 0.9), torch.zeros(1, 2, 6, 6)
    score[0, 0, 1, 4], score[0, 0, 2, 2] = 0.8, 0.7  # under a Hann window the second would win
    size[0, :, 1, 4] = torch.tensor([0.25, 0.5])
    offset[0, :, 1, 4] = torch.tensor([0.5, 0.25])
    teacher = CentreTeacher(small_net("ostrack"))
    monkeypatch.setattr(teacher._net, "maps", lambda tokens: CentreMaps(score, size, offset))
    answer = teacher.answer(*inputs(1))
    expected = [[0.75 - 0.125, 1.25 / 6 - 0.25, 0.75 + 0.125, 1.25 / 6 + 0.25]]
    torch.testing.assert_close(answer.corners, torch.tensor(expected))
    assert answer.bins is None


@pytest.mark.parametrize("kind", ["ostrack", "ostrack-ce", "grm"])
def test_it_answers_as_its_network_each_sample_for_itself(kind):
    net = small_net(kind)
    teacher, (templates, search) = CentreTeacher(net), inputs()
    with torch.no_grad():
        boxes = torch.cat([net(template, view[None]).box for template, view in zip(templates, search, strict=True)])
    corners = teacher.answer(templates, search).corners
    expected = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    torch.testing.assert_close(corners, expected, atol=1e-5, rtol=0)
    assert teacher.crops == CropSizes(48, 2.0, 96, 4.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = teacher.answer(templates, search).corners
    assert mixed.dtype == torch.float32
    assert mixed.isfinite().all()


def test_in_half_precision_the_head_stays_exact(monkeypatch):
    teacher, (templates, search) = CentreTeacher(small_net("ostrack")), inputs(1)
    seen = []
    monkeypatch.setattr(
        teacher._net, "maps", lambda tokens, maps=teacher._net.maps: seen.append(maps(tokens)) or seen[0]
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        teacher.answer(templates, search)
    assert {found.dtype for found in seen[0]} == {torch.float32}


def test_a_temperature_or_another_network_is_refused():
    with pytest.raises(InputError, match=r"temperature is 2, .* set teacher.point_width"):
        CentreTeacher(small_net("grm"), temperature=2.0)
    with pytest.raises(InputError, match="a FarTrackNet was given"):
        CentreTeacher(student_net("distill", 1))


def test_corners_move_from_a_wide_crop_to_the_students():
    """Factor 5 to 4: what lies at 0.9 of the wide crop lies 0.4 * 1.25 right of the student's middle, at its edge."""
    found = rescaled(torch.tensor([[0.1, 0.5, 0.9, 1.0]]), 5 / 4)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.5, 1.0, 1.125]]))


def marked_source() -> MemorySource:
    """Black stills whose target is a white square, some of them near the border."""
    images, tracks = [], []
    for number, (x, y, side) in enumerate(((60, 50, 30), (20, 70, 24), (110, 30, 36))):
        image = np.full((160, 200, 3), 2, np.uint8)
        image[y : y + side, x : x + side] = 250
        images.append(image)
        tracks.append(IndexedTrack(f"still-{number}", "still", np.array([number]), np.array([[x, y, side, side]])))
    return MemorySource(images, tracks)


def white_corners(crop: torch.Tensor) -> np.ndarray:
    """x1, y1, x2, y2 of the white square in a normalised crop (3, S, S), in crop units, to a pixel."""
    bright = (crop.movedim(0, -1).numpy() * STD + MEAN).mean(-1) > 0.5
    lit = [np.flatnonzero(bright.any(axis)) for axis in (0, 1)]
    return np.array([lit[0][0], lit[1][0], lit[0][-1] + 1, lit[1][-1] + 1]) / len(bright)


@pytest.mark.parametrize("changes", [{}, {"flip": 0.5, "joint_flip": 0.5}, {"motion": 0.3}])
def test_the_teachers_crop_shows_what_the_students_shows(changes):
    """The square found in the teacher's pixels lies, scaled, where the student's truth says."""
    source, settings = marked_source(), SamplerSettings(**({**vars(PLAIN), **changes}))
    batch = Sampler(ImageBank(source), source.tracks, settings, 3, teacher=WIDE).batch(24)
    assert batch.shown.templates.shape == (24, 1, 3, 48, 48)
    assert batch.shown.search.shape == (24, 3, 160, 160)
    found = np.stack([white_corners(view) for view in batch.shown.search])
    inner = ((found > 0) & (found < 1)).all(1)  # the whole square is in the crop
    assert inner.sum() > 12
    moved = rescaled(torch.from_numpy(found), 5 / 4)[inner].numpy()
    assert np.abs(moved - batch.corners[inner].numpy()).max() < 1.5 / 160 * 5 / 4


def test_a_teacher_of_the_students_factors_sees_the_same_pictures():
    source = marked_source()
    sampler = Sampler(ImageBank(source), source.tracks, SamplerSettings(), 1, teacher=CropSizes(112, 2.0, 224, 4.0))
    batch = sampler.batch(6)
    assert torch.equal(batch.shown.search, batch.search)
    assert torch.equal(batch.shown.templates, batch.templates[:, :1])


def test_the_students_stream_stays_the_same():
    source = made_source()
    bank = ImageBank(source)
    settings = SamplerSettings(templates=2, blur=0.5, occlusion=0.5, motion=0.2)
    alone, taught = (Sampler(bank, source.tracks, settings, 4, teacher=crops) for crops in (None, WIDE))
    for _ in range(2):
        one, other = alone.batch(5), taught.batch(5)
        assert all(torch.equal(left, right) for left, right in zip(one[:-1], other[:-1], strict=True))
        assert one.shown is None
    assert alone.state_dict() == taught.state_dict()
    assert not torch.equal(other.shown.search[0], other.shown.search[1])
    with Prefetcher(Sampler(bank, source.tracks, settings, 4, teacher=WIDE), 5) as ahead:
        assert torch.equal([ahead.batch(5) for _ in range(2)][1].shown.search, other.shown.search)


class Finder:
    """Finds the white square in crops of its own."""

    name, crops = "finder", WIDE

    def answer(self, templates, search):
        assert templates.shape[1:] == (1, 3, 48, 48)
        return Answer(torch.from_numpy(np.stack([white_corners(view) for view in search])).float())


def test_a_teacher_with_other_crops_is_right_where_the_truth_is():
    config = TrainConfig(
        stage="distill",
        model=ModelConfig(depth=1, templates=1, drop_path=0),
        sampler=SamplerSettings(**{**vars(PLAIN), "centre_jitter": 0.0, "flip": 0.5}),
        loss=LossConfig(siou=0, ce=0),
        distill=DistillConfig((1,)),
        run=RunConfig(batch=4),
    )
    source = marked_source()
    model, bank = TrainNet(student_net("distill", 1)), ImageBank(source)
    sampler = Sampler(bank, source.tracks, config.sampler, 0, teacher=WIDE)
    stage = TeacherStage(model, sampler, config, Finder(), TeacherSettings(min_iou=0.85))
    parts = stage.loss(0, 0).parts
    assert float(parts["teacher_iou"]) > 0.9
    assert float(parts["followed"]) == 1
    plain = TeacherStage(model, Sampler(bank, source.tracks, config.sampler, 0), config, Finder(), TeacherSettings())
    with pytest.raises(TypeError, match="none were cut"):
        plain.loss(0, 0)


SHORT = ("run.epochs=1", "run.samples_per_epoch=4", "run.batch=2", "run.log_every=1", "model.depth=1")


def distil(folder: Path, teacher: str, *settings: str) -> tuple[int, Path]:
    """Run `edgetrack distill` for two steps from scratch, taught by stand-in weights of `teacher`."""
    if not (folder / "data").exists():
        write_sequence(folder / "data" / "square", 30)
    words = ["distill", "small-distill", "--data", f"sequences:{folder / 'data'}", "--output", str(folder / "run")]
    named = ("init.source=scratch", "model.templates=1", f"distill.teacher={teacher}", "distill.exits=[1]")
    for setting in (*SHORT, *named, *settings):
        words += ["--set", setting]
    return main([*words, "--teacher", "stand-in", "--device", "cpu"]), folder / "run"


@pytest.mark.usefixtures("no_flush")
@pytest.mark.parametrize("kind", ["ostrack", "grm"])
def test_distilling_from_a_small_centre_net(kind, tmp_path, monkeypatch):
    """The whole command, the published network exchanged for one of a few tokens."""
    monkeypatch.setattr(
        "edgetrack.export.train.teacher.load_source", lambda *_: type("S", (), {"net": small_net(kind)})
    )
    code, run = distil(tmp_path, f"{kind}-256")
    assert code == 0
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["teacher_kl"] > 0 and 0 <= line["teacher_iou"] <= 1 for line in lines)


def test_a_temperature_for_a_box_teacher_ends_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "edgetrack.export.train.teacher.load_source", lambda *_: type("S", (), {"net": small_net("grm")})
    )
    code, run = distil(tmp_path, "grm-256", "teacher.temperature=2")
    assert code == 5
    assert "set teacher.point_width" in capsys.readouterr().err
    assert not run.exists()


@pytest.mark.big
@pytest.mark.parametrize("name", ["ostrack-384-ce", "grm-256"])
def test_distilling_from_a_published_network(name, tmp_path):
    code, run = distil(tmp_path, name)
    assert code == 0
    assert json.loads((run / "log.jsonl").read_text().splitlines()[0])["teacher_kl"] > 0
