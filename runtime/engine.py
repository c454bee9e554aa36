"""The seam between a tracker and what runs its networks: an engine opens files, a session runs one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, EngineUnavailable, InputError

if TYPE_CHECKING:
    from edgetrack.runtime.core import DeviceArray

__all__ = ["Engine", "FillingSession", "Part", "Session", "concrete_shape", "first_line", "new_buffer"]

# 64-byte alignment is what both engines' vector loads and cache lines want; numpy promises 16.
_ALIGNMENT = 64


class Session(Protocol):
    """One graph at fixed shapes.

    Write into `inputs`, call `run`, read `outputs`: the arrays are allocated once and stay bound for life.
    """

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """C-contiguous writable arrays by input name."""
        ...

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """C-contiguous arrays by output name, valid after `run` and overwritten by the next."""
        ...

    def run(self) -> None:
        """Compute the outputs from the inputs; the GIL is released while the engine works."""
        ...


@runtime_checkable
class FillingSession(Session, Protocol):
    """A session that crops frames in its device's memory itself: what `Engine.device_frame` gives."""

    def fill(self, name: str, task: bytes) -> int:
        """Write a crop where the network reads the input `name`, past its array; see `fill` of `Graph` in the core."""
        ...

    def run_filled(self, name: str) -> None:
        """Do what `run` does, with the input `name` as `fill` left it."""
        ...


class Part(NamedTuple):
    """Optional software of an engine: its name, the version that is here, what needs it, and how to get it.

    `version` is None where it is missing or not usable; `remedy` says why and what to do, None if nothing is.
    """

    name: str
    version: str | None
    used_for: str
    remedy: str | None


class Engine(ABC):
    """Software that runs engine files on one device."""

    name: ClassVar[str]
    """The name in manifests and on the command line."""

    takes_device_frames: ClassVar[bool] = False
    """Whether `device_frame` and `place_frame` work."""

    def __init__(
        self,
        device: str = "cpu",
        *,
        threads: int | None = None,
        cache_dir: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        """Prepare the engine on `device`.

        Args:
            device: "cpu", or what `devices` lists; "auto" is the engine's own choice.
            threads: CPU threads of one network call; None leaves the count to the engine.
            cache_dir: folder where an engine may keep compiled networks between runs.
            precision: the artifact's precision; "fp32" forbids the engine to compute in less.

        Raises:
            EngineUnavailable: the engine or the device is not here.
            InputError: `threads` is not a positive whole number.
        """
        if threads is not None and (type(threads) is not int or not 1 <= threads <= 1024):
            raise InputError(f"threads is {threads!r}; give a whole number from 1 to 1024, or leave it out")
        self.device = device
        self.threads = threads
        self.cache_dir = cache_dir
        self.precision = precision

    @abstractmethod
    def open(self, path: Path, dims: Mapping[str, int]) -> Session:
        """Open one graph file with its symbolic dimensions fixed.

        May be called several times for one file; weights are shared where the engine can.

        Args:
            path: the engine's main file.
            dims: value of every symbolic dimension; names the graph does not use are ignored.

        Raises:
            ArtifactError: the file is missing, damaged, or not one the engine reads.
            EngineUnavailable: the device cannot run it.
        """

    def check_built_for(self, key: Mapping[str, str]) -> None:  # noqa: B027 (most engines' files run anywhere)
        """Compare what files were built for with this machine, before any of them is opened.

        Args:
            key: the manifest's `target.key`, as the target's writer gave it; empty: not tied to a machine.

        Raises:
            WrongMachine: files built for `key` do not run here; says what differs.
            EngineUnavailable: this machine could run them, but software for it is not installed.
        """

    def device_frame(self, frame: Any) -> DeviceArray:  # noqa: ANN401 (an array of any package)
        """Return a frame in the memory of the engine's device as the core takes it, without copying it.

        Args:
            frame: uint8 array that speaks DLPack or the CUDA array interface, shaped as numpy frames are.

        Raises:
            InputError: the engine reads frames in host memory only, or this one cannot be used.
            EngineUnavailable: the device failed.
        """
        raise InputError(
            f"the frame is a {type(frame).__name__} in a device's memory, engine {self.name} reads frames in host "
            "memory only; pass a numpy array (artifacts of target trt take frames in GPU memory)"
        )

    def place_frame(self, frame: NDArray[np.uint8]) -> Any:  # noqa: ANN401, ARG002 (what `device_frame` takes)
        """Return a copy of a frame in the memory of the engine's device, as a program there would have it.

        Raises:
            EngineUnavailable: the engine reads frames in host memory only, there is no room, or the device failed.
        """
        raise EngineUnavailable(
            f"engine {self.name} reads frames in host memory only; artifacts of target trt take frames in GPU memory"
        )

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Return "engine", "version" and "device" (as the engine calls it), for reports."""

    @classmethod
    def installed(cls) -> str:
        """Return the version of the engine's software that is installed here, whether or not a device is.

        Raises:
            EngineUnavailable: it is not installed; says how to get it.
        """
        engine = cls()
        try:
            return engine.describe()["version"]
        finally:
            engine.close()

    @classmethod
    def parts(cls) -> tuple[Part, ...]:
        """Return the software that some of what the engine offers needs beside it, installed or not."""
        return ()

    @classmethod
    @abstractmethod
    def devices(cls) -> list[str]:
        """Return the devices this engine can use here; EngineUnavailable if it is not installed."""

    @abstractmethod
    def close(self) -> None:
        """Release what the engine holds; sessions opened by it must not be used afterwards."""


def new_buffer(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a zeroed C-contiguous array of `shape` whose data begins on a 64-byte boundary."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return raw[offset : offset + size].view(dtype).reshape(tuple(shape))


def concrete_shape(what: str, shape: Sequence[int | str | None], dims: Mapping[str, int]) -> tuple[int, ...]:
    """Replace the symbolic dimensions of `shape` by their values.

    Args:
        what: names the tensor in messages, as in "search.onnx: input 'old'".
        shape: numbers, symbol names, or None for a dimension without a name.
        dims: values by symbol name.

    Raises:
        ArtifactError: a dimension has no name, or no value is given for it.
    """
    sizes: list[int] = []
    for axis, size in enumerate(shape):
        value = dims.get(size) if isinstance(size, str) else size
        if value is None or value < 1:
            raise ArtifactError(f"{what}: dimension {axis} is {size!r}, which has no value; export the artifact again")
        sizes.append(int(value))
    return tuple(sizes)


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an engine's message, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
