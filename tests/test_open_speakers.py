"""Open speakers on virtual time: a recorded caller, a voice that really speaks, and a room in which the microphone hears it."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowgraph.clock import run_virtual
from flowgraph.graph import Graph
from flowgraph.report import Report, TurnReport
from flowgraph.session import Session
from flowgraph.testing import services_of
from flowgraph.units import MS
from nodes.servers import llm, scripted, tts
from nodes.sound.conversation import load_conversation
from nodes.vocabulary import SpeechStarted, Utterance
from tests.rooms import DEMO, RATE_HZ, clear, recorded

NOW = datetime(2026, 11, 28, 10, 20, tzinfo=UTC)
"""What the assistant says is the same at any time of the day."""
DUCKED_MS = 60
QUESTIONS = (
    ("2-time", "Do you know what time it is?", [1600, 27027]),
    ("5-date", "Please tell me the date of today.", [1600, 25661]),
    ("4-recall", "Do you remember my name?", [1600, 23987]),
)
STORY = ("6-story", "Tell me your longest story.", [1600, 27864])
STOP = ("7-stop", "Stop it. Tell me what day it is.", [1600, 34950])

OPEN = """
extends: {base}
nodes:
  hall: {{type: "tests.rooms:Hall"}}
  dialogue: {{barge_in: on}}
edges:
  - mic -> hall -> {ear}
{more}
  - vad -> dialogue
  - stt -> dialogue
  - vad -> stt
  - dialogue -> llm -> split -> tts
  - {{from: tts, to: speaker, hold: commit, capacity: 2s}}
  - {{from: speaker, to: dialogue, feedback: true}}
  - {{from: speaker, to: hall, feedback: true, overflow: drop_oldest}}
"""
CANCELLED = """
  - aec -> vad
  - aec -> stt
  - aec -> dialogue
  - {from: speaker, to: aec, feedback: true, overflow: drop_oldest}
"""


@dataclasses.dataclass
class Talk:
    """What became of a conversation."""

    turns: list[TurnReport]
    gains: list[tuple[int, float, int]]
    onsets: list[SpeechStarted]
    utterances: list[Utterance]

    def false_onsets(self) -> int:
        """Onsets while the caller says nothing."""
        said = [(one.start_at - 200 * MS, one.end_at + 100 * MS) for one in self.utterances]
        return sum(not any(begin <= one.at <= end for begin, end in said) for one in self.onsets)


def talk(folder: Path, *, cancel: bool, answers: int, interruptions: int) -> Talk:
    """`answers` questions, and after every few of them a story that is interrupted."""
    lines = []
    every = answers // interruptions if interruptions else answers + 1
    for number in range(answers):
        lines.append(line(QUESTIONS[number % len(QUESTIONS)], "pause: 600ms"))
        if (number + 1) % every == 0:
            lines += [line(STORY, "pause: 600ms"), line(STOP, "barge_in: 2500ms")]
    caller = folder / "caller.yaml"
    caller.write_text("name: caller\nnoise_floor_dbfs: -65\nutterances:\n" + "".join(lines))
    graph = folder / "open.yaml"
    base, ear = ("speakerphone", "aec") if cancel else ("optimized", "vad")
    graph.write_text(OPEN.format(base=base, ear=ear, more=CANCELLED if cancel else "  - hall -> stt"))
    apps = {
        "stt": scripted.stt(scripted.lines_of(load_conversation(caller))),
        "llm": llm.app(first_token_ms=100, token_ms=10, now=lambda: NOW),
        "tts": tts.app(),
    }
    session = Session(
        Graph.load(graph, settings=[f"mic.device=caller:{caller}", "speaker.device=null"]), services=services_of(apps)
    )
    report = Report(session)
    onsets: list[SpeechStarted] = []
    utterances: list[Utterance] = []
    session.watch(SpeechStarted, onsets.append)
    session.watch(Utterance, utterances.append)

    async def main() -> None:
        async with session, asyncio.timeout(1000):
            await session.finished()
        report.finish()

    run_virtual(main(), limit_s=2000, real_limit_s=300)
    return Talk(report.turns, session.trace.gains, onsets, utterances)


def line(what: tuple[str, str, list[int]], when: str) -> str:
    name, text, speech = what
    return f"  - {{audio: {DEMO}/{name}.wav, text: {text}, speech: {speech}, {when}}}\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("answers", [8, pytest.param(20, marks=pytest.mark.soak)])
def test_answers_in_a_row_are_finished(answers: int, tmp_path: Path) -> None:
    outcome = talk(tmp_path, cancel=True, answers=answers, interruptions=0)

    assert len(outcome.turns) == answers
    assert all(turn.answered and not turn.interrupted for turn in outcome.turns)
    assert outcome.false_onsets() == 0
    assert not outcome.gains, "nobody spoke: none was ducked"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stories", [2, pytest.param(6, marks=pytest.mark.soak)])
def test_who_speaks_is_heard_over_the_answer(stories: int, tmp_path: Path) -> None:
    """Counted from the first voiced sample of a "Stop it" that begins with a hiss at the level of the echo."""
    outcome = talk(tmp_path, cancel=True, answers=stories, interruptions=stories)
    stopped = [turn for turn in outcome.turns if turn.interrupted]
    ducked_ms, paused_ms = [], []
    for one in outcome.utterances:
        if one.text == STOP[1]:
            later = [((at - one.start_at) / MS, gain) for at, gain, _ in outcome.gains if at > one.start_at]
            ducked_ms.append(next(ms for ms, gain in later if gain < 1))
            paused_ms.append(next(ms for ms, gain in later if gain == 0))

    assert [turn.truth for turn in stopped] == [STORY[1]] * stories
    assert len(ducked_ms) == stories
    assert max(ducked_ms) <= DUCKED_MS
    assert max(paused_ms) < 300
    for turn in stopped:
        assert turn.stopped_in_ns is not None
        begin_ms = (clear(recorded(STOP[0])) - STOP[2][0]) * 1000 / RATE_HZ
        assert turn.stopped_in_ns / MS - begin_ms < 300, "certain, counted from what is clearly louder than the echo"


def test_without_the_canceller_it_interrupts_itself(tmp_path: Path) -> None:
    outcome = talk(tmp_path, cancel=False, answers=3, interruptions=0)

    assert outcome.false_onsets() >= 3
