"""Token ids against those that the published tokenizers gave, and text that is hard to read."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from golden_files import golden
from tiny_vocabulary import tiny_vocabulary

from edgetrack.errors import EngineUnavailable, InputError
from edgetrack.runtime.clip_text_cleaning import clean_as_openai, clean_as_transformers
from edgetrack.runtime.clip_tokenizer import MAX_TEXT, ClipTokenizer, TokenRules
from edgetrack.runtime.clip_vocabulary import Vocabulary, read_vocabulary

pytest.importorskip("tokenizers")
MVLM = TokenRules("openai", context=77, padding=0, truncate=False)
START, END = 49406, 49407
PUBLISHED = "EDGETRACK_CLIP_VOCABULARY"
# ATSTrack spec, section 4.7
PHRASES = {
    "airplane": [16451],
    "standing": [2862],
    "black and white": [1449, 537, 1579],
    "on the tree branch": [525, 518, 2677, 7998],
    "with black and white stripes": [593, 1449, 537, 1579, 14239],
    "t-shirt, red": [339, 268, 2523, 267, 736],
}


def tiny(rules: TokenRules = MVLM) -> ClipTokenizer:
    return ClipTokenizer(tiny_vocabulary(), rules)


def mvlm_rows() -> list[tuple[str, np.ndarray]]:
    vectors = golden("mvlm_tf")
    return [(str(text), row) for text, row in zip(vectors["tok_texts"], vectors["tok_ids"], strict=True)]


@pytest.mark.skipif(PUBLISHED not in os.environ, reason=f"{PUBLISHED} names no published vocabulary")
def test_published_vocabulary():
    tokenizer = ClipTokenizer(read_vocabulary(os.environ[PUBLISHED]), MVLM)
    for text, row in mvlm_rows():
        np.testing.assert_array_equal(tokenizer.row(text), row, err_msg=text)
    assert {text: tokenizer.encode(text) for text in PHRASES} == PHRASES


def test_mvlm_rows_without_the_published_merges():
    """Symbols of one byte, special tokens, padding and the number of words do not depend on the merges."""
    tokenizer = tiny()
    for text, row in mvlm_rows():
        content = row[1 : row.tolist().index(0) - 1] if 0 in row else row[1:-1]
        assert row[0] == START
        assert row[len(content) + 1] == END
        found = tokenizer.row(text)
        assert found[-1] == row[-1] == 0
        # 0 to 511 are the bytes in both; a byte that stands alone there is split off from what merges here too.
        bytes_here = iter(ClipTokenizer(_bytes_only(), MVLM).encode(text))
        assert all(any(symbol == byte for symbol in bytes_here) for byte in content if byte < 512), text
    assert tokenizer.row("").tolist() == [tiny_vocabulary().start, tiny_vocabulary().end] + 75 * [0]


def _bytes_only() -> Vocabulary:
    whole = tiny_vocabulary()
    symbols = [symbol for symbol, number in whole.ids.items() if number < 512] + ["<|startoftext|>", "<|endoftext|>"]
    return Vocabulary({symbol: number for number, symbol in enumerate(symbols)}, ())


def test_glad_rows():
    """The whole way with a toy vocabulary: cleaning, merges, truncation, padding."""
    vectors = golden("glad_b256")
    merges = tuple(tuple(str(merge).split(" ")) for merge in vectors["tok_merges"])
    vocabulary = Vocabulary({str(symbol): number for number, symbol in enumerate(vectors["tok_vocab"])}, merges)
    tokenizer = ClipTokenizer(vocabulary, TokenRules("transformers", 77, padding=vocabulary.end, truncate=True))
    assert (vocabulary.start, vocabulary.end) == (609, 610)
    assert len(vectors["tok_texts"]) == 15
    for text, row in zip(vectors["tok_texts"], vectors["tok_ids"], strict=True):
        np.testing.assert_array_equal(tokenizer.row(str(text)), row, err_msg=str(text))


def test_merging():
    vocabulary = tiny_vocabulary()
    names = {number: symbol for symbol, number in vocabulary.ids.items()}
    found = [names[number] for number in tiny().encode("The WHITE man's 2 dogs!")]
    assert found == ["the</w>", "white</w>", "man</w>", "'", "s</w>", "2</w>", "do", "g", "s</w>", "!</w>"]


def test_special_tokens_in_the_text():
    vocabulary = tiny_vocabulary()
    assert tiny().encode("<|EndOfText|> man") == [vocabulary.end, vocabulary.ids["man</w>"]]
    # Punctuation before it swallows its bracket in OpenAI's tokenizer, in transformers' it does not.
    assert vocabulary.start not in tiny().encode("!<|startoftext|>")
    assert vocabulary.start in tiny(TokenRules("transformers", 77, 0, truncate=True)).encode("!<|startoftext|>")


def test_too_long():
    message = "text takes 100 tokens with its start and end, at most 77 fit"
    with pytest.raises(InputError, match=message):
        tiny().row("man " * 98)
    assert len(set(tiny().row("man " * 75)[1:76].tolist())) == 1
    cut = tiny(TokenRules("openai", 16, 0, truncate=True)).row("man " * 98)
    assert cut.shape == (16,)
    assert cut.dtype == np.int32
    assert cut[-1] == tiny_vocabulary().end


@pytest.mark.parametrize(
    "text",
    [
        "man " * 2500,
        "a" * 10_000,
        "🚗👩‍👩‍👧 car",
        "الرجل ذو القميص الأبيض",
        "\x00\x07\x1b[31mred\x1b[0m \u202eman\u200b",
        "\u0301" * 300,
        "&#1114112; &#xD800; &bogus;",
    ],
)
@pytest.mark.parametrize("cleaning", ["openai", "transformers"])
def test_odd_text_gives_ids(text, cleaning):
    row = tiny(TokenRules(cleaning, 77, 0, truncate=True)).row(text)
    assert row.shape == (77,)
    assert row.min() >= 0
    assert row.max() < len(tiny_vocabulary().ids)


def test_text_that_is_none():
    for text, part in (
        (7, "is a int"),
        (b"man", "is a bytes"),
        (None, "is a NoneType"),
        ("a" * (MAX_TEXT + 1), "65537 characters"),
        ("man \ud83d", r"U\+D83D at place 4"),
    ):
        with pytest.raises(InputError, match=part):
            tiny().encode(text)


def test_rules_must_fit():
    with pytest.raises(InputError, match="unknown way to prepare text 'other'; known: openai, transformers"):
        tiny(TokenRules("other", 77, 0, truncate=True))
    with pytest.raises(InputError, match="padding is 49407"):
        tiny(TokenRules("openai", 77, 49407, truncate=True))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'edgetrack\[language\]'"):
        tiny()


def test_cleaning_as_openai():
    """What ftfy repairs, by what it gave; then HTML, blanks and case."""
    for text, expected in {
        "  the\t\nWoman  ": "the woman",
        "the \u201cbig\u201d truck\u2019s \u2013 wheel": 'the "big" truck\'s – wheel',
        "\ufb01sh \uff21\uff11 \u3000x": "fish a1 x",
        "cafe\u0301": "café",
        "white &amp;amp;amp; black": "white & black",
        "<b> &amp;lt;": "<b> <",
        "a\x85b \x93c\x94": 'a…b "c"',
        "\x1b[1;31mred\x1b[0m \x00\ufeffman": "red man",
        "": "",
    }.items():
        assert clean_as_openai(text) == expected


def test_cleaning_as_transformers():
    for text, expected in {
        "The WHITE  dog\trunning\non": "the white dog running on",
        "dog\u200b car\x00\ufffd": "dog car",
        "漢字dog": "漢 字 dog",
        "e\u0301": "é",
        "\u201cquoted\u201d &amp;": "“quoted” &amp;",
        "a<|endoftext|>b": "a <|endoftext|> b",
    }.items():
        assert clean_as_transformers(text) == expected
