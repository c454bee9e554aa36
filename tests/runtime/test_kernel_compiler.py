"""Compiling the crop with NVRTC: for real where it is installed (no GPU is needed), and what it says when it cannot."""

from __future__ import annotations

import re
import sys

import pytest
from fake_driver import FakeNvrtc
from host_kernel import TASK_BYTES

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.cuda.compiler import compile_kernel


@pytest.fixture(scope="module")
def nvrtc():
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"NVRTC is not installed (pip install nvidia-cuda-nvrtc): {error}")


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.7", "9.0"])
def test_ptx(nvrtc, capability):
    text = compile_kernel("crop.cu", capability=capability, as_ptx=True).decode()
    assert f".target sm_{capability.replace('.', '')}" in text
    assert ".visible .entry edgetrack_crop(" in text
    assert f".b8 edgetrack_crop_param_0[{TASK_BYTES}]" in text, "both compilers lay the task out alike"
    arithmetic = set(re.findall(r"\b((?:add|sub|mul|div|fma|mad|sqrt|rcp)[\w.]*\.f(?:32|64))\b", text))
    assert arithmetic, "there is floating-point arithmetic"
    assert all(".rn." in name and not name.startswith(("fma", "mad")) for name in arithmetic), arithmetic


def test_code_for_a_gpu(nvrtc):
    code = compile_kernel("crop.cu", capability="9.0")
    assert code.startswith(b"\x7fELF")
    assert b"edgetrack_crop" in code


def test_a_gpu_that_nvrtc_does_not_know(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", FakeNvrtc())
    with pytest.raises(EngineUnavailable, match=r"NVRTC 13\.0 does not compile for compute capability 12\.1 .*86, 90"):
        compile_kernel("crop.cu", capability="12.1")


def test_a_source_that_is_refused_is_one_line_and_releases_the_program(monkeypatch):
    fake = FakeNvrtc()
    fake.log = b"crop.cu(3): error: no such thing\n  more\n\0"
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", fake)
    with pytest.raises(EngineUnavailable, match=r"crop\.cu\(3\): error: no such thing") as caught:
        compile_kernel("crop.cu", capability="8.6")
    assert "\n" not in str(caught.value)
    assert fake.programs == []


def test_without_nvrtc(monkeypatch):
    class Missing:
        def nvrtcVersion(self):
            raise RuntimeError("Failure finding libnvrtc.so\nsearched everywhere")

    for module in (None, Missing()):
        monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", module)
        with pytest.raises(EngineUnavailable, match=r"need NVRTC.*pip install 'edgetrack\[cuda-frames\]'") as caught:
            compile_kernel("crop.cu", capability="8.6")
        assert "\n" not in str(caught.value)
