"""Readers of still images with boxes: COCO, and the plain layout. Every box is a track of one frame."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgetrack.data.annotations import subfolders
from edgetrack.data.options import ReadOptions
from edgetrack.data.track import MAX_COORDINATE, Track
from edgetrack.errors import InputError

__all__ = ["read_coco", "read_images"]

_BOX_LIST = "boxes.json"
_REMEDY = "mend the file or get it anew"


def read_images(path: Path, options: ReadOptions) -> list[Track]:
    """Read a folder of images with boxes.json `{file: [[x, y, w, h], ...]}`, or a folder of such folders.

    Boxes with a side below `options.min_side` (8 pixels, unless told) are left out. The data set is called as the
    folder, all its folders together.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, "min-side", "name")
    folders = [path] if (path / _BOX_LIST).is_file() else subfolders(path)
    dataset = options.name or path.resolve().name
    tracks: list[Track] = []
    for folder in folders:
        listed = folder / _BOX_LIST
        if not listed.is_file():
            continue
        document = _load(listed)
        if not isinstance(document, dict):
            raise InputError(f"{listed} must map image names to lists of boxes; {_REMEDY}")
        images = _Images(folder)
        for name, boxes in document.items():
            if not isinstance(boxes, list):
                raise InputError(f"{listed}: {name[:80]!r} must have a list of boxes; {_REMEDY}")
            image = images.find(name, str(listed))
            for number, values in enumerate(boxes):
                box = _box(values, f"{listed}: {name}")
                if min(box[2:]) >= options.min_side:
                    tracks.append(_still(f"{folder.name}/{Path(name).stem}#{number}", dataset, image, box))
    return tracks


def read_coco(path: Path, options: ReadOptions) -> list[Track]:
    """Read instances of COCO: a JSON file, or a folder in which there is one of them.

    Crowds (iscrowd) and boxes with a side below `options.min_side` (8 pixels, unless told) are left out. The images
    are looked for where COCO has them (`ROOT/train2017`, `ROOT/images/train2017`, `ROOT/images`, beside the file),
    unless `options.images` says where. The category is the track's text.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, "images", "min-side", "name")
    listed = _instances_file(path)
    document = _load(listed)
    names = _by_id(_entries(document, "images", listed), "file_name", listed)
    texts = _by_id(_entries(document, "categories", listed), "name", listed)
    images = _Images(options.images or _image_folder(listed, names.values()))
    counts: Counter[int] = Counter()
    tracks = []
    for entry in _entries(document, "annotations", listed):
        number, category = entry.get("image_id"), entry.get("category_id")
        if not isinstance(number, int) or number not in names:
            raise InputError(f"{listed}: an annotation is for image {number!r}, which is not listed; {_REMEDY}")
        counts[number] += 1
        if entry.get("iscrowd"):
            continue
        box = _box(entry.get("bbox"), f"{listed}: image {number}")
        if min(box[2:]) >= options.min_side:
            image = images.find(names[number], str(listed))
            name = f"{image.stem}#{counts[number] - 1}"
            text = texts.get(category) if isinstance(category, int) else None
            tracks.append(_still(name, options.name or "coco", image, box, text))
    return tracks


def _still(name: str, dataset: str, image: Path, box: list[float], text: str | None = None) -> Track:
    return Track(name, dataset, (image,), np.array([box], np.float64), text)


def _load(path: Path) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({str(error)[:120]}); {_REMEDY}") from error


def _entries(document: Any, key: str, path: Path) -> list[dict[str, Any]]:  # noqa: ANN401 (JSON)
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InputError(f"{path} has no list of {key}; is it an instances file of COCO?")
    return value


def _by_id(entries: list[dict[str, Any]], key: str, path: Path) -> dict[int, str]:
    """Return one text of each entry by the entry's id."""
    found: dict[int, str] = {}
    for entry in entries:
        number, text = entry.get("id"), entry.get(key)
        if not isinstance(number, int) or not isinstance(text, str):
            raise InputError(f"{path}: {str(entry)[:80]} must have an id and a {key}; {_REMEDY}")
        found[number] = text
    return found


def _box(values: object, where: str) -> list[float]:
    """Return four finite numbers, or raise the error that says where there are none."""
    numbers = [_number(value) for value in values] if isinstance(values, list) else []
    if len(numbers) != 4 or any(math.isnan(number) for number in numbers):
        raise InputError(f"{where}: box {str(values)[:80]} must be four finite numbers x, y, w, h; {_REMEDY}")
    return numbers


def _number(value: object) -> float:
    """Return a number of reasonable size, nan for everything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_COORDINATE
    return float(value) if good and isinstance(value, int | float) else math.nan


class _Images:
    """A folder of images, listed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = {entry.name for entry in folder.iterdir()}

    def find(self, name: str, where: str) -> Path:
        """Return the path of the image `name`, which must be in the folder."""
        inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts and "\0" not in name
        path = self._folder / name
        if not inside or not (name in self._names or path.is_file()):
            raise InputError(f"{where}: image {name[:80]!r} is not in {self._folder}; get the data anew")
        return path


def _instances_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted([*(path / "annotations").glob("instances_*.json"), *path.glob("*.coco.json")])
    if len(found) != 1:
        what = f"{len(found)} files of instances: {', '.join(map(str, found[:4]))}" if found else "no file of instances"
        raise InputError(f"{path} has {what}; name one, as coco:{path}/annotations/instances_train2017.json")
    return found[0]


def _image_folder(listed: Path, names: Iterable[str]) -> Path:
    """Return the first usual place of the images in which the first image is."""
    root, split = listed.parent.parent, listed.stem.removeprefix("instances_")
    places = [root / split, root / "images" / split, root / "images", listed.parent]
    first = next(iter(names), "")
    for place in places:
        if first and (place / first).is_file():
            return place
    raise InputError(f"the images of {listed} are in none of {', '.join(map(str, places))}; add ?images=FOLDER")
