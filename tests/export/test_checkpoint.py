"""Checkpoints: what published files hold is read, whatever else they hold stays inert, damage is one clear line."""

from __future__ import annotations

import collections
import hashlib
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from edgetrack.errors import CheckpointError
from edgetrack.export.checkpoint import load_checkpoint


class TrainingSettings:
    """A class of the training code, as published checkpoints carry them."""

    def __init__(self) -> None:
        self.values = {"lr": [1e-4, 1e-5], "done": {1, 2}, "tensor": torch.ones(2), "array": np.ones(3)}


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class ListAttack(list):
    """Runs a command through the protocol's list items."""

    def __reduce__(self):
        return eval, ("__import__('os').abort()",), None, iter([1]), None


def state_dict() -> dict[str, torch.Tensor]:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    state = net.state_dict()
    state["turned"] = state["0.weight"].t()
    state["parameter"] = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    state["half"] = torch.ones(3).half()
    state["bfloat"] = torch.tensor([1.5, -2]).bfloat16()
    state["flags"] = torch.tensor([True, False])
    state["scalar"] = torch.tensor(3.0)
    state["empty"] = torch.empty(0, 3)
    return state


def published(tmp_path: Path) -> dict[str, object]:
    return {
        "net": state_dict(),
        "epoch": 15,
        "settings": TrainingSettings(),
        "attack": Attack(tmp_path / "executed"),
        "list_attack": ListAttack(),
        "counts": collections.defaultdict(int, a=1),
        "big": 10**40,
    }


def message_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_published_layout_is_read_and_nothing_of_it_executed(tmp_path, zipped, protocol):
    path = tmp_path / "model.pth.tar"
    content = published(tmp_path)
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = load_checkpoint(path)
    assert list(found.state) == list(content["net"])
    for name, value in content["net"].items():
        assert found.state[name].dtype == value.dtype, name
        assert torch.equal(found.state[name], value.detach()), name
        assert found.state[name].is_contiguous()
    assert found.other_keys == ("epoch", "settings", "attack", "list_attack", "counts", "big")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not (tmp_path / "executed").exists()


def test_bare_state_dict_and_safetensors(tmp_path):
    expected = {name: value.detach().contiguous() for name, value in state_dict().items()}
    torch.save(expected, tmp_path / "bare.pth")
    files = [tmp_path / "bare.pth"]
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(expected | {"turned": expected["turned"].clone()}, tmp_path / "a.safetensors")
    files.append(tmp_path / "a.safetensors")
    for path in files:
        found = load_checkpoint(path).state
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "a list"),
        ({"net": 3}, "'net' is a int"),
        ({"net": {}}, "an empty dict"),
        ({"model": {"a": torch.ones(1)}}, "no 'net' but 'model'"),
        ({"net": {"a": torch.ones(1), "b": 4}}, "'b' is a int"),
        ({"net": {"a": TrainingSettings()}}, "TrainingSettings"),
        ({"net": {"a": torch.ones(2).to_sparse()}}, "'a' is an object"),
        ({"net": {"a": torch.ones(1, dtype=torch.complex64)}}, "ComplexFloatStorage"),
    ],
)
def test_what_is_not_a_checkpoint_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "c.pth")
    assert words in message_of(tmp_path / "c.pth")


def test_attack_as_the_whole_file(tmp_path):
    path = tmp_path / "attack.pth"
    torch.save(Attack(tmp_path / "executed"), path)
    assert "system" in message_of(path)
    path.write_bytes(pickle.dumps(Attack(tmp_path / "executed")))
    message_of(path)
    assert not (tmp_path / "executed").exists()


def test_missing_empty_foreign(tmp_path):
    assert "No such file" in message_of(tmp_path / "none.pth")
    assert "Is a directory" in message_of(tmp_path)
    (tmp_path / "empty.pth").touch()
    assert "is empty" in message_of(tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("<html>not found</html>\n" * 9)
    assert "not a file of torch.save" in message_of(tmp_path / "text.pth")
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("a.txt", "x")
    assert "data.pkl" in message_of(tmp_path / "other.pth")
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    assert "header" in message_of(tmp_path / "a.safetensors")


def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "script.pt")
    assert "TorchScript" in message_of(tmp_path / "script.pt")


