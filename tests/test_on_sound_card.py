"""The whole optimized graph in front of a real sound card (tests/sound_card.py): what is played is judged from outside.

1. With a recorded caller: a second microphone hears the speaker's monitor, on the session's clock. So what was reported can be
   held against what sounded, and when.
2. `flow run` as a user runs it: the caller's recordings are played into the room, and the monitor is recorded by another program.

`python tests/test_on_sound_card.py FOLDER` is the first one's process: PortAudio looks for devices when it is loaded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flowgraph.compare import word_errors
from flowgraph.graph import Graph
from flowgraph.report import Report
from flowgraph.session import Session
from nodes.servers.hearing import decoder, understand
from nodes.sound.levels import AUDIBLE_DBFS, AudibleWindows
from nodes.sound.monitor import MonitorRecording
from nodes.vocabulary import Audio
from tests.nodes.sound.conftest import do_without
from tests.sound_card import NoSoundCard, SoundCard, sound_card
from tests.starved import Lateness

pytestmark = [pytest.mark.sound, pytest.mark.timeout(120)]

QUESTION = "do you know what time it is"
ALL_THAT_IS_SAID = f"{QUESTION} tell me your longest story stop it tell me what day it is"

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "graphs/conversations/demo"
MS, SECOND = 1_000_000, 1_000_000_000
RATE_HZ = 16_000
MOST_LATENESS_MS = 30
QUANTUM_MS = 512 / 48
"""The card's block."""
FADE_MS = 5
TOLERANCE_MS = 8
"""Of the times that the two directions of the card state."""
LOUD = 10 ** (AUDIBLE_DBFS / 20)
MOST_WRONG = 0.35
"""The share of an answer's words that may be wrong, recognised again."""

Samples = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def card() -> Iterator[SoundCard]:
    try:
        with sound_card() as running:
            yield running
    except NoSoundCard as error:
        do_without(error)


def environment(card: SoundCard) -> dict[str, str]:
    return {**card.environment, "PYTHONPATH": str(ROOT)}


