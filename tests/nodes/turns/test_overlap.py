from __future__ import annotations

import pytest

from flowgraph.units import MS
from nodes.dialogue import BACKCHANNELS
from nodes.turns.overlap import Listening, Overlap, Verdict, backchannels, is_echo

LISTENING = Listening(confirm_after=700 * MS, patience=300 * MS, backchannels=backchannels(BACKCHANNELS))


def judged(
    said: str, *, ms: int = 300, ended: bool = False, settled: bool = False, silence_ms: int = 0, heard: str = "", unfinished: bool = False
) -> Verdict:  # fmt: skip
    overlap = Overlap(0, ms * MS, ended, unfinished)
    return LISTENING.verdict(overlap, said=said, settled=settled, silence=silence_ms * MS, heard=heard)


@pytest.mark.parametrize("said", ["stop", "no wait", "what day is it", "yeah but what about tomorrow"])
def test_a_word_that_wants_the_turn_is_an_interruption(said: str) -> None:
    assert judged(said) == "interruption"


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
    assert judged("old house", heard=heard) == "interruption"
