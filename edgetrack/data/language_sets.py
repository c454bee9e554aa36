"""Readers of data sets whose targets are described in words: TNL2K, OTB99-Lang, VastTrack and MGIT (LaSOT has its own).

Layouts are those that the published evaluations read (MVLM spec section 4.4, GLAD spec section 4.4).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgetrack.data.annotations import MAX_TEXT, chosen, read_phrase, read_text, subfolders, track_of
from edgetrack.data.options import ReadOptions
from edgetrack.data.track import Track
from edgetrack.errors import EngineUnavailable, InputError

__all__ = ["read_mgit", "read_otb_lang", "read_tnl2k", "read_vasttrack"]

_OPTIONS = ("list", "every", "name")
_WORDED = (*_OPTIONS, "words")
# The boxes of these begin at a later picture; their pictures are numbered from 1.
_OTB_FIRST = {"BlurCar1": 247, "BlurCar3": 3, "BlurCar4": 18, "David": 300, "Tiger1": 6}
_MGIT_COLUMN = 14


def read_tnl2k(path: Path, options: ReadOptions) -> list[Track]:
    """Read a split of TNL2K, or one sequence: `imgs/`, groundtruth.txt, language.txt.

    The text is the first line of language_rebuttal_simple.txt where there is one, else of language.txt.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, *_WORDED)
    return [
        track_of(
            folder / "groundtruth.txt",
            folder / "imgs",
            name=folder.name,
            dataset="tnl2k",
            options=options,
            text=_first_line(folder / "language_rebuttal_simple.txt", options)
            or _first_line(folder / "language.txt", options),
        )
        for folder in _folders_with(path, "groundtruth.txt", options)
    ]


