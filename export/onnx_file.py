"""Writes an ONNX model piece by piece: serialising it whole takes its size in memory twice more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["save_model"]

_GRAPH, _INITIALIZER = "graph", "initializer"


def save_model(model: Any, path: Path) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Write `model` as one self-contained file, its weights one after the other at the graph's end.

    Raises:
        OSError: the file cannot be written.
    """
    head = _without(model, _GRAPH).SerializeToString()
    body = _without(model.graph, _INITIALIZER).SerializeToString()
    weights = model.graph.initializer
    size = len(body) + sum(len(_key(model.graph, _INITIALIZER, item.ByteSize())) + item.ByteSize() for item in weights)
    with path.open("wb") as file:
        file.write(head + _key(model, _GRAPH, size) + body)
        for item in weights:
            file.write(_key(model.graph, _INITIALIZER, item.ByteSize()) + item.SerializeToString())


def _without(message: Any, left_out: str) -> Any:  # noqa: ANN401 (a protobuf message)
    """Return a copy of a message without one of its fields."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == left_out:
            continue
        if field.is_repeated:
            getattr(copy, field.name).extend(value)
        elif field.message_type is not None:
            getattr(copy, field.name).CopyFrom(value)
        else:
            setattr(copy, field.name, value)
    return copy


def _key(message: Any, name: str, size: int) -> bytes:  # noqa: ANN401
    """Return what stands before a field that holds a message of so many bytes: its number, type 2, its length."""
    return _varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | 2) + _varint(size)


def _varint(value: int) -> bytes:
    """Return a number in protobuf's notation: seven bits a byte, the lowest first, the top bit set but in the last."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
