"""Readers of data sets of sequences: GOT-10k, LaSOT, TrackingNet, and the plain layout."""

from __future__ import annotations

from pathlib import Path

from edgetrack.data.annotations import chosen, read_phrase, subfolders, track_of
from edgetrack.data.options import ReadOptions
from edgetrack.data.track import Track
from edgetrack.errors import InputError

__all__ = ["read_got10k", "read_lasot", "read_sequences", "read_trackingnet"]

_OPTIONS = ("list", "every", "name")
_TRUTH = "groundtruth.txt"


def read_got10k(path: Path, options: ReadOptions) -> list[Track]:
    """Read a split of GOT-10k, as `GOT-10k/train`, or one sequence of it.

    A sequence is a folder of %08d.jpg and groundtruth.txt; absence.label (1) and cover.label (0) mark frames in which
    the target is absent.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, *_OPTIONS)
    tracks = []
    for folder in _sequence_folders(path, options, "got10k:PATH/train, got10k:PATH/val"):
        flags = {folder / "absence.label": 1, folder / "cover.label": 0}
        tracks.append(
            track_of(folder / _TRUTH, folder, name=folder.name, dataset="got10k", options=options, absent_where=flags)
        )
    return tracks


def read_sequences(path: Path, options: ReadOptions) -> list[Track]:
    """Read a folder of sequences, or one: `img/` with numbered images and groundtruth.txt, one box a line.

    The data set is called as the folder. Files that LaSOT adds are read where they are.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, *_OPTIONS)
    folders = _sequence_folders(path, options, "the folder that holds them")
    dataset = (path.parent if folders == [path] else path).resolve().name
    return [_plain(folder, dataset, options) for folder in folders]


def read_lasot(path: Path, options: ReadOptions) -> list[Track]:
    """Read LaSOT (`CLASS/CLASS-1/img` and groundtruth.txt), one class of it, or one sequence.

    full_occlusion.txt and out_of_view.txt (1) mark frames in which the target is absent; nlp.txt describes the target.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, *_OPTIONS)
    if (path / _TRUTH).is_file():
        found = {path.name: path}
    else:
        inner = [folder for entry in subfolders(path) for folder in (entry, *_without_own(entry))]
        found = {folder.name: folder for folder in inner if (folder / _TRUTH).is_file()}
    return [_plain(found[name], "lasot", options) for name in chosen(list(found), options, path / "list.txt")]


def read_trackingnet(path: Path, options: ReadOptions) -> list[Track]:
    """Read TrackingNet: a folder with `frames/NAME/*.jpg` and `anno/NAME.txt`, or one that holds TRAIN_0, TRAIN_1 ...

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, *_OPTIONS)
    parts = [path] if (path / "anno").is_dir() else [entry for entry in subfolders(path) if (entry / "anno").is_dir()]
    found: dict[str, Path] = {}
    for part in parts:
        for truth in sorted((part / "anno").glob("*.txt")):
            if truth.stem in found:
                raise InputError(f"{truth} and {found[truth.stem]} are of one name; leave one out")
            found[truth.stem] = truth
    tracks = []
    for name in chosen(list(found), options, path / "list.txt"):
        frames = found[name].parent.parent / "frames" / name
        tracks.append(track_of(found[name], frames, name=name, dataset="trackingnet", options=options))
    return tracks


def _without_own(folder: Path) -> list[Path]:
    """Return what a class folder of LaSOT holds; nothing of a sequence's."""
    return [] if (folder / _TRUTH).is_file() else subfolders(folder)


def _sequence_folders(path: Path, options: ReadOptions, wanted: str) -> list[Path]:
    """Return the sequences that are asked for, each a folder with a groundtruth.txt."""
    if (path / _TRUTH).is_file():
        return [path]
    names = [folder.name for folder in subfolders(path) if (folder / _TRUTH).is_file()]
    if not names:
        raise InputError(f"no folder in {path} holds a {_TRUTH}; name {wanted}")
    return [path / name for name in chosen(names, options, path / "list.txt")]


def _plain(folder: Path, dataset: str, options: ReadOptions) -> Track:
    flags = {folder / "full_occlusion.txt": 1, folder / "out_of_view.txt": 1}
    return track_of(
        folder / _TRUTH,
        folder / "img",
        name=folder.name,
        dataset=dataset,
        options=options,
        absent_where=flags,
        text=read_phrase(folder / "nlp.txt"),
    )
