"""The slot rule against the published one, and the bounded template memory against a slow one."""

from __future__ import annotations

import numpy as np
import pytest
from golden_files import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_memory import BoundedHistory, published_slots

from edgetrack import _core
from edgetrack.errors import ArtifactError, InputError

GOLDEN_EARLY = {
    "fartrack_tiny": "shift",
    "fartrack_nano": "shift",
    "fartrack_pico": "shift",
    "fartrack_frame_tiny": "shift",
    "fartrack_distill_tiny": "distill",
}
MIN_CAPACITY = 16


@pytest.mark.parametrize(("name", "early"), GOLDEN_EARLY.items())
def test_slots_are_the_recorded_ones(name: str, early: str) -> None:
    recorded = golden(name)
    frames = recorded["rule_frame_id"]
    assert frames.max() >= 20000
    for n, expected in zip(frames, recorded["rule_template_index"], strict=True):
        assert list(_core.template_slots(int(n), early)) == expected.tolist(), n


@given(st.integers(0, 200_000), st.sampled_from(["shift", "distill"]))
def test_slots_equal_the_float_rule(n: int, early: str) -> None:
    assert list(_core.template_slots(n, early)) == published_slots(n, early)


def test_slots_do_not_overflow() -> None:
    n = 10**15  # a million years
    assert list(_core.template_slots(n, "shift")) == [0, 3 * n // 10, 51 * n // 100, 657 * n // 1000, n]


@pytest.mark.parametrize(("n", "early"), [(-1, "shift"), (3, "late")])
def test_unknown_slots_are_refused(n: int, early: str) -> None:
    with pytest.raises(InputError):
        _core.template_slots(n, early)


def memory_of(capacity: int, rows: int = 1, channels: int = 1) -> _core.TemplateMemory:
    return _core.TemplateMemory(rows, channels, capacity * rows * channels * 4)


def put_index(memory: _core.TemplateMemory, index: int) -> None:
    memory.put(np.full((1, 1), index, np.float32), [0])


@settings(max_examples=40, deadline=None)
@given(st.integers(MIN_CAPACITY, 120), st.integers(1, 1500), st.sampled_from(["shift", "distill"]))
def test_every_slot_shows_what_the_slow_memory_shows(capacity: int, frames: int, early: str) -> None:
    memory, slow = memory_of(capacity), BoundedHistory[int](capacity)
    for n in range(1, frames + 1):
        put_index(memory, n - 1)
        slow.put(n - 1)
        assert (memory.stride, memory.stored) == (slow.stride, len(slow.entries))
        for k in published_slots(n, early):
            if k < n:
                assert memory.get(k)[0, 0] == slow.get(k)


@pytest.mark.parametrize("capacity", [16, 17, 23, 64, 333])
def test_the_bound_and_what_is_shown_past_it(capacity: int) -> None:
    memory = memory_of(capacity)
    exact, inexact_from = memory.exact_frames, None
    for n in range(1, 40 * capacity):
        put_index(memory, n - 1)
        assert memory.stored <= capacity
        assert memory.used_bytes <= 4 * capacity
        if memory.stride > 1:
            assert memory.stride < 1.4 * n / (capacity - 5)
            inexact_from = inexact_from or n
        for k in published_slots(n)[:-1]:
            shown = int(memory.get(k)[0, 0])
            assert shown == memory.shown(k)
            assert 0 <= k - shown < memory.stride
    assert inexact_from == exact + 1


def test_default_limit_keeps_the_stated_number_of_frames_exact() -> None:
    memory = _core.TemplateMemory(37, 192, 60 << 20)
    assert memory.capacity == 2214
    assert memory.exact_frames == 3161


def test_chosen_rows_are_stored_in_the_given_order_and_kept_apart() -> None:
    memory = memory_of(MIN_CAPACITY, rows=3, channels=4)
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((5, 5, 4)).astype(np.float32)
    keeps = [rng.permutation(5)[:3].tolist() for _ in range(5)]
    for entry, keep in zip(tokens, keeps, strict=True):
        memory.put(entry, keep)
    for k, (entry, keep) in enumerate(zip(tokens, keeps, strict=True)):
        if k == 0 or k >= 3 * 5 // 10:
            np.testing.assert_array_equal(memory.get(k), entry[keep])


def test_clear_starts_again_in_the_same_pages() -> None:
    memory = memory_of(MIN_CAPACITY)
    for index in range(500):
        put_index(memory, index)
    used = memory.used_bytes
    memory.clear()
    assert (memory.size, memory.stored, memory.stride) == (0, 0, 1)
    for index in range(500):
        put_index(memory, index + 1000)
    assert memory.get(0)[0, 0] == 1000
    assert memory.used_bytes == used


@pytest.mark.parametrize("limit", [0, 4 * MIN_CAPACITY - 1])
def test_a_limit_without_room_is_refused(limit: int) -> None:
    with pytest.raises(
        ArtifactError, match=rf"limit of {limit} bytes holds .*raise it to at least {4 * MIN_CAPACITY}$"
    ):
        _core.TemplateMemory(1, 1, limit)


@pytest.mark.parametrize("shape", [(0, 1), (1, 0), (-1, 4)])
def test_entries_without_values_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ArtifactError, match="must be positive"):
        _core.TemplateMemory(*shape, 1 << 20)


@pytest.mark.parametrize("k", [-1, 1, 2, 10, 11])
def test_entries_that_are_not_kept_cannot_be_read(k: int) -> None:
    memory = memory_of(MIN_CAPACITY)
    for index in range(10):
        put_index(memory, index)
    with pytest.raises(InputError, match=f"entry {k} is not kept; ask for 0 or for 3 to 9"):
        memory.get(k)


@pytest.mark.parametrize(
    ("tokens", "keep"), [(np.zeros((2, 2)), [0]), (np.zeros((2, 1)), [0, 1]), (np.zeros((2, 1)), [2])]
)
def test_wrong_rows_are_refused(tokens: np.ndarray, keep: list[int]) -> None:
    with pytest.raises(InputError):
        memory_of(MIN_CAPACITY).put(tokens.astype(np.float32), keep)
