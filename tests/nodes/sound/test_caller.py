"""A recorded user against assistants that are scripts: on time that is counted, without a loop."""

from __future__ import annotations

import dataclasses
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flowgraph.units import MS, SECOND
from nodes.sound.caller import Caller
from nodes.sound.conversation import RATE_HZ, load_conversation
from nodes.sound.room import Room
from nodes.vocabulary import Utterance

DEMO = Path("graphs/conversations/demo.yaml")
BEGIN = 1000 * SECOND
BLOCK = RATE_HZ // 100
SPEECH_MS = 1000
"""How long an utterance of `conversation` is: 100 ms of silence, 800 of tone, 100 of silence."""


@dataclasses.dataclass
class Call:
    """What came of a call."""

    utterances: list[Utterance]
    sound: np.ndarray
    ended_at: int

    @property
    def ms(self) -> list[float]:
        """When each recording began to play, in ms from the start."""
        return [round((one.start_at - BEGIN) / MS - 100, 0) for one in self.utterances]


@dataclasses.dataclass
class Clock:
    time: int = BEGIN

    def now(self) -> int:
        return self.time


def call(path: Path, assistant: Callable[[Room, Utterance, Callable[[int, Callable[[], None]], None]], None]) -> Call:
    """Let a caller speak to `assistant(room, utterance, later)`, which is told of each; `later(ms, what)` plans from then on."""
    clock = Clock()
    room = Room(clock)
    caller = Caller(load_conversation(path), room)
    utterances: list[Utterance] = []
    sound: list[np.ndarray] = []
    plans: list[tuple[int, Callable[[], None]]] = []
    while not caller.ended and clock.time < BEGIN + 200 * SECOND:
        for plan in sorted((p for p in plans if p[0] <= clock.time), key=lambda p: p[0]):
            plans.remove(plan)
            plan[1]()
        sound.append(caller.read(BLOCK, clock.time))
        clock.time += 10 * MS
        while caller.spoken:
            utterances.append(caller.spoken.popleft())
            since = clock.time
            assistant(room, utterances[-1], lambda ms, what, since=since: plans.append((since + ms * MS, what)))
    return Call(utterances, np.concatenate(sound), clock.time)


def answers(after_ms: int = 300, for_ms: int = 2000) -> Callable[..., None]:
    """An assistant that answers everything."""

    def assistant(room: Room, utterance: Utterance, later: Callable[..., None]) -> None:
        begin, end = utterance.end_at + after_ms * MS, utterance.end_at + (after_ms + for_ms) * MS
        later(after_ms, lambda: room.answer_begins(begin))
        for ms in range(0, for_ms, 250):
            later(after_ms + ms, lambda ms=ms: room.answer_sounds(begin + ms * MS))
        later(after_ms + for_ms, lambda: room.answer_ends(end))

    return assistant


def silent(room: Room, utterance: Utterance, later: Callable[..., None]) -> None:
    """An assistant that never answers."""


