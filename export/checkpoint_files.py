"""The file formats of checkpoints, each reduced to a described content and a reader of its storages.

Read are torch's zip files (torch 1.6 and later), its older single-stream files, and .safetensors files.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from edgetrack.errors import CheckpointError
from edgetrack.export.pickles import Global, Persistent, PickleFormatError, read_pickle

__all__ = ["EXPECTED", "Content", "Layout", "open_content", "storage_of"]

EXPECTED = "expected a training checkpoint with its weights under 'net', or a bare state dict"
_MAX_PICKLE_BYTES = 64 << 20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DAMAGED = "it is damaged: storage {!r} is missing or too short; download it again"
_BIG_ENDIAN = "it was written on a big-endian machine; save it again on a little-endian one"
# zipfile lets the errors of what it is built on through: bad names, encrypted entries, unknown versions.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)

_STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Layout:
    """One tensor as a file describes it: which elements of which storage."""

    dtype: torch.dtype
    storage: str
    storage_elements: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        top: the file's object as `read_pickle` returns it, or a dict of `Layout`.
        read_storage: (storage key, byte count) -> that many bytes; CheckpointError when the file has fewer.
    """

    top: Any
    read_storage: Callable[[str, int], bytes]


def open_content(path: Path, stream: IO[bytes], size: int) -> Content:
    """Recognise the format of an open file of `size` bytes; storages are read on demand.

    Raises:
        CheckpointError: not one of the formats, damaged, or of a kind that carries code; without the path.
    """
    if path.suffix == ".safetensors":
        return _open_safetensors(stream, size)
    start = stream.read(4)
    stream.seek(0)
    if start != b"PK\x03\x04":
        return _open_legacy(stream, size)
    try:
        return _open_zip(zipfile.ZipFile(stream), size)
    except _ZIP_ERRORS as error:
        reason = str(error).partition("\n")[0][:120]
        raise CheckpointError(f"it is truncated or damaged ({reason}); download it again") from error


def storage_of(reference: Persistent) -> tuple[torch.dtype, str, int]:
    """Return element type, key and element count of the storage that a torch pickle refers to.

    Raises:
        CheckpointError: not a reference that torch writes, or an element type without a plain meaning.
    """
    fields = reference.identifier
    if not isinstance(fields, tuple) or len(fields) < 5 or fields[0] != "storage":
        raise CheckpointError("it is damaged: a tensor refers to no storage; download it again")
    kind, key, elements = fields[1], fields[2], fields[4]
    dtype = _STORAGE_TYPES.get(kind.name) if isinstance(kind, Global) and kind.module == "torch" else None
    if dtype is None:
        raise CheckpointError(f"element type {kind} is not read; known: {', '.join(_STORAGE_TYPES)}")
    if type(elements) is not int or elements < 0 or (len(fields) > 5 and fields[5] is not None):
        raise CheckpointError(f"it is damaged: storage {key!r} has no sound length; download it again")
    return dtype, str(key), elements


def _open_zip(archive: zipfile.ZipFile, size: int) -> Content:
    """Open torch's zip layout: <folder>/data.pkl, <folder>/data/<storage key>, <folder>/byteorder."""
    names = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"it is a zip file without torch's data.pkl; {EXPECTED}")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in names:
        raise CheckpointError(f"it is a TorchScript module, which carries code; {EXPECTED}")
    if names[pickles[0]].file_size > _MAX_PICKLE_BYTES:
        raise CheckpointError(f"its data.pkl is larger than {_MAX_PICKLE_BYTES >> 20} MiB; {EXPECTED}")
    _refuse_compressed(names, size)
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise CheckpointError(_BIG_ENDIAN)
    top = read_pickle(io.BytesIO(archive.read(pickles[0])))

    def read_storage(key: str, length: int) -> bytes:
        info = names.get(f"{folder}data/{key}")
        if info is None or info.file_size < length:
            raise CheckpointError(_DAMAGED.format(key))
        try:
            with archive.open(info) as storage:
                data = storage.read(length)
                if length == info.file_size:
                    storage.read(1)  # the end of the entry: its CRC is compared here
        except _ZIP_ERRORS as error:
            raise CheckpointError(_DAMAGED.format(key)) from error
        return data

    return Content(top, read_storage)


def _refuse_compressed(names: Mapping[str, zipfile.ZipInfo], size: int) -> None:
    """Torch stores everything as it is, so an entry cannot be larger than the file."""
    for name, info in names.items():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
            raise CheckpointError(f"its entry {name!r} is compressed; save it with torch.save")


def _open_legacy(stream: IO[bytes], size: int) -> Content:
    """Open torch's single-stream layout: five pickles, then per storage an int64 count and the elements."""
    references: list[Persistent] = []
    try:
        if read_pickle(stream) != _LEGACY_MAGIC or read_pickle(stream) != _LEGACY_PROTOCOL:
            raise CheckpointError(f"not a file of torch.save; {EXPECTED}")
        system = read_pickle(stream)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise CheckpointError(_BIG_ENDIAN)
        top = read_pickle(stream, references)
        keys = read_pickle(stream)
    except PickleFormatError as error:
        raise CheckpointError(f"not a file of torch.save, or truncated ({error}); {EXPECTED}") from error
    widths = {key: dtype.itemsize for dtype, key, _ in map(storage_of, references)}
    places: dict[str, tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else ():
        length = int.from_bytes(stream.read(8), "little", signed=True) * widths.get(str(key), -1)
        if length < 0 or stream.tell() + length > size:
            raise CheckpointError(_DAMAGED.format(key))
        places[str(key)] = (stream.tell(), length)
        stream.seek(length, io.SEEK_CUR)

    def read_storage(key: str, length: int) -> bytes:
        start, available = places.get(key, (0, -1))
        if available < length:
            raise CheckpointError(_DAMAGED.format(key))
        stream.seek(start)
        return stream.read(length)

    return Content(top, read_storage)


def _open_safetensors(stream: IO[bytes], size: int) -> Content:
    """Open a .safetensors file: header length (uint64), JSON header, one block of bytes per tensor."""
    length = int.from_bytes(stream.read(8), "little")
    if length > min(size - 8, _MAX_PICKLE_BYTES):
        raise CheckpointError("its header is cut off; download it again")
    try:
        header = json.loads(stream.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        top = {name: _safetensors_layout(name, entry) for name, entry in entries.items()}
        starts = {name: 8 + length + int(entry["data_offsets"][0]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"its header is damaged ({error}); download it again") from error

    def read_storage(key: str, length: int) -> bytes:
        if starts[key] < 0 or starts[key] + length > size:
            raise CheckpointError(_DAMAGED.format(key))
        stream.seek(starts[key])
        return stream.read(length)

    return Content(top, read_storage)


def _safetensors_layout(name: str, entry: Mapping[str, Any]) -> Layout:
    size = tuple(int(extent) for extent in entry["shape"])
    stride = [1] * len(size)
    for axis in range(len(size) - 2, -1, -1):
        stride[axis] = stride[axis + 1] * size[axis + 1]
    elements = stride[0] * size[0] if size else 1
    return Layout(_SAFETENSORS_TYPES[entry["dtype"]], name, elements, 0, size, tuple(stride))
