"""Checkpoints made to harm: each costs little time and memory and ends in one clear line."""

from __future__ import annotations

import collections
import io
import json
import pickle
import struct
import time
import zipfile
from pathlib import Path

import pytest
import torch

from edgetrack.errors import CheckpointError
from edgetrack.export import checkpoint, checkpoint_files
from edgetrack.export.checkpoint import load_checkpoint
from edgetrack.export.pickles import MAX_INSTRUCTIONS, Call, Global, PickleFormatError, brief, read_pickle

# 60 bytes whose text would have gigabytes: a tuple of two references to a tuple of two references ...
LAUGHS = b")" + b"2\x86" * 29
DEEP = b")" + b"\x85" * 20_000
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"ctorch\nFloatStorage\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: bytes = FLOATS, key: bytes = text("0"), elements: int = 4) -> bytes:
    return b"(" + text("storage") + kind + key + text("cpu") + number(elements) + b"tQ"


def tensor(size: bytes, stride: bytes, source: bytes | None = None, offset: int = 0) -> bytes:
    return REBUILD + b"(" + (source or storage()) + number(offset) + size + stride + b"\x89NtR"


def net(*entries: tuple[str, bytes]) -> bytes:
    return b"}" + text("net") + b"}(" + b"".join(text(name) + value for name, value in entries) + b"us"


def zip_file(tmp_path: Path, program: bytes, elements: int = 4) -> Path:
    path = tmp_path / "hostile.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("a/data/0", struct.pack(f"<{elements}f", *range(elements)))
    return path


def legacy_file(tmp_path: Path, program: bytes, keys: bytes | None = None) -> Path:
    path = tmp_path / "legacy.pth"
    head = pickle.dumps(checkpoint_files._LEGACY_MAGIC, 2) + pickle.dumps(1001, 2)
    head += pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
    body = struct.pack("<q4f", 4, *range(4))
    if keys is None:
        keys = b"](" + (text("0") if text("storage") in program else b"") + b"e"
    path.write_bytes(head + b"\x80\x02" + program + b"." + b"\x80\x02" + keys + b"." + body)
    return path


def safetensors_file(tmp_path: Path, header: object, data: bytes = bytes(16)) -> Path:
    path = tmp_path / "hostile.safetensors"
    packed = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + data)
    return path


def refused(path: Path) -> str:
    """Return the one-line message with which `path` is refused, at once."""
    started = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert time.process_time() - started < 2
    assert "\n" not in message
    assert len(message) < 600 + len(str(path))
    return message


GOOD = tensor(numbers(4), numbers(1))


