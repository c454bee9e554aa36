"""Stage 3's clips against the rules of the spec (section 5.3)."""

from __future__ import annotations

import numpy as np
import pytest

from edgetrack.data import IndexedTrack
from edgetrack.errors import InputError
from edgetrack.export.train.sections import parse_section
from edgetrack.export.train.sequence import ClipSampler, ClipSettings, draw_frames, visible_frames


def track(name, frames, dataset="set", first_image=0, absent=()) -> IndexedTrack:
    """A track whose box in frame i lies at (i, i)."""
    boxes = np.array([(frame, frame, 20.0, 10.0) for frame in range(frames)])
    boxes[list(absent)] = np.nan
    return IndexedTrack(name, dataset, np.arange(first_image, first_image + frames), boxes)


def test_a_frame_is_visible_with_a_finite_box_that_has_an_area():
    boxes = np.array([[0, 0, 5, 5], [np.nan] * 4, [0, 0, 0, 5], [-9, 3, 5, -1], [-9, 3, 5, 1], [np.inf, 0, 5, 5]])
    assert visible_frames(boxes).tolist() == [True, False, False, False, True, False]


def test_the_only_possible_clip_of_a_short_sequence():
    """Six frames, clips of three: templates and start lie in frames 0 to 2, of which only frame 1 is visible."""
    visible = np.array([False, True, False, True, False, True])
    templates, search = draw_frames(visible, ClipSettings(frames=3, min_visible=3), np.random.default_rng(0))
    assert templates.tolist() == [1, 1, 1, 1, 1]
    assert search.tolist() == [1, 3, 5]


def test_the_last_visible_frame_fills_a_clip_that_the_video_ends():
    visible = np.array([False, True, False, True, False, False])
    _, search = draw_frames(visible, ClipSettings(frames=3, min_visible=3), np.random.default_rng(0))
    assert search.tolist() == [1, 3, 3]


def test_every_clip_keeps_the_rules():
    settings = ClipSettings(frames=8, gap=6, min_visible=9)
    visible = np.random.default_rng(3).random(60) < 0.7
    visible[47:] = False  # so that some clips run out of frames
    starts, reaches, filled = set(), set(), 0
    for seed in range(600):
        templates, search = draw_frames(visible, settings, np.random.default_rng(seed))
        assert len(templates) == 5
        assert (np.diff(templates) >= 0).all()
        assert visible[templates].all()
        assert templates[-1] <= search[0] < min(60 - 8, templates[-1] + 6)
        following = [frame for frame in range(search[0], 60) if visible[frame]][:8]
        assert search.tolist() == following + [following[-1]] * (8 - len(following))
        filled += len(following) < 8
        starts.update(templates.tolist())
        reaches.add(int(search[0] - templates[-1]))
    assert starts == set(np.flatnonzero(visible[:52]).tolist())  # every frame that may be a template was one
    assert reaches == {0, 1, 2, 3, 4, 5}  # and every distance below the gap occurred
    assert filled > 0


def test_published_lengths_are_the_defaults():
    assert ClipSettings() == ClipSettings(frames=32, gap=300, min_visible=74)


def test_too_short_sequences_are_left_out():
    long, short = track("long", 75), track("short", 80, absent=tuple(range(0, 80, 13)))
    sampler = ClipSampler([long, short], ClipSettings(), seed=1)
    assert len(sampler) == 1
    assert all(sampler.clip(number).name.startswith("long ") for number in range(20))


def test_without_a_long_sequence_the_error_says_what_to_lower():
    with pytest.raises(InputError, match=r"more than 74 visible frames \(the longest has 74\).*min_visible"):
        ClipSampler([track("a", 74)], ClipSettings(), seed=1)


def test_data_sets_are_drawn_alike_whatever_their_size():
    tracks = [track("lone", 80, "small"), *(track(f"many{index}", 80, "large") for index in range(9))]
    sampler = ClipSampler(tracks, ClipSettings(), seed=4)
    lone = sum(sampler.clip(number).name.startswith("lone") for number in range(600))
    assert 240 < lone < 360  # 300 expected, standard deviation 12


def test_a_clip_names_images_of_the_source_and_their_boxes():
    clip = ClipSampler([track("a", 90, first_image=1000)], ClipSettings(), seed=2).clip(5)
    assert clip.name == f"a from frame {clip.images[0] - 1000}"
    assert clip.images.shape == (32,)
    assert clip.boxes.shape == (32, 4)
    assert (clip.boxes[:, 0] == clip.images - 1000).all()
    assert (clip.template_boxes[:, 0] == clip.template_images - 1000).all()


def test_clips_follow_from_seed_and_number_alone():
    tracks = [track("a", 200), track("b", 300, "other")]
    first, second, other = (ClipSampler(tracks, ClipSettings(), seed) for seed in (7, 7, 8))
    drawn = [first.clip(number) for number in range(6)]
    for number in (5, 0, 3):
        again = second.clip(number)
        assert again.name == drawn[number].name
        np.testing.assert_array_equal(again.template_images, drawn[number].template_images)
        np.testing.assert_array_equal(again.images, drawn[number].images)
    assert len({clip.name for clip in drawn}) > 1
    assert [other.clip(number).name for number in range(6)] != [clip.name for clip in drawn]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"frames": 1}, "sparse.clip.frames is 1; give an integer from 2"),
        ({"gap": 0}, "sparse.clip.gap is 0"),
        ({"frames": 75}, r"\[sparse.clip\] min_visible is 74; give at least `frames`, 75"),
        ({"frames": 8.5}, "sparse.clip.frames is 8.5; give an integer"),
    ],
)
def test_impossible_settings_are_refused(table, message):
    with pytest.raises(InputError, match=message):
        parse_section(ClipSettings, table, "recipe.toml", "sparse.clip")
