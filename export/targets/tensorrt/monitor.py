"""Progress of a TensorRT build, and a way to stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgetrack.runtime.tensorrt.api import TensorRt

__all__ = ["Interruption", "monitor_of"]


class Interruption:
    """Keeps what was raised inside a callback, where nothing may be raised, until the build has stopped."""

    def __init__(self) -> None:
        self._error: BaseException | None = None

    @property
    def came(self) -> bool:
        """Whether the build has to stop."""
        return self._error is not None

    def keep(self, error: BaseException) -> None:
        """Remember the first."""
        self._error = self._error or error

    def raise_again(self) -> None:
        """Raise what came, if anything did."""
        if self._error is not None:
            raise self._error


def monitor_of(trt: TensorRt, say: Callable[[str], None], interruption: Interruption) -> Any:  # noqa: ANN401
    """Return an IProgressMonitor that says the outer phases of a build, and stops it after Ctrl-C or an error of `say`.

    TensorRT calls it from the thread that builds, which is where Python raises KeyboardInterrupt.
    """
    base: Any = trt.package.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self._parents: dict[str, str | None] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            try:
                self._parents[phase_name] = parent_phase
                if parent_phase is None or self._parents.get(parent_phase) is None:
                    say(phase_name.lower())
            except BaseException as error:  # noqa: BLE001 (it would end the process)
                interruption.keep(error)

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002
            try:
                return not interruption.came
            except BaseException as error:  # noqa: BLE001 (KeyboardInterrupt comes wherever Python code runs)
                interruption.keep(error)
                return False

    return Monitor()
