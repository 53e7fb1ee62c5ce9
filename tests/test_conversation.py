"""The main job, in real time: the bundled conversation, really recognised and really spoken, on a machine without anything."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from flowgraph.compare import word_errors
from nodes.servers import hearing
from nodes.servers.stt import to_s16le

pytestmark = pytest.mark.timeout(240)
AUDIBLE = 10 ** (-50 / 20)


@dataclasses.dataclass
class Talk:
    status: int
    turns: list[dict[str, Any]]
    summary: dict[str, Any]
    began_at: int
    """The session's time of the recording's first sample."""
    user: np.ndarray[Any, np.dtype[np.float32]]
    assistant: np.ndarray[Any, np.dtype[np.float32]]
    rate_hz: int

    def second(self, at: int) -> float:
        return (at - self.began_at) / 1e9


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    folder = tmp_path_factory.mktemp("talk")
    done = subprocess.run(
        [sys.executable, "-m", "flowgraph.cli", "run", "optimized", "--json", "--input", "demo",
         "--set", "speaker.device=null", "--output", "talk.wav", "--trace", "talk.jsonl"],
        cwd=folder, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    events = [json.loads(line) for line in (folder / "talk.jsonl").read_text().splitlines()]
    turns = [event for event in events if event["event"] == "turn"]
    assert turns, done.stderr
    samples, rate_hz = stereo(folder / "talk.wav")
    user, assistant = samples[:, 0], samples[:, 1]
    utterances = [event for event in events if event["event"] == "frame" and event["type"] == "Utterance"]
    # The recording begins with the first captured block: found where the first annotated word begins in the left channel.
    onset = first_voiced(user, rate_hz)
    began_at = utterances[0]["fields"]["start_at"] - round(onset * 1e9)
    return Talk(done.returncode, turns, json.loads(done.stdout.splitlines()[-1]), began_at, user, assistant, rate_hz)


def stereo(path: Path) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    import wave

    with wave.open(str(path)) as file:
        assert file.getnchannels() == 2
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        return data.reshape(-1, 2), file.getframerate()


def first_voiced(samples: np.ndarray[Any, np.dtype[np.float32]], rate_hz: int) -> float:
    """Second at which the first 5 ms window is above −45 dBFS: the rule of the conversation's annotation."""
    size = rate_hz * 5 // 1000
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    return int(np.argmax((windows**2).mean(axis=1) > 10**-4.5)) * size / rate_hz


def understood(samples: np.ndarray[Any, np.dtype[np.float32]], rate_hz: int) -> str:
    sound = to_s16le(soxr.resample(samples, rate_hz, hearing.RATE_HZ))
    return " ".join(word.text for word in hearing.understand(hearing.decoder(streaming=False), sound))


def test_every_utterance_is_answered_and_the_program_is_content(talk: Talk) -> None:
    assert [turn["truth"][:4] for turn in talk.turns] == [
        "Good",
        "Do y",
        "Coul",
        "Do y",
        "Plea",
        "Tell",
        "Stop",
        "That",
    ]
    assert all(turn["audible_at"] and not turn["error"] for turn in talk.turns)
    assert talk.status == 0


def test_the_caller_is_understood(talk: Talk) -> None:
    """Over the real socket, finalised at 96 ms of silence: at most 15 % of the words are wrong."""
    truth = " ".join(turn["truth"] for turn in talk.turns)
    wrong, words = word_errors(truth, " ".join(turn["said"] for turn in talk.turns))

    assert words > 50
    assert wrong / words <= 0.15


def test_the_first_sound_comes_within_a_second(talk: Talk) -> None:
    latencies = [turn["latency_ms"] for turn in talk.turns if turn["latency_ms"] is not None]

    assert len(latencies) >= 7
    assert statistics.median(latencies) < 1000


def test_the_phases_of_each_turn_add_up(talk: Talk) -> None:
    for turn in talk.turns:
        if turn["latency_ms"] is not None:
            assert sum(turn["phases"].values()) == pytest.approx(turn["latency_ms"], abs=0.001), turn["incomplete"]


def test_the_recording_holds_both_in_time(talk: Talk) -> None:
    """What the trace says of the first audible sample is where the recording has it, within 30 ms."""
    size = talk.rate_hz // 100
    windows = talk.assistant[: len(talk.assistant) // size * size].reshape(-1, size)
    audible = np.sqrt((windows**2).mean(axis=1)) > AUDIBLE
    for turn in talk.turns:
        at = talk.second(turn["audible_at"])
        first = round(at * 100)
        near = np.flatnonzero(audible[max(first - 20, 0) : first + 20])
        assert len(near), f"nothing is audible around {at:.2f} s"
        onset = (max(first - 20, 0) + near[0]) / 100
        silent_before = not audible[max(first - 10, 0) : max(first - 4, 0)].any()
        assert silent_before
        assert onset == pytest.approx(at, abs=0.03)


def test_the_answers_can_be_understood(talk: Talk) -> None:
    """Recognised again, the recorded answers hold their words: at most 35 % are wrong."""
    wrong = words = 0
    for turn in talk.turns:
        if turn["interrupted"] or not turn["heard"].strip():
            continue
        begin = talk.second(turn["audible_at"])
        later = [
            talk.second(other["speech_end_at"]) for other in talk.turns if other["speech_end_at"] > turn["audible_at"]
        ]
        end = min(later, default=len(talk.assistant) / talk.rate_hz)
        part = talk.assistant[round((begin - 0.3) * talk.rate_hz) : round(end * talk.rate_hz)]
        missed, said = word_errors(turn["heard"], understood(part, talk.rate_hz))
        wrong, words = wrong + missed, words + said

    assert words > 25
    assert wrong / words <= 0.35
