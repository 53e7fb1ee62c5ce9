"""The main job, in real time: the bundled conversation, really recognised and really spoken, on a machine without anything."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flowgraph.compare import word_errors
from nodes.servers.hearing import decoder, understand
from nodes.sound.conversation import load_conversation
from nodes.sound.levels import AudibleWindows
from tests.benchmarks import bare
from tests.benchmarks.conversation import BARE_S, MOST_CPU, Observed
from tests.benchmarks.figures import SLACK

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "graphs/conversations/demo.yaml"
INTERRUPTED = [False] * 5 + [True] + [False] * 2
"""Which answers the caller speaks into."""
ATTEMPTS = 3
STARVED_S = 0.6
"""A recogniser that is so far behind the sound gets too little of a processor. On a machine that does nothing else it is 0.4 s at most."""
MOST_LATENESS_S = 0.03
"""What is recorded and what is reported may differ by so much."""
VOICED = 10 ** (-45 / 20)
"""The caller's own rule for where speech begins: 5 ms above this."""

Samples = npt.NDArray[np.float32]


@dataclasses.dataclass
class Talk:
    """A run that is over, with what it left. Seconds count from the beginning of the recording."""

    status: int
    said_wrong: str
    """stderr."""
    cpu_ratio: float
    """To what a bare program takes meanwhile."""
    turns: list[dict[str, Any]]
    traced: list[dict[str, Any]]
    """The same, from the trace."""
    utterances: list[dict[str, Any]]
    user: Samples
    assistant: Samples
    rate_hz: int
    began_at: int = 0
    """On the session's clock, nanoseconds."""

    def __post_init__(self) -> None:
        # The recording doesn't say when it began: the caller's first word tells.
        self.began_at = self.utterances[0]["start_at"] - round(self.first_voiced(self.user) * 1e9)

    def second(self, at: int) -> float:
        return (at - self.began_at) / 1e9

    def between(self, channel: Samples, start: float, end: float) -> Samples:
        return channel[max(round(start * self.rate_hz), 0) : round(end * self.rate_hz)]

    def first_voiced(self, sound: Samples) -> float:
        size = self.rate_hz * 5 // 1000
        windows = sound[: len(sound) // size * size].reshape(-1, size)
        return int(np.argmax(np.sqrt((windows**2).mean(axis=1)) > VOICED)) * size / self.rate_hz

    def first_audible(self, sound: Samples) -> float | None:
        """As perceived latency is defined."""
        windows = AudibleWindows(self.rate_hz)
        windows.feed(sound)
        return None if windows.first < 0 else windows.first / self.rate_hz

    def answers(self) -> list[tuple[str, float, float]]:
        """What was heard of each answer; from when, until the next thing that the user says."""
        found = []
        for turn in self.turns:
            later = (one["start_at"] for one in self.utterances if one["start_at"] > turn["audible_at"])
            end = self.second(min(later, default=self.began_at + round(1e9 * len(self.assistant) / self.rate_hz)))
            found.append((turn["heard"], self.second(turn["audible_at"]), end + 0.3 * turn["interrupted"]))
        return found


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """The conversation; where it went wrong on a machine that was starved meanwhile, once more, ATTEMPTS times at most."""
    for _ in range(ATTEMPTS):
        folder = tmp_path_factory.mktemp("talk")
        held, late_s = _held(folder)
        if _is_as_it_should_be(held):
            break
        print(f"the recogniser was {late_s:.2f} s behind, at the worst")
        for turn, interrupted in zip(held.turns, INTERRUPTED, strict=False):
            if turn["interrupted"] != interrupted or not turn["audible_at"] or turn["error"]:
                command = [sys.executable, "-m", "flowgraph", "trace", "talk.jsonl", "--turn", str(turn["number"])]
                print(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout)
        if late_s < STARVED_S:
            break
    return held


def _held(folder: Path) -> tuple[Talk, float]:
    """And by how many seconds, at the worst, the recogniser, who needs the most of a processor, was behind the sound."""
    done = Observed()
    with bare.beside(BARE_S) as alone:
        done.run(
            "--input",
            "demo",
            "--set",
            "speaker.device=null",
            "--output",
            "talk.wav",
            "--trace",
            "talk.jsonl",
            cwd=folder,
        )
    assert (folder / "talk.wav").exists(), done.errors
    traced = [json.loads(line) for line in (folder / "talk.jsonl").read_text(encoding="utf-8").splitlines()]
    with wave.open(str(folder / "talk.wav")) as file:
        assert file.getnchannels() == 2
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32).reshape(-1, 2) / 32768
        rate_hz = file.getframerate()
    frames = [event for event in traced if event["event"] == "frame"]
    held = Talk(
        done.exit_code,
        done.errors,
        done.cpu_a_minute / (alone.result()["cpu_s"] / BARE_S * 60),
        [event for event in done.events if event["event"] == "turn"],
        [event for event in traced if event["event"] == "turn"],
        [event["fields"] for event in frames if event["type"] == "Utterance"],
        sound[:, 0],
        sound[:, 1],
        rate_hz,
    )
    late = (event["at"] - event["fields"]["end_at"] for event in frames if event["type"] == "Transcript")
    return held, max(late, default=0) / 1e9


