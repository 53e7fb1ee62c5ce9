from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.text.thinking import ThoughtFilter


def said(*portions: str) -> str:
    thoughts = ThoughtFilter()
    return "".join(map(thoughts.feed, portions)) + thoughts.end()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>Hm.</think>\n\nYes.", "Yes."),
        ("Yes.", "Yes."),
        ("A<think>b</think>C", "AC"),
        ("<think>no end", ""),
        ("1 < 2 <thinking", "1 < 2 <thinking"),
        ("<thi", "<thi"),
        ("<think></think> <think>x</think> Yes", "Yes"),
        ("So.</think>\n\nYes", "So.Yes"),
    ],
)
def test_thoughts_are_not_said(text: str, answer: str) -> None:
    assert said(text) == said(*text) == answer


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "a", " ", "th", "ink>", "/"]), max_size=20))
def test_how_it_is_cut_makes_no_difference(portions: list[str]) -> None:
    assert said(*portions) == said("".join(portions))


def test_text_that_can_be_no_mark_is_said_at_once() -> None:
    assert ThoughtFilter().feed("Well <b") == "Well <b"


@pytest.mark.parametrize(
    ("text", "thought", "unopened"),
    [
        ("<think>Hm", True, False),
        ("<think>\n\n</think>\n\nYes", False, False),
        ("So.</think>Yes", False, True),
        ("<think>a</think>b</think>", True, True),
        ("Yes", False, False),
    ],
)
def test_whether_there_was_a_thought_is_known(text: str, thought: bool, unopened: bool) -> None:
    for portions in ([text], [*text]):
        thoughts = ThoughtFilter()
        for portion in portions:
            thoughts.feed(portion)
        thoughts.end()
        assert (thoughts.thought, thoughts.unopened) == (thought, unopened)
