"""A checker for the part of JSON Schema that the bench schema uses; it refuses keywords that it does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_NOTES = {"$schema", "$id", "$defs", "title", "description"}
_KNOWN = _NOTES | {"$ref", "type", "const", "enum", "pattern", "minimum", "required", "properties"}
_KNOWN |= {"additionalProperties", "items", "minItems", "maxItems"}


def violations(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "$") -> Iterator[str]:
    """Yield one line for everything in `value` that breaks `schema`."""
    root = root or schema
    if unknown := set(schema) - _KNOWN:
        raise ValueError(f"the schema at {at} uses {unknown}")
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
        return
    types = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type")
    if types and not any(_is(value, name) for name in types):
        yield f"{at} is {value!r}, not {types}"
        return
    if value is None:
        return
    yield from _scalar(value, schema, at)
    if isinstance(value, dict):
        yield from _object(value, schema, root, at)
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{at} has {len(value)} items"
        for index, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), root, f"{at}[{index}]")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _scalar(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if "const" in schema and value != schema["const"]:
        yield f"{at} is {value!r}, not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is {value!r}, not one of {schema['enum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at} is {value!r}, does not match {schema['pattern']}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{at} is {value}, below {schema['minimum']}"


def _object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at} has no {name}"
    for name, item in value.items():
        below = properties.get(name, schema.get("additionalProperties", {}))
        if below is False:
            yield f"{at} has an unknown {name}"
        else:
            yield from violations(item, below, root, f"{at}.{name}")