def _is_as_it_should_be(talk: Talk) -> bool:
    return (
        (talk.status, talk.said_wrong) == (0, "")
        and all(turn["audible_at"] and not turn["error"] for turn in talk.turns)
        and [turn["interrupted"] for turn in talk.turns] == INTERRUPTED
    )


def test_every_utterance_is_answered_and_the_program_is_content(talk: Talk) -> None:
    assert [turn["truth"] for turn in talk.turns] == [one.text for one in load_conversation(DEMO).utterances]
    assert all(turn["audible_at"] and not turn["error"] for turn in talk.turns)
    assert [turn["interrupted"] for turn in talk.turns] == INTERRUPTED
    assert (talk.status, talk.said_wrong) == (0, "")


def test_the_caller_is_understood_though_finalised_after_96_ms_of_silence(talk: Talk) -> None:
    truth = " ".join(turn["truth"] for turn in talk.turns)
    wrong, words = word_errors(truth, " ".join(turn["said"] for turn in talk.turns))

    assert words > 50
    assert wrong / words <= 0.15


def test_the_first_sound_comes_within_a_second_of_the_true_end_of_speech(talk: Talk) -> None:
    ends = [one["end_at"] for one in talk.utterances]
    latencies = [turn["latency_ms"] for turn in talk.turns if turn["latency_ms"] is not None]

    assert [turn["speech_end_at"] for turn in talk.turns] == ends
    assert len(latencies) >= 7
    assert statistics.median(latencies) < 1000


def test_it_takes_no_more_of_a_processor_than_its_share_of_what_a_bare_program_takes(talk: Talk) -> None:
    assert 1 < talk.cpu_ratio <= MOST_CPU * SLACK


def test_the_phases_of_each_turn_add_up(talk: Talk) -> None:
    for turn in talk.turns:
        if turn["latency_ms"] is not None:
            assert turn["latency_ms"] == pytest.approx((turn["audible_at"] - turn["speech_end_at"]) / 1e6)
            assert sum(turn["phases"].values()) == pytest.approx(turn["latency_ms"], abs=0.001), turn["incomplete"]


def test_the_trace_tells_the_same_turns(talk: Talk) -> None:
    assert talk.traced == talk.turns


def test_the_recording_has_the_caller_on_the_left_in_time(talk: Talk) -> None:
    for one in talk.utterances:
        start, end = talk.second(one["start_at"]), talk.second(one["end_at"])
        spoken = talk.between(talk.user, start - 0.2, end + 0.2)

        assert talk.first_voiced(spoken) - 0.2 == pytest.approx(0, abs=MOST_LATENESS_S)
        assert talk.first_voiced(spoken[::-1]) - 0.2 == pytest.approx(0, abs=MOST_LATENESS_S)


def test_the_recording_has_the_answers_on_the_right_when_they_were_reported(talk: Talk) -> None:
    for _, begin, _ in talk.answers():
        found = talk.first_audible(talk.between(talk.assistant, begin - 0.3, begin + 0.3))

        assert found is not None, f"nothing is audible around {begin:.2f} s"
        assert found - 0.3 == pytest.approx(0, abs=MOST_LATENESS_S)
        assert np.abs(talk.between(talk.user, begin, begin + 0.1)).max() < VOICED, "the answers are not on the left"


def test_the_recorded_answers_can_be_understood(talk: Talk) -> None:
    """By the recogniser that understood the caller: they hold the words that were reported as heard."""
    ear = decoder(streaming=False)
    wrong = words = 0
    for heard, begin, end in talk.answers():
        sound = talk.between(talk.assistant, begin - 0.3, end)
        understood = understand(ear, (sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
        missed, said = word_errors(heard, " ".join(word.text for word in understood))
        wrong, words = wrong + missed, words + said

    assert talk.rate_hz == 16_000, "the recogniser's own"
    assert words > 30
    assert wrong / words <= 0.35
