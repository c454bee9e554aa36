"""Reads a TOML file into frozen dataclasses, strictly: unknown keys and bad values are errors that name the remedy.

A section is a dataclass whose fields are numbers, texts, truths, tuples of integers, or further sections. Limits stand
beside a field's default: `number(0.1, 0, 1)`, `choice("a", ("a", "b"))`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgetrack.errors import InputError

__all__ = ["as_table", "choice", "differences", "merge", "number", "override", "parse_section", "read_toml"]

T = TypeVar("T")
_MAX_BYTES = 1 << 20


def number(default: float, low: float, high: float = math.inf) -> Any:  # noqa: ANN401 (as dataclasses.field)
    """Return a field of a section: a number from `low` to `high`; an int where `default` is declared as one."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def choice(default: str, choices: Sequence[str]) -> Any:  # noqa: ANN401 (as dataclasses.field)
    """Return a field of a section: one of `choices`."""
    return dataclasses.field(default=default, metadata={"choices": tuple(choices)})


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: it cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}; check the path") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"the configuration {path} has more than {_MAX_BYTES} bytes; give a TOML file of settings")
    return _parse(data, str(path))


def _parse(data: bytes, where: str) -> dict[str, Any]:
    # Python 3.10 has no tomllib; tomli is the same code.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        found: dict[str, Any] = toml.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{where} is not TOML: {reason}; mend that line") from error
    return found


def override(table: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return `table` with assignments like "optimiser.lr=1e-4" applied; the value is TOML, or a bare text.

    Raises:
        InputError: an assignment that is not "section.key=value".
    """
    changed = dict(table)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        path = name.strip().split(".")
        if not equals or not all(path):
            raise InputError(f"{assignment!r} sets nothing; write section.key=value, as in optimiser.lr=1e-4")
        changed = merge(changed, _nested(path, _value(text.strip())))
    return changed


def _nested(path: Sequence[str], value: object) -> dict[str, Any]:
    return {path[0]: value if len(path) == 1 else _nested(path[1:], value)}


def _value(text: str) -> object:
    """Return a TOML value, or the text itself where it is none (a bare word)."""
    try:
        return _parse(f"value = {text}".encode(), "the value")["value"]
    except InputError:
        return text


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `top` says instead, tables merged key by key."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_section(kind: type[T], table: object, source: str, where: str = "") -> T:
    """Build the dataclass `kind` from a TOML table.

    Args:
        kind: the section; what the table leaves out keeps its default.
        table: as the TOML reader gave it.
        source: the file, for messages.
        where: dotted name of the section in the file, "" for the whole.

    Raises:
        InputError: an unknown key, a value of another type or out of range.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{source}: {where} is {table!r}; write a section [{where}]")
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind)) if field.init}
    types = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        if key not in fields:
            raise InputError(f"{source}: unknown key {name}; {_suggest(key, fields, where)}")
        values[key] = _checked(types[key], value, fields[key].metadata, source, name)
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{source}: {f'[{where}] ' if where else ''}{error}") from error


def _suggest(key: str, fields: Mapping[str, object], where: str) -> str:
    near = difflib.get_close_matches(key, fields, n=1)
    known = f"[{where}] has" if where else "there are"
    return (f"did you mean {near[0]}? " if near else "") + f"{known} {', '.join(fields)}"


def _checked(kind: Any, value: Any, limits: Mapping[str, Any], source: str, name: str) -> Any:  # noqa: ANN401 (TOML)
    if dataclasses.is_dataclass(kind):
        return parse_section(typing.cast(type[Any], kind), value, source, name)
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise _refusal(source, name, value, "true or false")
    if kind in (int, float):
        return _number(kind, value, limits, source, name)
    if kind is str:
        choices = limits.get("choices", ())
        if isinstance(value, str) and (not choices or value in choices):
            return value
        raise _refusal(source, name, value, f"one of {', '.join(choices)}" if choices else "a text")
    if isinstance(value, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return tuple(value)
    raise _refusal(source, name, value, "a list of integers")


def _number(kind: type, value: object, limits: Mapping[str, Any], source: str, name: str) -> float:
    low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
    right = isinstance(value, int) or (kind is float and isinstance(value, float) and math.isfinite(value))
    if isinstance(value, bool) or not right or not low <= typing.cast(float, value) <= high:
        what = "an integer" if kind is int else "a number"
        bounds = f" from {low:g}" if math.isfinite(low) else ""
        bounds += f" to {high:g}" if math.isfinite(high) else (" up" if bounds else "")
        raise _refusal(source, name, value, what + bounds)
    found: float = kind(value)
    return found


def _refusal(source: str, name: str, value: object, wanted: str) -> InputError:
    shown = value if isinstance(value, str) else repr(value)
    return InputError(f"{source}: {name} is {str(shown)[:80]}; give {wanted}")


def as_table(section: object) -> dict[str, Any]:
    """Return a section as nested plain dicts, tuples as lists: what a file can hold."""
    return {key: _plain(value) for key, value in dataclasses.asdict(typing.cast(Any, section)).items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 (any TOML value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def differences(one: Mapping[str, Any], other: Mapping[str, Any], where: str = "") -> list[str]:
    """Return the dotted names of all values in which two tables differ."""
    names = []
    for key in sorted({*one, *other}):
        name, left, right = f"{where}{key}", one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            names += differences(left, right, f"{name}.")
        elif left != right:
            names.append(name)
    return names
