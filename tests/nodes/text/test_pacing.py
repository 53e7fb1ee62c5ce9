from __future__ import annotations

import pytest

from nodes.text.pacing import LEAST_CHARACTERS, MARGIN_MS, Pacing


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacing(clock: Clock) -> Pacing:
    return Pacing(clock)


def test_nothing_is_short_before_anything_is_known(pacing: Pacing) -> None:
    pacing.left(5)

    assert pacing.most() is None


def test_the_first_piece_is_not_its_business(pacing: Pacing) -> None:
    pacing.learn(10, 500, 600)

    assert pacing.most() is None


def test_a_piece_may_be_as_long_as_the_sound_before_it_lasts(pacing: Pacing) -> None:
    """100 ms and 20 for each character, which sounds for 60: 30 characters last 1800 ms, enough for 82 more."""
    for characters in (10, 50):
        pacing.learn(characters, 100 + 20 * characters, 60 * characters)
    pacing.left(30)

    assert pacing.most() == (1800 - 100 - MARGIN_MS) // 20
    pacing.left(40)
    assert pacing.most() == (1800 + 2400 - 900 - 100 - MARGIN_MS) // 20


def test_from_one_length_all_is_taken_to_depend_on_it(pacing: Pacing) -> None:
    pacing.learn(20, 400, 1200)
    pacing.left(20)

    assert pacing.most() == (1200 - MARGIN_MS) // 20


def test_a_voice_that_takes_the_same_for_every_length_is_asked_for_sentences_while_there_is_time(
    pacing: Pacing, clock: Clock
) -> None:
    for characters in (10, 50):
        pacing.learn(characters, 200, 60 * characters)
    pacing.left(10)

    assert pacing.most() is None
    clock.now += 200 + 600 - 200 - MARGIN_MS - 1
    assert pacing.most() is None
    clock.now += 2
    assert pacing.most() == LEAST_CHARACTERS


def test_an_answer_that_is_not_heard_yet_uses_nothing_up(pacing: Pacing, clock: Clock) -> None:
    for characters in (10, 50):
        pacing.learn(characters, 200, 60 * characters)
    pacing.left(10)
    clock.now += 5000
    pacing.waits()

    assert pacing.most() is None


def test_with_too_little_time_a_piece_has_still_some_words(pacing: Pacing) -> None:
    pacing.learn(10, 5000, 600)
    pacing.left(10)

    assert pacing.most() == LEAST_CHARACTERS


def test_another_answer_begins_anew_with_what_was_learned(pacing: Pacing) -> None:
    pacing.learn(20, 400, 1200)
    pacing.left(200)
    pacing.clear()
    pacing.left(20)

    assert pacing.most() == (1200 - MARGIN_MS) // 20


def test_only_the_latest_pieces_count(pacing: Pacing) -> None:
    pacing.learn(20, 40_000, 1200)
    for _ in range(8):
        pacing.learn(20, 400, 1200)
    pacing.left(20)

    assert pacing.most() == (1200 - MARGIN_MS) // 20
