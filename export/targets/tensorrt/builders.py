"""The two packages that build TensorRT engines, behind one interface.

Full TensorRT times kernels on the GPU that it builds for, so it needs that GPU. TensorRT-RTX compiles ahead of time for
named compute capabilities and needs none; what it leaves open is compiled where the engine is loaded.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.runtime.cuda.api import CudaDevice, open_cuda
from edgetrack.runtime.cuda.driver import driver_version
from edgetrack.runtime.tensorrt.api import RTX, TENSORRT, TensorRt, open_tensorrt

__all__ = ["AUTO", "BUILDERS", "EngineBuilder", "choose_builder"]

AUTO = "auto"


class EngineBuilder(ABC):
    """One package and what can be said to it; `options` are those of target trt."""

    name: ClassVar[str]
    foreign: ClassVar[Mapping[str, str]]
    """Options that this builder has no use for, and what to do instead."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Refuse options that are for the other builder with InputError."""
        for option, remedy in self.foreign.items():
            if options.get(option):
                raise InputError(f"--{option} is not for builder {self.name}; {remedy}")
        self.options = options

    @cached_property
    def trt(self) -> TensorRt:
        """The package; EngineUnavailable if it is not installed."""
        return open_tensorrt(self.name)

    @abstractmethod
    def check(self) -> None:
        """Raise EngineUnavailable, with the remedy, unless this builder can build here."""

    @abstractmethod
    def configure(self, config: Any) -> None:  # noqa: ANN401 (an IBuilderConfig)
        """Set what is peculiar to this builder."""

    @abstractmethod
    def key(self) -> dict[str, str]:
        """Return what the files are tied to; see `edgetrack.runtime.tensorrt.key`."""


class FullBuilder(EngineBuilder):
    """TensorRT 10 and 11, for the GPU that is here."""

    name = TENSORRT
    foreign: ClassVar[Mapping[str, str]] = {
        "compute-capability": "it builds for the GPU that is here; leave it out, or give --builder tensorrt-rtx"
    }

    @cached_property
    def gpu(self) -> CudaDevice:
        """The first GPU; EngineUnavailable if there is none."""
        return open_cuda().devices()[0]

    def check(self) -> None:
        """See `EngineBuilder.check`."""
        package = self.trt.package
        major = self.trt.version.partition(".")[0]
        if int(major) < 10 or not hasattr(package, "Builder"):
            raise EngineUnavailable(f"tensorrt {self.trt.version} is too old; install TensorRT 10 or later")
        _ = self.gpu

    def configure(self, config: Any) -> None:  # noqa: ANN401
        """See `EngineBuilder.configure`."""
        package = self.trt.package
        if self.options.get("version-compatible"):
            config.set_flag(package.BuilderFlag.VERSION_COMPATIBLE)
        if self.options.get("hardware-compatible"):
            config.hardware_compatibility_level = package.HardwareCompatibilityLevel.AMPERE_PLUS

    def key(self) -> dict[str, str]:
        """See `EngineBuilder.key`."""
        loose = bool(self.options.get("hardware-compatible"))
        floating = bool(self.options.get("version-compatible"))
        version = self.trt.version.partition(".")[0] if floating else self.trt.version
        capability = "8.0+" if loose else self.gpu.compute_capability
        key = {"builder": self.name, "version": version, "compute_capability": capability}
        if not loose:
            key["gpu"] = self.gpu.name
        if not loose and not floating:
            key["driver"] = driver_version() or "none"
        return key


class RtxBuilder(EngineBuilder):
    """TensorRT-RTX, for any list of compute capabilities that it knows, with or without a GPU."""

    name = RTX
    foreign: ClassVar[Mapping[str, str]] = {
        "version-compatible": "an engine belongs to the version that built it; leave it out",
        "hardware-compatible": "its engines run on compute capability 8.0 and later as they are; leave it out, or name "
        "them with --compute-capability",
        "timing-cache": "it times nothing; leave it out",
    }

    def check(self) -> None:
        """See `EngineBuilder.check`; also refuses compute capabilities that the package does not know."""
        self._capabilities()

    def configure(self, config: Any) -> None:  # noqa: ANN401
        """See `EngineBuilder.configure`."""
        capabilities = self._capabilities()
        if not capabilities:
            return
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities.values()):
            config.set_compute_capability(capability, index)

    def key(self) -> dict[str, str]:
        """See `EngineBuilder.key`; by default it builds for 8.0 and later, and has the last word when it loads."""
        capability = ",".join(self._capabilities()) or "8.0+"
        return {"builder": self.name, "version": self.trt.version, "compute_capability": capability}

    def _capabilities(self) -> dict[str, Any]:
        """Return the package's values by name as "8.6", in the order given."""
        known = {
            f"{name[2:-1]}.{name[-1]}": value
            for name, value in self.trt.package.ComputeCapability.__members__.items()
            if re.fullmatch(r"SM\d{2,3}", name)
        }
        given = self.options.get("compute-capability")
        names = [] if given is None else [item.strip() for item in given.split(",")]
        for name in names:
            if name not in known:
                listed = ", ".join(sorted(known, key=float))
                raise InputError(f"--compute-capability is {given!r}; give a list of {listed}, as 8.6,8.9")
        return {name: known[name] for name in names}


BUILDERS: dict[str, Callable[[Mapping[str, Any]], EngineBuilder]] = {TENSORRT: FullBuilder, RTX: RtxBuilder}
"""By name, the preferred one first."""


def choose_builder(options: Mapping[str, Any]) -> EngineBuilder:
    """Return the builder that `options` name; "auto": the first that takes them and can build here.

    Raises:
        EngineUnavailable: it, or with "auto" none of them, can build here.
        InputError: options that do not go together.
    """
    asked = options.get("builder") or AUTO
    if asked != AUTO:
        chosen = BUILDERS[asked](options)
        chosen.check()
        return chosen
    reasons: list[EngineUnavailable | InputError] = []
    for make in BUILDERS.values():
        try:
            chosen = make(options)
            chosen.check()
        except (EngineUnavailable, InputError) as error:
            reasons.append(error)
            continue
        return chosen
    # Options that fit no builder are the user's mistake only where a builder is there to take others.
    wrong = [error for error in reasons if isinstance(error, InputError)]
    raise wrong[-1] if wrong else EngineUnavailable("no TensorRT builder here: " + "; ".join(map(str, reasons)))
