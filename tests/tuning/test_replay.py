from __future__ import annotations

import pytest

from flowgraph.tuning.curve import figures, oracle
from flowgraph.tuning.replay import Delays, WrongSettings, delays, owner_with
from flowgraph.units import MS
from tests.tuning.heard import FAST, Says, committed_ms, heard, optimized, replayed

HESITANT = heard(*[Says((500, 300, 500, 300, 500))] * 3)
INTERRUPTED = heard(
    Says((800,), "tell me a story"),
    Says((300,), "yeah", answered=False, over_answer=True, kind="backchannel"),
    Says((900,), "stop it now please", over_answer=True, kind="interruption"),
    Says((800,), "what time is it"),
)


def test_silence_shorter_than_the_pauses_cuts_off_in_all_of_them() -> None:
    found = replayed(HESITANT, end="fixed", end_silence="250ms")

    assert [[pause for pause, _ in one.cuts] for one in found] == [[0, 1]] * 3
    assert all(250 <= ms <= 282 for one in found for _, ms in one.cuts)
    assert figures(found).rate == 1.0
    assert all(one.cut_heard for one in found)


def test_silence_longer_than_the_pauses_cuts_off_in_none() -> None:
    found = replayed(HESITANT, end="fixed", end_silence="350ms")

    assert [one.cuts for one in found] == [()] * 3
    assert figures(found).rate == 0.0


@pytest.mark.parametrize("silence_ms", [200, 400, 650])
def test_voice_to_voice_is_the_commit_and_the_playout_where_the_answer_is_ready(silence_ms: int) -> None:
    evidence = heard(*[Says((ms,)) for ms in (700, 811, 933)])

    found = replayed(evidence, end="fixed", end_silence=f"{silence_ms}ms")

    decided = [committed_ms(one, silence_ms) for one in evidence.said]
    assert [one.decided for one in found] == decided
    assert [one.latency for one in found] == [ms + 20 for ms in decided]


def test_voice_to_voice_is_when_the_answer_is_ready_where_that_is_later() -> None:
    evidence = heard(Says((700,)), Says((811,)), stt_ms=50)
    slow = Delays(prepared=700 * MS, after=0, playout=20 * MS, held=True)

    found = replayed(evidence, slow, end="fixed", end_silence="400ms")

    # It is asked for when the words are there: 96 ms of silence, in whole windows, and the recogniser's 50 ms.
    assert [one.latency for one in found] == [committed_ms(one, 96) + 50 + 700 + 20 for one in evidence.said]


def test_what_lies_behind_the_held_edge_is_done_after_the_commit() -> None:
    evidence = heard(Says((700,)))
    late = Delays(prepared=0, after=150 * MS, playout=20 * MS, held=True)

    [found] = replayed(evidence, late, end="fixed", end_silence="400ms")

    assert found.latency == committed_ms(evidence.said[0], 400) + 150 + 20


def test_a_policy_that_waits_longer_than_the_user_has_missed_the_turn() -> None:
    found = replayed(heard(Says((700,)), Says((700,)), gap_ns=1500 * MS), end="fixed", end_silence="2s")

    assert [(one.missed, one.latency, one.dead_air) for one in found] == [(True, None, True)] * 2
    assert figures(found).cost == 4000


def test_an_answer_more_than_two_seconds_late_is_dead_air() -> None:
    [found] = replayed(heard(Says((700,))), end="fixed", end_silence="2500ms")

    assert not found.missed
    assert found.dead_air


def test_what_is_said_over_an_answer_is_judged_with_an_answer_on() -> None:
    story, backchannel, interruption, last = replayed(INTERRUPTED, end="fixed", end_silence="400ms")

    assert story.latency is not None
    assert backchannel.ended is False
    assert interruption.ended is True
    assert interruption.stopped is not None
    assert 64 <= interruption.stopped <= 500
    assert interruption.latency is not None, "an interruption wants an answer of its own"
    assert last.ended is None
    assert (last.latency, last.missed) != (None, True)


