"""Files that browsers send: checked while they come, under names of our own, in a folder that goes at the end."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio

from edgetrack.errors import EdgetrackError, InputError
from edgetrack.serve.control import SourceChoice
from edgetrack.serve.errors import NotNow, one_line
from edgetrack.serve.feed import Opener, check_size

if TYPE_CHECKING:
    from edgetrack.runtime.target_pack import TargetPack

__all__ = ["TooLarge", "Uploads", "display_name"]

_MOST_KEPT = 4
_MOST_AT_ONCE = 2
_MOST_WAIT_S = 30.0
_SNIFFED = 4096
_MOST_LABEL = 80


class TooLarge(InputError):
    """More bytes than are allowed."""


class Uploads:
    """Videos and target packs that were sent, the newest four of each; older ones are removed."""

    def __init__(self, folder: Path, max_bytes: int, opener: Opener) -> None:
        """`folder` is ours; `opener` proves that a video can be opened."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._opener = opener
        self._videos: OrderedDict[str, SourceChoice] = OrderedDict()
        self._packs: OrderedDict[str, TargetPack] = OrderedDict()
        self._coming = 0

    async def receive(self, chunks: AsyncIterator[bytes], announced: int | None, most: int | None = None) -> Path:
        """Write what comes to a new file and return it; a file that is refused is removed.

        Args:
            chunks: the file.
            announced: its size, where the sender says one.
            most: bytes; None: as many as a video may have.

        Raises:
            TooLarge: it is, or says it is; nothing more is read.
            NotNow: two others are being sent, or nothing came for half a minute.
        """
        limit = self._max_bytes if most is None else most
        if (announced or 0) > limit:
            raise _too_large(limit)
        if self._coming >= _MOST_AT_ONCE:
            raise NotNow("other files are being sent just now; try again when they are here")
        self._coming += 1
        path = self._folder / f"upload-{secrets.token_hex(16)}"
        try:
            await _write(path, chunks, limit)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._coming -= 1
        return path

    def accept_video(self, path: Path, label: str) -> dict[str, str]:
        """Keep a received file as a video and return its `id`.

        Raises:
            InputError: it is none; it is removed then.
        """
        try:
            with path.open("rb") as file:
                head = file.read(_SNIFFED)
            if not _is_container(head):
                raise InputError(f"{label} is no video of a known kind; send mp4, mov, mkv, webm, avi, mpg or ts")
            with self._opener(str(path)) as source:
                check_size(source.size)
        except EdgetrackError as error:
            path.unlink(missing_ok=True)
            raise InputError(one_line(error).replace(str(path), label)) from error
        self._videos[path.name] = SourceChoice(str(path), label)
        while len(self._videos) > _MOST_KEPT:
            Path(self._videos.popitem(last=False)[1].name).unlink(missing_ok=True)
        return {"id": path.name}

    def accept_pack(self, path: Path, label: str) -> dict[str, str]:
        """Read a received file as a target pack, remove it, and return the pack's `id`, `text` and `variant`.

        Raises:
            InputError: it is none.
        """
        from edgetrack.runtime.target_pack import read_pack

        try:
            pack = self._packs[path.name] = read_pack(path)
        except EdgetrackError as error:
            raise InputError(one_line(error).replace(str(path), label)) from error
        finally:
            path.unlink(missing_ok=True)
        while len(self._packs) > _MOST_KEPT:
            self._packs.popitem(last=False)
        return {"id": path.name, "text": pack.text[:_MOST_LABEL], "variant": pack.made_by.variant[:_MOST_LABEL]}

    def video(self, name: object) -> SourceChoice:
        """Return a video by its id; InputError where there is none."""
        if not isinstance(name, str) or name not in self._videos:
            raise InputError(f"upload {str(name)[:80]!r} is not here; send the file again")
        return self._videos[name]

    def pack(self, name: object) -> TargetPack:
        """Return a target pack by its id; InputError where there is none."""
        if not isinstance(name, str) or name not in self._packs:
            raise InputError(f"target pack {str(name)[:80]!r} is not here; send the file again")
        return self._packs[name]


async def _write(path: Path, chunks: AsyncIterator[bytes], limit: int) -> None:
    size = 0
    coming = aiter(chunks)
    with path.open("xb") as file:
        while True:
            try:
                with anyio.fail_after(_MOST_WAIT_S):
                    chunk = await anext(coming, None)
            except TimeoutError as error:  # who sends nothing must not keep others from sending
                raise NotNow(f"nothing more of the file came for {_MOST_WAIT_S:g} s; send it again") from error
            if chunk is None:
                return
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            file.write(chunk)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the file is larger than {limit / 2**20:g} MiB; send a shorter one, or start with --max-upload-mb")


def _is_container(head: bytes) -> bool:
    """Tell whether a file begins as a container of video; text (playlists, which name other files) never does."""
    return (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        or head[:4] in (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"OggS", b"0&\xb2u")
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or (len(head) > 376 and head[0] == head[188] == head[376] == 0x47)
        or (len(head) > 388 and head[4] == head[196] == head[388] == 0x47)
    )


def display_name(header: str | None) -> str:
    """Return what a sender calls a file, percent-encoded, as something to show; nothing is stored under it."""
    name = unquote(header or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:_MOST_LABEL] or "the upload"
