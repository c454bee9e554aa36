"""Target `trt` with full TensorRT, against a recording stand-in: what it is asked for, what the files are tied to."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_builder import MIB, fake_builder

from edgetrack.errors import ArtifactError, EngineUnavailable, InputError
from edgetrack.export.precision import TypedGraph
from edgetrack.export.targets import target_of, writer_of
from edgetrack.export.targets.tensorrt import builders
from edgetrack.runtime.cuda.api import CudaDevice

GPU = CudaDevice(0, "Orin", "8.7")


@pytest.fixture
def package(monkeypatch):
    fake = fake_builder()
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(builders, "open_cuda", lambda: SimpleNamespace(devices=lambda: [GPU]))
    monkeypatch.setattr(builders, "driver_version", lambda: "540.3.0")
    return fake


def writer(**options):
    made = writer_of("trt", target_of("trt").check_options(options))
    made.check_rebuild()
    return made


def graph(tmp_path, **values):
    dims = {"old": {1: "kept"}} if values else {}
    signature = SimpleNamespace(role="search", inputs={}, outputs=(), dims=dims, values=values)
    (tmp_path / "search.onnx").write_bytes(b"onnx")
    return TypedGraph(signature, tmp_path / "search.onnx", "fp32", "fp32", {})


def test_the_build_that_is_asked_for(package, tmp_path):
    made = writer(**{"workspace-mib": 512})
    said = []
    made.say = said.append
    assert made.write(graph(tmp_path, kept=(2, 3)), tmp_path) == ("search.engine",)
    assert (tmp_path / "search.engine").read_bytes() == b"plan"
    assert package.network_flags == 1 << 1, "strongly typed, as TensorRT 10 has to be told"
    config = package.config
    assert config.flags == set(), "no TF32, nothing else"
    assert config.limits == {"WORKSPACE": 512 * MIB}
    assert config.profiles == [{"seen": (1, 4), "old": (1, kept, 4)} for kept in (2, 3)]
    assert config.hardware_compatibility_level is None
    assert said == ["building engine"]
    made.finish([], tmp_path)
    log = (tmp_path / "build.log").read_text()
    assert "Layer(gemm): a -> b" in log
    assert "SOFTMAX 1 FLOAT" in log


def test_auto_prefers_full_tensorrt_where_its_gpu_is(package, monkeypatch):
    assert writer().version() == "tensorrt 10.3.0"
    monkeypatch.setattr(builders, "open_cuda", raise_unavailable)
    assert writer().version().startswith("tensorrt-rtx")
    assert writer(**{"compute-capability": "8.6"}).version().startswith("tensorrt-rtx")
    with pytest.raises(EngineUnavailable, match="no GPU"):
        writer(builder="tensorrt")
    with pytest.raises(InputError, match="version-compatible"):
        writer(**{"version-compatible": True})


def raise_unavailable():
    raise EngineUnavailable("no GPU")


@pytest.mark.parametrize(
    ("options", "key", "flags", "level"),
    [
        (
            {},
            {"version": "10.3.0", "compute_capability": "8.7", "gpu": "Orin", "driver": "540.3.0"},
            set(),
            None,
        ),
        (
            {"version-compatible": True},
            {"version": "10", "compute_capability": "8.7", "gpu": "Orin"},
            {"VERSION_COMPATIBLE"},
            None,
        ),
        ({"hardware-compatible": True}, {"version": "10.3.0", "compute_capability": "8.0+"}, set(), "AMPERE_PLUS"),
    ],
)
def test_what_files_are_tied_to(package, tmp_path, options, key, flags, level):
    made = writer(**options)
    made.write(graph(tmp_path), tmp_path)
    assert made.facts()["key"] == {"builder": "tensorrt", **key}
    assert package.config.flags == flags
    assert package.config.hardware_compatibility_level == level
    assert package.config.profiles == []


def test_timing_cache_is_read_and_added_to(package, tmp_path):
    path = tmp_path / "made" / "cache.bin"
    for expected in (b"more", b"moremore"):
        writer(**{"timing-cache": path}).write(graph(tmp_path), tmp_path)
        assert path.read_bytes() == expected
    assert [item.name for item in path.parent.iterdir()] == ["cache.bin"]
    path.write_bytes(b"garbage")
    with pytest.raises(InputError, match="not of this GPU and TensorRT version"):
        writer(**{"timing-cache": path}).write(graph(tmp_path), tmp_path)
    assert path.read_bytes() == b"garbage"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        writer(**{"timing-cache": tmp_path / "file" / "cache.bin"}).write(graph(tmp_path), tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        writer(**{"timing-cache": tmp_path}).write(graph(tmp_path), tmp_path)


def test_a_failed_build_keeps_neither_file_nor_timings(package, tmp_path):
    package.build_error = "Error Code 10: Internal Error\n (Could not find any implementation for node x.)"
    path = tmp_path / "cache.bin"
    with pytest.raises(ArtifactError, match=r"cannot build graph search \(Error Code 10.*node x") as caught:
        writer(**{"timing-cache": path}).write(graph(tmp_path), tmp_path)
    assert "\n" not in str(caught.value)
    assert not path.exists()
    assert not (tmp_path / "search.engine").exists()


def test_a_full_disk_is_passed_on_as_such(package, tmp_path, monkeypatch):
    """`ArtifactWriter` makes its one line of it."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    source = TypedGraph(SimpleNamespace(role="search", dims={}, values={}), tmp_path / "x.onnx", "fp32", "fp32", {})
    with pytest.raises(OSError, match="No space"):
        writer().write(source, tmp_path)


def test_an_old_tensorrt_is_refused(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_builder("8.6.1"))
    with pytest.raises(EngineUnavailable, match=r"tensorrt 8\.6\.1 is too old"):
        writer(builder="tensorrt")
