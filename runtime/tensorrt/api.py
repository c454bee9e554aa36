"""TensorRT's two Python packages behind one door: the full one, and TensorRT-RTX, which has the same interface."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from edgetrack.errors import EngineUnavailable

__all__ = ["PACKAGES", "RTX", "TENSORRT", "MessageLog", "TensorRt", "find_tensorrt", "open_tensorrt"]

TENSORRT = "tensorrt"
RTX = "tensorrt-rtx"

# TensorRT-RTX comes as a wheel under the second name, in NVIDIA's own download under the first.
PACKAGES: dict[str, tuple[str, ...]] = {TENSORRT: ("tensorrt",), RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings")}
"""Import names by builder, the preferred builder first."""

INSTALL: dict[str, str] = {
    TENSORRT: "pip install 'edgetrack[tensorrt]' (on a Jetson it comes with JetPack: make the environment with "
    "--system-site-packages, then pip install 'edgetrack[cuda]')",
    RTX: "pip install 'edgetrack[tensorrt-rtx]'",
}
"""How to get each."""

_MOST_CHARACTERS = 300


@dataclass
class MessageLog:
    """What TensorRT said, as (severity, text); severities are those of the package, "ERROR", "WARNING", "INFO", ..."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, severity: str, text: str) -> None:
        """Keep one message."""
        self.lines.append((severity, text))

    def clear(self) -> None:
        """Forget everything."""
        self.lines.clear()

    def reason(self, default: str = "it gives no reason") -> str:
        """Return the first error in one line, or `default`."""
        for severity, text in self.lines:
            if severity in {"ERROR", "INTERNAL_ERROR"} and text.strip():
                return " ".join(text.split())[:_MOST_CHARACTERS]
        return default


@dataclass(frozen=True)
class TensorRt:
    """An imported package: `builder` is its name here, `package` the module."""

    builder: str
    package: Any

    @property
    def version(self) -> str:
        """The version of the package, as "10.3.0"."""
        return str(self.package.__version__)

    def logger(self, log: MessageLog, *, verbose: bool = False) -> Any:  # noqa: ANN401 (the package has no types)
        """Return a logger for the package that writes into `log`; details only with `verbose`."""
        package = self.package

        class Logger(package.ILogger):  # type: ignore[name-defined, misc]
            def __init__(self) -> None:
                package.ILogger.__init__(self)

            def log(self, severity: Any, text: str) -> None:  # noqa: ANN401
                if verbose or severity.name != "VERBOSE":
                    log.add(severity.name, text)

        return Logger()


def open_tensorrt(builder: str) -> TensorRt:
    """Import the package of one builder.

    Raises:
        EngineUnavailable: it is not installed, with the pip line, or its libraries cannot be loaded.
    """
    failure: BaseException | None = None
    for name in PACKAGES[builder]:
        try:
            return TensorRt(builder, importlib.import_module(name))
        except ModuleNotFoundError as error:
            failure = failure or error
        except (ImportError, OSError, RuntimeError) as error:  # a library that it needs is missing or too old
            failure = error
            break
    raise EngineUnavailable(f"{builder} cannot be imported ({failure}): {INSTALL[builder]}") from failure


def find_tensorrt() -> TensorRt:
    """Import the first package that is installed, the full one before TensorRT-RTX.

    Raises:
        EngineUnavailable: neither is there.
    """
    for builder in PACKAGES:
        try:
            return open_tensorrt(builder)
        except EngineUnavailable:
            continue
    raise EngineUnavailable(f"TensorRT is not installed here: {INSTALL[RTX]}, or {INSTALL[TENSORRT]}")
