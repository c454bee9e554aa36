"""The published loop as a contender; a real network, so few frames."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from edgetrack.benchmarks.contenders import STAGES, ContenderSpec, open_contender, reference_spec
from edgetrack.benchmarks.frames import load_footage
from edgetrack.errors import InputError


def spec(variant: str = "fartrack-pico", **changes) -> ContenderSpec:
    given = {"kind": "artifact", "name": "x", "path": "/x", "precision": "fp32", "weights": "stand-in"}
    return ContenderSpec(variant=variant, engine="onnxruntime", **{**given, "threads": 1, **changes})


def test_the_reference_is_the_published_loop():
    pytest.importorskip("cv2")
    from edgetrack.export.source import load_source

    footage, before = load_footage(), torch.get_num_threads()
    contender = open_contender(reference_spec("stand-in", [spec()]))
    assert torch.get_num_threads() == 1
    contender.init(footage.frames[0], footage.box)
    contender.update(footage.frames[1])
    source = load_source("fartrack-pico", "stand-in")
    loop = source.family.reference("fartrack-pico", source.net)
    loop.init(footage.frames[0], footage.box)
    assert contender.box == loop.update(footage.frames[1])
    assert contender.stages_ms() == {}
    assert set(contender.stage_notes()) == set(STAGES)
    assert contender.describe()["engine"] == "pytorch"
    contender.close()
    assert torch.get_num_threads() == before


def test_one_reference_for_one_variant():
    with pytest.raises(InputError, match="fartrack-nano, fartrack-pico have no reference in common"):
        reference_spec("stand-in", [spec(), spec("fartrack-nano")])


def test_the_seed_and_threads_are_the_artifacts():
    found = reference_spec("stand-in", [spec(seed=7, threads=2)])
    assert (found.seed, found.threads, found.path, found.kind) == (7, 2, "stand-in", "reference")
