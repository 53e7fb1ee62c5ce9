from __future__ import annotations

import pytest

from nodes.text.dictation import dictated
from nodes.text.finishing import asked, finish, words_of

CARD = "What are the last four digits of your card?"
PHONE = "What number can I call you back on?"
DOOR = "What is the code of your door?"


def extent(text: str, question: str = "") -> str:
    kind = asked(question)
    return dictated(words_of(text), " ".join(words_of(question)), kind if kind in ("number", "code") else "")


@pytest.mark.parametrize(
    ("text", "question", "said"),
    [
        ("it is three four nine", CARD, "part"), ("it is three four nine eight", CARD, "all"), ("3498", CARD, "all"), ("34", CARD, "part"),
        ("seven four three", DOOR, "part"), ("seven four three one", DOOR, "perhaps"), ("nothing", DOOR, "none"),
        ("one two three four", "What is your 6-digit code?", "part"), ("one two three four five six", "What is your six-digit code?", "all"),
        ("one two", "What is the number with one digit?", "all"), ("five", "What are the last \u00b2 digits of your number?", "part"),
        ("five", "What are the last 4 digits?", "part"), ("I don't have one", PHONE, "none"), ("July 4 1985", "", "none"),
    ],
)  # fmt: skip
def test_as_many_as_were_asked_for_are_all(text: str, question: str, said: str) -> None:
    assert extent(text, question) == said


@pytest.mark.parametrize(
    ("text", "question", "said"),
    [
        ("five five five oh one four seven", PHONE, "perhaps"), ("five five five oh one four seven two", PHONE, "part"),
        ("five five five oh one four seven two nine three", PHONE, "all"), ("one eight hundred", PHONE, "none"),
        ("my phone number is 555 014 7293", "", "all"), ("555 014 7293", "", "perhaps"), ("one five five five oh one four seven two nine three", PHONE, "all"),
        ("oh two oh seven nine four six oh one eight", PHONE, "perhaps"), ("one five five five oh one four seven two nine", PHONE, "perhaps"),
        ("double five five oh triple one", PHONE, "perhaps"), ("five double", PHONE, "part"), ("five double", "", "part"),
    ],
)  # fmt: skip
def test_a_telephone_number_is_whole_by_its_length_and_its_first_digit(text: str, question: str, said: str) -> None:
    assert extent(text, question) == said


@pytest.mark.parametrize(
    "text", ["in 1984", "it costs 350", "nine times seven", "double", "five five", "", "route 66", "34500", "7:30"]
)
def test_a_numeral_is_not_dictated(text: str) -> None:
    assert extent(text) == "none"


def test_what_is_dictated_tells_whether_it_is_finished() -> None:
    assert finish("three four nine eight", CARD) == "finished"
    assert finish("three four nine", CARD) == "unfinished"
    assert finish("seven four three one", DOOR) == "unclear"
