from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.servers.sums import Sum, find, say, say_ordinal


def values(text: str) -> list[Fraction]:
    return [one.value() for one in find(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("what is twelve times seven", 84),
        ("one hundred and five minus two", 103),
        ("a hundred divided by four", 25),
        ("two thousand three hundred and one plus nine", 2310),
        ("twenty-three times two", 46),
        ("2+2", 4),
        ("3.5 * 2", 7),
        ("three point five times two", 7),
        ("two to the power of ten", 1024),
        ("nine squared", 81),
        ("two plus three times four", 14),
        ("ten minus three minus two", 5),
        ("ten take away three", 7),
        ("fifty multiplied by two", 100),
    ],
)
def test_sums_are_found_and_worked_out(text: str, value: int) -> None:
    assert values(text) == [value]


def test_what_a_recogniser_mishears_behind_an_operator_is_a_number() -> None:
    assert values("eight divided by for") == [2]
    assert values("three times to") == [6]


def test_two_questions_are_two_sums() -> None:
    assert values("what is twelve times seven and what is nine plus five") == [84, 14]


@pytest.mark.parametrize(
    "text", ["", "two dogs and a cat", "twenty three", "for to", "times are hard", "plus", "a minus"]
)
def test_numbers_alone_are_no_sum(text: str) -> None:
    assert [one for one in find(text) if not one.goes_on] == []


def test_a_sum_without_a_first_number_goes_on_from_an_earlier_one() -> None:
    [one] = find("and plus five times two")

    assert one.goes_on
    assert one.onto(Fraction(14)).value() == 24


def test_numbers_that_follow_each_other_are_two_numbers() -> None:
    assert [one.said() for one in find("three four plus one")] == ["four plus one"]


def test_what_grows_without_bound_is_refused() -> None:
    for text in ("10 ^ 60", "999999999999 * 999999999999", "1000000 ^ 3", "2 ^ 65", "2000000 ^ 1"):
        with pytest.raises(OverflowError):
            values(text)
    with pytest.raises(ZeroDivisionError):
        values("5 / 0")
    with pytest.raises(ZeroDivisionError):
        values("0 ^ 0 - 1 / 0")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Fraction(0), "zero"),
        (Fraction(84), "eighty four"),
        (Fraction(113), "one hundred and thirteen"),
        (Fraction(2026), "two thousand and twenty six"),
        (Fraction(-7, 2), "minus three point five"),
        (Fraction(10, 3), "about three point three three three"),
        (Fraction(29999, 10000), "about three"),
        (Fraction(1, 100000), "about zero"),
        (Fraction(10**9), "one billion"),
    ],
)
def test_numbers_are_said_in_words(number: Fraction, text: str) -> None:
    assert say(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(1, "first"), (12, "twelfth"), (20, "twentieth"), (23, "twenty third"), (30, "thirtieth")]
)
def test_ordinals_are_said_in_words(number: int, text: str) -> None:
    assert say_ordinal(number) == text


@given(st.integers(0, 10**9), st.sampled_from("+-*"), st.integers(0, 999))
def test_every_sum_that_is_said_is_understood_again(left: int, operator: str, right: int) -> None:
    made = Sum((Fraction(left), Fraction(right)), (operator,))

    assert [one.operands for one in find(made.said())] == [made.operands]


WORDS = ("one", "two", "twenty", "hundred", "thousand", "and", "point", "plus", "minus", "times", "for", "to", "a", "x",
         "squared", "zero", "the")  # fmt: skip


@given(st.lists(st.sampled_from(WORDS)))
def test_no_mixture_of_its_words_breaks_it(words: list[str]) -> None:
    for one in find(" ".join(words)):
        assert len(one.operands) == len(one.operators) + (0 if one.goes_on else 1)
        whole = one.onto(Fraction(1)) if one.goes_on else one
        with contextlib.suppress(ArithmeticError):
            say(whole.value())
