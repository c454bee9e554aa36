"""Which data sets can be read, and the one function that reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgetrack.data.annotations import subfolders
from edgetrack.data.options import ReadOptions, parse_options
from edgetrack.data.track import Track
from edgetrack.errors import InputError
from edgetrack.registry import Registry

__all__ = ["DATASETS", "Reader", "guess_kind", "read_tracks"]

Reader = Callable[[Path, ReadOptions], list[Track]]

DATASETS: Registry[Reader] = Registry("kind of data set", InputError)
DATASETS.register("got10k", "edgetrack.data.sequences:read_got10k", aliases=("got-10k",))
DATASETS.register("lasot", "edgetrack.data.sequences:read_lasot")
DATASETS.register("trackingnet", "edgetrack.data.sequences:read_trackingnet")
DATASETS.register("tnl2k", "edgetrack.data.language_sets:read_tnl2k")
DATASETS.register("otb99-lang", "edgetrack.data.language_sets:read_otb_lang", aliases=("otb-lang", "otb99"))
DATASETS.register("vasttrack", "edgetrack.data.language_sets:read_vasttrack")
DATASETS.register("mgit", "edgetrack.data.language_sets:read_mgit")
DATASETS.register("sequences", "edgetrack.data.sequences:read_sequences")
DATASETS.register("coco", "edgetrack.data.stills:read_coco")
DATASETS.register("images", "edgetrack.data.stills:read_images")

_BOX_LIST = "boxes.json"
_TRUTH = "groundtruth.txt"
_OCCLUDED = "full_occlusion.txt"
_LOOK_AT = 50


def read_tracks(spec: str) -> list[Track]:
    """Read the tracks of a data set; images are named, not opened.

    A box without area counts as absent (nan), and so does a frame that the data set's own files mark: GOT-10k
    absence.label (1) and cover.label (0), LaSOT full_occlusion.txt and out_of_view.txt (1).

    Args:
        spec: "KIND:PATH" or "PATH" (the kind is then guessed from what is there), with options behind a question
            mark, as in "got10k:GOT-10k/train?list=vottrain.txt&every=2". Kinds: `DATASETS`. Options: `ReadOptions`.

    Raises:
        InputError: the path, an annotation or an option cannot be used, or there is no track.
    """
    kind, path, query = _split(spec)
    options = parse_options(query, spec)
    if not path.exists():
        raise InputError(f"data {spec!r}: {path} does not exist; check the path")
    kind = DATASETS.resolve(kind) if kind else guess_kind(path)
    try:
        tracks = DATASETS.get(kind)(path, options)
    except OSError as error:
        raise InputError(f"data {spec!r} cannot be read ({error.strerror}: {error.filename}); check it") from error
    if not tracks:
        raise InputError(f"data {spec!r} holds no annotated target; check the path and the kind ({kind})")
    return tracks


def _split(spec: str) -> tuple[str | None, Path, str]:
    """Split a spec into kind, path and options; a path that exists may hold the marks."""
    if os.path.exists(spec):
        return None, Path(spec), ""
    kind, colon, rest = spec.partition(":")
    if not colon or (kind not in DATASETS and ("/" in kind or os.sep in kind)):
        kind, rest = "", spec
    path, query = (rest, "") if os.path.exists(rest) else (rest.partition("?")[0], rest.partition("?")[2])
    if not path:
        raise InputError(f"data {spec!r} names no path; give KIND:PATH, with KIND one of {', '.join(DATASETS)}")
    return kind or None, Path(path), query


def guess_kind(path: Path) -> str:
    """Return the kind of data set that a path looks like.

    Raises:
        InputError: it looks like none.
    """
    looks = {"coco": path.suffix.lower() == ".json"} if path.is_file() else _looks_of_folder(path)
    kind = next((kind for kind, good in looks.items() if good), None)
    if kind is None:
        raise InputError(f"data {path} looks like no data set that is known; say KIND:{path}, of {', '.join(DATASETS)}")
    return kind


def _looks_of_folder(path: Path) -> dict[str, bool]:
    """Tell which kinds a folder looks like; the first that is true is meant."""
    folders = subfolders(path)[:_LOOK_AT]
    deeper = [inner for folder in folders[:2] for inner in subfolders(folder)[:_LOOK_AT]]
    within = [path, *folders]
    return {
        "coco": any((path / "annotations").glob("instances_*.json")) or any(path.glob("*.coco.json")),
        "images": any((folder / _BOX_LIST).is_file() for folder in within),
        "otb99-lang": (path / "OTB_videos").is_dir() or path.name.startswith("OTB_query"),
        "mgit": any((folder / f"frame_{folder.name}").is_dir() for folder in folders),
        "tnl2k": any((folder / "imgs").is_dir() and (folder / _TRUTH).is_file() for folder in within),
        "vasttrack": any((folder / "Groundtruth.txt").is_file() for folder in (*within, *deeper)),
        "trackingnet": any((folder / "frames").is_dir() and (folder / "anno").is_dir() for folder in within),
        "lasot": any(_is_sequence(folder) and (folder / _OCCLUDED).is_file() for folder in (*within, *deeper)),
        "sequences": any(map(_is_sequence, within)),
        "got10k": any((folder / _TRUTH).is_file() for folder in within),
    }


def _is_sequence(folder: Path) -> bool:
    return (folder / "img").is_dir() and (folder / _TRUTH).is_file()
