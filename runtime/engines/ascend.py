"""Ascend NPUs through pyACL, the Python interface of CANN's runtime. Not run on hardware yet.

The calls and their order follow CANN's public "pyACL API" reference, edition canncommercial 8.0.0, from
https://www.hiascend.com/document/detail/en/canncommercial/800/apiref/appdevgapi/aclpythondevg_01_0007.html on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edgetrack.errors import ArtifactError, EngineUnavailable, WrongMachine
from edgetrack.runtime.engine import Engine
from edgetrack.runtime.engines.ascend_runtime import Acl, devices_here
from edgetrack.runtime.engines.ascend_session import AscendSession
from edgetrack.runtime.static_files import file_for

__all__ = ["AscendEngine"]


class AscendEngine(Engine):
    """Runs .om files; one context on the device per engine, and so per tracker."""

    name: ClassVar[str] = "ascend"

    def __init__(
        self,
        device: str = "auto",
        *,
        threads: int | None = None,
        cache_dir: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        """See `Engine`; `device` is "npu" or "npu:1". `threads`, `cache_dir` and `precision` change nothing."""
        super().__init__(device, threads=threads, cache_dir=cache_dir, precision=precision)
        self._acl = Acl()
        match = re.fullmatch(r"auto|npu(?::(\d{1,3}))?", device.lower())
        if match is None:
            raise EngineUnavailable(f"engine ascend has no device {device!r}; give npu, or npu:1 for the second")
        self._index = int(match.group(1) or 0)
        self._failures: list[str] = []
        self._sessions: list[AscendSession] = []
        with contextlib.ExitStack() as stack:
            self._acl.take_device(self._index)
            stack.callback(self._acl.leave_device, self._index, self._failures)
            self._context = self._acl.value("acl.rt.create_context", self._index)
            stack.callback(self._acl.release, self._failures, "acl.rt.destroy_context", self._context)
            self._release = stack.pop_all()

    @classmethod
    def devices(cls) -> list[str]:
        """See `Engine.devices`."""
        return [f"npu:{index}" for index in range(devices_here())]

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`; the version is that of the ACL interface."""
        return {"engine": self.name, "version": self._acl.version(), "device": f"npu:{self._index}"}

    def check_built_for(self, key: Mapping[str, str]) -> None:
        """See `Engine.check_built_for`; files fit the one kind of chip that ATC was told of."""
        built, here = key.get("soc"), self._acl.soc_name()
        if built and here and built.lower() != here.lower():
            raise WrongMachine(f"built for {built}, this device is {here}: say --soc-version {here}")

    def open(self, path: Path, dims: Mapping[str, int]) -> AscendSession:
        """See `Engine.open`; a graph with symbolic dimensions has a file for every size, beside `path`.

        Raises:
            EngineUnavailable: also if the artifact was exported without ATC, so that it has no .om files yet.
        """
        path = file_for(Path(path).resolve(), dims)
        if path.suffix == ".onnx":
            raise EngineUnavailable(
                f"{path} is not built for Ascend yet: run `edgetrack rebuild {path.parent}` where CANN's atc is on the "
                "PATH (build_ascend.sh in that folder is what it runs)"
            )
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; export the artifact again")
        session = AscendSession(self._acl, self._context, path)
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """See `Engine.close`; everything is released, the last opened first, even if a call fails on the way.

        Raises:
            EngineUnavailable: the device refused to release something.
        """
        if self._sessions:
            self._acl.release(self._failures, "acl.rt.set_context", self._context)
        for session in reversed(self._sessions):
            session.close(self._failures)
        self._sessions.clear()
        self._release.close()
        if self._failures:
            told = "; ".join(self._failures)
            self._failures.clear()
            raise EngineUnavailable(f"the Ascend device did not release everything ({told}); restart the program")
