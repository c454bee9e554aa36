"""The phrase splitter against the sentences of ATSTrack's specification, section 4.6."""

from __future__ import annotations

import logging

import pytest

from edgetrack.errors import InputError
from edgetrack.runtime.phrases import ATTRIBUTES, checked_phrases, clean_sentence, split_sentence, split_with

TABLE = """
white airplane landing on ground | airplane | white | landing | on ground
A black and white bird standing on the tree branch | bird | black and white | standing | on the tree branch
the basketball player in white running on the court | basketball player | in white | running | on the court
man in black | man | in black | |
the second man from left | man | | | second, from left
a red car driving on the road next to a truck | car | red | driving | on the road, next to a truck
brown bear walking in the river among other bears | bear | brown | walking | in the river, among other bears
the girl with long hair dancing in front of the mirror | girl | with long hair | dancing | in front of the mirror
the man wearing a blue shirt riding a bicycle | man | wearing a blue shirt | riding a bicycle |
the left hand of the person | hand of the person | | | left
a piece of paper in the hand | piece of paper | | | in the hand
running dog with a red collar | dog | with a red collar | running |
We want to track the white dog running on the grass. | dog | white | running | on the grass
the electric fan which is rotating on the table | electric fan | | rotating | on the table
black volleyball being hit by men on the beach | volleyball | black | hit by men | on the beach
zebra with black and white stripes running among zebras | zebra | with black and white stripes | running | among zebras
The target is a drone, flying above the building | drone | | flying | above the building
boy in a red t-shirt playing with a ball | boy | in a red t-shirt | playing with a ball |
helmet of the man who rides a motorcycle | helmet of the man | | rides a motorcycle |
a pink skirt girl | girl | pink skirt | |
the white suv parked on the left side of the road | suv | white | parked | on the left side of the road
kite flown by a child in the park | kite | | flown by a child | in the park
third swimmer from the bottom | swimmer | | | third, from the bottom
the bottle that is red | bottle | red | |
the man who is the leftmost | man | | | leftmost
goldfish swimming with other fish | goldfish | | swimming with other fish |
ball | ball | | |
in the sky | | | | in the sky
"""
ROWS = [[cell.strip() for cell in row.split("|")] for row in TABLE.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_table(row):
    assert len(row) == 5
    assert list(split_sentence(row[0]).values()) == row[1:]


def test_every_answer_has_the_four_phrases():
    for text in ("", " . ", ",,;", "🚗", "漢字", "the", "the a an", "of", "and and", "with", "who is"):
        found = split_sentence(text)
        assert tuple(found) == ATTRIBUTES
        assert all(isinstance(phrase, str) for phrase in found.values())
    assert split_sentence("") == dict.fromkeys(ATTRIBUTES, "")


def test_long_text_is_split_in_no_time():
    found = split_sentence("man and " * 8000)
    assert found["category"].endswith("man and")


def test_cleaning():
    assert clean_sentence("  The  Cafe\u0301\tMAN !?. ") == "the café man"
    with pytest.raises(InputError, match="is a int"):
        split_sentence(3)


def test_phrases_that_users_give():
    assert checked_phrases({"category": "Bird.", "location": " on  the tree"}) == {
        "category": "bird",
        "appearance": "",
        "action": "",
        "location": "on the tree",
    }
    for given, part in (
        ({"colour": "red"}, "key 'colour'; known: category, appearance"),
        ("bird", "phrases are a str"),
        ({"category": 3}, "is a int"),
    ):
        with pytest.raises(InputError, match=part):
            checked_phrases(given)


def test_a_splitter_of_the_users_own(caplog):
    text = "a red car on the road"
    good = {"category": "Car", "appearance": "red", "location": "on the road"}
    assert split_with(lambda sentence: good, text) == {**checked_phrases(good), "action": ""}
    bad = {**good, "action": "driving"}
    with caplog.at_level(logging.WARNING):
        assert split_with(lambda sentence: bad, text) == split_sentence(text)
    assert "'driving'" in caplog.text
    assert split_with(lambda sentence: bad, text, strict=False)["action"] == "driving"
    with pytest.raises(InputError, match="key 'verb'"):
        split_with(lambda sentence: {"verb": "x"}, text)
