"""What an engine leaves resident after loading a network. Measured in processes of their own: memory is noisy."""

from __future__ import annotations

import mmap
import subprocess
import sys

import pytest

from edgetrack.runtime.loading_memory import dropping_pages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux and glibc")

MEGABYTE = 1e6

HOLES = """
import sys
from contextlib import nullcontext
import numpy as np
from edgetrack.benchmarks.process import rss_bytes
from edgetrack.runtime.loading_memory import returning_blocks

first = np.ones(1 << 21)  # 16 MiB; once it is freed the C library keeps what is smaller
del first
with returning_blocks() if sys.argv[1] == "return" else nullcontext():
    blocks = [np.ones(1 << 19) for _ in range(40)]  # 4 MiB each
    before = rss_bytes()
    del blocks[::2]
    print(before - rss_bytes())
"""

CYCLES = """
import gc
from edgetrack.benchmarks.process import rss_bytes
from edgetrack.runtime.loading_memory import return_freed

gc.disable()
blocks = [bytearray(b"x" * (1 << 16)) for _ in range(1600)]  # 64 KiB each, below what is mapped by itself
last = bytearray(1 << 16)
cycle = [blocks]
cycle.append(cycle)
before = rss_bytes()
del blocks, cycle
freed = before - rss_bytes()
return_freed()
print(before - rss_bytes() - freed)
"""

LOADED = """
import sys
from pathlib import Path
from edgetrack.benchmarks.process import peak_rss_bytes, rss_bytes
from edgetrack.runtime.engines import ENGINES

engine = ENGINES.get(sys.argv[2])("cpu", threads=1)
engine.devices()
before = rss_bytes()
session = engine.open(Path(sys.argv[1]), {})
session.run()
print(peak_rss_bytes() - before)
"""


def run(code: str, *words: str) -> float:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return float(done.stdout)


def resident_kib(path: str) -> int:
    """Return the resident part of this process's mappings of a file, from smaps."""
    found, inside = 0, False
    with open("/proc/self/smaps", encoding="utf-8") as smaps:
        for line in smaps:
            if "-" in line.split()[0]:
                inside = line.rstrip().endswith(path)
            elif inside and line.startswith("Rss:"):
                found += int(line.split()[1])
    return found


def test_pages_of_mapped_files_are_dropped_and_come_back(tmp_path):
    path, other = tmp_path / "weights.bin", tmp_path / "other.bin"
    for file in (path, other):
        file.write_bytes(bytes(range(256)) * 4096)
    with path.open("rb") as file, other.open("rb") as second:
        mapped, kept = (mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) for f in (file, second))
        content = mapped[:], kept[:]
        assert resident_kib(str(path)) == resident_kib(str(other)) == 1024
        with dropping_pages(path, tmp_path / "not there"):
            pass
        assert resident_kib(str(path)) == 0
        assert resident_kib(str(other)) == 1024
        assert (mapped[:], kept[:]) == content


def test_what_is_freed_goes_back_cycles_included():
    assert run(CYCLES) > 90 * MEGABYTE


def test_what_was_written_into_a_mapping_stays(tmp_path):
    path = tmp_path / "written.bin"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[:3] = b"abc"
        with dropping_pages(path):
            pass
        assert mapped[:4] == b"abc\x00"


def test_freed_blocks_go_back():
    half = 20 * 4.19 * MEGABYTE
    assert run(HOLES, "return") > 0.9 * half
    assert run(HOLES, "keep") < 0.1 * half  # else the question is put to nothing


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "beyond"), [("onnxruntime", 40 * MEGABYTE), ("openvino", 150 * MEGABYTE)])
def test_weights_are_resident_once(engine, beyond, tmp_path, monkeypatch):
    """Of a ViT-B's size. Without `returning_blocks` ONNX Runtime was seen to take 210 MB beyond the weights; without
    `dropping_pages` OpenVINO 420 MB. How far OpenVINO runs ahead of the thread that drops its pages is chance."""
    pytest.importorskip("onnx")
    pytest.importorskip(engine)
    from edgetrack.benchmarks import matrix_rate

    monkeypatch.setattr(matrix_rate, "_MOST_LINKS", 12)
    path = tmp_path / "chain.onnx"
    path.write_bytes(matrix_rate._file(matrix_rate.Chain(8, 768)))
    size = path.stat().st_size
    assert size > 12 * 32 * MEGABYTE
    if engine == "openvino":
        import openvino

        model, path = openvino.Core().read_model(str(path)), path.with_suffix(".xml")
        openvino.save_model(model, str(path), compress_to_fp16=False)
    assert run(LOADED, str(path), engine) < 1.3 * size + beyond
