"""RESULTS.md from stored documents, and when a stored document stands."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import pytest

from edgetrack.benchmarks import results, sources
from edgetrack.benchmarks.files import read_document, write_document
from edgetrack.benchmarks.goals import ENGINES, LANGUAGE_VARIANTS, NOT_MEASURED, goals
from edgetrack.benchmarks.results import CENTRE_VARIANTS, MEASURED, VARIANTS, Part, parts
from edgetrack.benchmarks.results_page import render
from edgetrack.benchmarks.stats import Summary
from edgetrack.errors import InputError

MACHINE = {"system": "Linux", "cpu": "CPU", "cores": 2, "simd": ["avx2"], "ram_bytes": 2**34, "governor": None}
COMMON = {
    "edgetrack": "0.1.0",
    "time": "2026-01-01T00:00:00Z",
    "others_share": 0.012,
    "machine": MACHINE | {"load_1min": 0.1, "python": "3"},
}


def summary(ms: float) -> dict:
    return asdict(Summary(10, ms, ms, ms, ms, ms, ms))


def contender(name: str, kind: str, ms: float, ratio: float | None, variant: str) -> dict:
    interval = None if ratio is None else {"value": ratio, "low": ratio - 0.1, "high": ratio + 0.1}
    cold = dict.fromkeys(("load_ms", "load_again_ms", "init_ms", "first_update_ms", "to_first_box_ms"), 3.0)
    memory = dict.fromkeys(("interpreter", "engine_import", "load", "end", "peak"), 10_000_000)
    return {
        "name": name,
        "kind": kind,
        "variant": variant,
        "precision": "fp32",
        "engine": {"engine": name, "version": "1.2.3-x", "device": "cpu", "threads": 2},
        "updates": 10,
        "fps": 1e3 / ms,
        "total_ms": summary(ms),
        "stages_ms": {stage: summary(ms / 8) for stage in ("crop", "run", "decode", "memory", "rest")}
        | {"text": summary(0.0)},
        **({"text_ms": 12.5} if variant in LANGUAGE_VARIANTS and kind == "artifact" else {}),
        "drift": {"change": 0.01},
        "cold_start": {"median": cold} if kind == "artifact" else None,
        "memory": memory if kind == "artifact" else None,
        "versus": interval
        and {"base": "pytorch", "fps_ratio": interval, "median_ratio": interval, "max_box_px": 0.0125},
    }


def bench(variant: str) -> dict:
    return COMMON | {
        "clip": {"name": "car.mp4", "width": 768, "height": 432},
        "plan": {"threads": 2, "block": 16, "settle": 1, "pause_s": 0.05, "warmup": 64},
        "contenders": [
            contender("pytorch", "reference", 62.0, None, variant),
            contender("onnxruntime", "artifact", 20.0, 3.2, variant),
            contender("openvino", "artifact", 25.0, 2.56, variant),
        ],
    }


def footprint(variant: str) -> dict:
    row = {"variant": variant, "precision": "fp32", "parameters": 100_000_000, "gmacs": 30.0, "published_gmacs": 33.0}
    sizes = {"weights_bytes": 400_000_000, "artifact_bytes": 410_000_000, "memory": {"load": 5.1e8, "peak": 6.6e8}}
    export = {"export": {"seconds": 60.0, "peak_rss_bytes": 5.9e9}}
    rows = [row | sizes | export | {"artifact": f"{variant}-{engine}", "engine": engine} for engine in ENGINES]
    told: dict = {"target_bytes": None, "device": None}
    if variant in LANGUAGE_VARIANTS:
        device = {"graphs_bytes": 390_000_000, "pack_bytes": 204_000, "memory": {"load": 5e8, "peak": 6.1e8}}
        told = {"target_bytes": 203_000, "device": device}
    return COMMON | {"updates": 4, "rows": [row | told for row in rows]}


def documents() -> dict[str, dict]:
    rows = [
        {
            "width": width,
            "height": height,
            "target": target,
            "target_px": [96, 72],
            "total_ms": summary(0.41),
            "stages_ms": {stage: summary(0.1) for stage in ("crop", "run", "decode", "memory")},
        }
        for width, height in ((640, 480), (1920, 1080), (3840, 2160))
        for target in ("fixed", "scaled")
    ]
    cold = {"median": {"load_ms": 321.0, "load_again_ms": 45.0, "to_first_box_ms": 500.0}}
    start = COMMON | {
        "import": {"ms": summary(20.0), "modules": 9, "heavy": []},
        "wheel": {"name": "edgetrack.whl", "bytes": 1_234_567},
        "artifacts": [{"name": "pico-onnx", "variant": VARIANTS[0], "engine": "onnxruntime", "cold_start": cold}],
    }
    grown = COMMON | {
        "updates": 100_000,
        "limit_bytes": 62_900_000,
        "exact_frames": 3161,
        "at_bound": {"update": 3250, "rss": 101_000_000, "history": 1, "stride": 2},
        "end": {"update": 100_000, "rss": 101_500_000, "history": 62_900_000, "stride": 64},
        "growth_after_bound_bytes": 500_000,
    }
    profile = COMMON | {
        "artifact": "pico-onnx",
        "engine": {"engine": "onnxruntime", "version": "1.2.3"},
        "run_ms": summary(20.0),
        "operators": [{"op": "MatMul", "count": 3, "ms": 15.0, "share": 0.75, "matrix": True}],
        "matrix": {"chain": "397 rows", "chain_gflops": 140.0, "gmacs": 1.223, "network_gflops": 122.3}
        | {"network_share": 0.874, "products_ms": 15.0, "products_gflops": 163.0, "products_share": 1.16}
        | {"operators_ms": 20.0, "other_ms": 5.0, "other_share": 0.25},
    }
    return {
        **{f"bench-{variant}": bench(variant) for variant in MEASURED},
        **{f"footprint-{variant}": footprint(variant) for variant in (*CENTRE_VARIANTS, *LANGUAGE_VARIANTS)},
        "outside": COMMON | {"rows": rows},
        "outside-centre-head": COMMON | {"rows": rows},
        "startup": start,
        "growth": grown,
        "profile-fartrack-pico-onnxruntime": profile,
    }


def test_the_page_shows_what_is_stored():
    page = render(documents())
    for part in (
        "| grm-l320-openvino | 100.00 | 30.00 | 33.00 | 400 | 410 | 5900 | 510 | 660 | 670 |",
        "| mvlm-tf-openvino | 390 | 0.20 | 0.20 | 610 |",
        "| onnxruntime | 2.500 | 2.500 | 2.500 | 2.500 | 0.000 | 2.500 | 20.000 | +1.0% | 12.5 |",
        "| onnxruntime | 2.500 | 2.500 | 2.500 | 2.500 |  | 2.500 | 20.000 | +1.0% |  |",
        "at most 0.000 ms",
        "0.20 MB (mvlm-tf)",
        "at most 660 of 670 MB (ostrack-256, onnxruntime)",
        "OSTrack, GRM:",
        "3.20x",
        "3.10 to 3.30",
        "0.013",
        "0.410",
        "321 ms",
        "1.23 MB",
        "101.0 MB",
        "1.2% of the cores",
        "| MatMul | 3 | 15.000",
        "| 20.00 | 122 | 140 | 87% | 15.00 | 116% | 5.00 | 25.0% |",
        "| pytorch | not measured |",
        "| 1920x1080 | 96x72 | 0.100 | 0.100 | 0.100 | 0.410 | 0.410 | 96x72 | 0.410 | 0.410 |",
    ):
        assert part in page
    missed = [line for line in page.splitlines() if "**no**" in line]
    assert missed, "the goals of precisions, which these documents have no measurement of"
    assert all("not measured" in line and ("int8" in line or "fp16" in line) for line in missed), missed
    assert "(disturbed)" not in page
    assert "measured here: 62.0 ms" in page
    for published in ("64 ms", "135 ms"):
        source = "a figure given from elsewhere, not measured in this run"
        assert page.count(f"take {published} on a similar machine with 2 threads ({source})") == 1
    assert "turns of 16 updates" in re.sub(r"\s+", " ", page)
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_the_page_leaves_out_what_is_missing():
    every = documents()
    for name in every:
        page = render({name: every[name]})
        assert page.startswith("# Results")
        assert "None" not in page


def test_the_operators_add_up():
    every = documents()
    name = f"profile-{VARIANTS[0]}-onnxruntime"
    row = {"count": 2, "ms": 0.5, "share": 0.025, "matrix": False}
    every[name]["operators"] += [row | {"op": f"Op{number}"} for number in range(10)]
    page = render(every)
    assert "| Op8 | 2 | 0.500 | 2.5% |" in page
    assert "| 1 others | 2 | 0.500 | 2.5% |" in page
    assert "| all | 23 | 20.000 | 100% |" in page


def test_goals_that_are_reached():
    found = goals(documents())
    assert len(found) == 17
    assert all(goal.reached for goal in found)


def test_what_is_not_measured_is_not_reached():
    every = goals({})
    assert [goal.what for goal in every] == [goal.what for goal in goals(documents())]
    assert {(goal.found, goal.reached) for goal in every} == {(NOT_MEASURED, False)}
    for name, whole in documents().items():
        if not name.startswith(("profile-", "outside-")):
            rest = {other: document for other, document in documents().items() if other != name}
            missed = [goal for goal in goals(rest) if not goal.reached]
            assert missed, name
            assert all(NOT_MEASURED in goal.found for goal in missed)
            assert len(goals({name: whole})) == len(every)


def test_boxes_need_every_engine_of_every_variant():
    changed = documents()
    del changed["bench-fartrack-nano"]["contenders"][2]
    (missed,) = [goal for goal in goals(changed) if not goal.reached]
    assert missed.found == "0.013 px, 1 of 16 not measured"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("startup", lambda d: d.update(wheel=None)),
        ("startup", lambda d: d.update(artifacts=[])),
        ("outside", lambda d: d.update(rows=d["rows"][:-2])),
        ("growth", lambda d: d.update(growth_after_bound_bytes=None)),
        ("growth", lambda d: d.update(updates=99_999)),
        ("bench-fartrack-tiny", lambda d: d["contenders"][0].update(kind="artifact")),
        ("footprint-grm-l320", lambda d: d["rows"][1].update(export=None)),
    ],
)
def test_half_a_document_is_not_measured(part, change):
    changed = documents()
    change(changed[part])
    (missed,) = [goal for goal in goals(changed) if not goal.reached]
    assert missed.found == NOT_MEASURED


def test_disturbed_results_are_flagged():
    every = documents()
    changed = {name: document | {"others_share": 0.06} for name, document in every.items() if "growth" not in name}
    page = render(every | changed)
    for row in ("3.20x, onnxruntime (disturbed)", "| pytorch 1.2.3, fp32 (disturbed) |", "| 640x480 (disturbed) |"):
        assert row in page
    assert "| pico-onnx (disturbed) | onnxruntime |" in page
    assert "- `import edgetrack` (disturbed)" in page
    assert sum(goal.disturbed for goal in goals(every | changed)) == 9


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d["bench-fartrack-pico"]["contenders"][2]["versus"].update(max_box_px=0.06), "fp32 boxes"),
        (lambda d: d["bench-fartrack-pico"]["contenders"][1]["versus"]["fps_ratio"].update(value=2.9), "fartrack-pico"),
        (lambda d: fixed(d, 1920)["total_ms"].update(p50=0.501), "outside"),
        (lambda d: fixed(d, 640)["total_ms"].update(p50=0.2), "the same"),
        (lambda d: d["startup"]["import"].update(heavy=["torch"]), "`import"),
        (lambda d: d["startup"]["artifacts"][0]["cold_start"]["median"].update(load_ms=501), "fartrack-pico on onnx"),
        (lambda d: d["startup"]["wheel"].update(bytes=2_000_001), "the wheel"),
        (lambda d: d["growth"].update(growth_after_bound_bytes=2_000_001), "resident"),
        (lambda d: d["growth"].update(limit_bytes=64_000_001), "bound"),
        (
            lambda d: [item["versus"]["fps_ratio"].update(value=1.29) for item in d["bench-grm-256"]["contenders"][1:]],
            "grm",
        ),
        (lambda d: d["footprint-ostrack-256"]["rows"][1]["memory"].update(peak=670_000_001), "peak resident memory"),
        (lambda d: d["footprint-grm-l320"]["rows"][0]["export"].update(peak_rss_bytes=6e9), "export of grm-l320"),
        (lambda d: d["footprint-mvlm-tf"]["rows"][0].update(target_bytes=4_000_001), "target data of 6 trackers"),
        (lambda d: d["bench-glad-l384"]["contenders"][2]["stages_ms"].update(text=summary(0.1)), "text encoding"),
    ],
)
def test_goals_that_are_missed(change, what):
    changed = deepcopy(documents())
    change(changed)
    (missed,) = [goal for goal in goals(changed) if not goal.reached]
    assert missed.what.startswith(what)
    assert "**no**" in render(changed)


def test_text_that_is_encoded_elsewhere():
    """Its time in init is not 0: it is not here."""
    changed = documents()
    for entry in changed["bench-glad-b256"]["contenders"][1:]:
        entry["text_ms"] = 0.0
    assert "| 0.000 | 2.500 | 20.000 | +1.0% | elsewhere |" in render(changed)
    del changed["bench-glad-b256"]["contenders"][2]
    (missed,) = [goal for goal in goals(changed) if not goal.reached]
    assert missed.found == "at most 0.000 ms, 1 of 12 not measured"


def test_the_scaled_target_is_no_goal():
    changed = documents()
    for row in changed["outside"]["rows"]:
        if row["target"] == "scaled":
            row["total_ms"] = summary(0.9)
    assert all(goal.reached for goal in goals(changed))


def fixed(every: dict, width: int) -> dict:
    return next(row for row in every["outside"]["rows"] if (row["width"], row["target"]) == (width, "fixed"))


def test_all_parts():
    found = list(parts(Path("/built"), 2, Path("/x.whl")))
    names = [part.name for part in found]
    assert len(names) == len(set(names)) == 4 + 14 + 28 + 14
    for variant in MEASURED:
        assert f"bench-{variant}" in names
        assert {f"profile-{variant}-onnxruntime", f"profile-{variant}-openvino"} <= set(names)
        assert f"footprint-{variant}" in names
    tiny = next(part for part in found if part.name == "bench-fartrack-tiny")
    assert tiny.artifacts == (Path("/built/fartrack-tiny-onnx-fp32"), Path("/built/fartrack-tiny-openvino-fp32"))
    assert tuple(results.ENGINES.values()) == ENGINES
    assert tiny.words[-8:] == ("--reference", "stand-in", "--threads", "2", "--frames", "320", "--warmup", "64")
    large = next(part for part in found if part.name == "bench-grm-l320")
    assert large.words[-5:] == ("--frames", "6", "--warmup", "2", "--no-fresh")


def test_parts_are_chosen_by_words(tmp_path, monkeypatch, capsys):
    exported, measured = [], []
    monkeypatch.setattr(results, "_export", lambda path, threads: exported.append(path.name))
    monkeypatch.setattr(results, "_measure", lambda part, stored, force: measured.append(part.name))
    folders = ["--folder", str(tmp_path), "--work", str(tmp_path / "work")]
    assert results.main(["--only", "footprint-grm-l320", "outside-c", *folders]) == 5  # nothing is stored
    assert measured == ["outside-centre-head", "footprint-grm-l320"]
    assert exported == ["grm-l320-onnx-fp32", "grm-l320-openvino-fp32"]
    capsys.readouterr()
    assert results.main(["--only", "nothing", *folders]) == 5
    assert "no part has nothing in its name" in capsys.readouterr().err


def test_large_networks_are_proven_on_the_first_frames(tmp_path, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    commands = []

    def process(module, words):
        commands.append((module, words))

    monkeypatch.setattr(results, "_process", process)
    results._export(tmp_path / "grm-l320-onnx-fp32", 2)
    results._export(tmp_path / "fartrack-pico-openvino-fp32", 2)
    ((module, large), (_, small)) = commands
    assert module == "edgetrack.benchmarks.exporting"
    assert large[:2] == [str(tmp_path / "grm-l320-onnx-fp32.export.json"), "export"]
    assert large[large.index("--clip") + 1] == str(tmp_path / "clip-9")
    assert large[large.index("--init") + 1].count(",") == 3
    assert "--clip" not in small
    written = sorted((tmp_path / "clip-9").iterdir())
    assert len(written) == 9
    from edgetrack.export.parity.clip import demo_clip

    assert (cv2.imread(str(written[8]))[..., ::-1] == demo_clip().head(9)[8]).all()


def test_a_stored_part_stands_until_the_configuration_changes(tmp_path, monkeypatch):
    runs = []

    def process(module, words):
        runs.append(module)
        write_document(Path(words[-1]), {"schema": "s/1", "number": len(runs)})

    monkeypatch.setattr(results, "_process", process)
    part, stored = Part("x", "s/1", "module", ("--threads", "2")), tmp_path / "x.json"
    results._measure(part, stored, force=False)
    results._measure(part, stored, force=False)
    assert runs == ["module"]
    assert read_document(stored, results.SCHEMA)["document"]["number"] == 1
    results._measure(Part("x", "s/1", "module", ("--threads", "3")), stored, force=False)
    assert len(runs) == 2
    results._measure(Part("x", "s/1", "module", ("--threads", "3")), stored, force=True)
    assert len(runs) == 3
    monkeypatch.setattr(results, "sources_sha256", lambda: "other code")
    results._measure(Part("x", "s/1", "module", ("--threads", "3")), stored, force=False)
    assert len(runs) == 4


def test_the_checksum_covers_code_and_clip_but_not_the_page(tmp_path, monkeypatch):
    found, before = sources._files(), sources.sources_sha256()
    wanted = ("demo/car.mp4", "runtime/tracker.py", "export/loops/fartrack.py", "export/models/vit.py", "loading.py")
    assert {f"edgetrack/{name}" for name in (*wanted, "benchmarks/outside.py", "cli/bench.py")} <= set(found)
    assert not {name for name in found if "results" in name or "goals" in name}
    changed = tmp_path / "loop.py"
    changed.write_text("pass\n")
    monkeypatch.setattr(sources, "_files", lambda: found | {"edgetrack/benchmarks/loop.py": changed})
    assert sources.sources_sha256() != before


def test_the_wheel_is_built_unless_it_is_given(tmp_path, monkeypatch):
    built = tmp_path / "built.whl"
    monkeypatch.setattr(results, "build_wheel", lambda tree, folder: built)
    monkeypatch.setattr(results, "source_tree", lambda: tmp_path)
    part = next(part for part in parts(tmp_path, 2) if part.name == "startup")
    assert results._wheel_words(part, tmp_path) == ["--wheel", str(built)]
    part = next(part for part in parts(tmp_path, 2, tmp_path / "given.whl") if part.name == "startup")
    assert results._wheel_words(part, tmp_path) == ["--wheel", str(tmp_path.resolve() / "given.whl")]
    assert results._wheel_words(Part("x", "s/1", "module", ()), tmp_path) == []


def test_a_wheel_that_is_not_there_is_5(tmp_path, capsys):
    words = ["--wheel", str(tmp_path / "x.whl"), "--folder", str(tmp_path), "--work", str(tmp_path / "work")]
    assert results.main(words) == 5
    assert "x.whl does not exist" in capsys.readouterr().err


def test_render_alone(tmp_path, capsys):
    for name, document in documents().items():
        (tmp_path / "results").mkdir(exist_ok=True)
        write_document(tmp_path / "results" / f"{name}.json", {"schema": results.SCHEMA, "document": document})
    assert results.main(["--render", "--folder", str(tmp_path)]) == 0
    assert (tmp_path / "RESULTS.md").read_text().strip() == render(documents())
    assert f"from {len(documents())} files" in capsys.readouterr().out


def test_render_without_results_is_5(tmp_path, capsys):
    assert results.main(["--render", "--folder", str(tmp_path)]) == 5
    assert "there are no results" in capsys.readouterr().err


def test_documents_on_disk(tmp_path):
    path = tmp_path / "x.json"
    document = {"schema": "s/1", "numbers": [1, 2.5, -3e-05], "words": ["a", "b"], "one": [7], "none": []}
    write_document(path, document)
    assert read_document(path, "s/1") == document == json.loads(path.read_text())
    assert '"numbers": [1, 2.5, -3e-05]' in path.read_text()
    with pytest.raises(InputError, match="not a document of schema s/2"):
        read_document(path, "s/2")
    with pytest.raises(InputError, match="cannot be read"):
        read_document(tmp_path / "y.json", "s/1")
