"""Small data sets of every layout, written to a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

BOXES = [(10, 12, 30, 20), (11.5, 12.25, 30, 20), (12, 13, 31, 21), (14, 13, 30, 20)]


def image(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth colourful picture, uint8 BGR, that survives JPEG well."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [127 + 100 * np.sin(x / 9 + seed + c) * np.cos(y / 11 + c) for c in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def write_image(path: Path, seed: int = 0, height: int = 48, width: int = 64, quality: int = 95) -> Path:
    """Write `image` under the suffix of `path`."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image(seed, height, width), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def lines(boxes=BOXES, delimiter: str = ",") -> str:
    return "".join(delimiter.join(map(str, box)) + "\n" for box in boxes)


def sequence(folder: Path, images: str = "img", boxes=BOXES, name: str = "{:08d}.jpg", seed: int = 0) -> Path:
    """Write a sequence with a picture a box; `images` is where, below `folder`."""
    for number in range(len(boxes)):
        write_image(folder / images / name.format(number + 1), seed + number)
    (folder / "groundtruth.txt").write_text(lines(boxes))
    return folder


def stills(folder: Path, boxes: dict[str, list]) -> Path:
    """Write pictures and boxes.json."""
    for number, file in enumerate(boxes):
        write_image(folder / file, number)
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


def coco(root: Path, **changes) -> Path:
    """Write two pictures and five annotations in COCO's layout; return the file of instances."""
    for number in (7, 9):
        write_image(root / "train2017" / f"{number:012d}.jpg", number)
    document = {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", "width": 64, "height": 48} for n in (7, 9)],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 18, "bbox": [1, 2, 20, 30], "iscrowd": 0},
            {"image_id": 7, "category_id": 18, "bbox": [1, 2, 20, 30], "iscrowd": 1},
            {"image_id": 9, "category_id": 18, "bbox": [5, 5, 7.5, 30], "iscrowd": 0},
            {"image_id": 9, "category_id": 18, "bbox": [5, 5, 8, 8], "iscrowd": 0},
            {"image_id": 9, "category_id": 99, "bbox": [5, 5, 0, 8]},
        ],
    }
    path = root / "annotations" / "instances_train2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document | changes))
    return path
