"""Compiling kernels where they run, with NVIDIA's runtime compiler (NVRTC)."""

from __future__ import annotations

import importlib
from importlib import resources
from typing import Any

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.engine import first_line

__all__ = ["compile_kernel", "nvrtc_version"]

_INSTALL = "pip install 'edgetrack[cuda-frames]' (CUDA 12: pip install nvidia-cuda-nvrtc-cu12)"
# The host does not fuse multiplications and additions either: a fused one can shift a resize weight.
_OPTIONS = (b"--std=c++17", b"--fmad=false", b"--prec-div=true", b"--ftz=false")


def compile_kernel(file: str, *, capability: str, as_ptx: bool = False) -> bytes:
    """Compile a file of `edgetrack._kernels`, which may include the headers beside it.

    Args:
        file: its name, as "crop.cu".
        capability: compute capability of the GPU, as "8.6".
        as_ptx: give PTX, as text, instead of code for this one capability.

    Raises:
        EngineUnavailable: NVRTC is not installed, does not know the capability, or refuses the source.
    """
    compiler = _Compiler()
    known = [str(number) for number in compiler.call("nvrtcGetSupportedArchs")]
    wanted = capability.replace(".", "")
    if wanted not in known:
        raise EngineUnavailable(
            f"frames in GPU memory: NVRTC {compiler.version} does not compile for compute capability {capability} "
            f"(it knows {', '.join(known)}); update nvidia-cuda-nvrtc, or pass frames in host memory"
        )
    folder = resources.files("edgetrack._kernels")
    headers = [item for item in folder.iterdir() if item.name.endswith(".hpp")]
    program = compiler.call(
        "nvrtcCreateProgram",
        (folder / file).read_bytes(),
        file.encode(),
        len(headers),
        [header.read_bytes() for header in headers],
        [header.name.encode() for header in headers],
    )
    try:
        kind = "compute" if as_ptx else "sm"
        return compiler.build(program, [f"--gpu-architecture={kind}_{wanted}".encode(), *_OPTIONS], as_ptx)
    finally:
        compiler.call("nvrtcDestroyProgram", program)


def nvrtc_version() -> str:
    """Return the version of NVRTC, as "13.0"; EngineUnavailable, with the pip line, where it is not usable."""
    return _Compiler().version


class _Compiler:
    """NVRTC with errors of edgetrack in place of codes."""

    def __init__(self) -> None:
        try:
            self.nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
            major, minor = self.call("nvrtcVersion")  # the library is loaded by the first call
        except (ImportError, OSError, RuntimeError) as error:
            raise EngineUnavailable(
                f"frames in GPU memory need NVRTC, which is not usable ({first_line(error)}): {_INSTALL}"
            ) from error
        self.version = f"{major}.{minor}"

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 (what the call returns)
        status, *results = getattr(self.nvrtc, name)(*arguments)
        if int(status) != 0:
            raise EngineUnavailable(
                f"NVRTC: {name} failed ({getattr(status, 'name', status)}); reinstall it: {_INSTALL}"
            )
        return None if not results else results[0] if len(results) == 1 else tuple(results)

    def build(self, program: Any, options: list[bytes], as_ptx: bool) -> bytes:  # noqa: ANN401 (an nvrtcProgram)
        (status,) = self.nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(status) != 0:
            log = self._text(program, "ProgramLog").decode(errors="replace").strip("\0 \n")
            raise EngineUnavailable(
                f"NVRTC {self.version} does not compile the crop ({log.splitlines()[0] if log else status}); "
                "update nvidia-cuda-nvrtc, or pass frames in host memory"
            )
        return self._text(program, "PTX" if as_ptx else "CUBIN")

    def _text(self, program: Any, what: str) -> bytes:  # noqa: ANN401
        """Return one of the program's texts; the call fills memory that it is given."""
        text = bytes(self.call(f"nvrtcGet{what}Size", program))
        self.call(f"nvrtcGet{what}", program, text)
        return text
