"""Strict reading of JSON: typed fields, errors that name the file, the key, the value and what is right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from edgetrack.errors import ArtifactError

__all__ = ["Fields", "parse_json"]

T = TypeVar("T")

_MAX_DEPTH = 32
_MAX_TEXT = 4096
_MAX_INTEGER = 2**53  # what every JSON reader keeps exactly
_REMEDY = "export the artifact again"


def parse_json(text: bytes, source: str) -> object:
    """Parse strict JSON: UTF-8, no NaN or infinity, no key twice, bounded depth, text and integers.

    Args:
        text: the bytes of the file.
        source: the file's path, for messages.

    Raises:
        ArtifactError: the text breaks one of these rules.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_object_without_duplicates,
        )
        _check(value, 0)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{source}: not valid JSON ({_short(error)}); {_REMEDY}") from error
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key[:60]!r} twice")
        found[key] = value
    return found


def _check(value: object, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise ValueError(f"a text of {len(value)} characters, at most {_MAX_TEXT} are read")
        value.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number too large to hold")
    elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError("an integer beyond 2**53")


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 120 else text[:117] + "..."


class Fields:
    """A JSON object being read: `fields.text("name")` returns the value or raises an ArtifactError."""

    def __init__(self, value: object, source: str, where: str = "") -> None:
        """`source` is the file, `where` the dotted key of this object in it ("" for the whole file)."""
        self._source = source
        self._where = where
        if not isinstance(value, dict):
            raise self.error("", value, "an object")
        self.value: dict[str, Any] = value

    def error(self, key: str, value: object, wanted: str) -> ArtifactError:
        """Return the error for a `value` at `key` that is not what was `wanted`."""
        shown = _short(value if isinstance(value, str) else json.dumps(value, default=str))
        name = ".".join(part for part in (self._where, key) if part) or "the whole file"
        return ArtifactError(f"{self._source}: {name} is {shown}, must be {wanted}; {_REMEDY}")

    def _get(self, key: str) -> Any:  # noqa: ANN401 (JSON)
        if key not in self.value:
            inside = f" in {self._where}" if self._where else ""
            raise ArtifactError(f"{self._source}: key {key!r} is missing{inside}; {_REMEDY}")
        return self.value[key]

    def section(self, key: str) -> Fields:
        """Return the object at `key`."""
        return Fields(self._get(key), self._source, f"{self._where}.{key}" if self._where else key)

    def sections(self, key: str) -> Iterator[Fields]:
        """Return the objects of the list at `key`."""
        items = self._get(key)
        if not isinstance(items, list):
            raise self.error(key, items, "a list")
        where = f"{self._where}.{key}" if self._where else key
        return (Fields(item, self._source, f"{where}[{index}]") for index, item in enumerate(items))

    def text(self, key: str, *, choices: Sequence[str] = (), pattern: str | None = None) -> str:
        """Return the text at `key`, one of `choices` or wholly matching `pattern` where given."""
        value = self._get(key)
        if not isinstance(value, str):
            raise self.error(key, value, "a text")
        if choices and value not in choices:
            raise self.error(key, value, f"one of {', '.join(choices)}")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise self.error(key, value, f"a text that matches {pattern}")
        return value

    def optional_text(self, key: str) -> str | None:
        """Return the text at `key`, or None where the file says null."""
        return None if self._get(key) is None else self.text(key)

    def flag(self, key: str) -> bool:
        """Return the true or false at `key`."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self.error(key, value, "true or false")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """Return the integer at `key`, from `low` to `high`."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(key, value, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Return the number at `key`, from `low` to `high`."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.error(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """Return the `count` numbers of the list at `key`, each from `low` to `high`."""
        values = self._get(key)
        good = isinstance(values, list) and len(values) == count
        if not good or any(
            isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
            for value in values
        ):
            raise self.error(key, values, f"a list of {count} numbers from {low:g} to {high:g}")
        return tuple(float(value) for value in values)

    def items(self, key: str, check: Callable[[object], T | None], wanted: str) -> tuple[T, ...]:
        """Return the list at `key`, each item as `check` converts it; None from it means "not `wanted`"."""
        values = self._get(key)
        if not isinstance(values, list):
            raise self.error(key, values, f"a list of {wanted}")
        converted: list[T] = []
        for index, value in enumerate(values):
            item = check(value)
            if item is None:
                raise self.error(f"{key}[{index}]", value, wanted)
            converted.append(item)
        return tuple(converted)
