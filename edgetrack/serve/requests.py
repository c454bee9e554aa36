"""Bodies of requests: read up to a limit, checked, and turned into what a session takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.requests import Request

from edgetrack.errors import InputError
from edgetrack.runtime.arguments import checked_box
from edgetrack.serve.control import Settings, Target
from edgetrack.serve.uploads import TooLarge, Uploads

__all__ = ["Body", "announced_size", "read_body", "read_settings", "read_target", "read_thresholds", "whole_number"]

Body = Mapping[str, Any]

_MOST_BYTES = 64 << 10
_MOST_THRESHOLDS = 16
_MOST_DIGITS = 18  # of a size; one with more is too large all the same
_JSON, _BYTES = "application/json", "application/octet-stream"


async def read_body(request: Request, keys: tuple[str, ...]) -> Body:
    """Return the JSON object that a request carries; no body is an empty one.

    Raises:
        TooLarge: more than 64 KiB.
        InputError: no JSON object, or one with other keys than `keys`.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise TooLarge(f"the request is larger than {_MOST_BYTES >> 10} KiB; send less")
    if not data:
        return {}
    require_type(request, _JSON)
    try:
        body = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is no JSON ({str(error)[:80]}); send an object") from error
    if not isinstance(body, dict):
        raise InputError(f"the request is a {type(body).__name__}, must be a JSON object")
    if unknown := [key for key in body if key not in keys]:
        raise InputError(
            f"the request has {unknown[0][:40]!r}, which is unknown; known: {', '.join(keys) or 'nothing'}"
        )
    return body


def announced_size(request: Request) -> int | None:
    """Return the size that a request with a file says it has, None if it says none; InputError if it is no file."""
    require_type(request, _BYTES)
    text = request.headers.get("content-length", "")
    return int(text[:_MOST_DIGITS]) if text.isdecimal() else None


def require_type(request: Request, wanted: str) -> None:
    """Refuse another content type: these two are such that a foreign page cannot send them; InputError."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != wanted:
        raise InputError(f"content type {found[:60]!r} is not what is sent here; send {wanted}")


def read_target(body: Body, uploads: Uploads) -> Target:
    """Return the target of `box`, `text`, `pack` and `frame`; InputError where one is malformed."""
    box, text, pack, frame = (body.get(key) for key in ("box", "text", "pack", "frame"))
    if text is not None and not isinstance(text, str):
        raise InputError(f"text is a {type(text).__name__}, must be a sentence")
    if box is not None and (not isinstance(box, list) or any(isinstance(value, bool) for value in box)):
        raise InputError(f"box is {str(box)[:60]}, must be four numbers [x, y, w, h] in pixels")
    if box is None and text is None and pack is None:
        raise InputError("nothing says what to follow; draw a box, or give a text or a target pack")
    return Target(
        box=None if box is None else checked_box(box),
        text=text,
        pack=None if pack is None else uploads.pack(pack),
        frame=None if frame is None else whole_number(body, "frame"),
    )


def read_settings(body: Body, now: Settings) -> Settings:
    """Return `now` with what `pace` and `every` say; InputError where one is impossible."""
    return Settings(pace=body.get("pace", now.pace), every=body.get("every", now.every))


def read_thresholds(body: Body) -> dict[str, float]:
    """Return the numbers by name that `values` holds; which there are and what they can be, the tracker says."""
    values = body.get("values")
    if not isinstance(values, dict) or not values or len(values) > _MOST_THRESHOLDS:
        raise InputError('values is no object with thresholds; give numbers by name as {"tau": 0.1}')
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"threshold {name[:40]!r} is {str(value)[:40]!r}, must be a number")
    return values


def whole_number(body: Body, key: str) -> int:
    """Return a whole number, 0 or more; InputError."""
    value = body.get(key)
    if type(value) is not int or not 0 <= value < 2**53:
        raise InputError(f"{key} is {str(value)[:40]!r}, must be a whole number, 0 or more")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
