"""Pieces that sequences of every data set are made of: frames, boxes, flags, text, lists of names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetrack.data.decode import IMAGE_SUFFIXES
from edgetrack.data.options import ReadOptions
from edgetrack.data.track import Boxes, Track, checked_boxes
from edgetrack.errors import InputError
from edgetrack.video.boxes import read_ground_truth

__all__ = ["MAX_TEXT", "chosen", "list_images", "read_flags", "read_phrase", "read_text", "subfolders", "track_of"]

MAX_TEXT = 1000
"""Longest name and longest description of a target, in characters."""

_MAX_LIST_BYTES = 1 << 28


def subfolders(path: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, hidden ones left out."""
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return [path / name for name in names]


def list_images(folder: Path) -> list[str]:
    """Return the names of the images in a folder in the order of their numbers: 2 before 10.

    Raises:
        InputError: the folder does not exist or holds no image.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise InputError(f"folder of frames {folder} cannot be read ({error.strerror}); get the data anew") from error
    if not names:
        raise InputError(f"folder {folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); get the data anew")
    return sorted(names, key=_by_number)


def _by_number(name: str) -> tuple[int, str]:
    stem = os.path.splitext(name)[0]
    return len(stem), stem


def read_text(path: Path) -> str:
    """Read a text file as UTF-8.

    Raises:
        InputError: it cannot be read, is no UTF-8, or is larger than 256 MiB.
    """
    try:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise InputError(f"{path} is larger than 256 MiB; is it the right file?")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); get the data anew") from error


def _read_boxes(path: Path) -> Boxes:
    """Read boxes as `read_ground_truth` does, many times faster where nothing is wrong."""
    lines = read_text(path).replace(",", " ").strip().splitlines()
    try:
        boxes: Boxes = np.loadtxt(lines or ["empty"], dtype=np.float64, comments=None, ndmin=2)
    except ValueError:
        return read_ground_truth(path)
    if boxes.shape[1] == 4 and not np.isinf(boxes).any():
        return boxes
    return read_ground_truth(path)  # names the line


def read_flags(path: Path, count: int) -> NDArray[np.int64]:
    """Read one whole number a frame, separated by commas, blanks or line ends.

    Returns:
        int64 (count,).

    Raises:
        InputError: the file is not that.
    """
    words = re.split(r"[,\s]+", read_text(path).strip(", \t\r\n"))
    try:
        flags = np.array([int(word) for word in words], np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} must hold one whole number a frame ({error}); get the data anew") from error
    if len(flags) != count:
        raise InputError(f"{path} holds {len(flags)} numbers for {count} frames; get the data anew")
    return flags


def read_phrase(path: Path) -> str | None:
    """Return the description of a target in words, or None where there is no such file or nothing in it.

    Raises:
        InputError: the file cannot be read or is longer than a thousand characters.
    """
    if not path.is_file():
        return None
    text = " ".join(read_text(path).split())
    if len(text) > MAX_TEXT:
        raise InputError(f"{path} holds {len(text)} characters, at most {MAX_TEXT} describe a target; mend the file")
    return text or None


def chosen(names: list[str], options: ReadOptions, listed: Path) -> list[str]:
    """Return the names that `options.list` asks for, in its order; all where there is no such option.

    Args:
        names: of the sequences that are there.
        options: of the data set.
        listed: the split's own list.txt, which numbers in `options.list` refer to; need not exist.

    Raises:
        InputError: a name or number is unknown, given twice, or the list is empty.
    """
    if options.list is None:
        return names
    words = [line.strip() for line in read_text(options.list).splitlines() if line.strip()]
    numbered = read_text(listed).split() if listed.is_file() else names
    there = set(names)
    found: list[str] = []
    for word in words:
        number = int(word) if word.isdecimal() and word not in there and len(word) < 10 else -1
        name = numbered[number] if 0 <= number < len(numbered) else word
        if name not in there:
            raise InputError(f"{options.list} names {word!r}, which is not in {listed.parent}; check the list")
        found.append(name)
    if not found or len(set(found)) != len(found):
        raise InputError(f"{options.list} is empty or names a sequence twice; mend the list")
    return found


def track_of(
    truth: Path,
    frames: Path,
    *,
    name: str,
    dataset: str,
    options: ReadOptions,
    absent_where: dict[Path, int] | None = None,
    text: str | None = None,
    pick: Callable[[list[str], int], list[str]] | None = None,
) -> Track:
    """Put a sequence together.

    Args:
        truth: file of boxes.
        frames: folder of images.
        name: of the track.
        dataset: of the track, unless `options` name it.
        options: of the data set.
        absent_where: files of flags, and the flag that means that the target is absent; files need not exist.
        text: of the track.
        pick: names of images, number of boxes -> the names that belong to boxes; None: all.

    Raises:
        InputError: something of it is missing or cannot be used, or numbers of frames and boxes differ.
    """
    names = list_images(frames)
    boxes = _read_boxes(truth)
    if pick is not None:
        names = pick(names, len(boxes))
    if len(boxes) != len(names):
        first_only = "; a test split's boxes are not public, take another split" if len(boxes) == 1 else ""
        raise InputError(f"{truth} holds {len(boxes)} boxes for {len(names)} images in {frames}{first_only}")
    boxes = checked_boxes(boxes, str(truth))
    for path, absent in (absent_where or {}).items():
        if path.is_file():
            boxes[read_flags(path, len(boxes)) == absent] = np.nan
    step = options.every
    images = tuple(frames / entry for entry in names[::step])
    return Track(name, options.name or dataset, images, boxes[::step].copy(), text)
