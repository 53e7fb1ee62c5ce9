from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowgraph.frame import Frame
from flowgraph.testing import run_node
from nodes.sentence_split import SentenceSplit
from nodes.vocabulary import End, Sentence, Token
from tests.nodes.passing import through


def said(frames: list[Frame]) -> list[str]:
    return [frame.text for frame in frames if isinstance(frame, Sentence)]


def test_the_first_clause_leaves_at_once_then_whole_sentences() -> None:
    tokens = [Token("Sure,"), 1.0, Token(" I can"), 1.0, Token(" help. What"), 1.0, Token(" is it?"), 1.0, End()]

    left = through(SentenceSplit(), tokens)

    assert [(at - left[0][0], frame.text) for at, frame in left if isinstance(frame, Sentence)] == [
        (0, "Sure,"), (2, " I can help. "), (4, "What is it?"),
    ]  # fmt: skip


def test_a_sentence_names_the_token_that_made_it_certain() -> None:
    tokens = [Token("Sure"), Token(","), Token(" yes."), Token(" "), Token("No"), End()]

    outputs = run_node(SentenceSplit(), tokens)

    sentences = [frame for frame in outputs if isinstance(frame, Sentence)]
    assert [frame.cause for frame in sentences] == [tokens[1].id, tokens[3].id, tokens[5].id]


def test_the_end_is_passed_on_as_it_was() -> None:
    end = End("length", "too long")

    [rest, last] = [frame for _, frame in through(SentenceSplit(), [Token("Half a"), end])]

    assert said([rest]) == ["Half a"]
    assert last is end


def test_each_answer_begins_with_a_clause() -> None:
    one = [Token("Well, that is it. Bye, now."), End()]

    assert said(run_node(SentenceSplit(), [*one, Token("Well, "), Token("so."), End()])) == [
        "Well,", " that is it. ", "Bye, now.", "Well,", " so.",
    ]  # fmt: skip


def test_with_first_sentence_no_clause_is_cut_off() -> None:
    outputs = run_node(SentenceSplit(first="sentence"), [Token("Well, that is it. Bye."), End()])

    assert said(outputs) == ["Well, that is it. ", "Bye."]


def test_flush_forgets_what_was_not_said() -> None:
    node = SentenceSplit()
    run_node(node, [Token("This answer is")])

    node.flush()

    assert [frame.text for frame in node.process(Token("Yes. "))] == ["Yes. "]


@settings(max_examples=10)
@given(st.lists(st.text(max_size=8), max_size=12))
def test_no_character_is_lost_or_doubled_on_the_way(tokens: list[str]) -> None:
    outputs = run_node(SentenceSplit(), [*map(Token, tokens), End()])

    assert "".join(said(outputs)) == "".join(tokens)
