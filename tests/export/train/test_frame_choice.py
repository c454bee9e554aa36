"""Which frames samples are made of."""

from __future__ import annotations

import numpy as np
import pytest
from sampler_data import NAN_BOX, made_source

from edgetrack.data.sources import IndexedTrack
from edgetrack.errors import InputError
from edgetrack.export.train.indices import FrameChooser


def _sequence(frames, visible, name="one"):
    boxes = np.tile([1.0, 2, 3, 4], (frames, 1))
    boxes[[frame for frame in range(frames) if frame not in visible]] = NAN_BOX
    return IndexedTrack(name, "walk", np.arange(frames), boxes)


def _frames(track, gap, count=4000, templates=5, seed=0):
    drawn = FrameChooser([track], templates, gap).draw(count, np.random.default_rng(seed))
    return drawn.image  # the images of these tracks are numbered like their frames


def test_order_and_ranges_are_the_published_ones():
    images = _frames(_sequence(60, range(60)), gap=8)
    base, others, search = images[:, 0], images[:, 1:5], images[:, 5]
    assert set(base) == set(range(4, 59))
    assert set(images.flatten()) == set(range(60))
    assert ((others < base[:, None]) & (others >= base[:, None] - 8)).all()
    assert ((search > base) & (search < base + 8)).all()
    assert (np.diff(others, axis=1) < 0).any()
    assert (np.diff(others, axis=1) == 0).any()


def test_frames_are_uniform():
    images = _frames(_sequence(26, range(26)), gap=300, count=40_000)
    np.testing.assert_allclose(np.bincount(images[:, 0], minlength=26)[4:25], 40_000 / 21, rtol=0.15)
    last = images[images[:, 0] == 15]
    np.testing.assert_allclose(np.bincount(last[:, 5], minlength=26)[16:26], len(last) / 10, rtol=0.3)
    np.testing.assert_allclose(np.bincount(last[:, 1], minlength=26)[:15], len(last) / 15, rtol=0.4)


def test_the_gap_grows_until_frames_are_found():
    visible = set(range(7)) | set(range(40, 47))
    images = _frames(_sequence(50, visible), gap=1)
    base, others, search = images[:, 0], images[:, 1:5], images[:, 5]
    assert set(images.flatten()) <= visible
    # No frame lies in [b + 1, b + 1): all come with a gap of 6, or 11 after a base without frames around it, and so on.
    assert (others < base[:, None]).all()
    assert (base < search).all()
    assert ((search - base < 6) & (base - others.min(1) <= 6)).mean() > 0.8


@pytest.mark.parametrize("templates", [1, 2, 5])
def test_any_number_of_templates(templates):
    images = _frames(_sequence(30, range(30)), gap=5, templates=templates)
    assert images.shape == (4000, templates + 1)
    assert images[:, 0].min() == templates - 1


def test_stills_show_one_image_and_data_sets_share_equally():
    source = made_source()
    chooser = FrameChooser(source.tracks, 5, 300)
    assert chooser.counts == {"walk": 2, "still": 6}
    drawn = chooser.draw(6000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.still.mean(), 0.5, atol=0.03)
    assert (drawn.image[drawn.still] == drawn.image[drawn.still][:, :1]).all()
    np.testing.assert_allclose(np.bincount(drawn.track)[3:], 500, rtol=0.25)
    np.testing.assert_allclose(np.bincount(drawn.track)[:3], [1500, 1500, 0], rtol=0.15)
    for sample in range(0, 6000, 500):
        track = source.tracks[drawn.track[sample]]
        for image, box in zip(drawn.image[sample], drawn.box[sample], strict=True):
            np.testing.assert_array_equal(track.boxes[list(track.images).index(image)], box)


def test_ratios():
    tracks = made_source().tracks
    drawn = FrameChooser(tracks, 5, 300, {"walk": 3}).draw(6000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.still.mean(), 0.25, atol=0.03)
    assert not FrameChooser(tracks, 5, 300, {"still": 0}).draw(500, np.random.default_rng(0)).still.any()
    with pytest.raises(InputError, match="ratios name the data set 'walks'; there are still, walk"):
        FrameChooser(tracks, 5, 300, {"walks": 3})
    with pytest.raises(InputError, match="one of them above"):
        FrameChooser(tracks, 5, 300, {"walk": 0, "still": 0})


@pytest.mark.parametrize(
    "track",
    [
        _sequence(19, range(19)),
        _sequence(60, range(12)),
        IndexedTrack("gone", "s", np.array([0]), np.array([NAN_BOX])),
        IndexedTrack("flat", "s", np.array([0]), np.array([[1.0, 2, 0, 5]])),
    ],
)
def test_refuses_when_nothing_is_usable(track):
    with pytest.raises(InputError, match="none of 1 tracks can be trained on"):
        FrameChooser([track], 5, 300)
