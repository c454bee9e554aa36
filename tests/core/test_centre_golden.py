"""The centre-head tracker against what the published trackers recorded: crops, window, decoding, one frame's box."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import reference_numeric as reference
from centre_fakes import GIVEN, centre_spec, centre_tracker
from golden_files import golden
from numpy.typing import NDArray

from edgetrack import _core
from edgetrack.export.standin import synth_box, synth_frame

pytest.importorskip("torch")

SIZES = {
    "ostrack_b256": (128, 256, 4.0, 16),
    "ostrack_b256_ce": (128, 256, 4.0, 16),
    "ostrack_b384_ce": (192, 384, 5.0, 24),
    "grm_b256": (128, 256, 4.0, 16),
    "grm_l320": (128, 320, 5.0, 20),
}
"""Template size, search size, search factor, grid."""
RUNS = [(name, "net") for name in SIZES] + [("grm_b256", "net40"), ("grm_l320", "net40")]


def spec_of(name: str) -> dict[str, Any]:
    template, search, factor, grid = SIZES[name]
    return centre_spec(template__size=template, search__size=search, search__factor=factor, decode__grid=grid)


def maps_of(vectors: Mapping[str, NDArray[Any]], run: str) -> tuple[NDArray[np.float32], ...]:
    return tuple(vectors[f"{run}_{kind}_map"][0] for kind in ("score", "size", "offset"))


class Recorded:
    """Networks that give the recorded maps, and keep what they are fed."""

    def __init__(self, maps: tuple[NDArray[np.float32], ...]) -> None:
        self.maps, self.calls = maps, list[str]()

    def embed(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        self.image = image.copy()
        return {name: np.zeros(shape, np.float32) for name, shape in GIVEN.items()}

    def look(self, search: NDArray[np.float32], _given: object) -> tuple[NDArray[np.float32], ...]:
        self.search = search.copy()
        return self.maps


@pytest.mark.parametrize("name", SIZES)
def test_window_is_the_recorded_one(name: str) -> None:
    """Cosines differ by a rounding from library to library; a window from float64 is off by twice as much and more."""
    window, recorded = _core.hann_window(SIZES[name][3]), golden(name)["window"]
    assert np.abs(window - recorded).max() <= 2**-23
    assert window.argmax() == recorded.argmax()  # what decides where all scores are equal


@pytest.mark.parametrize("name", SIZES)
def test_crops_are_the_recorded_bytes(name: str) -> None:
    vectors, (template, search, factor, _) = golden(name), SIZES[name]
    frame = synth_frame(0)
    assert hashlib.sha256(frame.tobytes()).hexdigest() == str(vectors["crop_frame_sha256"])
    for i, box in enumerate(vectors["crop_boxes"]):
        for part, scale, size in (("template", 2.0, template), ("search", factor, search)):
            crop, resize_factor = _core.crop(frame, tuple(box), scale, size, "rgb")
            np.testing.assert_array_equal(crop[::4, ::4], vectors[f"crop_{part}_{i}"])
            assert hashlib.sha256(crop.tobytes()).hexdigest() == str(vectors[f"crop_{part}_sha256"][i])
            assert resize_factor == vectors[f"crop_{part}_factor"][i]


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_decoding_gives_the_recorded_box(name: str, run: str) -> None:
    vectors = golden(name)
    ((cell, response, target),) = _core.centre_peaks(*maps_of(vectors, run), 1)
    forced = run.replace("net", "forced")  # whose first frame is this one
    assert cell == vectors[f"{forced}_argmax"][0]
    assert response == pytest.approx(vectors[f"{forced}_response_max"][0], abs=2**-23)
    placed = _core.place_box(target, synth_box(0), float(vectors["net_search_factor"]), SIZES[name][1])
    np.testing.assert_array_equal(_core.clip_box(placed, 360, 480, 10), vectors[f"{run}_box"])


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_the_loop_feeds_the_recorded_inputs_and_gives_the_recorded_box(name: str, run: str) -> None:
    vectors = golden(name)
    networks = Recorded(maps_of(vectors, run))
    tracker = centre_tracker(spec_of(name), networks)
    tracker.init(synth_frame(0), synth_box(0), "rgb")
    np.testing.assert_array_equal(networks.image, reference.normalize(vectors["net_template_u8"]))
    assert tracker.update(synth_frame(1), "rgb")[0]
    np.testing.assert_array_equal(networks.search[:, ::16, ::16], vectors["net_search_norm_s16"][0])
    if "net_search_u8" in vectors:
        np.testing.assert_array_equal(networks.search, reference.normalize(vectors["net_search_u8"]))
    np.testing.assert_array_equal(tracker.raw_box, vectors[f"{run}_box"])
    forced = run.replace("net", "forced")
    assert tracker.raw_score == vectors[f"{run}_score_map"].flat[vectors[f"{forced}_argmax"][0]]
    np.testing.assert_allclose(tracker.leads, vectors[f"{forced}_response_gap"][0], rtol=0, atol=2**-22)
    assert tracker.candidates(1) == [(tracker.raw_box, tracker.raw_score)]


@pytest.mark.parametrize("name", ["ostrack_b256", "ostrack_b384_ce", "grm_l320"])
def test_search_crops_of_forced_frames_have_the_recorded_scale(name: str) -> None:
    vectors, (_, size, factor, _) = golden(name), SIZES[name]
    for index, recorded in enumerate(vectors["forced_resize_factor"]):
        assert _core.crop(synth_frame(index + 1), synth_box(index), factor, size, "rgb")[1] == recorded
