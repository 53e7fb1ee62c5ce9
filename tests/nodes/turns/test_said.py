from __future__ import annotations

from flowgraph.units import MS
from nodes.turns.said import Said, same
from nodes.vocabulary import Transcript


def heard(text: str, start: int, end: int, *, final: bool = True) -> Transcript:
    return Transcript(text, final=final, start_at=start * MS, end_at=end * MS)


def said(*transcripts: Transcript) -> Said:
    found = Said()
    for one in transcripts:
        found.add(one)
    return found


def test_transcripts_join_by_span_not_by_arrival() -> None:
    assert said(heard("second", 2000, 3000), heard("first", 0, 1000)).text == "first second"


def test_one_that_contains_an_earlier_span_supersedes_it_unless_it_is_empty() -> None:
    assert said(heard("nine thymes", 0, 1000), heard("nine times seven", 0, 2000)).text == "nine times seven"
    assert said(heard("nine", 0, 1000), heard("", 0, 2000)).text == "nine"


def test_a_partial_counts_until_a_final_reaches_as_far() -> None:
    found = said(heard("nine", 0, 1000), heard("times se", 1000, 2000, final=False))
    assert found.text == "nine times se"

    found.add(heard("times seven", 1000, 2100))
    assert found.text == "nine times seven"


def test_a_partial_that_says_more_has_grown() -> None:
    found = Said()

    assert found.add(heard("nine", 0, 500, final=False))
    assert not found.add(heard("mine", 0, 600, final=False))
    assert found.add(heard("nine times", 0, 900, final=False))


def test_what_covers_the_last_voiced_sample() -> None:
    found = said(heard("nine", 0, 1000))

    assert found.covers(1150 * MS)
    assert not found.covers(1151 * MS)
    assert not Said().covers(0)


def test_what_is_answered_is_split_off() -> None:
    found = said(heard("first", 0, 1000), heard("second", 2000, 3000))
    answered = found.split(1001 * MS)

    assert (answered.text, found.text) == ("first", "second")


def test_what_was_said_over_an_answer_can_be_told_apart_and_forgotten() -> None:
    found = said(heard("first", 0, 1000), heard("mhm", 2000, 2300), heard("mhm I", 2000, 2400, final=False))

    assert found.since(1900 * MS) == "mhm mhm I"
    found.forget_since(1900 * MS)
    assert found.text == "first"


def test_case_spaces_and_punctuation_do_not_matter() -> None:
    assert same("What time is it?", "what time  is it")
    assert not same("what time is it", "what time was it")
