"""Evaluation runs: resumed, parallel, interrupted, and what they write."""

from __future__ import annotations

import json
from contextlib import closing

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")

from accuracy_case import write_sequence

from edgetrack.benchmarks.accuracy import runner
from edgetrack.benchmarks.accuracy.evaluation import evaluate, threads_per_job
from edgetrack.benchmarks.accuracy.records import RecordStore, SequenceRecord
from edgetrack.benchmarks.accuracy.result_files import read_result, write_results
from edgetrack.benchmarks.accuracy.runner import run_sequences, track_sequence
from edgetrack.benchmarks.accuracy.score_rule import Calibration, ScoreRule
from edgetrack.benchmarks.accuracy.sequences import read_sequences
from edgetrack.benchmarks.accuracy.subjects import artifact_subject, open_loop
from edgetrack.data.metrics import pytracking_curves, pytracking_scores
from edgetrack.errors import ArtifactError, InputError


class Bar:
    def __init__(self) -> None:
        self.done, self.stages = 0, []

    def advance(self, steps: int = 1) -> None:
        self.done += steps

    def stage(self, label: str) -> None:
        self.stages.append(label)


@pytest.fixture
def data(tmp_path):
    write_sequence(tmp_path / "data" / "first", 6)
    write_sequence(tmp_path / "data" / "second", 5, absent=2, seed=7)
    return tmp_path / "data"


@pytest.fixture
def sequences(data):
    return read_sequences([f"sequences:{data}"])


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path / "kept")


def untimed(record: SequenceRecord) -> dict:
    return {**vars(record), "seconds": None}


def forbid(monkeypatch) -> None:
    def refuse(spec):
        raise AssertionError("nothing was left to track")

    monkeypatch.setattr(runner, "open_loop", refuse)


def test_a_run_scores_every_frame_and_is_not_repeated(artifact, sequences, store, monkeypatch):
    subject, bar = artifact_subject(artifact, threads=1), Bar()
    records = run_sequences(subject, sequences, store, jobs=1, progress=bar)
    assert ([record.name for record in records], bar.done) == (["first", "second"], 11)
    first, second = records
    assert (first.width, first.height, len(first.boxes)) == (128, 96, 6)
    assert first.raw_boxes[0] == first.truth[0] == [40, 30, 24, 24]
    assert second.truth[-2:] == [None, None]
    assert first.has_states
    assert min(first.seconds) > 0
    forbid(monkeypatch)
    again = Bar()
    assert run_sequences(subject, sequences, store, jobs=1, progress=again) == records
    assert again.done == 11


def test_only_what_changed_is_tracked_again(artifact, data, sequences, store):
    subject = artifact_subject(artifact, threads=1)
    run_sequences(subject, sequences, store, jobs=1, progress=Bar())

    def left(given=subject, specs=f"sequences:{data}"):
        return [sequence.name for sequence in runner.pending(given, read_sequences([specs]), store)]

    assert left() == []
    (store.folder / "first.json").write_text('{"kind"')
    assert left() == ["first"]
    truth = data / "second" / "groundtruth.txt"
    truth.write_text(truth.read_text().replace("41,30", "42,30"))
    assert left() == ["first", "second"]
    run_sequences(subject, read_sequences([f"sequences:{data}"]), store, jobs=1, progress=Bar())
    manifest = json.loads((artifact / "edgetrack.json").read_text())
    manifest["tracker"]["search"]["factor"] = 3.0
    (artifact / "edgetrack.json").write_text(json.dumps(manifest))
    assert left(artifact_subject(artifact, threads=1)) == ["first", "second"]


@pytest.mark.parametrize(
    "change", [{"states": []}, {"raw_boxes": [[0, 0, 1, 1]] * 6, "truth": [None] * 5}, {"name": None}]
)
def test_damaged_records_count_as_missing(artifact, sequences, store, change):
    subject = artifact_subject(artifact, threads=1)
    run_sequences(subject, sequences[:1], store, jobs=1, progress=Bar())
    path = store.folder / "first.json"
    document = json.loads(path.read_text())
    if change == {"name": None}:
        del document["record"]["name"]
    else:
        document["record"].update(change)
    path.write_text(json.dumps(document))
    assert store.load("first", document["key"]) is None


def test_processes_give_what_one_gives(artifact, sequences, tmp_path):
    subject, bar = artifact_subject(artifact, threads=1), Bar()
    alone = run_sequences(subject, sequences, RecordStore(tmp_path / "a"), jobs=1, progress=Bar())
    apart = run_sequences(subject, sequences, RecordStore(tmp_path / "b"), jobs=2, progress=bar)
    assert [untimed(record) for record in apart] == [untimed(record) for record in alone]
    assert bar.done == 11


def test_an_error_in_a_process_arrives_as_it_is(artifact, data, sequences, store):
    (data / "second" / "img" / "00000003.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"sequence second: image .*00000003.jpg is damaged"):
        run_sequences(artifact_subject(artifact, threads=1), sequences, store, jobs=2, progress=Bar())
    (artifact / "search.onnx").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="sha256"):
        artifact_subject(artifact)