@pytest.mark.parametrize("make", [zip_file, legacy_file])
def test_the_handmade_files_are_read_when_nothing_is_wrong(tmp_path, make):
    found = load_checkpoint(make(tmp_path, net(("a", GOOD))))
    assert found.state["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("make", [zip_file, legacy_file])
@pytest.mark.parametrize(
    ("program", "words"),
    [
        (LAUGHS + b"2\x93", "not text"),
        (LAUGHS, "a tuple"),
        (LAUGHS + b"2\x81", "an object of a tuple"),
        (b"}" + text("net") + LAUGHS + b"s", "a tuple"),
        (net(("a", LAUGHS)), "a tuple"),
        (net(("a", LAUGHS + b")R")), "an object of a tuple"),
        (net(("a", tensor(numbers(4), numbers(1), storage(kind=LAUGHS)))), "a tuple"),
        (net(("a", tensor(numbers(4), numbers(1), storage(key=LAUGHS)))), "a tuple"),
        (net(("a", tensor(LAUGHS, LAUGHS))), "'a' is an object"),
        (b"ccollections\nOrderedDict\n](" + LAUGHS + b"N\x86e\x85R", "no 'net'"),
    ],
    ids=["name", "top", "call", "net", "entry", "function", "kind", "key", "size", "pair"],
)
def test_billion_laughs(tmp_path, make, program, words):
    assert words in refused(make(tmp_path, program))


@pytest.mark.parametrize("keys", [b"](" + LAUGHS + b"e", b"](" + DEEP + b"e"])
def test_structures_as_storage_keys_of_a_legacy_file(tmp_path, keys):
    assert "not text" in refused(legacy_file(tmp_path, net(("a", GOOD)), keys))


@pytest.mark.parametrize("make", [zip_file, legacy_file])
@pytest.mark.parametrize("place", ["top", "key", "kind", "size", "parameter", "pair"])
def test_deep_structures(tmp_path, make, place):
    wrap = b"ctorch._utils\n_rebuild_parameter\n"
    program = {
        "top": DEEP,
        "key": net(("a", tensor(numbers(4), numbers(1), storage(key=DEEP)))),
        "kind": net(("a", tensor(numbers(4), numbers(1), storage(kind=DEEP)))),
        "size": net(("a", tensor(DEEP, DEEP))),
        "parameter": net(("a", wrap * 5000 + GOOD + b"\x85R" * 5000)),
        "pair": b"ccollections\nOrderedDict\n](" + DEEP + b"N\x86e\x85R",
    }[place]
    assert "it is damaged (" not in refused(make(tmp_path, program))


def test_messages_name_values_by_type():
    deep = read_pickle(io.BytesIO(LAUGHS + b"."))
    assert brief(deep) == "a tuple"
    assert brief(Call(deep, ())) == "a Call"
    assert brief(10**5000) == "a int"
    assert len(brief("x" * 10**6)) < 100
    assert len(brief(Global("m\n" * 99, "n" * 10**6))) < 200
    assert "\n" not in brief(Global("m\n", "n"))


def test_unhashable_keys_of_pairs_are_left_out(tmp_path):
    ordered = b"ccollections\nOrderedDict\n]("
    path = zip_file(tmp_path, ordered + b"]N\x86" + text("a") + GOOD + b"\x86e\x85R")
    assert list(load_checkpoint(path).state) == ["a"]
    path = zip_file(tmp_path, b"}" + text("net") + ordered + b"]]\x86}}\x86e\x85Rs")
    assert "'net'" in refused(path)


def test_a_key_too_long_to_print(tmp_path):
    big = pickle.dumps(1 << 100_000, 2)[2:-1]
    assert "'other'" in refused(zip_file(tmp_path, b"}(" + big + b"N" + text("other") + b"Nu"))
    assert "no 'net'" in refused(zip_file(tmp_path, b"ccollections\nOrderedDict\n](" + big + b"N\x86e\x85R"))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((0, 2**70), (1, 1), 0),
        ((0, 2**40, 2**40), (1, 1, 1), 0),
        ((0, 2**39, 2**39), (1, 1, 1), 0),
        ((1,), (2**70,), 0),
        ((0,), (2**70,), 0),
        ((0,), (1,), 2**70),
        ((1,) * 17, (1,) * 17, 0),
    ],
)
def test_numbers_beyond_bounds(tmp_path, size, stride, offset):
    entry = tensor(numbers(*size), numbers(*stride), offset=offset)
    assert "'a' is an object" in refused(zip_file(tmp_path, net(("a", entry))))


def test_a_storage_of_impossible_length(tmp_path):
    entry = tensor(numbers(4), numbers(1), storage(elements=2**70))
    assert "'a' is an object" in refused(zip_file(tmp_path, net(("a", entry))))


@pytest.mark.parametrize("error", [TypeError, RuntimeError, ValueError, OverflowError, RecursionError])
def test_what_the_checks_miss_is_refused_all_the_same(tmp_path, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error("first\nsecond")

    monkeypatch.setattr(checkpoint, "open_content", fail)
    assert "damaged (first)" in refused(zip_file(tmp_path, net(("a", GOOD))))


@pytest.mark.parametrize(
    "shape", [[-3], [-1, -4], [2**70, 0], [2**39, 2**39, 0], [1] * 17, [4.0], [True], ["4"], [[4]]]
)
def test_safetensors_shapes(tmp_path, shape):
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}
    assert "sound shape" in refused(safetensors_file(tmp_path, header))


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 16]}}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [Infinity, 16]}}',
        b'{"a": {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]}}',
        b'{"a": {"dtype": "' + b"F" * 9999 + b'", "shape": [4], "data_offsets": [0, 16]}}',
        b'{"a": 3}',
        b"[]",
        b"[" * 200_000,
    ],
)
def test_safetensors_headers(tmp_path, header):
    assert "header is damaged" in refused(safetensors_file(tmp_path, header))


def test_safetensors_header_too_large(tmp_path):
    assert "larger than 8 MiB" in refused(safetensors_file(tmp_path, b" " * (9 << 20)))


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ([0, 12], "another length"),
        ([0, 20], "another length"),
        ([0, 0], "another length"),
        ([16, 0], "outside"),
        ([-16, 0], "outside"),
        ([16, 32], "outside"),
        ([0.0, 16.0], "outside"),
        ([0, 16, 32], "damaged"),
        ([4, 20], "overlaps"),
        ([8, 24], "overlaps"),
    ],
)
def test_safetensors_offsets(tmp_path, offsets, words):
    header = {"a": {"dtype": "F32", "shape": [4], "data_offsets": offsets}}
    size = 16 if words == "outside" else 32
    if words == "overlaps":
        count = offsets[0] // 4 + 1
        header["b"] = {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}
    assert words in refused(safetensors_file(tmp_path, header, bytes(size)))


