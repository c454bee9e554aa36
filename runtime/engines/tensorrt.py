"""TensorRT and TensorRT-RTX: .engine files on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import EngineUnavailable, WrongMachine
from edgetrack.runtime.core import DeviceArray
from edgetrack.runtime.cuda.api import Cuda, CudaDevice, open_cuda
from edgetrack.runtime.cuda.compiler import nvrtc_version
from edgetrack.runtime.cuda.crop import CropKernel
from edgetrack.runtime.cuda.driver import driver_version
from edgetrack.runtime.cuda.frames import FrameReader, PlacedFrame
from edgetrack.runtime.engine import Engine, Part
from edgetrack.runtime.tensorrt.api import PACKAGES, MessageLog, TensorRt, find_tensorrt, open_tensorrt
from edgetrack.runtime.tensorrt.engine_file import EngineFile, read_engine
from edgetrack.runtime.tensorrt.key import difference
from edgetrack.runtime.tensorrt.session import TensorRtSession

__all__ = ["TensorRtEngine"]


class TensorRtEngine(Engine):
    """Runs .engine files; weights are read once per file, all its sessions share one stream.

    Which of the two packages reads the files is what the artifact's key says; without a key, the first that is
    installed.
    """

    name: ClassVar[str] = "tensorrt"
    takes_device_frames: ClassVar[bool] = True

    def __init__(
        self,
        device: str = "cuda",
        *,
        threads: int | None = None,
        cache_dir: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        """See `Engine`; `device` is "cuda" or "cuda:1". `threads`, `cache_dir` and `precision` change nothing."""
        super().__init__(device, threads=threads, cache_dir=cache_dir, precision=precision)
        self._stream: Any = None
        self._sessions: list[TensorRtSession] = []
        self._files: dict[Path, EngineFile] = {}
        self._trt: TensorRt = find_tensorrt()
        self._cuda: Cuda = open_cuda()
        self._gpu = self._find(device)
        self._cuda.call("cudaSetDevice", self._gpu.index)
        self._stream = self._cuda.call("cudaStreamCreateWithFlags", self._cuda.runtime.cudaStreamNonBlocking)
        self._frames = FrameReader(self._cuda, self._gpu.index, self._stream)
        self._kernel: CropKernel | None = None
        self._log = MessageLog()
        self._runtime: Any = None
        self._logger: Any = None
        self._version_compatible = False

    def _find(self, device: str) -> CudaDevice:
        gpus = self._cuda.devices()
        match = re.fullmatch(r"(?:cuda|gpu)(?:[:.](\d{1,3}))?|auto", device.lower())
        index = int(match.group(1) or 0) if match else -1
        if not 0 <= index < len(gpus):
            listed = ", ".join(f"cuda:{gpu.index}" for gpu in gpus)
            raise EngineUnavailable(f"engine tensorrt has no device {device!r}; available: {listed}")
        return gpus[index]

    @classmethod
    def installed(cls) -> str:
        """See `Engine.installed`."""
        found = find_tensorrt()
        return f"{found.builder} {found.version}"

    @classmethod
    def parts(cls) -> tuple[Part, ...]:
        """See `Engine.parts`: NVRTC, which compiles the kernel that crops frames in GPU memory."""
        try:
            version, remedy = nvrtc_version(), None
        except EngineUnavailable as error:
            version, remedy = None, str(error)
        return (Part("NVRTC", version, "frames in GPU memory", remedy),)

    @classmethod
    def devices(cls) -> list[str]:
        """See `Engine.devices`."""
        find_tensorrt()
        return [f"cuda:{gpu.index}" for gpu in open_cuda().devices()]

    def check_built_for(self, key: Mapping[str, str]) -> None:
        """See `Engine.check_built_for`; what a key holds: `edgetrack.runtime.tensorrt.key`.

        Raises:
            WrongMachine: something differs.
            EngineUnavailable: the package that built the files is not installed.
        """
        builder = key.get("builder", self._trt.builder)
        if builder in PACKAGES and builder != self._trt.builder:
            self._trt, self._runtime = open_tensorrt(builder), None
        self._version_compatible = key.get("version", ".").isdecimal()
        here = {
            "builder": self._trt.builder,
            "version": self._trt.version,
            "compute_capability": self._gpu.compute_capability,
            "gpu": self._gpu.name,
            "driver": driver_version() or "none",
        }
        found = difference(key, here)
        if found is not None:
            raise WrongMachine(found)

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`; "note" says where a CUDA graph was refused."""
        facts = {
            "engine": self.name,
            "version": f"{self._trt.builder} {self._trt.version}",
            "device": f"cuda:{self._gpu.index} ({self._gpu.name})",
        }
        notes = [session.note for session in self._sessions if session.note is not None]
        return {**facts, "note": "; ".join(notes)} if notes else facts

    def open(self, path: Path, dims: Mapping[str, int]) -> TensorRtSession:
        """See `Engine.open`. Engine files keep no names of dimensions: all that vary take the one value of `dims`."""
        if self._stream is None:
            raise EngineUnavailable("the engine is closed; load the artifact again")
        self._cuda.call("cudaSetDevice", self._gpu.index)
        path = Path(path).resolve()
        if path not in self._files:
            if self._runtime is None:
                self._runtime = self._new_runtime()
            self._files[path] = read_engine(self._trt, self._runtime, self._log, path)
        session = TensorRtSession(
            self._cuda,
            self._files[path],
            dims,
            device=self._gpu.index,
            stream=self._stream,
            kernel=self._crop_kernel,
        )
        self._sessions.append(session)
        return session

    def device_frame(self, frame: Any) -> DeviceArray:  # noqa: ANN401 (an array of any package)
        """See `Engine.device_frame`; the frame has to lie on this engine's GPU."""
        if self._stream is None:
            raise EngineUnavailable("the engine is closed; load the artifact again")
        self._cuda.call("cudaSetDevice", self._gpu.index)
        return self._frames.read(frame)

    def place_frame(self, frame: NDArray[np.uint8]) -> PlacedFrame:
        """See `Engine.place_frame`."""
        if self._stream is None:
            raise EngineUnavailable("the engine is closed; load the artifact again")
        self._cuda.call("cudaSetDevice", self._gpu.index)
        return PlacedFrame(self._cuda, frame, self._stream)

    def _crop_kernel(self) -> CropKernel:
        """Return the one kernel of all sessions, made for the first frame that needs it."""
        if self._kernel is None:
            self._kernel = CropKernel(self._cuda, self._gpu, self._stream)
        return self._kernel

    def _new_runtime(self) -> Any:  # noqa: ANN401 (a tensorrt.Runtime)
        self._logger = self._trt.logger(self._log)  # must live as long as the runtime
        runtime = self._trt.package.Runtime(self._logger)
        if self._version_compatible:
            # Such a file brings the runtime of the version that built it, as code for the CPU.
            runtime.engine_host_code_allowed = True
        return runtime

    def close(self) -> None:
        """See `Engine.close`; may be called twice."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        self._files.clear()
        self._runtime = None
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.close()
        if self._stream is not None:
            self._frames.close()
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(EngineUnavailable):
                self._cuda.call("cudaStreamDestroy", stream)
