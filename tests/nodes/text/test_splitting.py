from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodes.text.splitting import Splitter

# Everything that the rules look at, beside ordinary letters.
ALPHABET = "aAbZ 19\n\t.,;:!?…。！？，、：—–\"'”»()[]{}*_~`#-|/@😀你é\u0301\u200d\u2028"
WORDS = [
    "Dr", "e.g", "U.S", "a.m", "No", "etc", "The", "the", "J", "1", "10:30", "3.14", "1,000", "https://x.y/z?a=1,b", "www.x.y", "a@b.c",
    "```", "~~~", "`", "``", "[a, b](https://c.d)", "[", "](", "**", "😀", "你好", "word", "Next",
    ". ", ", ", " ", "\n", "\n\n", "... ", "! ", '." ', "?! ", "。", "，", "— ", ": ", ".", "\r\n",
]  # fmt: skip

texts = st.one_of(
    st.text(ALPHABET, max_size=300), st.lists(st.sampled_from(WORDS), max_size=80).map("".join), st.text(max_size=80)
)


class Steady:
    """Always as short of time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.lengths: list[int] = []

    def left(self, characters: int) -> None:
        self.lengths.append(characters)

    def most(self) -> int | None:
        return self._most


options = st.fixed_dictionaries(
    {
        "first": st.sampled_from(["clause", "sentence"]),
        "first_words": st.integers(1, 9),
        "max_chars": st.sampled_from([20, 60, 220]),
        "pacing": st.sampled_from([None, Steady(16), Steady(50)]),
    }
)


def split(*tokens: str, first: str = "sentence", **options: Any) -> list[str]:
    splitter = Splitter(first=first, **options)  # type: ignore[arg-type]
    pieces = [piece for token in tokens for piece in splitter.feed(token)]
    return pieces + splitter.end()


@given(texts, options)
def test_the_pieces_joined_are_the_text(text: str, options: dict[str, Any]) -> None:
    assert "".join(split(text, **options)) == text


@given(texts, options, st.data())
def test_how_the_text_is_cut_into_tokens_makes_no_difference(
    text: str, options: dict[str, Any], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    tokens = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(*tokens, **options) == split(text, **options) == split(*text, **options)


@given(texts, options)
def test_no_piece_is_empty_or_too_long(text: str, options: dict[str, Any]) -> None:
    for piece in split(text, **options):
        assert piece
        assert len(piece) <= options["max_chars"] or any(mark in piece for mark in ("```", "~~~", "://"))


@given(texts, options)
@example("::: 00000000000000000", {"first": "clause", "first_words": 1, "max_chars": 20})
def test_only_the_last_piece_may_have_no_word_in_it(text: str, options: dict[str, Any]) -> None:
    pieces = split(text, **options)
    wordless = [
        piece for piece in pieces[:-1] if not any(map(str.isalnum, piece)) and len(piece) < options["max_chars"] // 2
    ]
    assert wordless == []


@given(texts, options)
@example("`", {"first": "clause", "first_words": 1, "max_chars": 20})
def test_after_the_end_another_text_is_split_as_if_it_were_the_first(text: str, options: dict[str, Any]) -> None:
    splitter = Splitter(**options)
    once = splitter.feed(text) + splitter.end()
    assert splitter.feed(text) + splitter.end() == once


def test_after_clear_nothing_is_left() -> None:
    splitter = Splitter()
    splitter.feed("This is withdrawn")
    splitter.clear()
    assert splitter.feed("Yes. ") + splitter.end() == ["Yes. "]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Yes. No. Maybe?", ["Yes. ", "No. ", "Maybe?"]),
        ("Dr. Smith met Mrs. Jones. They spoke.", ["Dr. Smith met Mrs. Jones. ", "They spoke."]),
        ("Fruit, e.g. apples. Nuts, i.e. almonds.", ["Fruit, e.g. apples. ", "Nuts, i.e. almonds."]),
        ("The U.S. Army came. They left the U.S. Then it rained.", ["The U.S. Army came. ", "They left the U.S. ", "Then it rained."]),
        ("J. R. R. Tolkien wrote it. So do I. You too?", ["J. R. R. Tolkien wrote it. ", "So do I. ", "You too?"]),
        ("At 8 a.m. Monday. At 9 a.m. we eat. At 10 p.m. Call me.", ["At 8 a.m. Monday. ", "At 9 a.m. we eat. ", "At 10 p.m. ", "Call me."]),
        ("Pens, ink etc. are there. Bring pens etc. Thanks.", ["Pens, ink etc. are there. ", "Bring pens etc. ", "Thanks."]),
        ("No. 5 is alive. No. It isn't.", ["No. 5 is alive. ", "No. ", "It isn't."]),
        ("St. Louis has a Main St. The end.", ["St. Louis has a Main St. ", "The end."]),
        ("Pi is 3.14 and v1.2.3 is out. At 10:30 it costs $1,000.50. Good.", ["Pi is 3.14 and v1.2.3 is out. ", "At 10:30 it costs $1,000.50. ", "Good."]),
        ("In 1999. Then 2000.", ["In 1999. ", "Then 2000."]),
        ("Well... maybe not... No... Never. Wait… what? Stop… Now.", ["Well... maybe not... ", "No... ", "Never. ", "Wait… what? ", "Stop… ", "Now."]),
        ('He said "Hello there." Then he left. "Really?" she asked. (Sure.) Fine.', ['He said "Hello there." ', "Then he left. ", '"Really?" she asked. ', "(Sure.) ", "Fine."]),
        ("“Go.” ‘No!’ «Si.» Done.", ["“Go.” ", "‘No!’ ", "«Si.» ", "Done."]),
        ("What?! No!!! Yes?", ["What?! ", "No!!! ", "Yes?"]),
        ("你好，世界。今天很好！是吗？「是的。」好。", ["你好，世界。", "今天很好！", "是吗？", "「是的。」", "好。"]),
        ("これはペンです。はい｡", ["これはペンです。", "はい｡"]),
        ("Это мост. वह जाता है। هل أنت هنا؟ نعم۔ ok", ["Это мост. ", "वह जाता है। ", "هل أنت هنا؟ ", "نعم۔ ", "ok"]),
        ("One line\nAnother\n\nA paragraph. End", ["One line\n", "Another\n", "\nA paragraph. ", "End"]),
        ("Here:\n1. First thing\n2. Second thing. More.\n- a\n- b", ["Here:\n", "1. First thing\n", "2. Second thing. ", "More.\n", "- a\n", "- b"]),
        ("a. One\nb. Two", ["a. One\n", "b. Two"]),
        ("See https://a.b/c?d=e,f. Mail me@x.org. Or www.x.y! Bye.", ["See https://a.b/c?d=e,f. ", "Mail me@x.org. ", "Or www.x.y! ", "Bye."]),
        ("See [the. docs](https://a.b/c). Yes.", ["See [the. docs](https://a.b/c). ", "Yes."]),
        ("Call `os.path. x` first. Then ``a ` b. c``. End.", ["Call `os.path. x` first. ", "Then ``a ` b. c``. ", "End."]),
        ("**Bold.** Next. *It.* _So._ x", ["**Bold.** ", "Next. ", "*It.* ", "_So._ ", "x"]),
        ("Great! 😀 Fun.😀 More", ["Great! ", "😀 Fun.", "😀 More"]),
        ("Node.js and example.com work. Yes", ["Node.js and example.com work. ", "Yes"]),
        ("", []),
        ("   \n ", ["   \n "]),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_would_pause(text: str, pieces: list[str]) -> None:
    assert split(text) == pieces


def test_a_block_of_code_is_one_piece_however_long() -> None:
    code = "```python\n" + "print(1). Foo, bar!\n\n" * 30 + "```\n"
    assert split(f"Look:\n{code}That is it. Bye.") == ["Look:\n", code, "That is it. ", "Bye."]


def test_a_block_of_code_without_an_end_is_one_piece() -> None:
    assert split("Look.\n~~~\na. b\nc. d") == ["Look.\n", "~~~\na. b\nc. d"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Sure, I can help. Ask away.", ["Sure,", " I can help. ", "Ask away."]),
        ("Yes. And then, later, no.", ["Yes. ", "And then, later, no."]),
        ("That costs 1,000 euros, I think.", ["That costs 1,000 euros,", " I think."]),
        ("In 1999, it rained.", ["In 1999, ", "it rained."]),
        ("Here is what I found: three things.", ["Here is what I found:", " three things."]),
        ("It is 10:30 now; hurry.", ["It is 10:30 now;", " hurry."]),
        ("Well — I think so.", ["Well —", " I think so."]),
        ("Well – I think 10–20 is fine.", ["Well –", " I think 10–20 is fine."]),
        ("From 10–20, it works.", ["From 10–20, ", "it works."]),
        ('"Sure," she said. "Go."', ['"Sure," ', "she said. ", '"Go."']),
        ("Hmm... let me see. Yes.", ["Hmm... ", "let me see. ", "Yes."]),
        ("Look at https://a.b/c?d=e, it is there.", ["Look at https://a.b/c?d=e, ", "it is there."]),
        ("Hello! What can I do? Tell me.", ["Hello!", " What can I do? ", "Tell me."]),
        ("Really? Yes.", ["Really?", " Yes."]),
        ("*Really?* Yes.", ["*Really?* ", "Yes."]),
        ("Sure :) go on.", ["Sure :) ", "go on."]),
        ("Here:\n1. First thing\n2. Second", ["Here:", "\n1. First thing\n", "2. Second"]),
        ("好的，我来帮你。", ["好的，", "我来帮你。"]),
        ("one two three four five six seven eight nine ten.", ["one two three four five six seven eight ", "nine ten."]),
        ("It is eight minutes past eight in the morning.", ["It is eight minutes past eight in the morning."]),
        ("one two three four five six seven of the ten eleven.", ["one two three four five six seven of the ten ", "eleven."]),
        ("- , word, more", ["- , word,", " more"]),
        ("```\nx\n```\nSure, yes. So, no.", ["```\nx\n```\n", "Sure,", " yes. ", "So, no."]),
        ("See [a, b](https://c.d/e,f) now, please.", ["See [a, b](https://c.d/e,f) now,", " please."]),
    ],
)  # fmt: skip
def test_the_first_piece_is_a_clause(text: str, pieces: list[str]) -> None:
    assert split(text, first="clause") == pieces


@pytest.mark.parametrize("mark", [",", ";", ":", "!", "?", " —"])
def test_a_clause_is_known_at_its_mark(mark: str) -> None:
    splitter = Splitter()
    assert splitter.feed(f"Sure{mark}") == [f"Sure{mark}"]


def test_a_clause_without_a_mark_is_known_at_the_space_behind_its_last_word() -> None:
    splitter = Splitter()
    assert splitter.feed("one two three four five six seven eight") == [], "it may be eighty"
    assert splitter.feed(" nine") == ["one two three four five six seven eight "]


def test_a_sentence_is_known_one_character_behind_its_stop() -> None:
    splitter = Splitter(first="sentence")
    assert splitter.feed("It is 3.") == []
    assert splitter.feed(" ") == ["It is 3. "]


def test_a_decimal_comma_waits_for_the_next_character() -> None:
    splitter = Splitter()
    assert splitter.feed("It costs 1,") == []
    assert splitter.feed("0") == []
    assert splitter.feed("00,") == []
    assert splitter.feed(" so") == ["It costs 1,000, "]


def test_a_long_sentence_is_cut_at_a_clause_or_a_space() -> None:
    text = "word " * 30 + "and then, " + "word " * 20
    pieces = split(text, max_chars=220)
    assert pieces[0].endswith("and then, ")
    assert all(len(piece) <= 220 for piece in pieces)


@pytest.mark.parametrize(
    ("most", "pieces"),
    [
        (24, ["Well,", " I would go along the river, ", "since the old road ", "in the north is closed ", "for two days. ", "Good?"]),
        (60, ["Well,", " I would go along the river, since the old road in the north ", "is closed for two days. ", "Good?"]),
        (200, ["Well,", " I would go along the river, since the old road in the north is closed for two days. ", "Good?"]),
    ],
)  # fmt: skip
def test_where_time_is_short_a_sentence_is_cut_where_it_may_be(most: int, pieces: list[str]) -> None:
    text = "Well, I would go along the river, since the old road in the north is closed for two days. Good?"
    steady = Steady(most)

    assert split(text, first="clause", pacing=steady) == pieces
    assert steady.lengths == [len(piece) for piece in pieces]


def test_where_time_is_short_code_and_links_stay_whole() -> None:
    text = "See [the docs of it](https://a.b/c) and `run this now please` there."

    assert split(text, pacing=Steady(16)) == [
        "See [the docs of it](https://a.b/c) ", "and `run this now please` ", "there.",
    ]  # fmt: skip


def test_a_word_without_an_end_is_cut_between_characters_not_inside_them() -> None:
    family = "👨‍👩‍👧"
    pieces = split("e\u0301" * 60 + family * 20, max_chars=41)
    assert all(len(piece) <= 41 for piece in pieces)
    assert not any(piece[0] in "\u0301\u200d" for piece in pieces)
    assert not any(piece.endswith("\u200d") for piece in pieces)


def test_an_address_is_never_cut() -> None:
    address = "https://example.com/" + "a/b.c,d;" * 60
    pieces = split(f"Look at {address} and tell me.", max_chars=60)
    assert [piece for piece in pieces if "://" in piece] == [f"{address} "]


def test_an_abbreviation_that_nothing_follows_ends_with_the_text() -> None:
    assert split("It opens at 9 a.m.") == ["It opens at 9 a.m."]


@pytest.mark.parametrize(
    "text", ["Yes" + "!" * 100, "Yes." + " " * 100 + "No", "Pens etc." + " " * 100, "No. " + "x" * 100]
)
def test_looking_ahead_makes_no_piece_too_long(text: str) -> None:
    assert max(map(len, split(text, max_chars=20))) <= 20
