"""Writing an artifact folder so that its final name never holds half of one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from edgetrack.errors import ArtifactError, InputError

__all__ = ["MANIFEST_NAME", "ArtifactWriter"]

MANIFEST_NAME = "edgetrack.json"

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class ArtifactWriter:
    """Context manager: fill `folder`, `write_manifest`, `commit`; without `commit` everything is removed.

    The files are written to a hidden folder beside the final one and renamed at the end. An error, Ctrl-C or
    SIGTERM in between leaves nothing; what a SIGKILL leaves is removed by the next writer of that artifact, which
    also brings back an old artifact that a SIGKILL left under its hidden name. A symbolic link at the final name
    stays, and what it leads to is written.

    Example:
        with ArtifactWriter(Path("fartrack-pico-onnx-fp32"), force=False) as writer:
            (writer.folder / "search.onnx").write_bytes(data)
            writer.write_manifest(manifest)
            writer.commit()
    """

    def __init__(self, path: str | Path, *, force: bool = False) -> None:
        """`path` is the final folder; `force` allows to replace an artifact that is there."""
        self.path = Path(os.path.realpath(path))
        self.force = force
        self.folder = self.path.parent / f".{self.path.name}.partial-{os.getpid()}"
        self._lock: int | None = None
        self._made: list[Path] = []
        self._previous_sigterm: Any = None
        self._handles_sigterm = False

    def __enter__(self) -> ArtifactWriter:
        """Create the hidden folder.

        Raises:
            InputError: the final path is taken, and `force` is not given or what is there is no artifact.
            ArtifactError: the folder cannot be created.
        """
        try:
            self._clear_leftovers()
            self._check_free()
            self._made = [folder for folder in self.path.parents if not folder.exists()]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir()
            self._lock = _locked(self.folder)
        except OSError as error:
            self._discard()
            raise self._os_error(error) from error
        self._catch_sigterm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was made unless it was committed; a full disk becomes an ArtifactError."""
        self._discard()
        self._release_sigterm()
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise self._os_error(error) from error

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write `edgetrack.json` into the hidden folder; may be called again to replace it.

        Raises:
            ValueError: the manifest holds NaN or infinity, which JSON has no way to write.
        """
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (self.folder / MANIFEST_NAME).write_text(text, encoding="utf-8")

    def commit(self) -> Path:
        """Flush everything to disk, give the folder its final name, and return that.

        Raises:
            ArtifactError: there is no manifest, or the disk refuses.
            InputError: the final path was taken meanwhile.
        """
        if not (self.folder / MANIFEST_NAME).is_file():
            raise ArtifactError(f"{self.path}: no {MANIFEST_NAME} was written; call write_manifest before commit")
        try:
            for path in (*sorted(self.folder.rglob("*")), self.folder):
                _sync(path)
            self._check_free()
            self._rename()
            _sync(self.path.parent)
        except OSError as error:
            raise self._os_error(error) from error
        return self.path

    def _rename(self) -> None:
        """Put the new folder in place; the old one is removed only once the new one is there."""
        if not self.path.exists():
            self.folder.rename(self.path)
            return
        old = self.path.parent / f".{self.path.name}.replaced-{os.getpid()}"
        lock = _locked(self.path)
        try:
            try:
                self.path.rename(old)
                self.folder.rename(self.path)
            except BaseException:
                if old.exists() and not self.path.exists():
                    old.rename(self.path)
                raise
            # The new artifact is whole by now; what cannot be removed is tried again by the next writer.
            shutil.rmtree(old, ignore_errors=True)
        finally:
            os.close(lock)

    def _check_free(self) -> None:
        if not os.path.lexists(self.path):
            return
        if not self.path.is_dir() or (any(self.path.iterdir()) and not (self.path / MANIFEST_NAME).is_file()):
            raise InputError(f"{self.path} exists and is not an artifact; it is left alone, choose another --output")
        if not self.force and any(self.path.iterdir()):
            raise InputError(f"{self.path} exists; give --force to replace it, or another --output")

    def _clear_leftovers(self) -> None:
        """Tidy up after writers that were killed; a live writer holds a lock on its own hidden folders."""
        for folder in self._hidden("partial"):
            with contextlib.suppress(BlockingIOError), _lock_now(folder):
                shutil.rmtree(folder)
        for folder in self._hidden("replaced"):
            with contextlib.suppress(BlockingIOError), _lock_now(folder):
                if not os.path.lexists(self.path):
                    folder.rename(self.path)
                elif (self.path / MANIFEST_NAME).is_file():
                    shutil.rmtree(folder, ignore_errors=True)

    def _hidden(self, kind: str) -> list[Path]:
        return list(self.path.parent.glob(f".{glob.escape(self.path.name)}.{kind}-*"))

    def _discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self._made:  # innermost first; one that holds something stays
            with contextlib.suppress(OSError):
                folder.rmdir()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _catch_sigterm(self) -> None:
        """Turn SIGTERM into SystemExit while writing, unless the program handles it itself."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._previous_sigterm = signal.signal(signal.SIGTERM, _exit_on_sigterm)
            self._handles_sigterm = True

    def _release_sigterm(self) -> None:
        if self._handles_sigterm:
            signal.signal(signal.SIGTERM, self._previous_sigterm)
            self._handles_sigterm = False

    def _os_error(self, error: OSError) -> ArtifactError:
        if error.errno in _DISK_FULL:
            return ArtifactError(f"disk full while writing {self.path}; nothing was kept; free space and try again")
        return ArtifactError(f"cannot write {self.path} ({error.strerror or error}); nothing was kept; check the path")


def _exit_on_sigterm(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signature is fixed)
    raise SystemExit(128 + number)


def _locked(folder: Path) -> int:
    """Return a handle that holds the folder's lock until it is closed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def _lock_now(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; raise BlockingIOError where another process does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
