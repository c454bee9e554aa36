"""`edgetrack eval` with a tracker that reads text."""

from __future__ import annotations

import pytest
from accuracy_case import write_sequence

from edgetrack.cli import main

pytest.importorskip("typer")
pytest.importorskip("cv2")
pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
import tiny_language_artifact


def test_each_sequence_is_told_its_own_text(tmp_path, artifact, capsys):
    """Two sequences of the same pictures and boxes, described differently, are tracked differently."""
    told, data = tiny_language_artifact.write_artifact(tmp_path / "told"), tmp_path / "data"
    for name, text in (("a", "the white man"), ("b", "the red car")):
        write_sequence(data / name, 4)
        (data / name / "nlp.txt").write_text(text)

    def rows(subject, folder):
        words = ("eval", subject, "--data", data, "--output", folder, "--no-plots", "--threads", 1)
        assert main([*map(str, words)]) == 0, capsys.readouterr().err
        return [(folder / "got10k" / name / f"{name}_001.txt").read_text() for name in ("a", "b")]

    first, second = rows(told, tmp_path / "out")
    assert first != second
    first, second = rows(artifact, tmp_path / "plain")  # a tracker without language does not hear it
    assert first == second


def test_a_changed_text_is_tracked_again(tmp_path):
    from edgetrack.benchmarks.accuracy.sequences import read_sequences

    write_sequence(tmp_path / "a", 4)
    seen = []
    for text in (None, "the man", "the car"):
        if text is not None:
            (tmp_path / "a" / "nlp.txt").write_text(text)
        (sequence,) = read_sequences([str(tmp_path / "a")])
        assert sequence.text == text
        seen.append(sequence.fingerprint())
    assert len(set(seen)) == 3
