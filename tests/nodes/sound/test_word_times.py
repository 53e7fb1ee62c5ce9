"""When each word of the bundled utterances has been said."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from nodes.sound.conversation import RecordedUtterance, load_conversation
from nodes.sound.word_times import word_ends
from tests.trial_runs import DEMO

TURNS = sorted((DEMO.parent / "turns").glob("*/*.yaml"))


@pytest.mark.parametrize("path", [DEMO, *TURNS], ids=lambda path: path.stem)
def test_words_end_in_order_within_the_speech_and_the_last_one_with_it(path: Path) -> None:
    for one in load_conversation(path).utterances:
        ends = word_ends(one)

        assert len(ends) == len(one.text.split())
        assert all(before < after for before, after in itertools.pairwise(ends)), one.text
        if ends:
            assert one.speech_start < ends[0]
            assert ends[-1] == one.speech_end


@pytest.mark.parametrize("path", TURNS, ids=lambda path: path.stem)
def test_so_many_words_are_said_before_each_silence_as_are_annotated(path: Path) -> None:
    told = [one for one in load_conversation(path).utterances if one.said_before]

    assert len(told) >= 10
    for one in told:
        ends = np.array(word_ends(one))
        for (first, last), count in zip(one.silences, one.said_before, strict=True):
            assert (ends < first - one.played[0]).sum() == count, one.text
            assert not ((ends >= first - one.played[0]) & (ends <= last - one.played[0])).any(), "nobody speaks there"


def test_the_numbers_are_those_of_the_marks_in_the_scripts() -> None:
    for path in TURNS:
        script = path.with_name(f"{path.stem.rpartition('-')[0]}.txt")
        lines = script.read_text(encoding="utf-8").splitlines()
        for line, one in zip(lines, load_conversation(path).utterances, strict=True):
            said = line.split("|")[1].split()
            marks = [number for number, word in enumerate(said) if word == "…"]
            before = [number - index for index, number in enumerate(marks)]
            assert set(before) <= set(one.said_before), one.text


def spoken(**keys: object) -> RecordedUtterance:
    return RecordedUtterance.model_validate({"audio": "x.wav", "range": (0, 9999), "speech": (100, 8099), **keys})


def test_words_share_the_voiced_time_by_their_letters() -> None:
    assert word_ends(spoken(text="one three")) == (3299, 8099)


def test_a_pause_that_is_only_heard_takes_no_words_time() -> None:
    with_pause = spoken(text="one three five seven", pauses=[(4000, 5999)])

    ends = word_ends(with_pause)

    assert not [end for end in ends if 4000 <= end <= 5999]
    assert ends[-1] == 8099


def test_without_a_text_there_are_no_words() -> None:
    assert word_ends(spoken()) == ()
