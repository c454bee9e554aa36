"""The file formats of checkpoints, each reduced to a described content and a reader of its storages.

Read are torch's zip files (torch 1.6 and later), its older single-stream files, and .safetensors files.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from edgetrack.errors import CheckpointError
from edgetrack.export.pickles import Global, Persistent, PickleFormatError, brief, read_pickle

__all__ = ["EXPECTED", "Content", "Layout", "checked_layout", "open_content", "storage_of"]

EXPECTED = "expected a training checkpoint with its weights under 'net', or a bare state dict"
_MAX_PICKLE_BYTES = 64 << 20
_MAX_HEADER_BYTES = 8 << 20  # ten thousand entries have about one MiB
_MAX_NUMBER = 1 << 40  # of elements: far above any file that is read, far below what overflows 64 bits
_MAX_RANK = 16
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_START = b"PK\x03\x04"
_DAMAGED = "it is damaged: storage {} is missing or too short; download it again"
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
        read_storage: (storage key, first byte, byte count) -> those bytes; CheckpointError when the file has fewer.
        metadata: texts that a .safetensors file carries beside its tensors.
    """

    top: Any
    read_storage: Callable[[str, int, int], bytes]
    metadata: Mapping[str, str] = field(default_factory=dict)


def checked_layout(
    dtype: torch.dtype, storage: tuple[str, int], offset: object, size: object, stride: object
) -> Layout | None:
    """Return the layout of a tensor in `storage` (key, element count); None where the numbers are not sound.

    Sound are tuples of equal length up to 16, of integers from 0 below 2**40, and as many elements in all.
    """
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or not isinstance(offset, int):
        return None
    if len(size) != len(stride) or len(size) > _MAX_RANK:
        return None
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in (storage[1], offset, *size, *stride)):
        return None
    # An extent of 0 does not excuse the others: torch multiplies them all for the strides.
    if math.prod(max(extent, 1) for extent in size) >= _MAX_NUMBER:
        return None
    return Layout(dtype, *storage, offset, size, stride)


def open_content(path: Path, stream: IO[bytes], size: int, *, scripted: bool = False) -> Content:
    """Recognise the format of an open file of `size` bytes; storages are read on demand.

    Args:
        path: of the file; its suffix tells .safetensors files.
        stream: the file.
        size: of it, in bytes.
        scripted: read a TorchScript archive too: what its modules hold, and nothing of its code.

    Raises:
        CheckpointError: not one of the formats, damaged, or of a kind that carries code; without the path.
    """
    if path.suffix == ".safetensors":
        return _open_safetensors(stream, size)
    start = stream.read(4)
    stream.seek(0)
    if start != _ZIP_START:
        return _open_legacy(stream, size)
    try:
        return _open_zip(zipfile.ZipFile(stream), stream, size, scripted=scripted)
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
    if not isinstance(key, str):
        raise CheckpointError(f"it is damaged: the key of a storage is {brief(key)}, not text; download it again")
    if dtype is None:
        raise CheckpointError(f"element type {brief(kind)} is not read; known: {', '.join(_STORAGE_TYPES)}")
    if type(elements) is not int or elements < 0 or (len(fields) > 5 and fields[5] is not None):
        raise CheckpointError(f"it is damaged: storage {brief(key)} has no sound length; download it again")
    return dtype, key, elements


def _open_zip(archive: zipfile.ZipFile, stream: IO[bytes], size: int, *, scripted: bool) -> Content:
    """Open torch's zip layout: <folder>/data.pkl, <folder>/data/<storage key>, <folder>/byteorder."""
    names = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"it is a zip file without torch's data.pkl; {EXPECTED}")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in names and not scripted:
        raise CheckpointError(f"it is a TorchScript module, which carries code; {EXPECTED}")
    if names[pickles[0]].file_size > _MAX_PICKLE_BYTES:
        raise CheckpointError(f"its data.pkl is larger than {_MAX_PICKLE_BYTES >> 20} MiB; {EXPECTED}")
    # A TorchScript archive compresses its code, which is not read.
    code = f"{folder}code/"
    _refuse_compressed({name: info for name, info in names.items() if not (scripted and name.startswith(code))}, size)
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise CheckpointError(_BIG_ENDIAN)
    top = read_pickle(io.BytesIO(archive.read(pickles[0])))

    def read_storage(key: str, first: int, length: int) -> bytes:
        info = names.get(f"{folder}data/{key}")
        if info is None or info.file_size < first + length:
            raise CheckpointError(_DAMAGED.format(brief(key)))
        try:
            data = _read_entry(archive, stream, info, first, length)
        except _ZIP_ERRORS as error:
            raise CheckpointError(_DAMAGED.format(brief(key))) from error
        if len(data) != length:
            raise CheckpointError(_DAMAGED.format(brief(key)))
        return data

    return Content(top, read_storage)


