"""DLPack capsules read through ctypes: https://dmlc.github.io/dlpack/latest/c_api.html."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from edgetrack.errors import InputError

__all__ = ["CUDA", "CUDA_MANAGED", "PackedArray", "contiguous_strides", "read_capsule"]

# Kinds of device (DLDeviceType).
CUDA = 2
CUDA_MANAGED = 13

_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}  # DLDataTypeCode
_KNOWN_MAJOR = 1


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_kind", ctypes.c_int32),
        ("device_index", ctypes.c_int32),
        ("axes", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned; the older DLManagedTensor begins with the tensor."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_is_valid: Any = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_pointer: Any = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


@dataclass(frozen=True, slots=True)
class PackedArray:
    """What a capsule holds: address, shape, strides in bytes, and the type of its elements as "uint8"."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


def read_capsule(capsule: object) -> PackedArray:
    """Read a capsule without consuming it: its owner releases the memory when the last reference to it goes.

    Raises:
        InputError: it is no DLPack capsule, or of a version that is not known.
    """
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned"))
        if managed.major != _KNOWN_MAJOR:
            raise InputError(f"the frame comes as DLPack {managed.major}.{managed.minor}; version 1 is known")
        return _read(managed.tensor)
    if _is_valid(capsule, b"dltensor"):
        return _read(_Tensor.from_address(_pointer(capsule, b"dltensor")))
    raise InputError(f"the frame's __dlpack__ gave a {type(capsule).__name__}, no unused DLPack capsule; pass another")


def _read(tensor: Any) -> PackedArray:  # noqa: ANN401 (a _Tensor, whose fields have no types)
    shape = tuple(tensor.shape[axis] for axis in range(tensor.axes))
    item = max(1, tensor.bits * tensor.lanes // 8)
    if tensor.strides:
        strides = tuple(tensor.strides[axis] * item for axis in range(tensor.axes))
    else:
        strides = contiguous_strides(shape, item)
    dtype = f"{_KINDS.get(tensor.code, 'unknown')}{tensor.bits}" + (f"x{tensor.lanes}" if tensor.lanes != 1 else "")
    return PackedArray((tensor.data or 0) + tensor.byte_offset, shape, strides, dtype)


def contiguous_strides(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Return the strides in bytes of an array without gaps, its last axis fastest."""
    strides: list[int] = []
    for size in reversed(shape):
        strides.append(item)
        item *= size
    return tuple(reversed(strides))
