"""Weights that hold only what inference reads."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open

from edgetrack.errors import CheckpointError
from edgetrack.export.compact import score_rule, write_compact
from edgetrack.export.manifest import model_sections
from edgetrack.export.models.fartrack import FARTRACK
from edgetrack.export.source import load_source


@pytest.fixture(scope="module")
def source():
    return load_source("fartrack-pico", "stand-in")


@pytest.fixture(scope="module")
def small(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("compact") / "pico.safetensors"
    write_compact(source.net.state_dict(), "fartrack-pico", path)
    return path


def test_same_outputs_from_a_tenth_of_the_entries(source, small):
    assert small.stat().st_size < 6.1e6
    with safe_open(small, "pt") as file:
        names = set(file.keys())
    assert "backbone.blocks.5.attn.qkv.weight" in names
    assert not any("blocks.6." in name or ".norm1." in name or "cls_token" in name for name in names)
    again = load_source("fartrack-pico", small)
    templates, search = [torch.randn(1, 3, 112, 112)] * 5, torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        one, other = (loaded.net(templates, search).logits for loaded in (source, again))
    assert 0 < (one - other).abs().max() < 0.05  # the specification's limit for float16


def test_it_does_not_fit_a_deeper_model(small):
    with pytest.raises(CheckpointError, match="48 missing"):
        load_source("fartrack-nano", small)


def test_a_published_file_is_still_read_strictly(source, tmp_path):
    state = {name: value for name, value in source.net.state_dict().items() if "cls_token" not in name}
    path = tmp_path / "published.pth.tar"
    torch.save({"net": state}, path)
    with pytest.raises(CheckpointError, match="missing"):
        load_source("fartrack-pico", path)


def test_what_cannot_be_written(source, tmp_path):
    state = dict(source.net.state_dict())
    state["identity"] = torch.full_like(state["identity"], 1e6)
    with pytest.raises(CheckpointError, match="identity does not fit into float16"):
        write_compact(state, "fartrack-pico", tmp_path / "x.safetensors")
    del state["identity"]
    with pytest.raises(CheckpointError, match="lack identity"):
        write_compact(state, "fartrack-pico", tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


RULE = {"calibration": {"slope": 9.5, "intercept": -4.25}, "uncertain_below": 0.5, "lost_below": 0.125}


def test_a_score_rule_travels_with_the_weights(source, tmp_path):
    path = tmp_path / "calibrated.safetensors"
    write_compact(source.net.state_dict(), "fartrack-pico", path, RULE)
    section = model_sections(load_source("fartrack-pico", path))["tracker"]["score"]
    assert section == {**FARTRACK.tracker_spec("fartrack-pico")["score"], **RULE}
    assert load_source("fartrack-pico-d5", path).score is None, "it was found at full depth"


@pytest.mark.parametrize(("text", "reason"), [("{", "is no JSON"), ("[]", "just calibration"), ("{}", "lost_below")])
def test_damaged_score_rules(text, reason):
    with pytest.raises(CheckpointError, match=reason):
        score_rule({"variant": "fartrack-pico", "score": text}, "fartrack-pico")
    assert score_rule({"variant": "fartrack-nano", "score": text}, "fartrack-pico") is None
