"""Readers of data sets with descriptions, each on a made-up layout of its own."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from data_sets import BOXES, lines, write_image

from edgetrack.data import read_tracks
from edgetrack.data.readers import guess_kind
from edgetrack.errors import EngineUnavailable, InputError

pytest.importorskip("cv2")


def write(folder, images, truth, *, boxes=BOXES, count=None, digits=5, first=1):
    """Pictures and boxes of one sequence."""
    for number in range(len(boxes) if count is None else count):
        write_image(folder / images / f"{number + first:0{digits}d}.jpg", number)
    (folder / truth).parent.mkdir(parents=True, exist_ok=True)
    (folder / truth).write_text(lines(boxes))
    return folder


def texts(spec) -> dict[str, str | None]:
    return {track.name: track.text for track in read_tracks(str(spec))}


def test_tnl2k(tmp_path):
    for name in ("Cat_done", "Dog-Done", "Mute"):
        write(tmp_path / name, "imgs", "groundtruth.txt")
    (tmp_path / "Cat_done" / "language.txt").write_text("A  white CAT\nsecond line\n")
    (tmp_path / "Dog-Done" / "language.txt").write_text("a dog")
    (tmp_path / "Dog-Done" / "language_rebuttal_simple.txt").write_text("\nthe brown dog, running\nmore\n")
    assert guess_kind(tmp_path) == "tnl2k"
    assert texts(tmp_path) == {"Cat_done": "A white CAT", "Dog-Done": "the brown dog, running", "Mute": None}
    (track,) = read_tracks(str(tmp_path / "Cat_done"))
    assert (track.dataset, len(track.images)) == ("tnl2k", 4)
    np.testing.assert_array_equal(track.boxes, np.array(BOXES))


def test_words_as_published(tmp_path):
    """GLAD spec section 4.4: the text of an array; a comma makes a list of it, what follows # is dropped."""
    folder = write(tmp_path / "one", "imgs", "groundtruth.txt")
    spec = f"tnl2k:{folder}?words=published"
    for text, expected in (
        ("white airplane, landing on ground", "['white airplane' ' landing on ground']"),
        ("the man", "the man"),
        ("the man # in white", "the man"),
        ("", None),
    ):
        (folder / "language.txt").write_text(text)
        (track,) = read_tracks(spec)
        assert (track.text or "").strip() == (expected or "")
    with pytest.raises(InputError, match="words is 'odd', must be plain or published"):
        read_tracks(f"tnl2k:{folder}?words=odd")
    (folder / "language.txt").write_text("a, b\nc\n")
    with pytest.raises(InputError, match="different numbers of commas"):
        read_tracks(spec)
    with pytest.raises(InputError, match="option words has no use there"):
        read_tracks(f"sequences:{folder}?words=published")


def test_vasttrack(tmp_path):
    for name in ("Ape-1", "Ape-2"):
        write(tmp_path / "Ape" / name, "imgs", "Groundtruth.txt", boxes=[*BOXES[:3], (0, 0, 0, 0)])
    (tmp_path / "Ape" / "Ape-1" / "nlp.txt").write_text("the black ape\n")
    assert guess_kind(tmp_path) == "vasttrack"
    assert texts(tmp_path) == {"Ape-1": "the black ape", "Ape-2": None}
    track = read_tracks(str(tmp_path / "Ape"))[0]
    assert np.isnan(track.boxes[3]).all()
    assert track.dataset == "vasttrack"
    shutil.copytree(tmp_path / "Ape", tmp_path / "Bat")
    with pytest.raises(InputError, match="of one name"):
        read_tracks(f"vasttrack:{tmp_path}")


def otb(root):
    for name, first in (("Biker", 1), ("BlurCar3", 1), ("Diving", 1)):
        write(root / "OTB_videos" / name, "img", "groundtruth_rect.txt", count=6 if name != "Biker" else 4, first=first)
    truth = root / "OTB_videos" / "Biker" / "groundtruth_rect.txt"
    truth.write_text(truth.read_text().replace(",", "\t"))
    queries = root / "OTB_query_test"
    queries.mkdir()
    for name in ("Biker", "BlurCar3", "Diving", "Gone"):
        (queries / f"{name}.txt").write_text(f"the {name.lower()}, in blue\n")
    return root


def test_otb_lang(tmp_path):
    """Boxes may begin late or end early; a query without its video is left out."""
    otb(tmp_path)
    assert guess_kind(tmp_path) == "otb99-lang"
    tracks = {track.name: track for track in read_tracks(str(tmp_path))}
    assert list(tracks) == ["Biker", "BlurCar3", "Diving"]
    assert tracks["Biker"].text == "the biker, in blue"
    assert tracks["Biker"].dataset == "otb99-lang"
    numbers = {name: [int(path.stem) for path in track.images] for name, track in tracks.items()}
    assert numbers == {"Biker": [1, 2, 3, 4], "BlurCar3": [3, 4, 5, 6], "Diving": [1, 2, 3, 4]}
    assert texts(f"otb-lang:{tmp_path / 'OTB_query_test'}?words=published")["Biker"] == "['the biker' ' in blue']"
    (tmp_path / "OTB_videos" / "Diving" / "groundtruth_rect.txt").write_text(lines([*BOXES, *BOXES]))
    with pytest.raises(InputError, match="8 boxes for 6 images"):
        read_tracks(f"otb99-lang:{tmp_path}")


def mgit(root):
    for name in ("001", "002"):
        write(root / "data" / "test" / name, f"frame_{name}", f"../../../attribute/groundtruth/{name}.txt", digits=6)
    (root / "attribute" / "absent").mkdir()
    (root / "attribute" / "absent" / "001.txt").write_text("0\n1\n0\n0\n")
    (root / "mgit_nlp").mkdir()
    (root / "mgit_nlp" / "002.txt").write_text("a woman in red")
    return root


def test_mgit(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    split = mgit(tmp_path) / "data" / "test"
    book = openpyxl.Workbook()
    for row in (["head"] * 15, ["x"] * 14 + ["first"], ["x"] * 14 + ["the man\nin white"], [None] * 15):
        book.active.append(row)
    book.save(tmp_path / "mgit_nlp" / "001.xlsx")
    assert guess_kind(split) == "mgit"
    assert texts(split) == {"001": "the man in white", "002": "a woman in red"}
    track = read_tracks(f"mgit:{split}")[0]
    assert np.isnan(track.boxes[1]).all()
    assert track.dataset == "mgit"
    for content, part in ((b"no table", "cannot be read as a table"), (None, "no row with 15 columns")):
        if content is None:
            openpyxl.Workbook().save(tmp_path / "mgit_nlp" / "001.xlsx")
        else:
            (tmp_path / "mgit_nlp" / "001.xlsx").write_bytes(content)
        with pytest.raises(InputError, match=part):
            read_tracks(f"mgit:{split}")


def test_mgit_without_openpyxl(tmp_path, monkeypatch):
    split = mgit(tmp_path) / "data" / "test"
    (tmp_path / "mgit_nlp" / "001.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(EngineUnavailable, match="pip install openpyxl"):
        read_tracks(f"mgit:{split}")


def test_a_description_that_is_too_long(tmp_path):
    folder = write(tmp_path / "one", "imgs", "groundtruth.txt")
    (folder / "language.txt").write_text("word " * 400)
    with pytest.raises(InputError, match=r"language\.txt holds 1999 characters"):
        read_tracks(f"tnl2k:{folder}")