def rewrite(path: Path, change) -> Path:
    """Copy a zip checkpoint, passing each entry through `change(name, data)`."""
    out = path.with_name("changed.pth")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out


@pytest.fixture
def small(tmp_path) -> Path:
    torch.save({"net": {"a": torch.arange(100.0), "b": torch.ones(3)}}, tmp_path / "small.pth")
    return tmp_path / "small.pth"


def test_storage_shorter_than_the_pickle_says(small):
    """The length in the pickle is not believed: torch itself would read past the end."""
    cut = rewrite(small, lambda name, data: data[:8] if name.endswith("data/0") else data)
    assert "too short" in message_of(cut)


@pytest.mark.parametrize("layout", [(0, (101,), (1,)), (1, (100,), (1,)), (0, (2, 60), (60, 1)), (10**12, (1,), (1,))])
def test_tensor_outside_its_storage(tmp_path, layout):
    tensor = torch.arange(100.0)
    path = tmp_path / "outside.pth"
    torch.save({"net": {"a": ForgedTensor(tensor, layout)}}, path)
    assert "outside its storage" in message_of(path)


@pytest.mark.parametrize(
    "layout", [(-1, (1,), (1,)), (0, (-4,), (1,)), (0, (4,), (1, 1)), (0, [4], [1]), (0.0, (4,), (1,))]
)
def test_tensor_with_impossible_numbers(tmp_path, layout):
    path = tmp_path / "odd.pth"
    torch.save({"net": {"a": ForgedTensor(torch.arange(4.0), layout)}}, path)
    assert "'a' is an object" in message_of(path)


def test_expansion_bomb(tmp_path):
    """A few bytes described as terabytes by a stride of zero."""
    path = tmp_path / "bomb.pth"
    torch.save({"net": {"a": ForgedTensor(torch.ones(4), (0, (10**6, 10**6), (0, 0)))}}, path)
    assert "unpack to more" in message_of(path)


class ForgedTensor:
    """Pickles like a tensor whose layout does not fit its storage."""

    def __init__(self, tensor: torch.Tensor, layout: tuple) -> None:
        self.tensor, self.layout = tensor, layout

    def __reduce__(self):
        storage = self.tensor.storage()
        arguments = (storage, *self.layout, False, collections.OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


def test_compressed_entry_is_refused(small):
    out = small.with_name("packed.pth")
    with zipfile.ZipFile(small) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert "compressed" in message_of(out)


def test_the_count_of_an_empty_storage_at_the_end_is_whole(tmp_path):
    """Which storage comes last depends on addresses, so `test_every_truncation_is_one_line` sees this by chance."""
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save({"net": {"empty": torch.empty(0, 3)}}, whole, _use_new_zipfile_serialization=False)
    assert load_checkpoint(whole).state["empty"].shape == (0, 3)
    for missing in range(1, 9):
        cut.write_bytes(whole.read_bytes()[:-missing])
        message_of(cut)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_truncation_is_one_line(tmp_path, zipped):
    whole = tmp_path / "whole.pth"
    torch.save(published(tmp_path), whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    cut = tmp_path / "cut.pth"
    for size in [*range(1, len(data) - 1, 97), len(data) - 1]:
        cut.write_bytes(data[:size])
        message_of(cut)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("zipped", [True, False])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_never_crash(tmp_path, zipped, places):
    path = tmp_path / "damaged.pth"
    torch.save({"net": {"a": torch.ones(5)}, "x": TrainingSettings()}, path, _use_new_zipfile_serialization=zipped)
    data = bytearray(path.read_bytes())
    for place, value in places:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        load_checkpoint(path)  # a changed number is a valid file where nothing guards it
    except CheckpointError as error:
        text = str(error)
    else:
        text = ""
    assert "\n" not in text
