"""Describing graphs one after the other: who fills which input, what stays open, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetrack.errors import ArtifactError, InputError
from edgetrack.runtime.describing import Chain
from edgetrack.runtime.graph_file import GraphFile
from edgetrack.runtime.noise import standard_normal


class Session:
    def __init__(self, inputs, outputs, work) -> None:
        self.inputs = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
        self.outputs = {name: np.zeros(shape, np.float32) for name, shape in outputs.items()}
        self.work = work

    def run(self) -> None:
        self.work(self.inputs, self.outputs)


class FakeEngine:
    """Opens fake graphs and counts."""

    def __init__(self, made) -> None:
        self.made, self.opened = made, []

    def open(self, path, dims):
        self.opened.append(path.stem)
        return self.made[path.stem]


def text(inputs, outputs) -> None:
    outputs["words"][...] = 2 * inputs["ids"].sum()


def look(inputs, outputs) -> None:
    outputs["key"][...] = inputs["words"] + inputs["image"].sum() + inputs["noise_first"]


def chain(roles=("text", "look"), present=("text", "look"), seed=0):
    engine = FakeEngine(
        {
            "text": Session({"ids": (1, 3)}, {"words": (1, 2)}, text),
            "look": Session({"words": (1, 2), "image": (1, 4), "noise_first": (1, 2)}, {"key": (1, 2)}, look),
        }
    )
    graphs = {
        role: GraphFile(
            Path(f"{role}.onnx"), inputs={name: value.shape for name, value in engine.made[role].inputs.items()}
        )
        for role in present
    }
    return Chain(roles, graphs, engine, seed), engine


GIVEN = {"ids": np.ones((1, 3), np.int32), "image": np.full((1, 4), 0.5, np.float32)}


def test_each_input_comes_from_its_source():
    described, engine = chain()
    made = described.run(GIVEN)
    noise = standard_normal("noise.first", (1, 2), 0).astype(np.float32)
    np.testing.assert_allclose(made["key"], 6 + 2 + noise, rtol=0, atol=1e-6)
    assert engine.opened == ["text", "look"]
    described.run(GIVEN)
    assert engine.opened == ["text", "look"] * 2  # of several graphs none stays open
    assert described.sees_image


def test_noise_follows_from_the_seed():
    runs = [chain(seed=seed)[0].run(GIVEN)["key"] for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_noise_may_be_given():
    made = chain()[0].run({**GIVEN, "noise_first": np.zeros((1, 2), np.float32)})
    assert made["key"].tolist() == [[8.0, 8.0]]


def test_one_graph_stays_open():
    described, engine = chain(("text",))
    for _ in range(2):
        described.run({"ids": GIVEN["ids"]})
    assert engine.opened == ["text"]
    assert not described.sees_image


@pytest.mark.parametrize("present", [(), ("text",)])
def test_a_graph_that_is_not_here(present):
    described, _ = chain(present=present)
    assert not described.complete
    with pytest.raises(InputError, match="no text encoder; give a target pack"):
        described.run(GIVEN)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ids": GIVEN["ids"]}, "nothing gives the look graph its input 'image'"),
        (
            {**GIVEN, "ids": np.ones((1, 4), np.int32)},
            r"text graph has no input 'ids' of shape \[1, 4\] but of \[1, 3\]",
        ),
        ({**GIVEN, "mask": np.ones(1)}, "graph has no input 'mask'"),
    ],
)
def test_what_does_not_fit(given, words):
    with pytest.raises(ArtifactError, match=words):
        chain()[0].run(given)


def test_which_graph_is_at_work_can_be_seen():
    described, engine = chain()
    seen = []
    for session in engine.made.values():
        session.work = lambda inputs, outputs: seen.append(described.at_work)
    described.run(GIVEN)
    assert seen == ["text (1 of 2)", "look (2 of 2)"]
    assert described.at_work == ""
    engine.made["look"].work = lambda inputs, outputs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        described.run(GIVEN)
    assert described.at_work == ""
    alone, engine = chain(roles=("text",), present=("text",))
    engine.made["text"].work = lambda inputs, outputs: seen.append(alone.at_work)
    alone.run({"ids": GIVEN["ids"]})
    assert seen[-1] == ""
