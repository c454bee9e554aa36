"""Packed files: what goes in comes out, hostile files are refused, nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("cv2")

from data_sets import BOXES, sequence, stills, write_image

from edgetrack.data import FolderSource, PackedSource, Track, open_source, pack, read_tracks
from edgetrack.data.pack_format import HEADER_BYTES
from edgetrack.errors import InputError

NAN = (np.nan,) * 4


@pytest.fixture
def data(tmp_path):
    """A sequence of four frames, its second without the target, and two stills with three boxes."""
    sequence(tmp_path / "seqs" / "one", boxes=[BOXES[0], NAN, *BOXES[2:]])
    (tmp_path / "seqs" / "one" / "nlp.txt").write_text("a café cat")
    stills(tmp_path / "pics", {"1.jpg": [[1, 2, 30, 20], [40, 5, 60, 20]], "2.jpg": [[2, 2, 12, 12]]})
    return [*read_tracks(str(tmp_path / "seqs")), *read_tracks(str(tmp_path / "pics"))]


@pytest.fixture
def packed(data, tmp_path):
    pack(data, tmp_path / "a.etpack", side=32, quality=90)
    return tmp_path / "a.etpack"


def test_what_goes_in_comes_out(data, tmp_path):
    summary = pack(data, tmp_path / "a.etpack", quality=100)
    assert (summary.tracks, summary.frames, summary.images, summary.absent, summary.reduced) == (4, 7, 6, 1, 0)
    assert summary.kept == 6
    assert summary.size_bytes == (tmp_path / "a.etpack").stat().st_size
    folder = FolderSource(data)
    with PackedSource(tmp_path / "a.etpack") as source:
        assert len(source) == len(folder) == 6
        assert source.settings == {"side": None, "quality": 100, "encoding": "jpeg"}
        for mine, theirs in zip(source.tracks, folder.tracks, strict=True):
            assert (mine.name, mine.dataset, mine.text, mine.still) == (
                theirs.name,
                theirs.dataset,
                theirs.text,
                theirs.still,
            )
            assert (mine.images.dtype, mine.boxes.dtype) == (np.int64, np.float64)
            assert np.array_equal(mine.images, theirs.images)
            np.testing.assert_allclose(mine.boxes, theirs.boxes, rtol=1e-6)
        for index in range(6):
            assert source.shape(index) == folder.shape(index)
            assert np.array_equal(source.read(index), folder.read(index))  # files that are kept
    with pytest.raises(ValueError, match="closed"):
        source.read(0)


@pytest.mark.parametrize("encoding", ["jpeg", "webp"])
def test_images_and_boxes_are_reduced_together(data, tmp_path, encoding):
    import cv2

    summary = pack(data, tmp_path / "a.etpack", side=32, quality=95, encoding=encoding)
    assert (summary.reduced, summary.kept) == (6, 0)
    source = PackedSource(tmp_path / "a.etpack")
    assert source.settings == {"side": 32, "quality": 95, "encoding": encoding}
    assert [source.shape(index) for index in range(6)] == [(24, 32)] * 6
    np.testing.assert_allclose(source.tracks[0].boxes, data[0].boxes / 2, rtol=1e-6)
    folder = FolderSource(data)
    for index in range(6):
        wanted = cv2.resize(folder.read(index), (32, 24), interpolation=cv2.INTER_AREA)
        assert np.abs(source.read(index).astype(int) - wanted).mean() < 5


def test_width_and_height_are_scaled_by_what_each_became(tmp_path):
    path = write_image(tmp_path / "a.jpg", height=33, width=100)
    pack([Track("a", "a", (path,), np.array([[10.0, 3.3, 50, 16.5]]))], tmp_path / "a.etpack", side=50)
    source = PackedSource(tmp_path / "a.etpack")
    assert source.shape(0) == (16, 50)
    np.testing.assert_allclose(source.tracks[0].boxes, [[5, 1.6, 25, 8]], rtol=1e-6)


def test_an_image_that_a_lower_quality_makes_smaller_is_encoded_again(data, tmp_path):
    high, low = (pack(data, tmp_path / f"{q}.etpack", quality=q) for q in (100, 20))
    assert low.kept == 0
    assert low.size_bytes < high.size_bytes


def test_the_same_data_give_the_same_bytes(data, tmp_path):
    contents = []
    for threads in (1, 1, 4):
        pack(data, tmp_path / "a.etpack", side=40, threads=threads)
        contents.append((tmp_path / "a.etpack").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_boxes_that_do_not_touch_the_image_count_as_absent(tmp_path):
    path = write_image(tmp_path / "a.jpg")
    tracks = [Track("a", "a", (path, path), np.array([[64.0, 0, 5, 5], [63, 0, 5, 5]]))]
    assert pack(tracks, tmp_path / "a.etpack", side=32).absent == 1
    assert np.isnan(PackedSource(tmp_path / "a.etpack").tracks[0].boxes[:, 0]).tolist() == [True, False]


def test_packed_files_and_folders_mix(data, packed, tmp_path):
    source = open_source([str(packed), f"images:{tmp_path / 'pics'}", str(packed)])
    assert len(source) == 6 + 6 + 2
    assert [track.name for track in source.tracks[:4]] == [track.name for track in data]
    alone = PackedSource(packed)
    assert source.tracks[4].images.tolist() == [6]
    for track in source.tracks:
        for number in track.images:
            assert source.read(int(number)).shape[:2] == source.shape(int(number))
    assert np.array_equal(source.read(6 + 2 + 3), alone.read(3))
    for index in (-1, 14):
        with pytest.raises(IndexError):
            source.read(index)
    assert isinstance(open_source([str(packed)]), PackedSource)


def test_threads_may_read_at_once(packed):
    source = PackedSource(packed)
    wanted = [source.read(index) for index in range(len(source))]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            wrong.extend(i for i in range(len(source)) if not np.array_equal(source.read(i), wanted[i]))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"side": 4}, "side is 4"),
        ({"quality": 0}, "quality is 0"),
        ({"encoding": "gif"}, "'gif' is unknown"),
    ],
)
def test_options_that_cannot_be_used(data, tmp_path, options, part):
    with pytest.raises(InputError, match=part):
        pack(data, tmp_path / "a.etpack", **options)


def test_an_image_that_an_encoding_cannot_hold(tmp_path):
    path = write_image(tmp_path / "a.png", height=1, width=16384)
    track = Track("a", "a", (path,), np.array([[10.0, 0, 50, 1]]))
    with pytest.raises(InputError, match="16384x1 pixels cannot be encoded as webp"):
        pack([track], tmp_path / "a.etpack", encoding="webp")
    assert pack([track], tmp_path / "a.etpack", encoding="webp", side=64).reduced == 1


def test_output_that_cannot_be_written(data, tmp_path):
    for path, part in ((tmp_path / "a.bin", "etpack"), (tmp_path / "no" / "a.etpack", "folder does not exist")):
        with pytest.raises(InputError, match=part):
            pack(data, path)
    with pytest.raises(InputError, match="no track"):
        pack([], tmp_path / "a.etpack")
    with pytest.raises(InputError, match="longer than"):
        pack([Track("n" * 2000, "a", data[0].images, data[0].boxes)], tmp_path / "a.etpack")
    with pytest.raises(InputError, match="boxes of shape"):
        pack([Track("n", "a", data[0].images[:2], data[0].boxes)], tmp_path / "a.etpack")


@pytest.mark.parametrize("kind", ["corrupt", "missing", "interrupt", "full"])
def test_a_pack_that_fails_leaves_the_old_file_and_nothing_else(data, packed, tmp_path, monkeypatch, kind):
    before = packed.read_bytes()
    entries = sorted(os.listdir(tmp_path))
    error: type[BaseException] = InputError
    progress = None
    if kind == "corrupt":
        data[0].images[2].write_bytes(data[0].images[2].read_bytes()[:400])
    elif kind == "missing":
        data[0].images[2].unlink()
    elif kind == "full":

        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
    else:
        error = KeyboardInterrupt

        def progress(done: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(error) as caught:
        pack(data, packed, progress=progress)
    if kind in ("corrupt", "missing"):
        assert str(data[0].images[2]) in str(caught.value)
    if kind == "full":
        assert "No space left" in str(caught.value)
    assert packed.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == entries


def test_what_a_killed_pack_left_is_removed_and_a_live_one_is_not(data, tmp_path):
    import fcntl

    dead, live = (tmp_path / f".a.etpack.partial-{number}" for number in (1, 2))
    dead.write_bytes(b"half")
    with live.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        pack(data, tmp_path / "a.etpack")
        assert (dead.exists(), live.exists()) == (False, True)


def test_progress_counts_images(data, tmp_path):
    counted: list[int] = []
    pack(data, tmp_path / "a.etpack", progress=counted.append)
    assert sum(counted) == 6


# Files made to mislead. `rewritten` gives a file whose checksum is right, which is what an attacker would write.


def rewritten(packed, document=None, tables=None) -> bytes:
    raw = packed.read_bytes()
    (start,) = struct.unpack_from("<Q", raw, 16)
    (length,) = struct.unpack_from("<Q", raw, start)
    parsed = json.loads(raw[start + 8 : start + 8 + length])
    rest = bytearray(raw[start + 8 + length :])
    if document is not None:
        document(parsed)
    if tables is not None:
        tables(rest)
    text = json.dumps(parsed).encode()
    index = struct.pack("<Q", len(text)) + text + bytes(rest)
    header = raw[:24] + struct.pack("<Q", len(index)) + hashlib.sha256(index).digest()
    return header + raw[HEADER_BYTES:start] + index


def refused(path, content: bytes, part: str) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        PackedSource(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)


def test_files_that_are_not_whole(packed, tmp_path):
    raw = packed.read_bytes()
    path = tmp_path / "b.etpack"
    refused(path, b"", "cannot be read")
    refused(path, raw[:40], "not a packed file")
    refused(path, b"PK" + raw[2:], "not a packed file")
    refused(path, raw[:8] + b"\x02" + raw[9:], "version 2")
    refused(path, raw[:-1], "cut off")
    refused(path, raw + b"\0", "cut off")
    refused(path, raw[:16] + b"\xff" * 16 + raw[32:], "cut off")
    refused(path, raw[:-1] + bytes([raw[-1] ^ 1]), "SHA-256")
    with pytest.raises(InputError, match="cannot be read"):
        PackedSource(tmp_path / "nothing.etpack")
    with pytest.raises(InputError, match="cannot be read"):
        PackedSource(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("images", 7, "tables"),
        ("images", 0, "number of images"),
        ("images", -1, "number of images"),
        ("images", 10**30, "number of images"),
        ("images", True, "number of images"),
        ("frames", "7", "number of frames"),
        ("frames", 10**9, "number of frames"),
        ("side", "x", "side"),
        ("quality", None, "quality"),
        ("encoding", ["jpeg"], "encoding"),
        ("datasets", [5], "data set"),
        ("datasets", None, "list of tracks"),
        ("datasets", [], "data set of a track"),
        ("tracks", [["a", 0, 7]], "entry of a track"),
        ("tracks", [["a", 0, 6, None]], "number of frames"),
        ("tracks", [["a", 0, 0, None], ["a", 0, 7, None]], "number of frames"),
        ("tracks", [["a", 9, 7, None]], "data set of a track"),
        ("tracks", [["a" * 2000, 0, 7, None]], "name of a track"),
        ("tracks", [[5, 0, 7, None]], "name of a track"),
        ("tracks", [["a", 0, 7, 5]], "text of a track"),
        ("tracks", [], "number of frames"),
    ],
)
def test_an_index_that_does_not_add_up(packed, tmp_path, key, value, part):
    content = rewritten(packed, document=lambda document: document.update({key: value}))
    refused(tmp_path / "b.etpack", content, part)


@pytest.mark.parametrize(
    ("at", "value", "part"),
    [
        (0, struct.pack("<Q", 64), "places"),  # an image of no bytes
        (0, struct.pack("<Q", 2**63), "places"),
        (0, struct.pack("<Q", 10**6), "places"),  # beyond the next one's end
        (40, struct.pack("<Q", 10**6), "places"),  # the last one: into the index
        (48, struct.pack("<H", 0), "size of an image"),
        (48, struct.pack("<H", 60_000), "size of an image"),
        (72, struct.pack("<I", 6), "image of a frame"),
        (72, struct.pack("<I", 2**32 - 1), "image of a frame"),
        (100, struct.pack("<f", np.inf), "a box"),
        (100, struct.pack("<f", np.nan), "a box"),
        (100, struct.pack("<f", 1e9), "a box"),
        (108, struct.pack("<f", 0.0), "a box"),
        (112, struct.pack("<f", -1.0), "a box"),
    ],
)
def test_tables_that_do_not_add_up(packed, tmp_path, at, value, part):
    def change(tables: bytearray) -> None:
        tables[at : at + len(value)] = value

    refused(tmp_path / "b.etpack", rewritten(packed, tables=change), part)


def test_an_image_of_another_size_than_the_index_says(packed, tmp_path):
    def change(tables: bytearray) -> None:
        tables[48:50] = struct.pack("<H", 25)

    (tmp_path / "b.etpack").write_bytes(rewritten(packed, tables=change))
    source = PackedSource(tmp_path / "b.etpack")
    with pytest.raises(InputError, match="size that the index says"):
        source.read(0)
    assert source.read(1).shape == (24, 32, 3)


def test_a_damaged_image_is_named(packed, tmp_path):
    raw = bytearray(packed.read_bytes())
    raw[HEADER_BYTES : HEADER_BYTES + 30] = bytes(30)
    (tmp_path / "b.etpack").write_bytes(raw)
    with pytest.raises(InputError, match=r"image 0 of .*b\.etpack is damaged"):
        PackedSource(tmp_path / "b.etpack").read(0)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_change_of_bytes_gives_another_error_than_ours(packed, tmp_path, draws):
    raw = bytearray(packed.read_bytes())
    for _ in range(draws.draw(st.integers(1, 4))):
        at = draws.draw(st.one_of(st.integers(0, 63), st.integers(0, len(raw) - 1)))
        raw[at] = draws.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.etpack"
    path.write_bytes(raw[: draws.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))])
    try:
        with PackedSource(path) as source:
            for index in range(len(source)):
                assert source.read(index).shape[:2] == source.shape(index)
    except InputError:
        pass
