"""A spoken conversation without a model, a device or a socket: stand-ins that take exactly as long as they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from flowgraph import MS, SECOND, Duration, Field, Graph, Node, Session
from flowgraph.frame import End, Heard
from flowgraph.report import Report, TurnReport
from flowgraph.testing import run_virtual
from nodes.vocabulary import (
    Audio,
    Played,
    Prompt,
    Sentence,
    Speech,
    SpeechStarted,
    Token,
    Transcript,
    Utterance,
    Voice,
)

BLOCK_MS = 20
RATE_HZ = 16_000
SILENT = np.zeros(RATE_HZ * BLOCK_MS // 1000, np.float32)
VOICED = np.full_like(SILENT, 0.3)


class Ear(Node):
    """Captures what a timetable says: `[first ms, last ms, text, …]` is spoken; between, silence. A pause is `[ms, ms]` more."""

    live = True
    says: list[dict[str, Any]] = Field([])
    seconds: float = 4
    annotated: bool = True

    async def run(self) -> AsyncIterator[Audio | Utterance]:
        began = self.ctx.clock.now()
        told = 0
        for block in range(round(self.seconds * 1000 / BLOCK_MS)):
            at = began + block * BLOCK_MS * MS
            await asyncio.sleep((at + BLOCK_MS * MS - self.ctx.clock.now()) / SECOND)
            yield Audio(VOICED if self._voiced(block * BLOCK_MS) else SILENT, RATE_HZ, at=at)
            while self.annotated and told < len(self.says) and began + self.says[told]["to"] * MS <= at + BLOCK_MS * MS:
                yield self._utterance(told, began)
                told += 1

    def _utterance(self, index: int, began: int) -> Utterance:
        one = self.says[index]
        extra = {key: one[key] for key in ("expects", "barges_in") if key in one}
        return Utterance(index, one.get("text", ""), began + one["from"] * MS, began + one["to"] * MS, **extra)

    def _voiced(self, ms: int) -> bool:
        return any(
            one["from"] <= ms < one["to"] and not any(a <= ms < b for a, b in one.get("pauses", ()))
            for one in self.says
        )


class Gate(Node):
    """A VAD that knows at once."""

    async def open(self) -> None:
        self._silence_ms = 10_000
        self._speaking = False

    def process(self, frame: Audio) -> Iterator[SpeechStarted | Voice]:
        speaking = bool(frame.samples[0])
        if speaking and not self._speaking:
            yield SpeechStarted(at=frame.at)
        self._speaking = speaking
        self._silence_ms = 0 if speaking else self._silence_ms + BLOCK_MS
        yield Voice(float(speaking), self._silence_ms, speaking, -20.0 if speaking else -60.0, at=frame.end_at)


class Listener(Node):
    """An STT: knows what is said beforehand; its final transcript takes `delay` behind 100 ms of silence."""

    texts: list[str] = Field(["what time is it"])
    delay: Duration = 60 * MS

    async def open(self) -> None:
        self._since = 0
        self._count = 0

    async def process(self, frame: Voice) -> AsyncIterator[Transcript]:
        if frame.speaking and not self._since:
            self._since = frame.at
        elif self._since and frame.silence_ms >= 100:
            since, self._since = self._since, 0
            await asyncio.sleep(self.delay / SECOND)
            text = self.texts[min(self._count, len(self.texts) - 1)]
            self._count += 1
            yield Transcript(text, final=True, start_at=since, end_at=frame.at - frame.silence_ms * MS)


class Thinker(Node):
    """An LLM: the same answer each time, in two tokens."""

    delay: Duration = 30 * MS
    answer: str = "One two three four five six seven eight."
    fails: bool = False

    async def process(self, frame: Prompt) -> AsyncIterator[Token | End]:
        await asyncio.sleep(self.delay / SECOND)
        if self.fails:
            raise RuntimeError("no such model")
        yield Token(frame.say or self.answer)
        yield End()


class Cutter(Node):
    """Takes a token for a sentence, after `delay`."""

    delay: Duration = 0

    async def process(self, frame: Token | End) -> AsyncIterator[Sentence | End]:
        if isinstance(frame, End):
            yield frame
            return
        await asyncio.sleep(self.delay / SECOND)
        yield Sentence(frame.text)


class Voicebox(Node):
    """A TTS: 100 ms of sound for each word, the first of it after `delay`."""

    delay: Duration = 50 * MS

    async def process(self, frame: Sentence | End) -> AsyncIterator[Speech | End]:
        if isinstance(frame, End):
            yield frame
            return
        await asyncio.sleep(self.delay / SECOND)
        for index, word in enumerate(frame.text.split()):
            yield Speech(np.full(RATE_HZ // 10, 0.2, np.float32), RATE_HZ, text=(" " if index else "") + word)


class Mouth(Node):
    """A speaker: plays in real time, heard `latency` after it was taken; stops within 10 ms."""

    effects = True
    latency: Duration = 20 * MS
    device: str = Field("null", description="Ignored.")

    async def open(self) -> None:
        self._queue: list[Speech | End] = []
        self._drained = False

    async def drain(self) -> None:
        self._drained = True

    def process(self, frame: Speech | End) -> None:
        self._queue.append(frame)

    async def run(self) -> AsyncIterator[Heard | Played]:
        turn, now = self.ctx.turn, self.ctx.clock.now
        attempt, text, samples, first_at, until = 0, "", 0, 0, 0
        played: Speech | End | None = None
        while self._queue or not self._drained:
            if played is not None and turn.number > attempt:
                yield Heard(text, samples, first_at, until, final=True, cut=True, cause=played)
                played = None
            self._queue = [one for one in self._queue if one.turn >= turn.number]
            if not self._queue:
                await asyncio.sleep(0.005)
                continue
            frame = self._queue.pop(0)
            if frame.turn != attempt:
                attempt, text, samples, first_at = frame.turn, "", 0, 0
            if isinstance(frame, End):
                yield Heard(
                    text, samples, first_at, until, final=True, reason=frame.reason, detail=frame.detail, cause=frame
                )
                played = None
                continue
            played = frame
            heard_at = now() + self.latency
            if not first_at:
                first_at = heard_at
                yield Heard("", 0, first_at, heard_at, cause=frame)
            left = frame.duration_ns
            while left > 0 and turn.number == attempt:
                paused = not turn.gain  # a block is what it was when it began
                await asyncio.sleep(0.01)
                if not paused:
                    left -= 10 * MS
                    until = now() + self.latency
            if left <= 0:
                text, samples = text + frame.text, samples + len(frame.samples)


TYPES: dict[str, type[Node]] = {
    "ear": Ear, "gate": Gate, "listener": Listener, "thinker": Thinker, "cutter": Cutter, "voicebox": Voicebox, "mouth": Mouth,
}  # fmt: skip

GRAPH = """
name: spoken
nodes:
  ear: {type: ear}
  gate: {type: gate}
  stt: {type: listener, texts: [what time is it]}
  dialogue: {type: dialogue, end_silence: 400ms, speculate_after: 100ms}
  llm: {type: thinker}
  split: {type: cutter}
  tts: {type: voicebox}
  speaker: {type: mouth}