def test_an_interrupted_run_keeps_what_is_finished(artifact, sequences, store):
    class Interrupting(Bar):
        def advance(self, steps: int = 1) -> None:
            super().advance(steps)
            if self.done == 8:
                raise KeyboardInterrupt

    subject = artifact_subject(artifact, threads=1)
    with pytest.raises(KeyboardInterrupt):
        run_sequences(subject, sequences, store, jobs=1, progress=Interrupting())
    assert [path.name for path in store.folder.iterdir()] == ["first.json"]
    assert [sequence.name for sequence in runner.pending(subject, sequences, store)] == ["second"]


def test_another_rule_gives_what_the_tracker_would_have_said(artifact, sequences, store):
    records = run_sequences(artifact_subject(artifact, threads=1), sequences, store, jobs=1, progress=Bar())
    middle = float(np.median(records[0].raw_scores[1:]))
    rule = ScoreRule(Calibration(3000.0, -3000.0 * middle), 0.8, 0.5)
    manifest = json.loads((artifact / "edgetrack.json").read_text())
    manifest["tracker"]["score"].update(rule.as_section())
    (artifact / "edgetrack.json").write_text(json.dumps(manifest))
    with closing(open_loop(artifact_subject(artifact, threads=1).spec)) as loop:
        for record, sequence in zip(records, sequences, strict=True):
            said, tracked = record.under(rule), track_sequence(loop, sequence, lambda: None)
            assert said.scores == pytest.approx(tracked.scores, rel=1e-12)
            assert (said.states, said.boxes) == (tracked.states, tracked.boxes)
    assert len(set(records[0].under(rule).states)) > 1
    assert runner.pending(artifact_subject(artifact, threads=1), sequences, store) == []  # nothing to track again


def test_an_evaluation_writes_files_that_score_the_same(artifact, sequences, tmp_path):
    folder = tmp_path / "out"
    document, records = evaluate(
        artifact_subject(artifact, threads=1), sequences, folder, data=["x"], jobs=1, progress=Bar(), plots=False
    )
    assert json.loads((folder / "eval.json").read_text())["overall"] == document["overall"]
    assert (document["kind"], document["schema"]) == ("edgetrack-eval", 1)
    curves = []
    for record in records:
        cut = read_result(folder / "pytracking" / f"{record.slug}.txt")
        assert cut.tolist() == np.trunc(record.raw_array()).tolist()
        rounded = read_result(folder / "got10k" / record.slug / f"{record.slug}_001.txt")
        assert rounded == pytest.approx(record.raw_array(), abs=5.1e-4)
        assert len((folder / "got10k" / record.slug / f"{record.slug}_time.txt").read_text().split()) == len(cut)
        curves.append(pytracking_curves(cut, record.truth_array()))
    assert vars(pytracking_scores(curves)) == document["overall"]["pytracking"]
    first, second = document["sequences"]
    assert (first["frames"], first["absent"], second["frames"], second["absent"]) == (6, 0, 5, 2)
    assert document["overall"]["loss"]["absent_frames"] == 2
    assert first["pytracking"]["op50"] > 50  # the square hardly moves


def test_pictures(artifact, sequences, tmp_path):
    pytest.importorskip("matplotlib")
    evaluate(artifact_subject(artifact), sequences[:1], tmp_path / "out", data=["x"], jobs=1, progress=Bar())
    for name in ("success.png", "precision.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_result_files_are_read_back_strictly(artifact, sequences, store, tmp_path):
    records = run_sequences(artifact_subject(artifact, threads=1), sequences[:1], store, jobs=1, progress=Bar())
    write_results(records, tmp_path / "out")
    path = tmp_path / "out" / "pytracking" / "first.txt"
    assert path.read_text().splitlines()[0] == "40\t30\t24\t24"
    path.write_text("1\t2\t3\tnan\n")
    with pytest.raises(InputError, match="box 1 is not finite"):
        read_result(path)


def test_sequences_that_cannot_be_tracked_are_refused(data, tmp_path):
    with pytest.raises(InputError, match="matches 'third'"):
        read_sequences([str(data)], only="third")
    truth = data / "first" / "groundtruth.txt"
    truth.write_text(truth.read_text().replace("40,30,24,24", "nan,nan,nan,nan"))
    with pytest.raises(InputError, match=r"sequence first: the first box is .*nan"):
        read_sequences([str(data)])
    assert [sequence.name for sequence in read_sequences([str(data)], only="sec*")] == ["second"]


def test_names_become_files(data):
    with pytest.raises(InputError, match="two sequences are called first"):
        read_sequences([f"sequences:{data}"] * 2, only="first")
    assert [sequence.slug for sequence in read_sequences(["demo"])] == ["demo_car"]


def test_the_clip_of_edgetrack_is_a_sequence():
    (sequence,) = read_sequences(["demo"])
    frame = next(iter(sequence.frames()))
    assert (frame.shape, len(sequence.boxes)) == ((432, 768, 3), 65)


def test_threads_are_shared_out(monkeypatch):
    monkeypatch.setattr("edgetrack.cli.machine.usable_cores", lambda: 7)
    assert [threads_per_job(None, 1), threads_per_job(None, 2), threads_per_job(None, 9)] == [None, 3, 1]
    assert threads_per_job(4, 2) == 4
