from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodes.text.aligning import align

WORDS = st.sampled_from(["Hello", "hello,", "world.", "😀", "10:30", "ten", "thirty", "**bold**", "—", "the", "The"])
spoken_words = st.lists(st.tuples(WORDS, st.integers(0, 500), st.integers(0, 500)), max_size=10)


def test_each_word_gets_the_time_of_its_spoken_copy() -> None:
    spans, rest = align(
        "**Hello**, world! ", [("Hello", 10, 20), (",", 20, 21), ("world", 25, 40), ("!", 40, 41)], until=50
    )
    assert spans == [("**Hello**, ", 10, 20), ("world! ", 25, 40)]
    assert rest == ""


def test_a_word_that_is_spelt_out_fills_the_gap_between_its_neighbours() -> None:
    spans, _ = align(
        "At 10:30 we go", [("At", 0, 10), ("ten", 12, 20), ("thirty", 20, 30), ("we", 31, 35), ("go", 35, 50)], until=50
    )
    assert spans == [("At ", 0, 10), ("10:30 ", 10, 31), ("we ", 31, 35), ("go", 35, 50)]


def test_while_more_is_to_come_words_without_a_time_wait() -> None:
    spans, rest = align("Hello big world", [("Hello", 0, 10)])
    assert (spans, rest) == ([("Hello ", 0, 10)], "big world")
    assert align(rest, [("world", 20, 30)], after=10, until=30) == ([("big ", 10, 20), ("world", 20, 30)], "")


def test_what_nobody_reads_aloud_takes_no_time() -> None:
    spans, _ = align("Yes 😀 no", [("Yes", 0, 10), ("no", 20, 30)], until=30)
    assert spans == [("Yes ", 0, 10), ("😀 ", 10, 10), ("no", 20, 30)]


@given(st.lists(WORDS, max_size=10).map(" ".join), spoken_words, st.integers(0, 600))
def test_no_text_is_lost_and_no_time_goes_back(text: str, spoken: list[tuple[str, int, int]], until: int) -> None:
    spans, rest = align(text, spoken, until=until)
    assert "".join(word for word, _, _ in spans) + rest == text
    assert rest == "" or not rest.strip()
    times = [time for _, begin, end in spans for time in (begin, end)]
    assert times == sorted(times)