edges:
  - ear -> gate -> dialogue
  - gate -> stt -> dialogue
  - dialogue -> llm -> split -> tts
  - {from: tts, to: speaker, hold: commit, capacity: 2s}
  - {from: speaker, to: dialogue, feedback: true}
budget: {first_audio_p95: 700ms}
"""


def spoken(*settings: str, says: list[dict[str, Any]], text: str = GRAPH) -> Graph:
    """The graph above, with a timetable of what is said (milliseconds) and `--set` settings."""
    import json

    return Graph.from_text(text, settings=[f"ear.says={json.dumps(says)}", *settings], types=TYPES)


class Conversation:
    """A session that is over, what was reported of it, and its raw events."""

    def __init__(self, graph: Graph, *, forget: int = -1) -> None:
        """`forget`: a kind of event that the trace doesn't get."""
        self.events: list[tuple[Any, ...]] = []
        self.live: list[TurnReport] = []
        self._forget = forget
        self.session = Session(graph)
        self.report = Report(self.session, self.live.append)
        run_virtual(self._hold())

    async def _hold(self) -> None:
        async with self.session as session, asyncio.timeout(600):
            index = session.trace._index

            def keep(event: tuple[Any, ...]) -> None:
                self.events.append(event)
                if event[1] != self._forget:
                    index(event)

            session.trace._index = keep  # type: ignore[method-assign]
            try:
                await session.finished()
            finally:
                self.report.finish()

    @property
    def turns(self) -> list[TurnReport]:
        return self.report.turns


def held(*settings: str, says: list[dict[str, Any]], text: str = GRAPH, forget: int = -1) -> Conversation:
    """Hold a conversation on virtual time."""
    return Conversation(spoken(*settings, says=says, text=text), forget=forget)
