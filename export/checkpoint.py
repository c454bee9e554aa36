"""Reads the weights of a published checkpoint without executing anything of the file.

The pickle inside is read as data (`edgetrack.export.pickles`): classes of the training code are never
imported and calls are never made. A tensor is built only from a checked description: known element type,
extent inside its storage, sound sizes. torch.load is not used, not even with `weights_only`: this reader
allows less, copes with files that carry training objects, and compares lengths that the pickle states with
the file. No option loosens this.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeGuard

import torch
from torch import Tensor

from edgetrack.errors import CheckpointError
from edgetrack.export.checkpoint_files import EXPECTED, Content, Layout, checked_layout, open_content, storage_of
from edgetrack.export.pickles import Call, Global, Persistent, brief, is_plain_key, is_script_module

__all__ = ["MAX_FILE_BYTES", "Checkpoint", "load_checkpoint"]

MAX_FILE_BYTES = 16 << 30

_MAX_DEPTH = 32
_MAX_NAME = 1000
_MAX_MODULES = 20_000  # CLIP has a few hundred
_REBUILD_TENSOR = {Global("torch._utils", "_rebuild_tensor_v2"), Global("torch._utils", "_rebuild_tensor")}
_REBUILD_PARAMETER = {
    Global("torch._utils", "_rebuild_parameter"),
    Global("torch._utils", "_rebuild_parameter_with_state"),
}
_MAPPINGS = {Global("collections", "OrderedDict"), Global("collections", "defaultdict")}


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a checkpoint file.

    Attributes:
        state: parameter name -> contiguous tensor on the CPU, element type as stored.
        sha256: of the whole file, hexadecimal.
        path: where it was read from.
        other_keys: names of what lies in the file beside the weights, unread.
        metadata: texts that a .safetensors file carries.
    """

    state: dict[str, Tensor]
    sha256: str
    path: Path
    other_keys: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def load_checkpoint(path: str | Path, *, scripted: bool = False, entries: tuple[str, ...] = ("net",)) -> Checkpoint:
    """Read the weights of a checkpoint: its entry `net`, or all of it where it is a bare state dict.

    Args:
        path: a file written by torch.save, or a .safetensors file.
        entries: where the weights may be; the first one that there is counts.
        scripted: read a TorchScript archive too, which is how OpenAI publishes CLIP: the tensors that its modules hold,
            under the modules' names; its code is left unread. Else such a file is refused.

    Raises:
        CheckpointError: the file is missing, empty, truncated, larger than MAX_FILE_BYTES, not a checkpoint,
            or an entry of its weights is not a plain tensor.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            sha256 = _check_and_hash(stream, size)
            content = open_content(path, stream, size, scripted=scripted)
            weights, other = _select_weights(content.top, entries)
            state = _read_tensors(weights, content, limit=4 * size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"cannot read checkpoint {path}: {reason}; check the path") from error
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    except (TypeError, RuntimeError, ValueError, OverflowError, RecursionError) as error:
        # The checks above should leave nothing to these; a file that finds a gap in them is refused all the same.
        reason = str(error).partition("\n")[0][:120]
        raise CheckpointError(f"checkpoint {path}: it is damaged ({reason}); download it again") from error
    return Checkpoint(state, sha256, path, other, content.metadata)


def _check_and_hash(stream: IO[bytes], size: int) -> str:
    if size == 0:
        raise CheckpointError("it is empty; download it again")
    if size > MAX_FILE_BYTES:
        raise CheckpointError(f"it has {size} bytes; at most {MAX_FILE_BYTES} are read")
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    stream.seek(0)
    return digest.hexdigest()


def _select_weights(top: object, entries: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the state dict inside a file's content, and the names of everything beside it."""
    content = _module_tensors(top) if is_script_module(top) else _as_dict(top)
    if content is None:
        raise CheckpointError(f"it holds {_describe(top)}; {EXPECTED}")
    entry = next((name for name in entries if name in content), None)
    if entry is not None:
        weights = _as_dict(content[entry])
        if not weights:
            raise CheckpointError(f"its {entry!r} is {_describe(content[entry])}; {EXPECTED}")
        return weights, tuple(_key_name(key) for key in content if key != entry)
    if content and all(_layout_of(value) is not None for value in content.values()):
        return content, ()
    keys = ", ".join(brief(key) for key in list(content)[:8])
    raise CheckpointError(f"it has no 'net' but {keys or 'nothing'}; {EXPECTED}")


def _as_dict(value: object) -> dict[Any, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, Call) and isinstance(value.function, Global) and value.function in _MAPPINGS:
        # Python 2 and 3 write an OrderedDict's content as items set on it, or as a list of pairs in the call.
        pairs = value.arguments[0] if value.arguments and isinstance(value.arguments[0], list) else []
        sound = (pair for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2)
        listed = {key: item for key, item in sound if is_plain_key(key)}
        return {**listed, **(value.items or {})}
    return None


