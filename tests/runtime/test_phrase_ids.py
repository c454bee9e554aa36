"""Ids and masks of four phrases, as ATSTrack's specification (3.1) has them."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_vocabulary import tiny_vocabulary

from edgetrack.runtime.clip_tokenizer import ClipTokenizer, TokenRules
from edgetrack.runtime.language_spec import FORMS

pytest.importorskip("tokenizers")


def inputs(text) -> tuple[np.ndarray, np.ndarray]:
    tokenizer = ClipTokenizer(tiny_vocabulary(), TokenRules("openai", 16, padding=0, truncate=True))
    made = FORMS["phrases"](tokenizer, text)
    assert made["ids"].shape == made["lang_mask"].shape == (1, 4, 16)
    assert made["ids"].dtype == np.int32
    assert made["lang_mask"].dtype == np.float32
    return made["ids"][0], made["lang_mask"][0]


def test_four_phrases():
    vocabulary = tiny_vocabulary()
    ids, mask = inputs({"category": "man", "appearance": "white red", "action": "", "location": "in the car"})
    named = [
        [vocabulary.ids[f"{word}</w>"] for word in words]
        for words in (["man"], ["white", "red"], [], ["in", "the", "car"])
    ]
    for row, words in enumerate(named):
        assert ids[row].tolist() == [vocabulary.start, *words, vocabulary.end] + [0] * (14 - len(words))
        expected = [0] + [1] * (len(words) + 1) + [0] * (14 - len(words))
        assert mask[row].tolist() == (expected if words else [0] * 16)


def test_a_sentence_is_split():
    for found, expected in zip(
        inputs("the white man in the car"),
        inputs({"category": "man", "appearance": "white", "action": "", "location": "in the car"}),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_long_phrase_is_cut_and_keeps_its_end():
    ids, mask = inputs({"category": "man " * 40, "appearance": "", "action": "", "location": ""})
    assert ids[0, -1] == tiny_vocabulary().end
    assert mask[0].tolist() == [0] + [1] * 15
