"""The probe that chooses between forms of 8-bit products: by times, remembered, never by a damaged file."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from edgetrack.errors import InputError
from edgetrack.export.targets import int8_path, target_of
from edgetrack.export.targets.int8_path import cache_file, choose

KEY = {"engine": "fake", "version": "1", "device": "cpu"}


class Session:
    def __init__(self, engine, seconds) -> None:
        self.engine, self.seconds = engine, seconds
        self.inputs, self.outputs = {"x": np.zeros((2, 2), np.float32)}, {}

    def run(self):
        self.engine.runs += 1
        assert self.inputs["x"].any(), "zeros may be faster than what a network is fed"
        self.engine.now += self.seconds


class Engine:
    """Files that take as long as they say in milliseconds."""

    def __init__(self) -> None:
        self.version, self.runs, self.now = "1", 0, 0.0

    def describe(self):
        return {**KEY, "version": self.version}

    def open(self, path, dims):
        assert dims == {"kept": 37}
        seconds = float(path.read_text()) / 1e3
        return Session(self, seconds)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(int8_path, "PROBE_S", 0.02)


@pytest.fixture
def probe(tmp_path, monkeypatch):
    engine = Engine()
    monkeypatch.setattr(int8_path, "time", SimpleNamespace(perf_counter=lambda: engine.now))

    def call(graph="graph", **ms):
        files = {}
        for name, value in ms.items():
            files[name] = tmp_path / name
            files[name].write_text(str(value))
        source = tmp_path / "typed.onnx"
        source.write_text(graph)
        before = engine.runs
        choice = choose(files, {"kept": 37}, engine, source)
        return choice, engine.runs - before

    call.engine = engine
    return call


def test_the_faster_one_is_chosen_and_remembered(probe):
    choice, runs = probe(dynamic=5, static=1)
    assert (choice.path, choice.cached) == ("static", False)
    assert runs >= 2 * (3 + 2 * 7)
    assert 0.9 <= choice.ms["static"] < choice.ms["dynamic"]
    again, runs = probe(dynamic=1, static=3)
    assert (again.path, again.ms, again.cached, runs) == ("static", choice.ms, True, 0)
    assert set(again.as_dict()["probe_ms"]) == {"dynamic", "static"}


def test_of_times_that_are_alike_the_first_is_taken(probe, monkeypatch):
    for order in (("dynamic", "static"), ("static", "dynamic")):
        times = {name: 10.0 if name == order[0] else 9.6 for name in order}
        monkeypatch.setattr(int8_path, "_measure", lambda sessions, times=times: times)
        assert probe(" ".join(order), **dict.fromkeys(order, 0))[0].path == order[0]


def test_another_graph_engine_or_machine_is_measured_anew(probe, monkeypatch):
    probe(dynamic=3, static=1)
    assert probe("other", dynamic=1, static=3)[0].path == "dynamic"
    probe.engine.version = "2"
    assert probe(dynamic=1, static=3)[0].path == "dynamic"
    monkeypatch.setattr(int8_path, "simd_flags", lambda: ["none"])
    assert probe(dynamic=3, static=1)[0].path == "static"
    assert len(json.loads(cache_file().read_text())) == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": {"dynamic": -1.0}}', '{"a": 3}', "[" * 100_000])
def test_damaged_memory_is_as_good_as_none(probe, text):
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(text)
    assert probe(dynamic=3, static=1)[0].path == "static"
    assert probe(dynamic=3, static=1)[0].cached


def test_where_nothing_can_be_remembered(probe, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not probe(dynamic=3, static=1)[0].cached
    assert not probe(dynamic=3, static=1)[0].cached


def test_option_is_for_int8_alone():
    info = target_of("onnx")
    with pytest.raises(InputError, match="give auto, dynamic, static"):
        info.check_options({"int8-path": "fast"})
    with pytest.raises(InputError, match="--int8-path is for precision int8, not fp32"):
        info.check_options({"int8-path": "static"}, "fp32")
    assert info.check_options({"int8-path": "static"}, "int8") == {"int8-path": "static"}
    assert info.check_options({"int8-path": "auto"}, "fp32") == {"int8-path": "auto"}
