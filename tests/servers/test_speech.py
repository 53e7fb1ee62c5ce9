from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nodes.servers.speech import LEAD, RATE_HZ, SENTENCE_TAIL, TAIL, Piece, TimedWord, Trimmed, Words


def sound(*stretches: tuple[float, int]) -> np.ndarray:
    """(level, samples) after each other."""
    return np.concatenate([np.full(count, level, np.float32) for level, count in stretches])


def trimmed(text: str, *pieces: Piece) -> tuple[np.ndarray, list[TimedWord]]:
    trim = Trimmed(text)
    made = [*(trim.push(piece) for piece in pieces), trim.end()]
    assert trim.sent == sum(len(samples) for samples, _ in made)
    return np.concatenate([samples for samples, _ in made]), [word for _, words in made for word in words]


def test_silence_around_the_sound_is_taken_away_and_silence_within_it_kept() -> None:
    pieces = [sound((0, 5000)), sound((0, 100), (0.5, 50), (0, 900)), sound((0, 700), (0.5, 10), (0, 60_000))]

    samples, _ = trimmed("Yes, please", *map(Piece, pieces))

    np.testing.assert_array_equal(samples, sound((0, LEAD), (0.5, 50), (0, 1600), (0.5, 10), (0, TAIL)))


def test_a_sentence_ends_with_a_breath() -> None:
    for text in ("Yes.", "Yes!", "Yes?", 'She said "Yes."'):
        samples, _ = trimmed(text, Piece(sound((0.5, 100))))
        assert len(samples) == 100 + SENTENCE_TAIL


def test_sound_is_handed_on_as_soon_as_it_is_there() -> None:
    trim = Trimmed("Yes")

    samples, _ = trim.push(Piece(sound((0, 5000), (0.5, 50))))

    assert len(samples) == LEAD + 50


def test_pure_silence_is_no_sound() -> None:
    samples, words = trimmed("Hm.", Piece(sound((0, 5000))), Piece(sound((0.001, 5000)), ((0, 0),)))

    assert len(samples) == 0
    assert words == []


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5]), st.integers(0, 3000)), max_size=8), st.integers(1, 5000))
def test_how_the_sound_is_cut_into_pieces_does_not_matter(stretches: list[tuple[float, int]], size: int) -> None:
    whole = sound(*stretches, (0.0, 1))
    pieces = [Piece(whole[start : start + size]) for start in range(0, len(whole), size)]

    np.testing.assert_array_equal(trimmed("Yes.", *pieces)[0], trimmed("Yes.", Piece(whole))[0])


def test_words_have_the_times_of_the_sound_that_is_sent() -> None:
    piece = Piece(sound((0, 1240), (0.5, 24_000)), ((1000, 0), (13_240, 6)))

    _, words = trimmed("Hello world", piece)

    assert words == [TimedWord("Hello", 0.0, 0.51), TimedWord("world", 0.51, (240 + 24_000) / RATE_HZ)]


def test_several_marks_in_a_word_count_once_and_words_without_one_share_the_time() -> None:
    words = Words("Pay 42 — now")
    made = [*words.mark(0, 0), *words.mark(2400, 4), *words.mark(3000, 5), *words.mark(7200, 9), *words.end(9600)]

    assert made == [
        TimedWord("Pay", 0.0, 0.1), TimedWord("42", 0.1, 0.2), TimedWord("—", 0.2, 0.3), TimedWord("now", 0.3, 0.4),
    ]  # fmt: skip


@given(st.text(), st.lists(st.tuples(st.integers(0, 9999), st.integers(-5, 50))))
def test_every_word_gets_a_time_and_times_go_on_whatever_the_marks_say(text: str, marks: list[tuple[int, int]]) -> None:
    words = Words(text)
    made = [word for mark in marks for word in words.mark(*mark)] + list(words.end(10_000))

    assert [word.word for word in made] == text.split()
    assert all(before.end_time == after.start_time for before, after in pairwise(made))
    assert all(word.start_time <= word.end_time for word in made)
