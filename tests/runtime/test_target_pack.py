"""Target packs: what is written, what is read again, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgetrack.errors import InputError
from edgetrack.runtime import target_pack
from edgetrack.runtime.target_pack import ModelIdentity, TargetPack, read_pack

MODEL = ModelIdentity("mvlm-tf", "a" * 64, "b" * 64)


def pack() -> TargetPack:
    arrays = {"text": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "keys": np.array([[0.5, -2.0]], np.float16)}
    return TargetPack(MODEL, 'the "man" — 白', arrays)


def split(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: object, blocks: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + blocks


def refused(path) -> str:
    with pytest.raises(InputError) as caught:
        read_pack(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_round_trip(tmp_path):
    path = pack().save(tmp_path / "man.pack")
    found = read_pack(path)
    assert (found.made_by, found.text) == (MODEL, pack().text)
    assert found.arrays.keys() == pack().arrays.keys()
    for name, array in pack().arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert [entry.name for entry in tmp_path.iterdir()] == ["man.pack"]


def test_it_is_a_stock_file(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    path = pack().save(tmp_path / "man.pack")
    with safetensors.safe_open(path, "np") as opened:
        assert opened.metadata()["text"] == pack().text
        np.testing.assert_array_equal(opened.get_tensor("text"), pack().arrays["text"])


def test_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        pack().save(tmp_path / "folder")
    with pytest.raises(InputError, match="cannot be written"):
        pack().save(tmp_path / "none" / "man.pack")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_another_model_is_refused():
    pack().check_model(MODEL, "it")
    with pytest.raises(InputError, match="pack x was made for mvlm-tf, this tracker is mvlm-bbox"):
        pack().check_model(ModelIdentity("mvlm-bbox", "a" * 64, "b" * 64), "pack x")
    for other in (ModelIdentity("mvlm-tf", "c" * 64, "b" * 64), ModelIdentity("mvlm-tf", "a" * 64, "c" * 64)):
        with pytest.raises(InputError, match=r"with other weights of mvlm-tf \(checkpoint aaaaaaaaaaaa, text encoder"):
            pack().check_model(other, "it")


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: header.pop("__metadata__"),
        lambda header: header["__metadata__"].update(kind="other"),
        lambda header: header["__metadata__"].update(schema="2"),
        lambda header: header["__metadata__"].update(variant=3),
        lambda header: header["__metadata__"].pop("text"),
        lambda header: (header.pop("text"), header.pop("keys")),
        lambda header: header.update({str(number): header["text"] for number in range(99)}),
        lambda header: header["text"].update(dtype="I64"),
        lambda header: header["text"].update(shape=[1, 2, 4]),
        lambda header: header["text"].update(shape=[-1, -2, 3]),
        lambda header: header["text"].update(shape=[1 << 40, 0]),
        lambda header: header["text"].update(shape=[6] + [1] * 8),
        lambda header: header["text"].update(shape="6"),
        lambda header: header["text"].update(data_offsets=[-24, 0]),
        lambda header: header["text"].update(data_offsets=[20, 44]),
        lambda header: header["text"].update(data_offsets=[0]),
        lambda header: header["text"].update(data_offsets=[0.0, 24.0]),
        lambda header: header.update(text=None),
    ],
)
def test_damaged_header(tmp_path, edit):
    path = pack().save(tmp_path / "man.pack")
    header, blocks = split(path.read_bytes())
    edit(header)
    path.write_bytes(joined(header, blocks))
    assert "is no target pack, or damaged" in refused(path)


def test_damaged_files(tmp_path, monkeypatch):
    assert "No such file" in refused(tmp_path / "none.pack")
    path = pack().save(tmp_path / "man.pack")
    whole = path.read_bytes()
    for data in (b"", b"abc", whole[:20], (1 << 60).to_bytes(8, "little") + whole[8:]):
        path.write_bytes(data)
        assert "is no target pack, or cut off" in refused(path)
    for data in (
        whole[:-4],
        joined([], b""),
        joined("a", b""),
        b"\x04" + bytes(7) + b"\xff\xff{}",
        whole[:8] + b"[" * 999,
    ):
        path.write_bytes(data)
        assert "is no target pack" in refused(path)
    header, blocks = split(whole)
    path.write_bytes(joined(header, np.full(6, np.inf, np.float32).tobytes() + blocks[24:]))
    assert "not finite" in refused(path)
    monkeypatch.setattr(target_pack, "_MAX_BYTES", 100)
    assert "so no target pack" in refused(path)