def test_words_over_an_answer_end_it_where_they_are_no_backchannel() -> None:
    evidence = heard(
        Says((800,), "tell me a story"), Says((600,), "some nonsense words", answered=False, over_answer=True)
    )

    _, over = replayed(evidence, end="fixed", end_silence="400ms")

    assert over.ended is True
    assert over.needless, "it is answered as well"


def test_the_users_pauses_are_learned_over_a_whole_conversation() -> None:
    patient = {"end": "adaptive", "finished_silence": "200ms", "end_silence": "600ms", "unfinished_silence": "2s"}
    evidence = heard(*[Says((500, 700, 500), "sunny weather")] * 6)

    learning = replayed(evidence, learn_pauses=True, **patient)
    deaf = replayed(evidence, learn_pauses=False, **patient)

    assert all(one.cut_off for one in deaf)
    assert learning[0].cut_off
    assert not learning[-1].cut_off


def test_what_was_asked_is_what_the_answer_before_said() -> None:
    options = {"end": "adaptive", "finished_silence": "200ms", "end_silence": "500ms", "unfinished_silence": "1500ms"}
    asked, unasked = (
        heard(Says((800,), "tell me the time"), Says((400,), "yes sure", asked=question), stt_ms=10)
        for question in ("Do you want some tea?", "")
    )

    to_a_question, out_of_the_blue = replayed(asked, **options)[1], replayed(unasked, **options)[1]

    assert to_a_question.decided == committed_ms(asked.said[1], 200)
    assert out_of_the_blue.decided == committed_ms(unasked.said[1], 500)


def test_nobody_is_faster_than_who_knows_the_end() -> None:
    evidence = heard(*[Says((500, 200, 700)), Says((700,))] * 2, stt_ms=80)
    after = Delays(prepared=300 * MS, after=0, playout=20 * MS, held=True)
    limit = {one.index: one.latency for one in oracle([evidence], after)}

    for silence in ("100ms", "300ms", "700ms"):
        for one in replayed(evidence, after, end="fixed", end_silence=silence):
            assert one.latency is not None
            assert one.latency >= (limit[one.index] or 0) - 1e-6


def test_the_same_is_heard_each_time() -> None:
    once, again = (replayed(HESITANT, end="fixed", end_silence="250ms") for _ in range(2))

    assert once == again


def test_the_delays_lie_on_the_graphs_own_side_of_the_held_edge() -> None:
    given = {"llm": 200 * MS, "tts": 150 * MS}
    whole = optimized()
    early = optimized_with_the_hold_before_tts()

    assert delays(whole, given, 20 * MS) == Delays(350 * MS, 0, 20 * MS, held=True)
    assert delays(early, given, 20 * MS) == Delays(200 * MS, 150 * MS, 20 * MS, held=True)


def optimized_with_the_hold_before_tts():
    from flowgraph.graph import Graph

    edges = """
extends: optimized
edges:
  - mic -> vad -> dialogue
  - mic -> stt -> dialogue
  - vad -> stt
  - dialogue -> llm -> split
  - {from: split, to: tts, hold: commit}
  - tts -> speaker
  - {from: speaker, to: dialogue, feedback: true}
"""
    return Graph.from_text(edges, environ={})


def test_options_that_make_no_owner_are_told() -> None:
    with pytest.raises(WrongSettings, match="end_silenc"):
        owner_with(optimized(), {"end_silenc": "1s"})
    with pytest.raises(WrongSettings, match="speculate_after is longer"):
        owner_with(optimized(), {"end": "fixed", "end_silence": "50ms"})


def test_a_commit_right_before_the_user_goes_on_is_a_cut_off_though_nothing_was_heard() -> None:
    slow = Delays(prepared=900 * MS, after=0, playout=20 * MS, held=True)

    [one] = replayed(heard(Says((500, 300, 700))), slow, end="fixed", end_silence="250ms")

    assert one.cut_off
    assert not one.cut_heard
    assert FAST.prepared == 0
