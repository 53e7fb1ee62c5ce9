from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.sound.spoken import SpokenText
from nodes.vocabulary import Speech

RATE = 24_000


def speech(
    samples: int, text: str = "", *, part: int = 0, last: bool = False, words: tuple[tuple[str, int, int], ...] = ()
) -> Speech:
    return Speech(np.zeros(samples, np.float32), RATE, text=text, part=part, last=last, words=words)


def spoken(*chunks: Speech, ended: bool = False) -> SpokenText:
    text = SpokenText()
    for chunk in chunks:
        text.add(chunk)
    if ended:
        text.end()
    return text


def test_a_word_counts_when_half_of_its_span_was_played() -> None:
    words = (("One ", 0, 1000), ("two ", 1000, 3000), ("three.", 3000, 4000))
    text = spoken(speech(4000, "One two three.", words=words, last=True))

    assert [text.heard(n) for n in (0, 499, 500, 1999, 2000, 3499, 3500, 4000)] == [
        "", "", "One ", "One ", "One two ", "One two ", "One two three.", "One two three.",
    ]  # fmt: skip


def test_words_that_become_known_later_join_those_before() -> None:
    text = spoken(speech(2000, "One two.", words=(("One ", 0, 1000),)), speech(2000, words=(("two.", 2000, 4000),)))

    assert [text.heard(n) for n in (400, 600, 2900, 3000)] == ["", "One ", "One ", "One two."]


def test_word_times_count_from_the_start_of_their_part() -> None:
    text = spoken(
        speech(4000, "Zero. ", part=0, last=True),
        speech(4000, "One two.", part=1, last=True, words=(("One ", 0, 2000), ("two.", 2000, 4000))),
    )

    assert [text.heard(n) for n in (4000, 4999, 5000, 7000)] == ["Zero. ", "Zero. ", "Zero. One ", "Zero. One two."]


def test_without_word_times_a_word_has_its_share_of_the_characters() -> None:
    text = spoken(speech(10_000, "abc abcdefg", last=True))  # 3 and 7 of 10 characters

    assert [text.heard(n) for n in (1499, 1500, 6499, 6500)] == ["", "abc ", "abc ", "abc abcdefg"]


def test_an_unknown_length_is_estimated_and_corrected() -> None:
    sentence = "abcde abcde abcde"  # 17 characters, about 1.13 s
    begun = spoken(speech(2400, sentence))
    whole = spoken(speech(2400, sentence), speech(2400, last=True))

    assert begun.heard(2400) == ""
    assert whole.heard(2400) == "abcde abcde "


def test_a_later_part_says_that_the_one_before_is_complete() -> None:
    text = spoken(speech(2400, "abcde abcde. "), speech(100, "More.", part=1))

    assert text.heard(2400) == "abcde abcde. "


def test_what_is_not_spoken_is_heard_with_what_is_before_it() -> None:
    text = spoken(
        speech(2400, "Look: ", last=True),
        speech(0, "`code` ", part=1, last=True),
        speech(2400, "there.", part=2, last=True),
    )

    assert text.heard(2399) == "Look: "[: len(text.heard(2399))]
    assert text.heard(2400) == "Look: `code` "
    assert text.heard(4800) == "Look: `code` there."


def test_where_no_spaces_are_written_a_character_is_a_word() -> None:
    text = spoken(speech(4000, "你好世界", last=True))

    assert [text.heard(n) for n in (499, 500, 1500, 3499, 3500)] == ["", "你", "你好", "你好世", "你好世界"]


@given(
    st.lists(st.tuples(st.text(max_size=30), st.lists(st.integers(0, 4000), min_size=1, max_size=4)), max_size=5),
    st.booleans(),
)
def test_what_is_heard_only_grows_and_is_the_whole_text_at_the_end(
    parts: list[tuple[str, list[int]]], ended: bool
) -> None:
    text, whole = SpokenText(), "".join(said for said, _ in parts)
    for number, (said, lengths) in enumerate(parts):
        for index, length in enumerate(lengths):
            text.add(speech(length, said if not index else "", part=number, last=index == len(lengths) - 1))
    if ended:
        text.end()

    heard = [text.heard(n) for n in range(0, text.samples + 1, 500)]
    assert all(whole.startswith(piece) for piece in heard)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(heard))
    assert text.heard(text.samples) == whole


@pytest.mark.parametrize("played", [0, 10, 1000])
def test_of_nothing_nothing_is_heard(played: int) -> None:
    assert SpokenText().heard(played) == ""
