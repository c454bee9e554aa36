"""Options behind the question mark of a data set's name."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import parse_qsl

from edgetrack.errors import InputError

__all__ = ["ReadOptions", "parse_options"]


@dataclass(frozen=True)
class ReadOptions:
    """What of a data set is read.

    Attributes:
        list: a text file that names the sequences to read, one a line; a number is a line of the split's own list.txt,
            counted from 0, as published lists of GOT-10k have it. Sequences only.
        every: take every n-th frame, the first included. Sequences only.
        images: folder of the images. COCO only.
        min_side: leave out boxes with a shorter side, in pixels; "min-side" in a spec. Still images only.
        words: "plain": descriptions as they stand; "published": as published evaluations of language trackers print
            them, a text with a comma as a list. TNL2K and OTB99-Lang only.
        name: what the data set is called; sets of equal name count as one where data sets are mixed equally.
    """

    list: Path | None = None
    every: int = 1
    images: Path | None = None
    min_side: float = 8.0
    words: str = "plain"
    name: str | None = None
    given: frozenset[str] = field(default_factory=frozenset)

    def only(self, path: Path, *allowed: str) -> None:
        """Refuse options that mean nothing for a kind of data set.

        Args:
            path: of the data set, for the message.
            allowed: the names that mean something.

        Raises:
            InputError: another one was given.
        """
        odd = sorted(self.given - set(allowed))
        if odd:
            raise InputError(f"data {path}: option {odd[0]} has no use there; usable: {', '.join(sorted(allowed))}")


def parse_options(query: str, spec: str) -> ReadOptions:
    """Read "key=value&key=value".

    Args:
        query: what follows the question mark; may be empty.
        spec: the whole name, for messages.

    Raises:
        InputError: an unknown option, or a value that is not usable.
    """
    known = [entry.name.replace("_", "-") for entry in fields(ReadOptions) if entry.name != "given"]
    values: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InputError(f"data {spec!r}: options must read key=value&key=value with {', '.join(known)}") from error
    for key, value in pairs:
        if key not in known or key in values or not value:
            raise InputError(f"data {spec!r}: option {key}={value} cannot be used; once each: {', '.join(known)}")
        values[key] = value
    return ReadOptions(
        list=_path(values.get("list"), spec),
        every=int(_number(values.get("every", "1"), "every", spec, whole=True)),
        images=_path(values.get("images"), spec),
        min_side=_number(values.get("min-side", "8"), "min-side", spec, whole=False),
        words=_words(values.get("words", "plain"), spec),
        name=values.get("name"),
        given=frozenset(values),
    )


def _words(value: str, spec: str) -> str:
    if value not in ("plain", "published"):
        raise InputError(f"data {spec!r}: words is {value!r}, must be plain or published")
    return value


def _path(value: str | None, spec: str) -> Path | None:
    if value is not None and not Path(value).exists():
        raise InputError(f"data {spec!r}: {value} does not exist; check the path")
    return None if value is None else Path(value)


def _number(value: str, key: str, spec: str, *, whole: bool) -> float:
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        number = 0
    if not 1 <= number <= 100_000:
        raise InputError(f"data {spec!r}: {key} is {value!r}, must be a {'whole ' if whole else ''}number from 1 on")
    return number