def conversation(folder: Path, *utterances: str, patience: str = "5s") -> Path:
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype("<i2")
    tone[: RATE_HZ // 10] = tone[-RATE_HZ // 10 :] = 0
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(tone.tobytes())
    lines = "\n".join(f"  - {{audio: a.wav, text: t, speech: [1600, 14399], {one}}}" for one in utterances)
    path = folder / "talk.yaml"
    path.write_text(f"name: test\nnoise_floor_dbfs: -70\npatience: {patience}\nutterances:\n{lines}\n")
    return path


def test_it_speaks_again_when_the_answer_is_over(tmp_path: Path) -> None:
    held = call(conversation(tmp_path, "pause: 500ms", "pause: 700ms"), answers(300, 2000))

    assert held.ms == [500, 500 + 900 + 300 + 2000 + 700]
    assert held.ended_at - held.utterances[-1].end_at == pytest.approx((300 + 2000 + 500) * MS, abs=20 * MS)


def test_utterances_know_their_times_to_the_sample(tmp_path: Path) -> None:
    held = call(conversation(tmp_path, "pause: 500ms", "pause: 712ms"), answers())

    voiced = np.flatnonzero(np.abs(held.sound) > 0.01)
    gap = int(np.argmax(np.diff(voiced)))
    found = [voiced[0], voiced[gap], voiced[gap + 1], voiced[-1]]
    told = [time for one in held.utterances for time in (one.start_at, one.end_at)]
    assert [(time - BEGIN) * RATE_HZ / SECOND for time in told] == pytest.approx(found, abs=3)


def test_without_an_answer_it_goes_on_when_its_patience_ends(tmp_path: Path) -> None:
    held = call(conversation(tmp_path, "pause: 500ms", "pause: 700ms", patience="3s"), silent)

    assert held.ms == pytest.approx([500, 500 + 900 + 3000 + 700], abs=1)
    assert held.ended_at - held.utterances[-1].end_at == pytest.approx(3500 * MS, abs=20 * MS)


def test_what_expects_no_answer_is_followed_at_once(tmp_path: Path) -> None:
    held = call(conversation(tmp_path, "pause: 500ms, expects: nothing", "pause: 700ms"), silent)

    assert held.ms == [500, 500 + SPEECH_MS + 700]
    assert [one.expects for one in held.utterances] == ["nothing", "answer"]


def test_it_barges_in_so_long_after_the_answer_became_audible(tmp_path: Path) -> None:
    held = call(conversation(tmp_path, "pause: 500ms", "barge_in: 1500ms"), answers(400, 5000))

    assert held.ms == [500, 500 + 900 + 400 + 1500]
    assert held.utterances[1].barges_in


def test_without_an_answer_to_barge_into_it_waits_and_goes_on(tmp_path: Path) -> None:
    held = call(conversation(tmp_path, "pause: 500ms", "barge_in: 1500ms", patience="2s"), silent)

    assert len(held.utterances) == 2
    assert held.ms[1] >= 500 + 900 + 2000


def test_the_answer_that_it_interrupted_is_not_the_answer_to_the_interruption(tmp_path: Path) -> None:
    def assistant(room: Room, utterance: Utterance, later: Callable[..., None]) -> None:
        if utterance.index == 0:
            answers(400, 60_000)(room, utterance, later)
        elif utterance.index == 1:
            room.answer_ends(utterance.start_at + 300 * MS, cut=True)
            answers(1000, 1000)(room, utterance, later)

    held = call(conversation(tmp_path, "pause: 500ms", "barge_in: 1s", "pause: 700ms"), assistant)

    assert held.utterances[2].start_at - held.utterances[1].end_at == (1000 + 1000 + 700 + 100) * MS


def test_an_answer_that_began_too_early_and_was_cut_is_no_answer(tmp_path: Path) -> None:
    clock = Clock()
    room = Room(clock)
    caller = Caller(load_conversation(conversation(tmp_path, "pause: 500ms", "pause: 700ms")), room)
    for n in range(3 * 100):
        if n == 90:
            room.answer_begins(clock.time)  # in the middle of the utterance, which lasts from 600 to 1400 ms
        if n == 120:
            room.answer_ends(clock.time, cut=True)
        caller.read(BLOCK, clock.time)
        clock.time += 10 * MS
    assert len(caller.spoken) == 1, "it still waits"

    room.answer_begins(clock.time)
    room.answer_ends(clock.time + 1000 * MS)
    for _ in range(400):
        caller.read(BLOCK, clock.time)
        clock.time += 10 * MS
    assert caller.spoken[1].start_at == BEGIN + (3000 + 1000 + 700 + 100) * MS


def test_a_second_answer_in_the_pause_is_listened_to_as_well(tmp_path: Path) -> None:
    def assistant(room: Room, utterance: Utterance, later: Callable[..., None]) -> None:
        answers(300, 1000)(room, utterance, later)
        begin = utterance.end_at + 1600 * MS
        later(1600, lambda: room.answer_begins(begin))
        later(2600, lambda: room.answer_ends(begin + 1000 * MS))

    held = call(conversation(tmp_path, "pause: 500ms", "pause: 700ms"), assistant)

    assert held.ms[1] == 500 + 900 + 2600 + 700


def test_an_answer_that_falls_silent_without_an_end_is_over_after_two_seconds(tmp_path: Path) -> None:
    def assistant(room: Room, utterance: Utterance, later: Callable[..., None]) -> None:
        begin = utterance.end_at + 300 * MS
        later(300, lambda: room.answer_begins(begin))
        later(800, lambda: room.answer_sounds(begin + 500 * MS))

    held = call(conversation(tmp_path, "pause: 500ms", "pause: 700ms"), assistant)

    assert held.ms[1] == pytest.approx(500 + 900 + 800 + 2000, abs=20), "the pause is part of the two seconds"


def test_the_noise_of_the_room_never_stops_and_has_no_seam(tmp_path: Path) -> None:
    held = call(conversation(tmp_path, "pause: 9s"), silent)

    quiet = held.sound[: 9 * RATE_HZ].reshape(-1, BLOCK)
    levels = 20 * np.log10(np.sqrt(np.mean(quiet**2, axis=1)))
    assert levels == pytest.approx(-70, abs=2.5)


def test_the_bundled_user_holds_the_whole_conversation() -> None:
    held = call(DEMO, answers(400, 3500))

    recorded = load_conversation(DEMO).utterances
    assert [one.text for one in held.utterances] == [one.text for one in recorded]
    assert [one.barges_in for one in held.utterances] == [one.barge_in is not None for one in recorded]
    speech_ns = [one.end_at - one.start_at for one in held.utterances]
    assert speech_ns == [
        pytest.approx((one.speech_end - one.speech_start) * SECOND / RATE_HZ, abs=1) for one in recorded
    ]


def test_what_has_been_said_is_not_kept(tmp_path: Path) -> None:
    path = conversation(tmp_path, *["pause: 200ms, expects: nothing"] * 3)
    clock = Clock()
    caller = Caller(load_conversation(path), Room(clock))
    while not caller.ended:
        caller.read(BLOCK, clock.time)
        clock.time += 10 * MS

    kept = [said.samples if said.samples.base is None else said.samples.base for said in caller._said]
    assert [len(samples) for samples in kept] == [0, 0, RATE_HZ]