def _module_tensors(top: object) -> dict[Any, Any]:
    """Return the tensors of a TorchScript module and its submodules by dotted name; everything else is left out."""
    found: dict[Any, Any] = {}
    waiting: list[tuple[str, Any, int]] = [("", top, 0)]
    visited = 0
    while waiting:
        prefix, module, depth = waiting.pop()
        visited += 1
        # Modules may hold each other, so that a small file describes a tree without end.
        if depth > _MAX_DEPTH or visited > _MAX_MODULES:
            raise CheckpointError("its modules are nested without end; download it again")
        for key, value in (module.items or {}).items():
            name = prefix + key if isinstance(key, str) and len(prefix) + len(key) < _MAX_NAME else None
            if name is not None and is_script_module(value):
                waiting.append((f"{name}.", value, depth + 1))
            elif name is not None and _layout_of(value) is not None:
                found[name] = value
    return found


def _key_name(key: object) -> str:
    return key[:80] if isinstance(key, str) else brief(key)


def _layout_of(value: object) -> Layout | None:
    """Return the description of a tensor or parameter, or None where `value` is something else."""
    if isinstance(value, Layout):
        return value
    if _calls(value, _REBUILD_PARAMETER) and value.arguments:
        value = value.arguments[0]
    if _calls(value, _REBUILD_TENSOR) and len(value.arguments) >= 4:
        return _layout_from(*value.arguments[:4])
    return None


def _calls(value: object, functions: set[Global]) -> TypeGuard[Call]:
    return isinstance(value, Call) and isinstance(value.function, Global) and value.function in functions


def _layout_from(storage: object, offset: object, size: object, stride: object) -> Layout | None:
    """Check the arguments of torch's `_rebuild_tensor`; None where they are not what torch writes."""
    if not isinstance(storage, Persistent):
        return None
    dtype, key, elements = storage_of(storage)
    return checked_layout(dtype, (key, elements), offset, size, stride)


def _read_tensors(weights: Mapping[Any, Any], content: Content, limit: int) -> dict[str, Tensor]:
    """Build every entry; `limit` bounds the bytes of all, so that shared storages cannot multiply."""
    state: dict[str, Tensor] = {}
    total = 0
    storages = _Storages(content, limit)
    for name, value in weights.items():
        layout = _layout_of(value)
        if not isinstance(name, str) or layout is None:
            raise CheckpointError(f"its entry {brief(name)} is {_describe(value)}, not a tensor; {EXPECTED}")
        total += math.prod(layout.size) * layout.dtype.itemsize
        if total > limit:
            raise CheckpointError(f"its tensors unpack to more than {limit} bytes at {brief(name)}; it is damaged")
        state[name] = _build(name, layout, storages)
    return state


class _Storages:
    """Reads parts of storages and keeps the last part, because entries may share a storage.

    A second part of the same storage brings in all of it. `limit` bounds the bytes read in all: many small tensors
    whose strides span a large storage would otherwise cost far more than the file.
    """

    def __init__(self, content: Content, limit: int) -> None:
        self._content, self._limit = content, limit
        self._read = 0
        self._key: str | None = None
        self._begin = 0
        self._data = bytearray()

    def part(self, layout: Layout, first: int, count: int) -> tuple[bytearray, int]:
        """Return bytes that hold elements `first` to `first + count`, and the byte where these start."""
        width = layout.dtype.itemsize
        begin, end = first * width, (first + count) * width
        again = layout.storage == self._key
        if not again or begin < self._begin or end > self._begin + len(self._data):
            start, stop = (0, layout.storage_elements * width) if again else (begin, end)
            self._read += stop - start
            if self._read > self._limit:
                raise CheckpointError(f"its entries take more than {self._limit} bytes to read; it is damaged")
            self._data = bytearray(self._content.read_storage(layout.storage, start, stop - start))
            self._key, self._begin = layout.storage, start
        return self._data, begin - self._begin


def _build(name: str, layout: Layout, storages: _Storages) -> Tensor:
    last = layout.offset + sum((n - 1) * step for n, step in zip(layout.size, layout.stride, strict=True))
    empty = 0 in layout.size
    if not empty and last >= layout.storage_elements:
        raise CheckpointError(f"its entry {brief(name)} reaches outside its storage; download it again")
    if empty:
        return torch.empty(layout.size, dtype=layout.dtype)
    count = last + 1 - layout.offset
    data, start = storages.part(layout, layout.offset, count)
    kind = torch.uint8 if layout.dtype == torch.bool else layout.dtype
    elements = torch.frombuffer(data, dtype=kind, count=count, offset=start)
    tensor = elements.as_strided(layout.size, layout.stride, 0)
    return tensor.to(layout.dtype).contiguous().clone()


def _describe(value: object) -> str:
    """Say in a few words what an entry is, without quoting the file at length."""
    if isinstance(value, Call):
        return f"an object of {brief(value.function)}"
    if isinstance(value, Global):
        return f"the name {brief(value)}"
    if isinstance(value, dict):
        return "a dict" if value else "an empty dict"
    return f"a {type(value).__name__}"
