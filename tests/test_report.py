from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flowgraph import taps
from flowgraph.report import EXACT_NS, Report
from flowgraph.session import Session
from flowgraph.testing import run_virtual
from flowgraph.units import MS, SECOND
from tests.spoken import GRAPH, Conversation, held, spoken

QUESTION = {"from": 500, "to": 1500, "text": "What time is it?"}
NEXT = {"from": 4500, "to": 5500, "text": "And now?"}
NOT_AHEAD = "dialogue.speculate_after=off"


def says(*utterances: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    return [{**one, **changes} for one in utterances]


def test_voice_to_voice_runs_from_the_annotated_end_to_the_first_audible_sample() -> None:
    [turn] = held(says=says(QUESTION)).turns

    # 400 ms of silence are counted at 1900 ms; 5 ms later at most the speaker looks, 20 ms later it is heard.
    assert turn.latency_ns == 425 * MS
    assert turn.annotated
    assert (turn.said, turn.truth) == ("what time is it", "What time is it?")
    assert turn.heard == "One two three four five six seven eight."
    assert turn.verdict == ""


def test_without_annotation_the_end_of_speech_is_estimated() -> None:
    [turn] = held("ear.annotated=false", says=says(QUESTION)).turns

    assert not turn.annotated
    assert turn.latency_ns == 425 * MS
    assert turn.truth == ""


def test_what_is_prepared_while_the_user_is_waited_for_costs_nothing() -> None:
    [turn] = held(says=says(QUESTION)).turns

    assert {name: ns // MS for name, ns in turn.phases.items() if ns} == {"end of speech": 400, "playout": 25}


SLOW = [
    ("llm.delay=430ms", "LLM"),
    ("split.delay=400ms", "clause"),
    ("tts.delay=450ms", "TTS"),
    ("speaker.latency=420ms", "playout"),
    ("dialogue.end_silence=800ms", "end of speech"),
]


@pytest.mark.parametrize(("setting", "phase"), SLOW)
def test_a_planted_delay_is_found_in_its_phase(setting: str, phase: str) -> None:
    [before] = held(NOT_AHEAD, says=says(QUESTION)).turns
    [after] = held(NOT_AHEAD, setting, says=says(QUESTION)).turns

    grown = {name: after.phases[name] - before.phases[name] for name in before.phases}
    assert abs(grown.pop(phase) - 400 * MS) <= 5 * MS  # the speaker looks every 5 ms
    assert all(abs(other) <= 5 * MS for other in grown.values())


def test_an_stt_that_is_later_than_the_end_of_the_turn_is_on_the_path() -> None:
    [turn] = held("stt.delay=460ms", says=says(QUESTION)).turns

    assert turn.phases["end of speech"] == 100 * MS  # until the STT was asked
    assert turn.phases["STT"] == 460 * MS


@pytest.mark.parametrize("setting", ["stt.delay=460ms", *(setting for setting, _ in SLOW)])
def test_the_phases_add_up_to_the_total(setting: str) -> None:
    [turn] = held(setting, says=says(QUESTION)).turns

    assert turn.latency_ns is not None
    assert abs(sum(turn.phases.values()) - turn.latency_ns) <= EXACT_NS
    assert turn.steps[0].start == turn.speech_end_at
    assert turn.steps[-1].end == turn.audible_at
    assert all(one.end == other.start for one, other in zip(turn.steps, turn.steps[1:], strict=False))


def test_a_greeting_answers_nobody() -> None:
    greeting, turn = held("dialogue.greeting=Hello there", says=says({**QUESTION, "from": 2000, "to": 3000})).turns

    assert greeting.greeting
    assert greeting.heard == "Hello there"
    assert greeting.latency_ns is None
    assert not turn.greeting
    assert turn.latency_ns == 425 * MS


def test_an_attempt_that_is_withdrawn_belongs_to_the_turn_that_is_heard() -> None:
    [turn] = held(says=says({**QUESTION, "to": 2500, "pauses": [[1200, 1500]]})).turns

    assert (turn.attempts, turn.withdrawn) == (2, 1)
    assert not turn.cut_off
    assert turn.latency_ns == 425 * MS


def test_what_was_prepared_for_nothing_is_counted() -> None:
    [kept] = held(says=says(QUESTION)).turns
    talk = held(says=says({**QUESTION, "to": 2500, "pauses": [[1200, 1500]]}))
    [turn] = talk.turns

    assert (kept.tokens_wasted, kept.sound_wasted_ns) == (0, 0)
    assert turn.tokens_wasted == 1
    assert turn.sound_wasted_ns == 800 * MS  # eight words of 100 ms, none of them heard
    counts = talk.report.counts()
    assert (counts["attempts"], counts["withdrawn"], counts["tokens wasted"], counts["ms of sound wasted"]) == (
        2,
        1,
        1,
        800,
    )


@pytest.mark.parametrize(("delay", "ahead_ms"), [("50ms", 400 - 100 - 60 - 30 - 50), ("250ms", -40)])
def test_how_far_ahead_of_the_commit_the_first_sound_was_ready(delay: str, ahead_ms: int) -> None:
    talk = held(f"tts.delay={delay}", says=says(QUESTION))
    [turn] = talk.turns

    assert turn.ahead_ns == ahead_ms * MS
    assert talk.report.to_json()["ahead"] == {"p50": ahead_ms, "p90": ahead_ms}


def test_an_answer_before_the_user_has_finished_is_a_false_cut_off_and_no_latency() -> None:
    utterance = {**QUESTION, "to": 4500, "pauses": [[1200, 2000]]}
    talk = held("dialogue.barge_in=off", "ear.seconds=8", says=says(utterance))
    first = talk.turns[0]

    assert first.cut_off
    assert first.latency_ns is None
    assert "before the user had finished" in first.verdict
    assert talk.report.counts()["cut off"] == 1


def test_after_a_false_cut_off_the_answer_that_counts_is_the_one_behind_the_end() -> None:
    talk = held(
        "dialogue.barge_in=headphones", "ear.seconds=8", says=says({**QUESTION, "to": 4500, "pauses": [[1200, 2000]]})
    )
    [turn] = talk.turns

    assert turn.cut_off
    assert turn.latency_ns == 425 * MS
    assert turn.interrupted


def test_an_answer_that_was_over_before_the_user_went_on_is_a_false_cut_off_too() -> None:
    utterance = {**QUESTION, "to": 5500, "pauses": [[1200, 4500]]}
    talk = held("llm.answer=Yes.", "ear.seconds=8", says=says(utterance))

    assert talk.report.counts()["cut off"] == 1
    assert talk.turns[-1].cut_off
    assert talk.turns[-1].latency_ns == 425 * MS


def test_an_interruption_is_timed_from_the_first_voiced_sample_to_the_last_played_one() -> None:
    barge_in = {"from": 2400, "to": 3000, "text": "Stop", "barges_in": True}
    first, second = held("dialogue.barge_in=headphones", "ear.seconds=7", says=says(QUESTION, barge_in)).turns

    assert first.interrupted
    # Paused after 200 ms of speech; one block of 20 ms, a poll of 10 ms and 20 ms of latency on top.
    assert first.stopped_in_ns is not None
    assert 200 * MS <= first.stopped_in_ns <= 250 * MS
    assert first.heard == "One two three four five six seven"
    assert first.answered
    assert second.truth == "Stop"
    assert second.latency_ns == 425 * MS


def test_an_utterance_without_an_answer_is_a_failure() -> None:
    talk = held('stt.texts=[""]', says=says(QUESTION))
    [turn] = talk.turns

    assert turn.verdict == "unanswered"
    assert talk.report.counts()["unanswered"] == 1
    assert talk.report.exit_code == 1
    assert talk.report.percentile(50) is None


def test_an_utterance_that_expects_nothing_may_stay_unanswered() -> None:
    talk = held(
        'stt.texts=["", "what time is it"]', "ear.seconds=9", says=says({**QUESTION, "expects": "nothing"}, NEXT)
    )

    assert [turn.answered for turn in talk.turns] == [False, True]
    assert talk.report.exit_code == 0


def test_an_answer_to_what_expects_nothing_is_counted() -> None:
    talk = held(says=says({**QUESTION, "expects": "nothing"}))

    assert talk.report.counts()["needless"] == 1
    assert talk.report.counts()["answered"] == 0
    assert talk.report.exit_code == 0


def test_an_answer_that_is_an_error_is_a_failure_and_says_why() -> None:
    text = GRAPH.replace("llm: {type: thinker}", "llm: {type: thinker, fails: true, on_error: skip}")
    talk = held(says=says(QUESTION), text=text)
    [turn] = talk.turns

    assert "no such model" in turn.error
    assert turn.failed
    assert talk.report.exit_code == 1
    assert "no such model" in talk.report.failures[0]


def test_an_answer_belongs_to_the_utterance_before_it() -> None:
    first, second = held("ear.seconds=9", says=says(QUESTION, NEXT)).turns

    assert (first.truth, second.truth) == ("What time is it?", "And now?")
    assert first.speech_end_at < first.audible_at < second.speech_end_at < second.audible_at


def test_turns_are_told_as_they_end() -> None:
    talk = held("ear.seconds=9", says=says(QUESTION, NEXT))

    assert talk.live == talk.turns


def test_what_ended_the_session_is_no_error_of_a_turn_that_expects_no_answer() -> None:
    async def main() -> list[str]:
        session = Session(spoken("ear.seconds=3", 'stt.texts=[""]', says=says({**QUESTION, "expects": "nothing"})))
        report = Report(session)
        async with session:
            await session.finished()
            report.finish("it broke")
        return [turn.verdict for turn in report.turns]

    assert run_virtual(main()) == ["not answered, as it should be"]


def test_a_turn_that_nothing_can_answer_any_more_is_told_then_and_not_at_the_end() -> None:
    """The model hangs; the user gives up, and asks something else."""
    told: list[tuple[float, str]] = []

    async def main() -> None:
        session = Session(spoken("ear.seconds=30", "llm.delay=99s", says=says(QUESTION, NEXT)))
        report = Report(
            session, lambda turn: told.append(((session.clock.now() - session.trace.started) / SECOND, turn.verdict))
        )
        async with session:
            await asyncio.sleep(20)
            assert [(round(at), verdict) for at, verdict in told] == [(6, "unanswered")]
            await session.stop(drain_s=0)
            report.finish()

    run_virtual(main())

    assert [verdict for _, verdict in told] == ["unanswered", "unanswered"]


def test_the_budget_names_the_phase_that_broke_it() -> None:
    talk = held("llm.delay=900ms", NOT_AHEAD, says=says(QUESTION))
    [verdict] = talk.report.verdicts()

    assert not verdict.kept
    assert (verdict.phase, verdict.phase_ns) == ("LLM", 900 * MS)


def test_the_budget_is_kept_when_the_percentile_is_within_it() -> None:
    [verdict] = held(says=says(QUESTION)).report.verdicts()

    assert verdict.kept
    assert verdict.value_ns == 425 * MS


def test_without_a_turn_nothing_is_measured_and_no_budget_is_kept() -> None:
    report = held(says=[]).report

    assert report.turns == []
    assert report.exit_code == 0
    assert not report.verdicts()[0].kept


def test_the_report_is_json() -> None:
    report = held(says=says(QUESTION)).report
    data = json.loads(json.dumps(report.to_json()))

    assert data["p50"] == 425.0
    assert data["turns"][0]["phases"]["end of speech"] == 400.0
    assert data["turns"][0]["latency_ms"] == 425.0
    assert data["budget"][0]["kept"] is True


def test_each_turn_is_a_line_of_the_trace_file(tmp_path: Path) -> None:
    from flowgraph.report import Report

    path = tmp_path / "trace.jsonl"

    async def main() -> None:
        session = Session(spoken(says=says(QUESTION)), trace=path)
        report = Report(session)
        async with session:
            await session.finished()
            report.finish()

    run_virtual(main())
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert [line["latency_ms"] for line in lines if line["event"] == "turn"] == [425.0]


def test_a_turn_whose_trace_is_incomplete_says_so_and_has_no_phases() -> None:
    talk = held(says=says(QUESTION), forget=taps.COMMIT)
    [turn] = talk.turns

    assert turn.incomplete == "the trace has no commit of attempt 1"
    assert turn.phases == {}
    assert talk.report.phase_percentiles(50) == {}


def test_a_graph_without_an_owner_has_no_turns() -> None:
    text = """
nodes:
  ear: {type: ear}
  echo: {type: echo}
  speaker: {type: mouth}
edges: [ear -> echo -> speaker]
"""
    from flowgraph.graph import Graph
    from tests.spoken import TYPES
    from tests.standins import Echo

    graph = Graph.from_text(text, types={**TYPES, "echo": Echo})

    assert Conversation(graph).turns == []
