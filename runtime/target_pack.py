"""A target pack: what a tracker's text side made of one description, in a small file of its own.

It lets a device follow a described target without a text encoder, a vocabulary or the tokenizers package. The file is a
stock .safetensors one: header length (uint64, little-endian), JSON header, one block of bytes per array. Its metadata
name the model that made it; another one's pack is refused.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import InputError

__all__ = ["ModelIdentity", "TargetPack", "read_pack"]

_KIND = "edgetrack-target-pack"
_SCHEMA = "1"
_MAX_BYTES = 64 << 20  # the largest pack that is meant has 4 MB
_MAX_HEADER = 1 << 20
_MAX_ARRAYS = 64
_MAX_RANK = 8
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_REMEDY = "make it again with `edgetrack encode`"


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights turn a text into target data.

    variant: the tracker's name. checkpoint_sha256: of its weights. encoder_sha256: of the text encoder's, "" where they
    are part of the checkpoint.
    """

    variant: str
    checkpoint_sha256: str
    encoder_sha256: str = ""


@dataclass(frozen=True)
class TargetPack:
    """Target data of one description.

    made_by: the model. text: the description, for people to read. arrays: input name of the search graph -> float32 or
    float16 array.
    """

    made_by: ModelIdentity
    text: str
    arrays: Mapping[str, NDArray[np.floating[Any]]]

    def check_model(self, model: ModelIdentity, source: str) -> None:
        """Refuse a pack that another model made.

        Args:
            model: the one that is to use it.
            source: where the pack is from, for the message.

        Raises:
            InputError: variant or weights differ.
        """
        if self.made_by.variant != model.variant:
            raise InputError(
                f"{source} was made for {self.made_by.variant}, this tracker is {model.variant}; "
                "make one with `edgetrack encode` and this artifact"
            )
        # An artifact without a text encoder takes what any encoder made.
        encoder = model.encoder_sha256 or self.made_by.encoder_sha256
        if self.made_by != ModelIdentity(model.variant, model.checkpoint_sha256, encoder):
            raise InputError(
                f"{source} was made with other weights of {model.variant} (checkpoint {_short(self.made_by)}) than "
                f"this artifact's ({_short(model)}); make one with `edgetrack encode` and this artifact"
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the pack in one step: all of it or nothing; what is at `path` is replaced.

        Raises:
            InputError: the file cannot be written.
        """
        place = Path(path)
        partial = place.with_name(f".{place.name}.partial-{os.getpid()}")
        try:
            try:
                partial.write_bytes(_file_of(self))
                partial.replace(place)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"target pack {place} cannot be written ({reason}); choose another place") from error
        return place


def _short(model: ModelIdentity) -> str:
    encoder = f", text encoder {model.encoder_sha256[:12]}" if model.encoder_sha256 else ""
    return f"{model.checkpoint_sha256[:12]}{encoder}"


def _file_of(pack: TargetPack) -> bytes:
    metadata = {
        "kind": _KIND,
        "schema": _SCHEMA,
        "variant": pack.made_by.variant,
        "checkpoint_sha256": pack.made_by.checkpoint_sha256,
        "encoder_sha256": pack.made_by.encoder_sha256,
        "text": pack.text,
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    blocks: list[bytes] = []
    end = 0
    for name, array in pack.arrays.items():
        code = "F16" if array.dtype == np.float16 else "F32"
        block = np.ascontiguousarray(array, _DTYPES[code]).tobytes()
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [end, end + len(block)]}
        blocks.append(block)
        end += len(block)
    text = json.dumps(header, ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *blocks))


def read_pack(path: str | os.PathLike[str]) -> TargetPack:
    """Read a pack; the file is untrusted.

    Raises:
        InputError: it cannot be read, is no target pack, of another schema, or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"target pack {path} cannot be read ({reason}); check the path") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"{path} is larger than {_MAX_BYTES >> 20} MiB, so no target pack; {_REMEDY}")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _MAX_HEADER):
        raise InputError(f"{path} is no target pack, or cut off; {_REMEDY}")
    try:
        header = json.loads(data[8 : 8 + length])
        pack = _pack_from(header, memoryview(data)[8 + length :])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise InputError(f"{path} is no target pack, or damaged ({reason}); {_REMEDY}") from error
    return pack


def _pack_from(header: Any, data: memoryview) -> TargetPack:  # noqa: ANN401 (JSON)
    """Build a pack of a header that is not checked yet; ValueError, KeyError or TypeError where it is not sound."""
    metadata = header["__metadata__"]
    if metadata["kind"] != _KIND or metadata["schema"] != _SCHEMA:
        raise ValueError(f"kind {str(metadata['kind'])[:40]!r}, schema {str(metadata['schema'])[:10]!r}")
    keys = ("variant", "checkpoint_sha256", "encoder_sha256", "text")
    if not all(isinstance(metadata[key], str) for key in keys):
        raise ValueError("its metadata are no texts")
    variant, checkpoint, encoder, text = (metadata[key] for key in keys)
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if not 1 <= len(entries) <= _MAX_ARRAYS:
        raise ValueError(f"{len(entries)} arrays")
    arrays = {name: _array(name[:40], entry, data) for name, entry in entries.items()}
    return TargetPack(ModelIdentity(variant, checkpoint, encoder), text, arrays)


def _array(name: str, entry: Any, data: memoryview) -> NDArray[np.floating[Any]]:  # noqa: ANN401 (JSON)
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    begin, end = entry["data_offsets"]
    numbers = [begin, end, *shape]
    if len(shape) > _MAX_RANK or not all(type(number) is int and 0 <= number <= _MAX_BYTES for number in numbers):
        raise ValueError(f"array {name!r} has no sound shape")
    if end > len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"array {name!r} lies outside the file or has another length than its shape")
    array: NDArray[np.floating[Any]] = np.frombuffer(data[begin:end], dtype).reshape(shape).copy()
    if not np.isfinite(array).all():
        raise ValueError(f"array {name!r} holds values that are not finite")
    return array
