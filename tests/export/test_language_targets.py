"""Trackers with language at small sizes on the targets of GPUs and NPUs: what builds, and what is refused and why."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import pytest
import small_atstrack
import small_glad
import small_mvlm
from building import build_files

from edgetrack.errors import ArtifactError
from edgetrack.export.models.mvlm_variants import GateRule
from edgetrack.export.precision import write_typed
from edgetrack.export.source import load_source
from edgetrack.export.targets.ascend_graph import input_shapes, lower
from edgetrack.export.targets.ascend_operators import check_operators
from edgetrack.export.targets.ascend_proof import largest_difference

GATE = GateRule(0.9, 0.02, 0.4, 0.4, 0.1)
FAMILIES = {
    "atstrack": (lambda patch: small_atstrack.install(patch, 3), "atstrack-384"),
    "mvlm-tf": (lambda patch: small_mvlm.install(patch, "tf", GATE), "mvlm-tf"),
    "mvlm-bbox": (lambda patch: small_mvlm.install(patch, "bbox", GATE), "mvlm-bbox"),
    "glad": (small_glad.install, "glad-b256"),
}
ROLES = {
    "atstrack": ["text", "template", "search"],
    "mvlm-tf": ["text", "search"],
    "mvlm-bbox": ["text", "template", "search"],
    "glad": ["pool", "template", "search"],
}
KEEP, LOWER = "must_keep_origin_dtype", "allow_fp32_to_fp16"


BIG = [pytest.param(name, marks=pytest.mark.big) for name in FAMILIES if name != "mvlm-tf"]


@pytest.fixture(scope="module", params=["mvlm-tf", *BIG])
def family(request):
    """A family's name and its deployment graphs."""
    pytest.importorskip("tokenizers")
    install, variant = FAMILIES[request.param]
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        graphs = load_source(variant, "stand-in", 0).graphs
        assert [graph.role for graph in graphs] == ROLES[request.param]
        yield request.param, graphs


@pytest.fixture(scope="module")
def typed(family, tmp_path_factory):
    """Typed graphs by precision and role."""
    _, graphs = family
    folders = {precision: tmp_path_factory.mktemp(precision) for precision in ("fp32", "fp16")}
    return {
        (precision, graph.role): write_typed(graph, folder, precision, {})
        for precision, folder in folders.items()
        for graph in graphs
    }


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.big), "fp16"])
def test_tensorrt_rtx_builds_every_graph(family, precision, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings")
    for graph in family[1]:
        names = build_files("trt", graph, tmp_path, precision, builder="tensorrt-rtx")
        assert names == (f"{graph.role}.engine",)
        assert (tmp_path / names[0]).stat().st_size > 10_000


def convert(typed, mode):
    """Lower a graph, compare it with ATC's list and its results with the typed graph's; return how many nodes."""
    lowered = lower(onnx.load(str(typed.path)), {})
    count = check_operators(lowered, typed.role, mode)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(lowered, str(Path(folder) / "lowered.onnx"))
        largest_difference(typed, Path(folder) / "lowered.onnx", {}, input_shapes(lowered))
    return count


# MVLM finds cells of its map by rounding, and what ATC makes of halves is not documented.
NOT_LISTED = {("mvlm-tf", "search"): "Round", ("mvlm-bbox", "search"): "Round"}


def test_graphs_are_in_atcs_list_where_atc_may_lower_float32(family, typed):
    for role in ROLES[family[0]]:
        missing = NOT_LISTED.get((family[0], role))
        if missing is None:
            assert convert(typed["fp16", role], LOWER) > 15
            continue
        words = rf"graph {role} would not convert: ATC's list of ONNX operators has no {missing} 'round'.*nodes more"
        with pytest.raises(ArtifactError, match=words):
            convert(typed["fp16", role], LOWER)


REFUSED = {
    # role -> what ATC's list does not have in float32 while types are kept
    "atstrack": {"search": "MatMul 'fgm.lfa.matmul'"},
    "mvlm-tf": {"text": "MatMul '1.linear'", "search": "Conv"},
    "mvlm-bbox": {"text": "MatMul '1.linear'", "search": "Conv"},
    "glad": {"search": "Conv 'head.conv2d"},
}


def test_float32_islands_are_refused_where_types_are_kept(family, typed):
    """And the line says what to export with; the other graphs convert as they are."""
    refused = REFUSED[family[0]]
    for role in ROLES[family[0]]:
        if role not in refused:
            convert(typed["fp16", role], KEEP)
            continue
        with pytest.raises(ArtifactError) as caught:
            convert(typed["fp16", role], KEEP)
        assert str(caught.value).startswith(f"graph {role} would not convert: {refused[role]}")
        assert "takes float32" in str(caught.value)
        assert "--precision fp16 --precision-mode allow_fp32_to_fp16" in str(caught.value)


def test_fp32_is_refused(family, typed):
    """Their attention multiplies matrices of more than two axes, which ATC's list has in float16 alone."""
    with pytest.raises(
        ArtifactError, match=r"graph search would not convert: \w+ '.*' takes float32.*--precision fp16"
    ):
        convert(typed["fp32", "search"], KEEP)


@pytest.mark.big
def test_qnn_compiles_every_graph(family, tmp_path):
    pytest.importorskip("onnxruntime_qnn")
    for graph in family[1]:
        options = {"htp-arch": "73", "soc-model": "SM8550"}
        names = build_files("qnn", graph, tmp_path, "fp16", **options)
        assert names == (f"{graph.role}.onnx", f"{graph.role}_qnn.bin")
