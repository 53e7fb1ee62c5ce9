"""The words of the annotation, told to the graph's own ears on virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowgraph.graph import Graph
from flowgraph.tuning.dictated import Dictated, _with_late_scores, check, hear_all_dictated, hear_dictated
from flowgraph.tuning.evidence import CantTune, Evidence, Kind
from flowgraph.units import MS, SECOND
from nodes.sound.conversation import load_conversation
from nodes.vocabulary import EndOfTurn
from tests.trial_runs import DEMO, short_call
from tests.tuning.heard import FAST, Says, heard, optimized, replayed

LATE = Dictated(words=50 * MS, scores=60 * MS)
KAL = DEMO.parent / "turns" / "report" / "kal16-quiet.yaml"


@pytest.fixture(scope="module")
def kal() -> tuple[Any, Evidence]:
    conversation = load_conversation(KAL)
    conversation = conversation.model_copy(update={"utterances": conversation.utterances[:5]})
    return conversation, hear_dictated(optimized(), conversation, LATE)


def finals(found: Evidence) -> list[tuple[int, dict[str, Any]]]:
    return [(at, fields) for at, fields in found.of_type("Transcript") if fields["final"]]


def test_every_word_is_told_once_and_none_before_it_was_said(kal: tuple[Any, Evidence]) -> None:
    conversation, found = kal

    assert (
        " ".join(fields["text"] for _, fields in finals(found)).split()
        == " ".join(one.text for one in conversation.utterances).split()
    )
    for said, recorded in zip(found.said, conversation.utterances, strict=True):
        begin = said.start - recorded.speech_start * SECOND // 16_000
        for (first, last), count in zip(recorded.silences, recorded.said_before, strict=True):
            silent = begin + (first + last) // 2 * SECOND // 16_000
            pause, over = next(pause for pause in said.pauses if pause[0] <= silent < pause[1])
            so_far = [
                word
                for at, fields in finals(found)
                if said.start < at < max(pause + (96 + 32 + 60) * MS, over)
                for word in fields["text"].split()
            ]
            assert so_far == recorded.text.split()[:count]


def test_a_final_comes_so_long_after_the_first_silence(kal: tuple[Any, Evidence]) -> None:
    _, found = kal

    for said in found.said:
        last = next(at for at, _ in finals(found) if at > said.end)
        assert (96 - 4) * MS + LATE.words <= last - said.end <= (96 + 32 + 45) * MS + LATE.words


def test_partial_words_come_late_too(kal: tuple[Any, Evidence]) -> None:
    _, found = kal
    partials = [(at, fields["text"]) for at, fields in found.of_type("Transcript") if not fields["final"]]
    question = found.said[1]

    first = next((at, text) for at, text in partials if at > question.start)

    assert first[0] - question.start > LATE.words
    assert question.text.startswith(first[1])


def test_the_same_is_heard_in_processes(kal: tuple[Any, Evidence]) -> None:
    conversation, found = kal
    told: list[int] = []

    both = hear_all_dictated(
        optimized(), [conversation, conversation], LATE, processes=2, done=lambda index, _: told.append(index)
    )

    assert both == [found, found]
    assert sorted(told) == [0, 1]


def test_what_was_dictated_is_what_the_policies_are_judged_by(kal: tuple[Any, Evidence]) -> None:
    """The second hesitation: "let me | think about it | for a moment and | call you back"."""
    _, found = kal
    options = {"end_silence": "700ms", "finished_silence": "200ms", "unfinished_silence": "2s"}

    hasty = replayed(found, FAST, end="fixed", end_silence="200ms")[2]
    patient = replayed(found, FAST, end="adaptive", learn_pauses=False, **options)[2]

    assert len(hasty.cuts) == 3
    assert patient.cuts == ()


def test_a_score_comes_when_it_is_said_to_and_not_at_all_if_the_user_spoke_on() -> None:
    found = heard(Says((500, 300, 500)))
    said = found.said[0]
    (pause, _), end = said.pauses[0], said.end
    speech = next(at for at, fields in found.of_type("Voice") if at > pause + 100 * MS and fields["speaking"])
    kinds = (*found.kinds, Kind.of(EndOfTurn))
    fields = kinds[-1].fields

    def score(at: int, silence_ms: int) -> tuple[int, int, tuple[Any, ...]]:
        values = {"probability": 0.5, "silence_ms": silence_ms, "at": at}
        return at, len(kinds) - 1, tuple(values[name] for name in fields)

    asked = (pause + 100 * MS, speech - 10 * MS, end + 100 * MS)
    scores = [score(at, 100) for at in asked]
    both = type(found)(**{**_fields(found), "kinds": kinds, "facts": tuple(sorted([*found.facts, *scores]))})

    late = _with_late_scores(both, 60 * MS)

    arrivals = [at for at, _ in late.of_type("EndOfTurn")]
    assert arrivals == [asked[0] + 60 * MS, asked[2] + 60 * MS]
    assert [at for at, *_ in late.facts] == sorted(at for at, *_ in late.facts)


def _fields(found: Evidence) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


@pytest.mark.parametrize(
    ("setting", "told"),
    [("stt.send=speech", "'stt' (ws_stt) can't be told the words"), ("vad.threshold=0.6", "")],
)
def test_a_recogniser_that_leaves_sound_out_cannot_be_told_when_a_word_is_over(setting: str, told: str) -> None:
    graph = optimized(setting)
    if not told:
        check(graph, [])
        return
    with pytest.raises(CantTune) as caught:
        check(graph, [])
    assert told in str(caught.value)
    assert "leave out --stt" in str(caught.value)


def test_another_recogniser_cannot_be_told_the_words() -> None:
    with pytest.raises(CantTune, match=r"can't be told the words"):
        check(Graph.load("baseline", environ={}), [])


def test_what_has_no_text_cannot_be_dictated(tmp_path: Path) -> None:
    conversation = load_conversation(short_call(tmp_path, 2))
    mute = conversation.utterances[0].model_copy(update={"text": ""})

    with pytest.raises(CantTune, match=r"isn't annotated"):
        check(optimized(), [conversation.model_copy(update={"utterances": (mute,)})])


def test_a_second_of_sound_takes_no_second(kal: tuple[Any, Evidence]) -> None:
    _, found = kal

    assert found.end > 30 * SECOND
    assert found.lost == 0