def loud(samples: Samples) -> npt.NDArray[np.bool_]:
    """Which milliseconds are above the threshold of hearing."""
    windows = samples[: len(samples) // 16 * 16].reshape(-1, 16)
    return np.asarray(np.sqrt(np.mean(windows**2, axis=1)) > LOUD)


def first_audible(samples: Samples) -> int:
    """The first sample of the first audible window of 10 ms, as perceived latency is defined; −1 = there is none."""
    windows = AudibleWindows(RATE_HZ)
    windows.feed(samples)
    return windows.first


def understood(sound: Samples) -> str:
    found = understand(decoder(streaming=False), (sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return " ".join(word.text for word in found)


# -- with a recorded caller, heard on the session's clock ----------------------------------------------------------------

CALLER = f"""
name: caller
noise_floor_dbfs: -60
utterances:
  - {{audio: {DEMO}/2-time.wav, text: Do you know what time it is?, speech: [1600, 27027], pause: 500ms}}
  - {{audio: {DEMO}/6-story.wav, text: Tell me your longest story., speech: [1600, 27864], pause: 500ms}}
  - {{audio: {DEMO}/7-stop.wav, text: Stop it. Tell me what day it is., speech: [1600, 34950], barge_in: 1800ms}}
"""

OVERHEARD = """
extends: optimized
nodes:
  mic: {device: "caller:caller.yaml"}
  dialogue: {barge_in: headphones}
  ear: {type: mic, device: default}
  tape: {type: wav_writer, path: ear.wav}
edges:
  - mic -> vad -> dialogue
  - mic -> stt -> dialogue
  - vad -> stt
  - dialogue -> llm -> split -> tts
  - {from: tts, to: speaker, hold: commit, capacity: 2s}
  - {from: speaker, to: dialogue, feedback: true}
  - ear -> tape
"""


async def converse(folder: Path) -> dict[str, Any]:
    """Hold the conversation; what the session knows of it. What the ear heard goes to FOLDER/ear.npz."""
    os.chdir(folder)
    (folder / "caller.yaml").write_text(CALLER)
    (folder / "overheard.yaml").write_text(OVERHEARD)
    session = Session(Graph.load("overheard.yaml"))
    over = asyncio.Event()
    report = Report(session, lambda turn: over.set() if turn.truth.startswith("Stop") else None)
    heard: list[Audio] = []
    session.watch(Audio, lambda audio: heard.append(audio) if audio.source == "ear" else None)
    async with session:
        finished, enough = asyncio.ensure_future(session.finished()), asyncio.ensure_future(over.wait())
        await asyncio.wait([finished, enough], return_when=asyncio.FIRST_COMPLETED)
        if not enough.done():
            await finished  # the ear never ends by itself
        report.finish()
        stream = session.node("speaker")._line.device.stream  # type: ignore[attr-defined]
        output_latency_ms = stream.output_latency_ns / MS
    np.savez(
        folder / "ear.npz",
        samples=np.concatenate([audio.samples for audio in heard]),
        at=np.concatenate([audio.at + np.arange(len(audio.samples)) * SECOND // RATE_HZ for audio in heard]),
    )
    return {
        "turns": [turn.to_json() for turn in report.turns],
        "advances": [at for at, _, _ in session.trace.advances],
        "output_latency_ms": output_latency_ms,
        "said": session.said,
    }


@dataclasses.dataclass
class Overheard:
    """What the session said, and what sounded."""

    turns: list[dict[str, Any]]
    advances: list[int]
    output_latency_ms: float
    said: list[str]
    samples: Samples
    at: npt.NDArray[np.int64]
    """The time of each."""

    def between(self, start: int, end: int) -> Samples:
        return self.samples[slice(*np.searchsorted(self.at, [start, end]))]


@pytest.fixture(scope="module")
def overheard(card: SoundCard, tmp_path_factory: pytest.TempPathFactory) -> Overheard:
    folder = tmp_path_factory.mktemp("overheard")
    card.pactl("set-default-source", "speaker.monitor")
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__)), str(folder)],
            env=environment(card), timeout=90, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        card.pactl("set-default-source", "microphone")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "ear.npz") as data:
        return Overheard(**json.loads(done.stdout), samples=data["samples"], at=data["at"])


def test_the_conversation_is_held_through_a_real_stream(overheard: Overheard) -> None:
    assert [turn["truth"][:4] for turn in overheard.turns] == ["Do y", "Tell", "Stop"]
    assert all(turn["audible_at"] and not turn["error"] for turn in overheard.turns)
    assert [turn["interrupted"] for turn in overheard.turns] == [False, True, False]
    assert all("lost sound" in said for said in overheard.said), "no stand-in was needed"


def test_the_first_audible_sample_sounds_when_the_trace_says_so(overheard: Overheard) -> None:
    for turn in overheard.turns:
        before = turn["audible_at"] - 200 * MS
        found = first_audible(overheard.between(before, turn["audible_at"] + 200 * MS))

        assert found >= 0
        assert found * 1000 / RATE_HZ - 200 == pytest.approx(0, abs=MOST_LATENESS_MS)


def test_nothing_of_an_answer_sounds_after_the_block_in_which_it_was_interrupted(overheard: Overheard) -> None:
    """And the device's own latency, which nobody can take back."""
    story, quiet = overheard.turns[1], overheard.turns[2]
    interrupted = next(at for at in overheard.advances if at > story["audible_at"])
    allowed_ms = QUANTUM_MS + overheard.output_latency_ms + FADE_MS + TOLERANCE_MS

    assert loud(overheard.between(story["audible_at"], interrupted)).mean() > 0.3, "it was being told"
    since = interrupted + round(allowed_ms * MS)
    after = loud(overheard.between(since, quiet["audible_at"] - MOST_LATENESS_MS * MS))
    assert len(after) > 500
    assert not after.any(), f"it sounds {allowed_ms + 1 + np.flatnonzero(after)[-1]:.0f} ms after the interruption"


def test_what_sounds_is_what_was_reported_as_heard(overheard: Overheard) -> None:
    ends = [*(turn["audible_at"] - 300 * MS for turn in overheard.turns[1:]), int(overheard.at[-1])]
    told = " ".join(turn["heard"] for turn in overheard.turns)
    sounded = " ".join(
        understood(overheard.between(turn["audible_at"] - 300 * MS, end))
        for turn, end in zip(overheard.turns, ends, strict=True)
    )
    wrong, words = word_errors(told, sounded)

    assert words > 15
    assert wrong / words <= MOST_WRONG


# -- as a user runs it ---------------------------------------------------------------------------------------------------


class Running:
    """A `flow run` that one can talk with."""

    def __init__(self, card: SoundCard, folder: Path, *arguments: str) -> None:
        self._card = card
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowgraph.cli", "run", "optimized", "--json", *arguments],
            cwd=folder, env=environment(card), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def until(self, what: str, condition: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(event := json.loads(line))
            if event["event"] == what and condition(event):
                return event
        raise AssertionError(f"it ended without {what}: {self.process.communicate()[1]}")

    def say(self, utterance: str) -> None:
        """Speak into the room."""
        done = self._card.run(["paplay", "--device=room", str(DEMO / f"{utterance}.wav")])
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def talk(card: SoundCard, tmp_path_factory: pytest.TempPathFactory) -> tuple[Running, Path]:
    """One conversation whose questions arrived whole, and whose answers left whole where the machine had the time for it.

    A sound server that is starved for a moment drops pieces of what `paplay` plays: then nobody could understand it, and it
    says nothing about us. Three such conversations in a row would.
    """
    for _ in range(3):
        with Lateness() as lateness:
            running, folder = converse_aloud(card, tmp_path_factory.mktemp("talk"))
        arrived = word_errors(ALL_THAT_IS_SAID, understood(channels(folder / "talk.wav")[:, 0]))[0] <= 3
        wrong, words = answers_at_the_monitor(running, folder)
        print(
            f"woken {lateness.worst_s * 1000:.1f} ms too late, at the worst; {wrong} of {words} words wrong at the monitor"
        )
        if arrived and (wrong <= MOST_WRONG * words or not lateness.starved):
            break
    return running, folder


def answers_at_the_monitor(running: Running, folder: Path) -> tuple[int, int]:
    """(words that the recogniser gets wrong in what really sounded, all words that were told as heard)."""
    told = " ".join(turn["heard"] for turn in running.events[-1]["turns"])
    return word_errors(told, understood(channels(folder / "monitor.wav")[:, 0]))


def converse_aloud(card: SoundCard, folder: Path) -> tuple[Running, Path]:
    with MonitorRecording(folder / "monitor.wav", source="speaker.monitor", rate_hz=RATE_HZ, environ=card.environment):
        running = Running(
            card, folder, "--set", "dialogue.barge_in=headphones", "--set", "mic.latency=high", "--output", "talk.wav"
        )
        try:
            running.until("listening")
            running.say("2-time")
            running.until("turn")
            running.say("6-story")
            running.until("heard", lambda heard: len(heard["text"].split()) >= 3)
            running.say("7-stop")
            running.until("turn", lambda turn: turn["number"] >= 3)
            running.process.send_signal(signal.SIGINT)
            running.until("summary")
            running.process.communicate(timeout=10)
        finally:
            running.process.kill()
    return running, folder


def channels(path: Path) -> npt.NDArray[np.float32]:
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE_HZ
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        return sound.reshape(-1, file.getnchannels())


def test_somebody_who_speaks_into_the_microphone_is_answered(talk: tuple[Running, Path]) -> None:
    running, _ = talk
    summary = running.events[-1]

    assert running.process.returncode == 130
    assert [turn["said"] for turn in summary["turns"]][:2] == [
        QUESTION,
        "tell me your longest story",
    ]
    assert summary["counts"]["answered"] == len(summary["turns"]) == 3
    assert [turn["interrupted"] for turn in summary["turns"]] == [False, True, False]
    assert summary["end_of_speech"] == "estimated"
    notes = [event["text"] for event in running.events if event["event"] == "note"]
    assert all("lost sound" in text for text in notes), "no stand-in was needed"


def test_the_speakers_monitor_holds_the_answers(talk: tuple[Running, Path]) -> None:
    running, folder = talk
    wrong, words = answers_at_the_monitor(running, folder)

    assert words > 15
    assert wrong / words <= MOST_WRONG


def test_the_sessions_own_recording_is_what_the_speaker_played(talk: tuple[Running, Path]) -> None:
    """Its right channel and the monitor hold the same answers, at the same distances from each other."""
    running, folder = talk
    audible = [turn["audible_at"] for turn in running.events[-1]["turns"]]
    told = [begin - audible[0] for begin in audible]

    def onsets(sound: Samples) -> list[int]:
        begin = first_audible(sound)
        found = []
        for after in told:
            around = begin + after * RATE_HZ // SECOND - RATE_HZ // 5
            found.append(around + first_audible(sound[max(around, 0) : around + RATE_HZ // 2]))
        return [(one - found[0]) * SECOND // RATE_HZ for one in found]

    own, monitor = onsets(channels(folder / "talk.wav")[:, 1]), onsets(channels(folder / "monitor.wav")[:, 0])
    for one, other, said in zip(own, monitor, told, strict=True):
        assert abs(one - said) < MOST_LATENESS_MS * MS
        assert abs(other - said) < MOST_LATENESS_MS * MS


def test_the_user_is_on_the_left_of_the_sessions_recording(talk: tuple[Running, Path]) -> None:
    _, folder = talk
    left = channels(folder / "talk.wav")[:, 0]

    assert word_errors(ALL_THAT_IS_SAID, understood(left))[0] <= 3


if __name__ == "__main__":
    print(json.dumps(asyncio.run(converse(Path(sys.argv[1])))))