def test_safetensors_tensors_beside_each_other(tmp_path):
    header = {
        "b": {"dtype": "F32", "shape": [2, 1], "data_offsets": [8, 16]},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "none": {"dtype": "F32", "shape": [0, 3], "data_offsets": [8, 8]},
    }
    state = load_checkpoint(safetensors_file(tmp_path, header, struct.pack("<4f", 1, 2, 3, 4))).state
    assert state["a"].tolist() == [1, 2]
    assert state["b"].tolist() == [[3], [4]]
    assert state["none"].shape == (0, 3)


def test_the_number_of_instructions_is_bounded():
    assert MAX_INSTRUCTIONS == 500_000
    with pytest.raises(PickleFormatError, match="more than 500000"):
        read_pickle(io.BytesIO(b"N0" * 250_001 + b"N."))
    assert read_pickle(io.BytesIO(b"N0" * 1000 + b"N.")) is None


def test_calls_are_small():
    call = read_pickle(io.BytesIO(b"ca\nb\n)R."))
    assert isinstance(call, Call)
    assert call.items is None
    assert not hasattr(call, "__dict__")
    filled = read_pickle(io.BytesIO(b"ca\nb\n)RNNs."))
    assert isinstance(filled, Call)
    assert filled.items == {None: None}


def test_integers_chosen_to_share_a_hash(tmp_path):
    """As dict keys or memo numbers they would take minutes."""
    clash = [k * (2**61 - 1) for k in range(1, 100_001)]
    pairs = b"".join(number(key) + b"N" for key in clash)
    assert "no 'net'" in refused(zip_file(tmp_path, b"}(" + pairs + b"u"))
    with pytest.raises(PickleFormatError, match="memo"):
        read_pickle(io.BytesIO(b"N" + b"".join(b"p%d\n" % key for key in clash) + b"."))


@pytest.fixture
def reads(monkeypatch) -> list[tuple[str, int, int]]:
    """The parts of storages that are read: key, first byte, byte count."""
    seen: list[tuple[str, int, int]] = []
    original = checkpoint.open_content

    def opened(*arguments, **options):
        content = original(*arguments, **options)

        def read_storage(key: str, first: int, length: int) -> bytes:
            seen.append((key, first, length))
            return content.read_storage(key, first, length)

        return checkpoint_files.Content(content.top, read_storage)

    monkeypatch.setattr(checkpoint, "open_content", opened)
    return seen


@pytest.mark.parametrize("zipped", [True, False])
def test_only_the_part_of_a_storage_that_an_entry_uses_is_read(tmp_path, reads, zipped):
    base = torch.arange(1000.0)
    torch.save({"net": {"a": base[900:906].view(2, 3)}}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = load_checkpoint(tmp_path / "a.pth").state["a"]
    assert torch.equal(found, base[900:906].view(2, 3))
    assert [part[1:] for part in reads] == [(3600, 24)]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_shared_storage_is_read_at_most_twice(tmp_path, reads, zipped):
    base = torch.arange(2500.0).reshape(50, 50)
    state = collections.OrderedDict((f"c{i}", base[:, i]) for i in range(50))
    state["bottom"] = base[49]
    torch.save({"net": state}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = load_checkpoint(tmp_path / "a.pth").state
    for name, value in state.items():
        assert torch.equal(found[name], value), name
    assert len(reads) == 2


def test_alternating_storages_cannot_multiply_the_reading(tmp_path):
    one, other = torch.ones(10_000), torch.ones(10_000)
    state = {f"e{i}": (one, other)[i % 2].as_strided((2,), (9999,)) for i in range(100)}
    torch.save({"net": state}, tmp_path / "a.pth")
    assert "bytes to read" in refused(tmp_path / "a.pth")


def test_an_encrypted_entry_is_refused(tmp_path):
    path = zip_file(tmp_path, net(("a", GOOD)))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path)


def test_a_part_whose_local_header_is_gone(tmp_path):
    path = zip_file(tmp_path, net(("a", tensor(numbers(1), numbers(1), offset=2))))
    assert load_checkpoint(path).state["a"].tolist() == [2]
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x03\x04")] = 0
    path.write_bytes(data)
    assert "storage '0' is missing" in refused(path)
