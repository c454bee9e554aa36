"""The programs beside `edgetrack bench`, with few iterations. No times are judged."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time

import pytest

from edgetrack.benchmarks import exporting, footprint, growth, outside, startup, stub
from edgetrack.benchmarks.files import read_document, write_document
from edgetrack.benchmarks.matrix_rate import Chain, chain_of
from edgetrack.benchmarks.operators import calls_of_events
from edgetrack.benchmarks.others import OtherLoad, others_line
from edgetrack.benchmarks.process import peak_rss_bytes, rss_bytes
from edgetrack.benchmarks.profile import main as profile
from edgetrack.benchmarks.profile import table_of_calls
from edgetrack.cli.console import progress
from edgetrack.errors import InputError
from edgetrack.export.models import find_variant


def output(capsys, code: int) -> dict:
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_the_stub_has_the_published_spec():
    pytest.importorskip("torch")
    from edgetrack.export.models import family_of
    from edgetrack.export.models.fartrack import FARTRACK

    assert FARTRACK.tracker_spec("fartrack-pico") == stub.FARTRACK_SPEC
    for variant in ("ostrack-256-ce", "grm-256"):
        assert family_of(variant).tracker_spec(variant) == stub.CENTRE_SPEC


@pytest.mark.parametrize("family", stub.SPECS)
def test_the_stub_stays_on_its_target(family):
    frames = stub.noise_frames(2, 320, 240)
    with stub.stub_tracker(stub.SPECS[family]) as tracker:
        tracker.init(frames[0], (130.0, 95.0, 60.0, 50.0))
        for number in range(20):
            ok, box = tracker.update(frames[number % 2])
            assert ok
        x, y, w, h = box
        assert (x + w / 2, y + h / 2) == pytest.approx((160.0, 120.0), abs=5.0)
        assert (w, h) == pytest.approx((55.0, 55.0), abs=12.0)


def test_outside(capsys, tmp_path):
    found = output(capsys, outside.main(["--updates", "2", "--json", "--output", str(tmp_path / "o.json")]))
    assert found == json.loads((tmp_path / "o.json").read_text())
    assert found["schema"] == "edgetrack-outside/1"
    assert [(row["width"], row["target"]) for row in found["rows"]] == [
        (width, target) for width in (640, 1280, 1920, 3840) for target in ("fixed", "scaled")
    ]
    assert 0 <= found["others_share"] <= 1
    for row in found["rows"]:
        assert row["total_ms"]["count"] == 2
        assert row["stages_ms"]["run"]["p50"] < row["total_ms"]["p50"]


def test_outside_of_the_centre_head(capsys, monkeypatch):
    monkeypatch.setattr(outside, "_SIZES", ((640, 480),))
    found = output(capsys, outside.main(["--family", "centre-head", "--updates", "2", "--json"]))
    assert found["family"] == "centre-head"
    assert [row["total_ms"]["count"] for row in found["rows"]] == [2, 2]


def test_outside_gives_the_cores_back():
    before = os.sched_getaffinity(0)
    outside.measure_outside(1, [(640, 480)])
    assert os.sched_getaffinity(0) == before


def test_outside_table(capsys, monkeypatch):
    monkeypatch.setattr(outside, "_SIZES", ((640, 480),))
    assert outside.main(["--updates", "1"]) == 0
    assert "640x480" in capsys.readouterr().out


def test_growth_reaches_its_bound():
    with progress(None, "grow") as bar:
        found = growth.measure_growth(400, bar, limit_mib=2)
    assert found["limit_bytes"] == 2 << 20
    assert found["at_bound"]["stride"] > 1
    assert found["at_bound"]["update"] > found["exact_frames"]
    assert found["end"]["update"] == 400
    assert found["growth_after_bound_bytes"] >= 0


def test_growth_says_when_the_bound_is_not_reached(capsys):
    assert growth.main(["--updates", "20"]) == 0
    out = capsys.readouterr().out
    assert "bound of the history: 62.9 MB" in out
    assert "not reached in 20 updates" in out


def test_startup(capsys, artifact):
    pytest.importorskip("cv2")
    found = output(capsys, startup.main([str(artifact), "--repeats", "1", "--json"]))
    assert not set(found["import"]["heavy"]) & {"torch", "onnx", "cv2"}
    assert found["import"]["modules"] >= 1
    (item,) = found["artifacts"]
    assert item["cold_start"]["median"]["load_ms"] > 0
    assert found["wheel"] is None


def test_startup_needs_the_wheel_it_is_given(tmp_path):
    with pytest.raises(InputError, match=r"x\.whl does not exist"):
        startup.measure_startup([], repeats=1, wheel=tmp_path / "x.whl")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_profile(capsys, artifact, engine):
    pytest.importorskip(engine)
    pytest.importorskip("cv2")
    found = output(capsys, profile([str(artifact), "--engine", engine, "--threads", "1", "--updates", "70", "--json"]))
    assert found["engine"]["engine"] == engine
    assert found["operators"]
    assert any(row["matrix"] for row in found["operators"])
    assert sum(row["share"] for row in found["operators"]) == pytest.approx(1)
    assert found["matrix"]["chain_gflops"] > 0
    assert found["matrix"]["network_share"] is None  # the tiny artifact is in no table of variants


def test_footprint(capsys, artifact, monkeypatch):
    pytest.importorskip("cv2")
    assert footprint.main([str(artifact)]) == 5  # what it weighs is in no table
    capsys.readouterr()
    monkeypatch.setattr(footprint, "find_variant", lambda name: find_variant("fartrack-pico"))
    note = exporting.note_of(artifact)
    write_document(note, {"schema": exporting.SCHEMA, "seconds": 1.5, "peak_rss_bytes": 12_000_000})
    found = output(capsys, footprint.main([str(artifact), "--updates", "2", "--json"]))
    note.unlink()
    (row,) = found["rows"]
    assert row["weights_bytes"] == 4 * find_variant("fartrack-pico").parameters
    assert row["artifact_bytes"] == sum(path.stat().st_size for path in artifact.glob("*.onnx"))
    assert row["export"] == {"seconds": 1.5, "peak_rss_bytes": 12_000_000}
    assert row["memory"]["interpreter"] < row["memory"]["load"] <= row["memory"]["peak"]
    assert row["memory"]["updates"] == 2
    assert (row["target_bytes"], row["device"]) == (None, None)  # it reads no text


def test_an_export_is_noted_when_it_succeeds(tmp_path, capsys):
    note = tmp_path / "x.export.json"
    assert exporting.main([str(note), "export", "nothing"]) == 2
    assert not note.exists()
    assert exporting.main([str(note), "targets", "--json"]) == 0
    assert read_document(note, exporting.SCHEMA)["peak_rss_bytes"] > 10_000_000


def test_chains_have_the_shapes_of_a_network():
    assert str(chain_of(None)) == str(chain_of(find_variant("fartrack-pico")))
    assert str(chain_of(find_variant("ostrack-256"))) == "320 rows through widths 768 2304 768 3072 768"
    assert chain_of(find_variant("ostrack-256-ce")).rows == 241  # (4 * 320 + 3 * 244 + 3 * 190 + 2 * 153) / 12
    assert chain_of(find_variant("grm-l320")) == Chain(464, 1024)


def test_programs_have_exit_codes(artifact, capsys):
    assert profile([str(artifact / "nowhere")]) == 5
    assert "does not exist" in capsys.readouterr().err
    done = subprocess.run(
        [sys.executable, "-m", "edgetrack.benchmarks.outside", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=artifact,
    )
    assert "--updates" in done.stdout


def test_the_load_of_others():
    with OtherLoad() as alone:
        deadline = time.process_time() + 0.2
        while time.process_time() < deadline:
            pass
    assert 0 <= alone.share <= 1
    spin = "import time; end = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    other = subprocess.Popen([sys.executable, "-c", spin])
    time.sleep(0.3)
    with OtherLoad() as busy:
        time.sleep(0.5)
    other.kill()
    other.wait()
    assert busy.share >= 0.3 / len(os.sched_getaffinity(0))


def test_others_are_named_when_they_matter():
    assert others_line(None) is None
    assert others_line(0.04) is None
    assert "used 30% of the cores" in (others_line(0.3) or "")


def event(name: str, ts: int, dur: int, cat: str = "Node", op: str = "MatMul") -> dict:
    return {"cat": cat, "name": name, "ts": ts, "dur": dur, "args": {"op_name": op}}


def test_calls_of_a_trace():
    trace = [
        event("model_loading", 0, 9, "Session"),
        event("a_kernel_time", 11, 4000),
        event("b_fence_before", 12, 9),
        event("b_kernel_time", 13, 1000, op="Add"),
        event("model_run", 10, 5, "Session"),
        event("model_run", 20, 5, "Session"),
        event("a_kernel_time", 21, 3000),
        event("c_kernel_time", 22, 3000),
    ]
    assert calls_of_events(trace) == [{"MatMul": (1, 4.0), "Add": (1, 1.0)}, {"MatMul": (2, 6.0)}]


def test_a_frame_is_every_graph_once():
    search = [{"MatMul": (3, 6.0), "Add": (1, 1.0)}, {"MatMul": (3, 8.0)}, {"MatMul": (3, 7.0), "Add": (1, 2.0)}]
    rows = table_of_calls({"search.onnx": search, "template.onnx": [{"MatMul": (1, 1.0)}]})
    assert rows == [
        {"op": "MatMul", "count": 4, "ms": 8.0, "share": 8 / 9, "matrix": True},
        {"op": "Add", "count": 1, "ms": 1.0, "share": 1 / 9, "matrix": False},
    ]


def test_memory_of_this_process():
    before = rss_bytes()
    with mmap.mmap(-1, 32 << 20) as block:  # new pages for sure, unlike what numpy may find in its heap
        block.write(bytes([1]) * (32 << 20))
        assert rss_bytes() - before > 24 << 20
    assert peak_rss_bytes() >= before + (24 << 20)
