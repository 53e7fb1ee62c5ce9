from __future__ import annotations

import pytest

from flowgraph.units import MS, SECOND
from nodes.dialogue import BACKCHANNELS, INTERRUPTIONS
from nodes.turns.overlap import Attention, Listening, Overlap, Verdict, is_echo, phrases
from nodes.vocabulary import DoubleTalk, Voice

LISTENING = Listening(
    confirm_after=700 * MS,
    patience=300 * MS,
    backchannels=phrases(BACKCHANNELS),
    interruptions=phrases(INTERRUPTIONS),
    min_words=3,
)


def judged(
    said: str, *, ms: int = 300, silence_ms: int = 0, settled: bool = False, heard: str = "", listening: Listening = LISTENING, **overlap: bool
) -> Verdict:  # fmt: skip
    found = Overlap(0, ms * MS, **overlap)
    return listening.verdict(found, said=said, settled=settled, silence=silence_ms * MS, heard=heard)


@pytest.mark.parametrize(
    "said", ["stop", "no wait", "I wait", "okay, hold on", "What day is it", "yeah I think so too"]
)
def test_a_word_that_wants_the_turn_or_three_of_any_are_an_interruption(said: str) -> None:
    assert judged(said) == "interruption"


@pytest.mark.parametrize("said", ["im who", "the air", "Paris", "mhm, you", "whatever", "but"])
def test_a_word_or_two_that_may_be_anything_wait_for_more_and_then_are_let_go(said: str) -> None:
    assert judged(said) == "open"
    assert judged(said, ended=True, settled=True, silence_ms=690) == "open"
    assert judged(said, ended=True, settled=True, silence_ms=700) == "doubtful"
    assert judged(said, ended=True, settled=True, silence_ms=700, unfinished=True) == "open"
    assert judged(said, ms=700) == "interruption"


def test_one_word_is_enough_where_the_user_may_not_have_finished_before() -> None:
    assert judged("david", early=True) == "interruption"
    assert judged("mhm", early=True) == "open"


def test_one_word_is_enough_once_it_is_settled_where_something_is_asked() -> None:
    asking = "There are two. Would you like the red one?"

    assert judged("which?", settled=True) == "interruption"
    assert judged("really?", settled=True) == "open"
    assert judged("green", heard=asking) == "open"
    assert judged("green", heard=asking, settled=True) == "interruption"


def test_how_many_words_it_takes_is_an_option() -> None:
    from dataclasses import replace

    assert judged("whatever", listening=replace(LISTENING, min_words=1)) == "interruption"
    assert judged("how on earth", listening=replace(LISTENING, min_words=4, interruptions=phrases([]))) == "open"


@pytest.mark.parametrize("said", ["mhm", "Yeah.", "uh huh", "okay okay", "I see, right", ""])
def test_a_backchannel_or_a_cough_is_nothing_once_its_transcript_is_there(said: str) -> None:
    assert judged(said) == "open"
    assert judged(said, ended=True) == "open"
    assert judged(said, ended=True, settled=True) == "nothing"


def test_without_a_transcript_the_answer_goes_on_when_patience_is_over_later_where_the_user_sounds_unfinished() -> None:
    assert judged("", ended=True, silence_ms=290) == "open"
    assert judged("", ended=True, silence_ms=300) == "nothing"
    assert judged("", ended=True, silence_ms=300, unfinished=True) == "open"
    assert judged("", ended=True, silence_ms=600, unfinished=True) == "nothing"


def test_long_speech_is_an_interruption_before_its_words_are_known() -> None:
    assert judged("", ms=699) == "open"
    assert judged("", ms=700) == "interruption"
    assert judged("yeah", ms=900) == "open"
    assert judged("yeah", ms=2100) == "interruption"


def test_three_words_that_the_answer_has_just_said_are_its_echo() -> None:
    heard = "Once upon a time, there was an old house by the sea."

    assert is_echo(["an", "old", "house"], ["there", "was", "an", "old", "house"])
    assert judged("an old house", heard=heard) == "open"
    assert judged("the old house", heard=heard) == "interruption"
    assert judged("an old house", heard=heard, ended=True, settled=True) == "nothing"


# -- ducking -------------------------------------------------------------------------------------------------------------


def alert(*levels: float, probability: float = 0.0) -> list[bool]:
    """Behind a second of a room's noise."""
    attention = Attention()
    for number in range(32):
        assert not attention.hears(Voice(0.0, 1000, level_dbfs=-60.0 + number % 3))
    return [attention.hears(Voice(probability, 1000, level_dbfs=level)) for level in levels]


def test_a_sound_that_stands_out_may_be_speech_for_160_ms_and_then_is_not() -> None:
    assert alert(*[-35.0] * 8) == [True] * 5 + [False] * 3
    assert alert(-35.0, -59.0, -35.0) == [True, False, True]


def test_what_is_like_speech_may_be_speech_for_as_long_as_it_likes_and_however_soft() -> None:
    assert alert(*[-70.0] * 8, probability=0.5) == [True] * 8


def test_a_sound_that_stands_out_and_is_doubtful_may_be_speech_all_the_while() -> None:
    assert alert(*[-35.0] * 8, probability=0.2) == [True] * 8
    assert alert(*[-59.0] * 8, probability=0.2) == [False] * 8


def test_a_sound_that_begins_within_a_window_stands_out_at_its_end() -> None:
    attention = Attention()
    for _ in range(32):
        attention.hears(Voice(0.0, 1000, level_dbfs=-60.0, end_dbfs=-60.0))
    assert not attention.hears(Voice(0.0, 1000, level_dbfs=-54.0, end_dbfs=-53.0))
    assert attention.hears(Voice(0.0, 1000, level_dbfs=-51.0, end_dbfs=-48.0))


def test_what_does_not_stand_out_is_none() -> None:
    assert alert(-51.0, -52.0) == [False, False]
    assert alert(-50.0) == [True]


def test_digital_silence_has_no_noise_but_what_is_hardly_audible_does_not_stand_out_of_it() -> None:
    attention = Attention()
    assert not any(attention.hears(Voice(0.0, 1000, level_dbfs=-120.0)) for _ in range(100))
    assert not attention.hears(Voice(0.0, 1000, level_dbfs=-51.0))


def test_a_noise_that_goes_on_becomes_the_noise_of_the_room() -> None:
    attention = Attention()
    told = [attention.hears(Voice(0.0, 1000, level_dbfs=-30.0)) for _ in range(200)]
    assert told.count(True) == 5
    assert attention.hears(Voice(0.0, 1000, level_dbfs=-20.0))


def test_what_sounds_beside_the_echo_stands_out_however_soft_for_as_long_as_a_hiss_lasts() -> None:
    attention = Attention()
    assert not attention.notices(DoubleTalk(at=MS)), "without windows nothing would tell that it is over"
    attention.hears(Voice(0.0, 1000, level_dbfs=-70.0, at=SECOND))
    told = []
    for at in range(SECOND + 32 * MS, SECOND + 330 * MS, 32 * MS):
        told.append(attention.notices(DoubleTalk(at=at - 20 * MS)))
        attention.hears(Voice(0.0, 1000, level_dbfs=-70.0, at=at))

    assert told == [True] * 6 + [False] * 4
    assert not attention.hears(Voice(0.0, 1000, level_dbfs=-70.0, at=2 * SECOND))
    assert attention.notices(DoubleTalk(at=2 * SECOND + MS)), "another sound"
    assert attention.since == 2 * SECOND + MS
