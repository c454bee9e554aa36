"""The timing cache of full TensorRT: what it measured, kept in a file for the next build."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgetrack.errors import InputError

__all__ = ["TimingCache"]


class TimingCache:
    """Measurements that a build reads and adds to."""

    def __init__(self, config: Any, path: Path | None) -> None:  # noqa: ANN401 (an IBuilderConfig)
        """Give `config` the measurements of the file `path`, which need not exist; None: no cache.

        Raises:
            InputError: the file cannot be read or is no timing cache of this GPU and version.
        """
        self._path = path
        self._config = config
        if path is None:
            return
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"--timing-cache {path}: cannot be read ({error.strerror or error})") from error
        cache = config.create_timing_cache(data)
        if cache is None or not config.set_timing_cache(cache, False):
            raise InputError(f"--timing-cache {path}: not of this GPU and TensorRT version; give another file")

    def save(self) -> None:
        """Write the file anew, all of it or nothing."""
        cache = self._config.get_timing_cache() if self._path is not None else None
        if self._path is None or cache is None:
            return
        partial = self._path.with_name(f".{self._path.name}.partial-{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(cache.serialize())
            partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)
