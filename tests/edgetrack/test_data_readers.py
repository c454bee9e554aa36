"""Readers of data sets: every layout, every delimiter, and what is said about data that cannot be used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("cv2")

from data_sets import BOXES, coco, image, lines, sequence, stills, write_image

from edgetrack.data import FolderSource, Track, open_source, read_tracks
from edgetrack.data.decode import image_shape
from edgetrack.data.readers import guess_kind
from edgetrack.errors import InputError

NAN = (np.nan,) * 4


def same(track: Track, boxes) -> bool:
    return np.array_equal(track.boxes, np.array(boxes, np.float64), equal_nan=True)


def refused(spec, *parts: object) -> None:
    """The data are refused in one line that has these parts."""
    with pytest.raises(InputError) as caught:
        read_tracks(str(spec))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def test_reading_imports_nothing_heavy():
    code = "import edgetrack.data, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"cv2", "torch", "typer"} & set(done.stdout.split())


def test_plain_sequences(tmp_path):
    sequence(tmp_path / "mine" / "b_second")
    sequence(tmp_path / "mine" / "a_first", boxes=[*BOXES[:2], NAN, (3, 4, 0, 9)])
    (tmp_path / "mine" / ".hidden").mkdir()
    first, second = read_tracks(f"sequences:{tmp_path / 'mine'}")
    assert (first.name, first.dataset, first.text, first.still) == ("a_first", "mine", None, False)
    assert same(first, [*BOXES[:2], NAN, NAN])
    assert same(second, BOXES)
    assert [path.name for path in second.images] == [f"{n:08d}.jpg" for n in (1, 2, 3, 4)]
    (only,) = read_tracks(str(tmp_path / "mine" / "b_second"))
    assert (only.name, only.dataset) == ("b_second", "mine")


@pytest.mark.parametrize("delimiter", [",", "\t", " ", ", ", "  "])
def test_any_delimiter(tmp_path, delimiter):
    folder = sequence(tmp_path / "one")
    text = lines(delimiter=delimiter).replace("\n", "\r\n")
    (folder / "groundtruth.txt").write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    assert same(read_tracks(str(folder))[0], BOXES)


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    folder = sequence(tmp_path / "one", boxes=[BOXES[0]] * 11, name="{}.jpg")
    (track,) = read_tracks(str(folder))
    assert [path.stem for path in track.images] == [str(n) for n in range(1, 12)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("groundtruth.txt", "empty")),
        ("1,2,3,4\n1,2,3\n1,2,3,4\n1,2,3,4\n", ("line 2", "'1,2,3'")),
        ("1,2,3,4\n1,2,inf,4\n1,2,3,4\n1,2,3,4\n", ("line 2", "inf")),
        ("1,2,3,4\n1,2,x,4\n1,2,3,4\n1,2,3,4\n", ("line 2", "x")),
        ("1,2,3,4\n1,2,nan,4\n1,2,3,4\n1,2,3,4\n", ("box 2", "nan")),
        ("1,2,3,4\n1,2,1e9,4\n1,2,3,4\n1,2,3,4\n", ("box 2", "mend")),
        ("1,2,3,4\n1,2,3,4\n", ("2 boxes for 4 images",)),
        ("1,2,3,4\n", ("1 boxes for 4 images", "test split")),
    ],
)
def test_bad_ground_truth_names_file_line_and_remedy(tmp_path, text, parts):
    folder = sequence(tmp_path / "one")
    (folder / "groundtruth.txt").write_text(text)
    refused(folder, folder / "groundtruth.txt", *parts)


def test_ground_truth_that_is_no_text(tmp_path):
    folder = sequence(tmp_path / "one")
    (folder / "groundtruth.txt").write_bytes(b"\xff\xfe\x00\x01")
    refused(folder, folder / "groundtruth.txt")


def test_missing_frames(tmp_path):
    folder = sequence(tmp_path / "one")
    (folder / "img" / "00000002.jpg").unlink()
    refused(folder, "4 boxes for 3 images", folder / "img")
    shutil.rmtree(folder / "img")
    refused(f"sequences:{folder}", folder / "img", "cannot be read")
    (folder / "img").mkdir()
    refused(folder, "no image", folder / "img")


def test_got10k_with_absence_cover_and_lists(tmp_path):
    names = [f"GOT-10k_Train_{n:06d}" for n in (1, 2, 3)]
    for name in names:
        sequence(tmp_path / name, images="")
    (tmp_path / names[1] / "absence.label").write_text("0\n1\n0\n0\n")
    (tmp_path / names[1] / "cover.label").write_text("8\n8\n8\n0\n")
    (tmp_path / "list.txt").write_text("\n".join(reversed(names)))
    assert guess_kind(tmp_path) == "got10k"
    tracks = read_tracks(str(tmp_path))
    assert [track.name for track in tracks] == names
    assert {track.dataset for track in tracks} == {"got10k"}
    assert same(tracks[1], [BOXES[0], NAN, BOXES[2], NAN])
    assert same(tracks[2], BOXES)

    chosen = tmp_path / "mine.list"
    chosen.write_text(f"{names[2]}\n\n{names[0]}\n")
    assert [track.name for track in read_tracks(f"got10k:{tmp_path}?list={chosen}")] == [names[2], names[0]]
    chosen.write_text("0\n1\n")  # lines of list.txt, as published lists have it
    assert [track.name for track in read_tracks(f"got-10k:{tmp_path}?list={chosen}")] == [names[2], names[1]]
    for text, part in (("7", "'7'"), (f"{names[0]}\n2\n", "twice"), ("", "empty"), ("../x", "'../x'")):
        chosen.write_text(text)
        refused(f"got10k:{tmp_path}?list={chosen}", chosen, part)
    refused(f"got10k:{tmp_path.parent}", "no folder in", "got10k:PATH/train")


@pytest.mark.parametrize("flags", ["0\n1\n", "0,1,0,maybe", "9" * 40 + ",0,0,0"])
def test_bad_flags(tmp_path, flags):
    folder = sequence(tmp_path / "s" / "one", images="")
    (folder / "absence.label").write_text(flags)
    refused(f"got10k:{tmp_path / 's'}", folder / "absence.label", "get the data anew")


def test_lasot_classes_marks_and_text(tmp_path):
    for name in ("cat-1", "cat-2", "dog-1"):
        sequence(tmp_path / name.split("-")[0] / name)
    folder = tmp_path / "cat" / "cat-2"
    (folder / "full_occlusion.txt").write_text("0,1,0,0")
    (folder / "out_of_view.txt").write_text("0,0,0,1")
    (folder / "nlp.txt").write_text("a white cat\n on grass \n")
    assert guess_kind(tmp_path) == guess_kind(tmp_path / "cat") == guess_kind(folder) == "lasot"
    tracks = read_tracks(str(tmp_path))
    assert [track.name for track in tracks] == ["cat-1", "cat-2", "dog-1"]
    assert (tracks[1].text, tracks[1].dataset, tracks[0].text) == ("a white cat on grass", "lasot", None)
    assert same(tracks[1], [BOXES[0], NAN, BOXES[2], NAN])
    assert [track.name for track in read_tracks(f"lasot:{tmp_path / 'cat'}")] == ["cat-1", "cat-2"]
    assert [track.name for track in read_tracks(f"lasot:{folder}")] == ["cat-2"]
    (folder / "nlp.txt").write_text("cat " * 400)
    refused(tmp_path, folder / "nlp.txt", "1599 characters")


def test_trackingnet_parts(tmp_path):
    for part, name in (("TRAIN_0", "aa"), ("TRAIN_1", "bb")):
        sequence(tmp_path / part / "frames" / name, images="", name="{}.jpg", boxes=[BOXES[0]] * 11)
        (tmp_path / part / "anno").mkdir()
        (tmp_path / part / "frames" / name / "groundtruth.txt").rename(tmp_path / part / "anno" / f"{name}.txt")
    tracks = read_tracks(str(tmp_path))
    assert [(track.name, track.dataset, len(track.images)) for track in tracks] == [
        ("aa", "trackingnet", 11),
        ("bb", "trackingnet", 11),
    ]
    assert [path.stem for path in tracks[1].images] == [str(n) for n in range(1, 12)]
    assert [track.name for track in read_tracks(str(tmp_path / "TRAIN_1"))] == ["bb"]
    shutil.copy(tmp_path / "TRAIN_0" / "anno" / "aa.txt", tmp_path / "TRAIN_1" / "anno" / "cc.txt")
    refused(tmp_path, tmp_path / "TRAIN_1" / "frames" / "cc", "cannot be read")
    shutil.move(tmp_path / "TRAIN_1" / "anno" / "cc.txt", tmp_path / "TRAIN_1" / "anno" / "aa.txt")
    refused(tmp_path, "of one name")


def test_every_nth_frame_and_another_name(tmp_path):
    sequence(tmp_path / "s" / "one")
    (track,) = read_tracks(f"{tmp_path / 's'}?every=3&name=my set")
    assert track.dataset == "my set"
    assert [path.stem for path in track.images] == ["00000001", "00000004"]
    assert same(track, [BOXES[0], BOXES[3]])


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("every=0", "every is '0'"),
        ("every=1.5", "every is '1.5'"),
        ("every", "key=value"),
        ("evry=2", "evry=2"),
        ("every=2&every=3", "every=3"),
        ("list=nowhere.txt", "nowhere.txt does not exist"),
        ("min-side=4", "min-side has no use"),
        ("name=", "name="),
    ],
)
def test_options_that_cannot_be_used(tmp_path, query, part):
    sequence(tmp_path / "s" / "one")
    refused(f"sequences:{tmp_path / 's'}?{query}", part)


def test_images_in_one_folder_or_many(tmp_path):
    root = tmp_path / "stills"
    stills(root / "cats", {"1.jpg": [[1, 2, 30, 20], [4, 5, 7.9, 20]], "2.jpg": []})
    stills(root / "dogs", {"3.jpg": [[5, 6, 8, 8]]})
    (root / "readme").mkdir()
    tracks = read_tracks(str(root))
    assert [(track.name, track.dataset, track.still) for track in tracks] == [
        ("cats/1#0", "stills", True),
        ("dogs/3#0", "stills", True),
    ]
    assert [track.name for track in read_tracks(f"images:{root / 'cats'}?min-side=4")] == ["cats/1#0", "cats/1#1"]
    assert len(read_tracks(f"images:{root}?min-side=4")) == 3


@pytest.mark.parametrize(
    ("boxes", "part"),
    [
        ({"9.jpg": [[1, 2, 30, 20]]}, "'9.jpg' is not in"),
        ({"../1.jpg": [[1, 2, 30, 20]]}, "'../1.jpg' is not in"),
        ({"/etc/passwd": [[1, 2, 30, 20]]}, "'/etc/passwd' is not in"),
        ({"1.jpg": [[1, 2, 30]]}, "four finite numbers"),
        ({"1.jpg": [[1, 2, 30, float("nan")]]}, "four finite numbers"),
        ({"1.jpg": [[1, 2, 30, "20"]]}, "four finite numbers"),
        ({"1.jpg": [[1, 2, 30, 10**400]]}, "four finite numbers"),
        ({"1.jpg": [[1, 2, 30, True]]}, "four finite numbers"),
        ({"1.jpg": 5}, "list of boxes"),
        ([1], "must map image names"),
        ({"1.jpg": [[1, 2, 3, 4]]}, "no annotated target"),
    ],
)
def test_bad_lists_of_boxes(tmp_path, boxes, part):
    folder = stills(tmp_path / "cats", {"1.jpg": []})
    (folder / "boxes.json").write_text(json.dumps(boxes))
    refused(folder, folder, part)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_lists_of_boxes_that_are_no_json(tmp_path, text):
    folder = stills(tmp_path / "cats", {"1.jpg": []})
    (folder / "boxes.json").write_bytes(text.encode("latin-1"))
    refused(folder, folder / "boxes.json", "JSON")


def test_coco_leaves_out_crowds_and_small_boxes(tmp_path):
    path = coco(tmp_path)
    for spec in (path, tmp_path, f"coco:{tmp_path}"):
        tracks = read_tracks(str(spec))
        assert [(track.name, track.text) for track in tracks] == [
            ("000000000007#0", "dog"),
            ("000000000009#1", "dog"),
        ]
    assert same(tracks[1], [(5, 5, 8, 8)])
    assert tracks[0].images == (tmp_path / "train2017" / "000000000007.jpg",)
    assert len(read_tracks(f"coco:{path}?min-side=7")) == 3
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "train2017").rename(elsewhere)
    refused(path, "are in none of", "?images=")
    assert read_tracks(f"{path}?images={elsewhere}")[0].images[0].parent == elsewhere


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"annotations": [{"image_id": 5, "bbox": [1, 2, 30, 20]}]}, "image 5"),
        ({"annotations": [{"image_id": [], "bbox": [1, 2, 30, 20]}]}, "not listed"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2, 30]}]}, "four finite numbers"),
        ({"annotations": [{"image_id": 7}]}, "four finite numbers"),
        ({"annotations": [7]}, "no list of annotations"),
        ({"annotations": []}, "no annotated target"),
        ({"images": None}, "no list of images"),
        ({"images": [{"id": "7", "file_name": "x.jpg"}]}, "must have an id"),
        ({"images": [{"id": 7, "file_name": "../x.jpg"}]}, "are in none of"),
        ({"categories": [{"id": [], "name": "dog"}]}, "must have an id"),
    ],
)
def test_bad_instances(tmp_path, changes, part):
    refused(coco(tmp_path, **changes), tmp_path, part)


def test_several_files_of_instances_are_named(tmp_path):
    path = coco(tmp_path)
    shutil.copy(path, path.with_name("instances_val2017.json"))
    refused(tmp_path, "2 files of instances", "instances_val2017.json")


def test_specs_that_cannot_be_used(tmp_path):
    refused(tmp_path / "nothing", "does not exist")
    refused(f"vot:{tmp_path}", "unknown kind of data set 'vot'", "lasot")
    refused("lasot:", "names no path")
    refused("", "names no path")
    refused(tmp_path, "no data set that is known")
    (tmp_path / "a.txt").touch()
    refused(tmp_path / "a.txt", "no data set that is known")
    for kind in ("lasot", "trackingnet", "images"):
        refused(f"{kind}:{tmp_path}", "no annotated target")
    with pytest.raises(InputError, match="no data was given"):
        open_source([])


def test_paths_may_hold_the_marks_of_a_spec(tmp_path):
    folder = sequence(tmp_path / "odd:name?every=2" / "one").parent
    assert len(read_tracks(str(folder))[0].images) == 4
    assert len(read_tracks(f"sequences:{folder}")[0].images) == 4


def test_folder_source_shares_images_and_reads_rgb(tmp_path):
    folder = stills(tmp_path / "cats", {"1.jpg": [[1, 2, 30, 20], [4, 5, 20, 20]], "2.jpg": [[0, 0, 9, 9]]})
    source = FolderSource(read_tracks(str(folder)))
    assert len(source) == 2
    assert [track.images.tolist() for track in source.tracks] == [[0], [0], [1]]
    assert source.tracks[0].images.dtype == np.int64
    assert source.tracks[0].boxes.tolist() == [[1, 2, 30, 20]]
    assert source.shape(1) == (48, 64)
    read = source.read(0)
    assert read.dtype == np.uint8
    assert np.abs(read[..., ::-1].astype(int) - image(0)).mean() < 4


def test_boxes_that_do_not_touch_the_image_count_as_absent(tmp_path):
    outside = [(64, 0, 5, 5), (0, 48, 5, 5), (-9, 0, 9, 9), (60, 40, 100, 100), (-8, -8, 9, 9)]
    folder = sequence(tmp_path / "one", boxes=outside)
    assert same(read_tracks(str(folder))[0], outside)  # the annotation itself is kept
    source = open_source([str(folder)])
    assert np.isnan(source.tracks[0].boxes).all(axis=1).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_sizes_come_from_headers(tmp_path, suffix):
    data = write_image(tmp_path / f"a{suffix}", height=30, width=50).read_bytes()
    assert image_shape(data, "a") == (30, 50)
    track = Track("a", "a", (tmp_path / f"a{suffix}",), np.array([[1.0, 2, 8, 8]]))
    source = FolderSource([track])
    assert (source.shape(0), source.read(0).shape) == ((30, 50), (30, 50, 3))


def test_every_form_of_webp(tmp_path):
    import cv2

    picture = image(0, 30, 50)
    path = tmp_path / "a.webp"
    for pixels, quality, chunk in (
        (picture, 80, b"VP8 "),
        (picture, 101, b"VP8L"),
        (np.dstack([picture, picture[..., 0]]), 80, b"VP8X"),
    ):
        assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
        assert path.read_bytes()[12:16] == chunk
        source = FolderSource([Track("a", "a", (path,), np.array([[1.0, 2, 8, 8]]))])
        assert (source.shape(0), source.read(0).shape) == ((30, 50), (30, 50, 3))


def test_a_header_behind_a_large_block_is_found(tmp_path):
    data = write_image(tmp_path / "a.jpg").read_bytes()
    block = b"\xff\xe2" + (65000).to_bytes(2, "big") + bytes(64998)
    (tmp_path / "a.jpg").write_bytes(data[:2] + block * 2 + data[2:])
    track = Track("a", "a", (tmp_path / "a.jpg",), np.array([[1.0, 2, 8, 8]]))
    assert FolderSource([track]).shape(0) == (48, 64)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("part", [0, 1, 20, 0.5, 0.98])
def test_images_that_are_cut_off(tmp_path, suffix, part):
    path = write_image(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    source = FolderSource([Track("a", "a", (path,), np.array([[1.0, 2, 8, 8]]))])
    path.write_bytes(data[: part if isinstance(part, int) else int(len(data) * part)])
    with pytest.raises(InputError, match=str(path)) as caught:
        source.read(0)
    assert "get the file anew" in str(caught.value)


def test_images_that_are_missing_or_announce_too_much(tmp_path):
    path = write_image(tmp_path / "a.png")
    track = Track("a", "a", (path,), np.array([[1.0, 2, 8, 8]]))
    data = bytearray(path.read_bytes())
    data[16:20] = (60_000).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(InputError, match="60000x48"):
        FolderSource([track])
    path.write_text("no image")
    with pytest.raises(InputError, match=r"is no JPEG"):
        FolderSource([track])
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        FolderSource([track])
