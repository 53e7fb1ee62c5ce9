"""On open speakers: what the speaker plays comes back into the microphone at −20 dB, through a room (tests/rooms.py).

The card's microphone hears the room and who speaks into it. `python tests/test_speakerphone.py FOLDER GRAPH` is the session's
process, as PortAudio looks for devices when it is loaded: it tells what happens as lines of JSON, and ends with a line on its stdin.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flowgraph.graph import Graph
from flowgraph.report import Report
from flowgraph.session import Session
from nodes.sound.levels import AUDIBLE_DBFS
from nodes.vocabulary import Audio, Heard, Played, SpeechStarted
from tests.nodes.sound.conftest import do_without
from tests.rooms import DEMO, RATE_HZ, Samples, clear, open_speakers, recorded
from tests.sound_card import NoSoundCard, SoundCard, sound_card

pytestmark = [pytest.mark.sound, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[1]
MS, SECOND = 1_000_000, 1_000_000_000
QUESTIONS = ("2-time", "5-date", "3-product")
"""Their answers last some seconds."""
LONG, STOP = "6-story", "7-stop"
WHOLE = 0.9
LOUD = 10 ** (AUDIBLE_DBFS / 20)
MOST_SILENT_MS, MOST_DUCKED_MS = 300, 60
"""And the latency of the device … (As on virtual time, in `tests/test_open_speakers.py`.)"""
BUSY_MS = 60
"""… on a busy machine."""


# -- the session's process -----------------------------------------------------------------------------------------------


async def converse(folder: Path, graph: str) -> None:
    """Listen and answer until a line comes; what was captured and played goes to FOLDER/sound.npz."""

    def tell(event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}), flush=True)

    # The card of a machine without real-time scheduling: with less it runs dry, or loses a block, every ten seconds.
    calm = ["mic.latency=high", "speaker.latency=high"]
    session = Session(Graph.load(graph, settings=["dialogue.barge_in=on", *calm]))
    report = Report(session, lambda turn: tell("turn", **turn.to_json()))
    captured: list[Audio] = []
    played: list[Played] = []
    late: list[int] = []

    def hear(audio: Audio) -> None:
        if audio.source == "mic":
            captured.append(audio)
            late.append(session.clock.now() - audio.end_at)

    session.watch(Audio, hear)
    session.watch(Played, played.append)
    session.watch(Heard, lambda heard: tell("heard", text=heard.text, final=heard.final, cut=heard.cut))
    session.watch(SpeechStarted, lambda started: tell("onset", at=started.at, told_at=session.clock.now()))
    async with session:
        tell("listening")
        enough = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
        finished = asyncio.ensure_future(session.finished())
        await asyncio.wait([enough, finished], return_when=asyncio.FIRST_COMPLETED)
        if finished.done():
            await finished
        report.finish()
        advances, gains = [at for at, _, _ in session.trace.advances], [(at, to) for at, to, _ in session.trace.gains]
    sounds = {"captured": captured, "played": played}
    np.savez(
        folder / "sound.npz",
        **{name: np.concatenate([one.samples for one in sound]) for name, sound in sounds.items()},
        **{f"{name}_at": np.array([one.at for one in sound]) for name, sound in sounds.items()},
        **{f"{name}_lengths": np.array([len(one.samples) for one in sound]) for name, sound in sounds.items()},
        rates=np.array([captured[0].rate_hz, played[0].rate_hz]),
        late_ms=np.median(late) / MS,
    )
    tell("over", turns=[turn.to_json() for turn in report.turns], advances=advances, gains=gains, said=session.said)


# -- who talks with it ---------------------------------------------------------------------------------------------------


class Talk:
    """A session that one can talk with, and what is known of it."""

    def __init__(self, card: SoundCard, folder: Path, graph: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._card = card
        self._folder = folder
        environment = {**card.environment, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(folder), graph],
            env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def until(self, what: str, condition: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(event := json.loads(line))
            if event["event"] == what and condition(event):
                return event
        raise AssertionError(f"it ended without {what}: {self._process.communicate()[1]}")

    def say(self, utterance: str) -> None:
        done = self._card.run(["paplay", "--device=room", str(DEMO / f"{utterance}.wav")])
        assert done.returncode == 0, done.stderr

    def ask(self, question: str) -> dict[str, Any]:
        """Ask, and hear the answer to its end."""
        self.say(question)
        return self.until("heard", lambda heard: heard["final"] and heard["text"])

    def interrupt(self, after_words: int = 4) -> None:
        """Have something long told, stop it, and hear the next answer to its end."""
        self.say(LONG)
        self.until("heard", lambda heard: len(heard["text"].split()) >= after_words)
        self.say(STOP)
        self.until("heard", lambda heard: heard["final"] and heard["cut"])
        self.until("heard", lambda heard: heard["final"] and not heard["cut"])

    def end(self) -> Outcome:
        assert self._process.stdin is not None
        self._process.stdin.write("enough\n")
        self._process.stdin.flush()
        over = self.until("over")
        self._process.communicate(timeout=20)
        with np.load(self._folder / "sound.npz") as data:
            tracks = {
                name: Track(data[name], data[f"{name}_at"], data[f"{name}_lengths"], int(rate))
                for name, rate in zip(("captured", "played"), data["rates"], strict=True)
            }
            late_ms = float(data["late_ms"])
        onsets = [event for event in self.events if event["event"] == "onset"]
        return Outcome(over["turns"], over["advances"], over["gains"], onsets, late_ms, **tracks)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclasses.dataclass
class Track:
    """Sound, and the time of each piece of it (session's clock, nanoseconds)."""

    samples: Samples
    at: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    rate_hz: int

    def __post_init__(self) -> None:
        begins = np.cumsum(self.lengths) - self.lengths
        places = np.arange(len(self.samples)) - np.repeat(begins, self.lengths)
        self.times = np.repeat(self.at, self.lengths) + places * SECOND // self.rate_hz

    def find(self, sound: Samples, count: int) -> list[tuple[int, float]]:
        """When a sound begins, the `count` times that it is there, and which share of it; in order."""
        size = len(self.samples) + len(sound)
        match = np.fft.irfft(np.fft.rfft(self.samples, size) * np.conj(np.fft.rfft(sound, size)), size)
        found = []
        for _ in range(count):
            best = int(np.argmax(match[: len(self.samples)]))
            found.append((int(self.times[best]), float(match[best] / (sound @ sound))))
            match[max(best - len(sound), 0) : best + len(sound)] = 0
        return sorted(found)

    def last_audible(self, begin: int, end: int) -> int:
        """The end of the last audible millisecond between two times."""
        first, last = np.searchsorted(self.times, [begin, end])
        step = self.rate_hz // 1000
        piece = self.samples[first:last]
        levels = np.sqrt(np.mean(piece[: len(piece) // step * step].reshape(-1, step) ** 2, axis=1))
        loud = np.flatnonzero(levels > LOUD)
        return int(self.times[first + (loud[-1] + 1) * step]) if len(loud) else begin


@dataclasses.dataclass
class Outcome:
    """A conversation that is over."""

    turns: list[dict[str, Any]]
    advances: list[int]
    gains: list[tuple[int, float]]
    onsets: list[dict[str, Any]]
    late_ms: float
    """So long after a frame's last sample was captured it comes out of the microphone: its device's own latency."""
    captured: Track
    played: Track

    def finished(self) -> list[dict[str, Any]]:
        """The turns whose answers were heard to their end."""
        return [turn for turn in self.turns if turn["audible_at"] and not turn["interrupted"]]

    def disturbed(self, turn: dict[str, Any], *, most: float = 0.99) -> bool:
        """Was the answer's gain `most` or less while it was heard? 0: paused. A single window that sounds like speech ducks it."""
        over = next((at for at in self.advances if at > turn["audible_at"]), self.played.times[-1])
        return any(turn["audible_at"] < at < over and gain <= most for at, gain in self.gains)

    def interruptions(self) -> list[Interruption]:
        """What became of each `STOP`."""
        sound, found = recorded(STOP), []
        count = sum(turn["interrupted"] for turn in self.turns)
        for begin, share in self.captured.find(sound, count):
            onset = begin + clear(sound) * SECOND // RATE_HZ
            advanced = next(at for at in self.advances if at > onset)
            up = max(at for at in (*self.advances, *(at for at, gain in self.gains if gain == 1)) if at < advanced)
            ducked = next(at for at, gain in self.gains if at > up and gain < 1)
            silent = self.played.last_audible(onset, advanced + 100 * MS)
            told = next(event["told_at"] for event in self.onsets if event["told_at"] > onset)
            found.append(Interruption(share, *((at - onset) / MS for at in (told, ducked, silent, advanced))))
        return found


@dataclasses.dataclass
class Interruption:
    """Milliseconds from when the microphone captured the user's first sound that is clearly louder than the echo."""

    whole: float
    """The share of it that arrived (louder by 3 dB): a sound server that is starved drops pieces of what `paplay` plays."""
    noticed_ms: float
    """The VAD says so."""
    ducked_ms: float
    """It has been ducked since then: before the first clear sound, where something of the hiss before that was heard."""
    silent_ms: float
    """The last audible sample at the ear."""
    certain_ms: float
    """The answer is over."""


@pytest.fixture(scope="module")
def card() -> Iterator[SoundCard]:
    try:
        with sound_card() as running, open_speakers(running, loss_db=20, delay_ms=10):
            yield running
    except NoSoundCard as error:
        do_without(error)


def talked(
    card: SoundCard, folder: Path, graph: str, questions: Sequence[str], interruptions: int = 0, *, each: int = 0
) -> Outcome:
    """Ask, then interrupt; or interrupt after `each` so many questions."""
    talk = Talk(card, folder, graph)
    try:
        talk.until("listening")
        for number, question in enumerate(questions, 1):
            talk.ask(question)
            if each and number % each == 0:
                talk.interrupt()
        for _ in range(interruptions):
            talk.interrupt()
        return talk.end()
    finally:
        talk.kill()


@pytest.fixture(scope="module")
def cancelled(card: SoundCard, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One conversation whose interruption arrived whole."""
    for _ in range(3):
        outcome = talked(card, tmp_path_factory.mktemp("cancelled"), "speakerphone", QUESTIONS, 1)
        if all(one.whole > WHOLE for one in outcome.interruptions()):
            break
    return outcome


def test_with_the_canceller_answers_are_finished(cancelled: Outcome) -> None:
    assert len(cancelled.finished()) == len(QUESTIONS) + 1, "and the one behind the interruption"
    assert not any(cancelled.disturbed(turn, most=0.0) for turn in cancelled.finished()[: len(QUESTIONS)])


def test_with_the_canceller_the_user_can_interrupt(cancelled: Outcome) -> None:
    [interruption] = cancelled.interruptions()
    print(interruption, cancelled.late_ms)

    assert [turn["interrupted"] for turn in cancelled.turns].count(True) == 1
    assert interruption.ducked_ms - cancelled.late_ms < MOST_DUCKED_MS + BUSY_MS
    assert interruption.silent_ms - cancelled.late_ms < MOST_SILENT_MS + BUSY_MS


def test_without_the_canceller_it_interrupts_itself(card: SoundCard, tmp_path: Path) -> None:
    """Its own voice makes it duck, pause, or stop; what it hears of itself it may even answer."""
    outcome = talked(card, tmp_path, "optimized", QUESTIONS[:1])

    assert any(turn["interrupted"] or outcome.disturbed(turn) for turn in outcome.turns)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_twenty_answers_in_a_row_are_finished_and_every_interruption_stops_one(card: SoundCard, tmp_path: Path) -> None:
    outcome = talked(card, tmp_path, "speakerphone", (QUESTIONS * 7)[:20], each=4)
    stopped = outcome.interruptions()
    whole = [one for one in stopped if one.whole > WHOLE]
    print(*stopped, sep="\n")

    assert len(outcome.finished()) == 25
    assert len(stopped) == 5
    assert len(whole) >= 3
    assert max(one.silent_ms for one in whole) - outcome.late_ms < MOST_SILENT_MS + BUSY_MS
    assert max(one.ducked_ms for one in whole) - outcome.late_ms < MOST_DUCKED_MS


if __name__ == "__main__":
    asyncio.run(converse(Path(sys.argv[1]), sys.argv[2]))