def _read_entry(archive: zipfile.ZipFile, stream: IO[bytes], info: zipfile.ZipInfo, first: int, length: int) -> bytes:
    """Read `length` bytes of a stored entry from its byte `first`; the CRC is compared where that is all of it."""
    if length == info.file_size:
        return archive.read(info)
    # Not ZipExtFile.seek: before Python 3.12 it reads everything up to the place.
    stream.seek(info.header_offset)
    header = stream.read(30)
    if header[:4] != _ZIP_START:
        raise zipfile.BadZipFile("no entry where the directory says")
    stream.seek(sum(struct.unpack("<HH", header[26:30])) + first, io.SEEK_CUR)
    return stream.read(length)


def _refuse_compressed(names: Mapping[str, zipfile.ZipInfo], size: int) -> None:
    """Torch stores everything as it is, so an entry cannot be larger than the file."""
    for name, info in names.items():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
            raise CheckpointError(f"its entry {brief(name)} is compressed; save it with torch.save")
        if info.flag_bits & 1:
            raise CheckpointError(f"its entry {brief(name)} is encrypted; save it with torch.save")


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
        if not isinstance(key, str):
            raise CheckpointError(f"it is damaged: the key of a storage is {brief(key)}, not text; download it again")
        count = stream.read(8)
        length = int.from_bytes(count, "little", signed=True) * widths.get(key, -1)
        if len(count) < 8 or length < 0 or stream.tell() + length > size:
            raise CheckpointError(_DAMAGED.format(brief(key)))
        places[key] = (stream.tell(), length)
        stream.seek(length, io.SEEK_CUR)

    def read_storage(key: str, first: int, length: int) -> bytes:
        start, available = places.get(key, (0, -1))
        if available < first + length:
            raise CheckpointError(_DAMAGED.format(brief(key)))
        stream.seek(start + first)
        return stream.read(length)

    return Content(top, read_storage)


def _open_safetensors(stream: IO[bytes], size: int) -> Content:
    """Open a .safetensors file: header length (uint64), JSON header, one block of bytes per tensor."""
    length = int.from_bytes(stream.read(8), "little")
    if length > size - 8:
        raise CheckpointError("its header is cut off; download it again")
    if length > _MAX_HEADER_BYTES:
        raise CheckpointError(f"its header is larger than {_MAX_HEADER_BYTES >> 20} MiB; {EXPECTED}")
    try:
        header = json.loads(stream.read(length))
        metadata = {name: text for name, text in header.get("__metadata__", {}).items() if isinstance(text, str)}
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        top = {name: _safetensors_layout(name, entry) for name, entry in entries.items()}
        places = _safetensors_places(top, entries, size - 8 - length)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise CheckpointError(f"its header is damaged ({reason}); download it again") from error

    def read_storage(key: str, first: int, count: int) -> bytes:
        start, end = places[key]
        if start + first + count > end:
            raise CheckpointError(_DAMAGED.format(brief(key)))
        stream.seek(8 + length + start + first)
        return stream.read(count)

    return Content(top, read_storage, metadata)


def _safetensors_layout(name: str, entry: Mapping[str, Any]) -> Layout:
    size = tuple(entry["shape"])
    if not all(type(extent) is int for extent in size) or len(size) > _MAX_RANK:
        raise ValueError(f"entry {brief(name)} has no sound shape")
    stride = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    layout = checked_layout(_SAFETENSORS_TYPES[entry["dtype"]], (name, math.prod(size)), 0, size, stride)
    if layout is None:
        raise ValueError(f"entry {brief(name)} has no sound shape")
    return layout


def _safetensors_places(
    layouts: Mapping[str, Layout], entries: Mapping[str, Mapping[str, Any]], available: int
) -> dict[str, tuple[int, int]]:
    """Return where each tensor lies in the `available` bytes behind the header: name -> (begin, end)."""
    places: dict[str, tuple[int, int]] = {}
    for name, layout in layouts.items():
        begin, end = entries[name]["data_offsets"]
        if type(begin) is not int or type(end) is not int or not 0 <= begin <= end <= available:
            raise ValueError(f"entry {brief(name)} lies outside the file")
        if end - begin != layout.storage_elements * layout.dtype.itemsize:
            raise ValueError(f"entry {brief(name)} has another length than its shape")
        places[name] = (begin, end)
    ends_before = 0
    for name, (begin, end) in sorted(places.items(), key=lambda item: item[1]):
        if begin < ends_before:
            raise ValueError(f"entry {brief(name)} overlaps another")
        ends_before = end
    return places
