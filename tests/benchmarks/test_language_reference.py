"""The loops in PyTorch of trackers that read text: told each sequence's own sentence, and compared with artifacts."""

from __future__ import annotations

import numpy as np
import pytest
import small_atstrack
import small_mvlm
from accuracy_case import write_sequence

from edgetrack.cli import main
from edgetrack.errors import InputError
from edgetrack.export.language import TextFiles
from edgetrack.export.models.mvlm_variants import GateRule
from edgetrack.export.source import load_source

pytest.importorskip("typer")
pytest.importorskip("cv2")
pytest.importorskip("tokenizers")


@pytest.fixture(params=["atstrack-384", "mvlm-bbox"])
def model(request, monkeypatch) -> str:
    """A family at small sizes."""
    if request.param == "atstrack-384":
        small_atstrack.install(monkeypatch)
    else:
        small_mvlm.install(monkeypatch, "bbox", GateRule(0.9, 0.02, 0.5, 0.5, 0.1))
    return request.param


@pytest.fixture
def run(capsys):
    def call(*words: object) -> tuple[int, str, str]:
        code = main([*map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_eval_of_a_checkpoint_tells_each_sequence_its_own_text(run, model, tmp_path):
    data = tmp_path / "data"
    for name, text in (("a", "man"), ("b", "dog"), ("c", "man")):
        write_sequence(data / name, 5)
        (data / name / "nlp.txt").write_text(text)
    words = ("eval", "stand-in", "--model", model, "--data", data, "--output", tmp_path / "out", "--no-plots")
    code, _, err = run(*words, "--threads", 1)
    assert code == 0, err
    found = [(tmp_path / "out" / "got10k" / name / f"{name}_001.txt").read_text() for name in ("a", "b", "c")]
    assert found[0] == found[2] != found[1]


def test_the_loop_makes_the_same_ids_as_an_artifact(model):
    source = load_source(model, "stand-in")
    with pytest.raises(InputError, match="says nothing"):
        source.loop(" ")
    one, other = (source.text.inputs(text)["ids"] for text in ("man", "dog"))
    assert not np.array_equal(one, other)
    assert source.loop("man") is not source.loop("man")


def test_files_of_the_text_side_are_for_checkpoints(run, artifact, tmp_path):
    data = write_sequence(tmp_path / "a", 4)
    code, _, err = run("eval", artifact, "--data", data, "--vocabulary", tmp_path / "v.json")
    assert (code, "are for a checkpoint" in " ".join(err.split())) == (2, True)
    code, _, err = run("bench", artifact, "--vocabulary", tmp_path / "v.json")
    assert (code, "are for --reference" in " ".join(err.split())) == (2, True)
    assert TextFiles().vocabulary is None