def read_vasttrack(path: Path, options: ReadOptions) -> list[Track]:
    """Read a split of VastTrack (`CLASS/CLASS-1/imgs`, Groundtruth.txt, nlp.txt), a class of it, or a sequence.

    A box of zeros is an absent target.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, *_OPTIONS)
    return [
        track_of(
            folder / "Groundtruth.txt",
            folder / "imgs",
            name=folder.name,
            dataset="vasttrack",
            options=options,
            absent_where={folder / "full_occlusion.txt": 1, folder / "out_of_view.txt": 1},
            text=read_phrase(folder / "nlp.txt"),
        )
        for folder in _folders_with(path, "Groundtruth.txt", options)
    ]


def read_otb_lang(path: Path, options: ReadOptions) -> list[Track]:
    """Read OTB99-Lang: `OTB_videos/NAME/img` and groundtruth_rect.txt, `OTB_query_test/NAME.txt` says the sequences.

    With a folder `OTB_query_train` or `OTB_query_test` as path, its sequences are read. Pictures beyond the boxes, at
    the start of BlurCar1, BlurCar3, BlurCar4, David and Tiger1 and at the end of others, are left out.

    Raises:
        InputError: see `read_tracks`.
    """
    options.only(path, *_WORDED)
    queries = path if path.name.startswith("OTB_query") else path / "OTB_query_test"
    videos = queries.parent / "OTB_videos"
    there = {query.stem: query for query in sorted(queries.glob("*.txt")) if (videos / query.stem).is_dir()}
    tracks = []
    for name in chosen(list(there), options, path / "list.txt"):
        folder = videos / name
        tracks.append(
            track_of(
                folder / "groundtruth_rect.txt",
                folder / "img",
                name=name,
                dataset="otb99-lang",
                options=options,
                text=_line_of(there[name], options, read_phrase),
                pick=partial(_otb_images, first=_OTB_FIRST.get(name, 1)),
            )
        )
    return tracks


def read_mgit(path: Path, options: ReadOptions) -> list[Track]:
    """Read a split of MGIT, as `MGIT/data/test`: `NAME/frame_NAME`, with `MGIT/attribute` beside `data`.

    The box file is `attribute/groundtruth/NAME.txt`; `attribute/absent/NAME.txt` (1) marks absent targets. The text is
    the last row of column 15 of NAME.xlsx in `mgit_nlp`, beside `data` or below `attribute`, or NAME.txt there.

    Raises:
        InputError: see `read_tracks`.
        EngineUnavailable: a text is in an .xlsx file and the package openpyxl is not installed.
    """
    options.only(path, *_OPTIONS)
    root = path.parent.parent
    names = [folder.name for folder in subfolders(path) if (folder / f"frame_{folder.name}").is_dir()]
    tracks = []
    for name in chosen(names, options, path / "list.txt"):
        attributes = root / "attribute"
        tracks.append(
            track_of(
                attributes / "groundtruth" / f"{name}.txt",
                path / name / f"frame_{name}",
                name=name,
                dataset="mgit",
                options=options,
                absent_where={attributes / "absent" / f"{name}.txt": 1},
                text=_mgit_text((root / "mgit_nlp", attributes / "mgit_nlp"), name),
            )
        )
    return tracks


def _folders_with(path: Path, truth: str, options: ReadOptions) -> list[Path]:
    """Return the sequences in a folder, one or two levels down, or the folder if it is one."""
    if (path / truth).is_file():
        return [path]
    inner = [f for entry in subfolders(path) for f in ([entry] if (entry / truth).is_file() else subfolders(entry))]
    found: dict[str, Path] = {}
    for folder in inner:
        if (folder / truth).is_file():
            if folder.name in found:
                raise InputError(f"{folder} and {found[folder.name]} are of one name; leave one out")
            found[folder.name] = folder
    return [found[name] for name in chosen(list(found), options, path / "list.txt")]


def _first_line(path: Path, options: ReadOptions) -> str | None:
    def first(file: Path) -> str | None:
        if not file.is_file():
            return None
        lines = [line for line in read_text(file).splitlines() if line.strip()]
        return _checked(" ".join(lines[0].split()) if lines else "", file)

    return _line_of(path, options, first)


def _line_of(path: Path, options: ReadOptions, plain: Callable[[Path], str | None]) -> str | None:
    """Return a description as it stands, or as published evaluations print it, if `options.words` says so."""
    if options.words != "published" or not path.is_file():
        return plain(path)
    # They read words between commas into an array and take its text: brackets and quotes if there is a comma.
    lines = [line for line in read_text(path).splitlines() if line.partition("#")[0].strip()]
    try:
        array = np.loadtxt(lines, delimiter=",", dtype=str) if lines else np.array("")
    except ValueError as error:
        raise InputError(f"{path} has lines with different numbers of commas; leave out words=published") from error
    return _checked(str(array), path)


def _checked(text: str, path: Path) -> str | None:
    if len(text) > MAX_TEXT:
        raise InputError(f"{path} holds {len(text)} characters, at most {MAX_TEXT} describe a target; mend the file")
    return text or None


def _otb_images(images: list[str], boxes: int, first: int) -> list[str]:
    """Return the pictures that the boxes belong to; the first of them has number `first`."""
    late = [image for image in images if not Path(image).stem.isdecimal() or int(Path(image).stem) >= first]
    return (late if len(late) >= boxes else images)[:boxes]


def _mgit_text(folders: tuple[Path, ...], name: str) -> str | None:
    for folder in folders:
        if (folder / f"{name}.xlsx").is_file():
            return _last_cell(folder / f"{name}.xlsx")
        if (folder / f"{name}.txt").is_file():
            return read_phrase(folder / f"{name}.txt")
    return None


def _last_cell(path: Path) -> str | None:
    """Return the text in column 15 of the last row of a table that holds anything."""
    try:
        import openpyxl
    except ImportError as error:
        raise EngineUnavailable(
            f"{path} needs the package openpyxl, not installed here: pip install openpyxl"
        ) from error
    try:
        book: Any = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = [row for row in book.active.iter_rows(values_only=True) if any(cell is not None for cell in row)]
        book.close()
    except Exception as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{path} cannot be read as a table ({reason}); get the data anew") from error
    if len(rows) < 2 or len(rows[-1]) <= _MGIT_COLUMN:
        raise InputError(f"{path} has no row with {_MGIT_COLUMN + 1} columns under its heading; get the data anew")
    cell = rows[-1][_MGIT_COLUMN]
    return None if cell is None else _checked(" ".join(str(cell).split()), path)
