"""A conversation on virtual time: how long 39 s of it take, and how soon after an advance, or a pause, the device is silent.

In CPU time, of all threads: nothing waits here, and whatever else the machine does at the time isn't counted.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import run_virtual
from flowgraph.units import MS, SECOND
from nodes.vocabulary import End, Heard, Speech, SpeechStarted, Transcript, Voice
from tests.benchmarks.figures import Figure
from tests.spoken import TYPES
from tests.test_scenarios import AUDIBLE, converse, interruptions

CONVERSATION_S = 39
ROUNDS = 3
BLOCK_NS = 10 * MS
FADE_NS = 5 * MS
"""At the head of the first silent block, the last value decays instead of clicking."""
MOMENTS_MS = list(range(210, 2000, 173))


class Facts(Node):
    """What a VAD and an STT would say of somebody who asks a question every 4 s."""

    live = True

    async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript]:
        began = self.ctx.clock.now()
        silence_ms = 10_000
        for window in range(CONVERSATION_S * 1000 // 32):
            at = began + (window + 1) * 32 * MS
            await asyncio.sleep((at - self.ctx.clock.now()) / SECOND)
            ms = window * 32 % 4000
            speaking = 500 <= ms < 1500
            if speaking and silence_ms:
                yield SpeechStarted(at=at - 32 * MS)
            silence_ms = 0 if speaking else silence_ms + 32
            yield Voice(float(speaking), silence_ms, speaking, at=at)
            if silence_ms == 160 and ms < 2000:
                yield Transcript("What time is it?", final=True, start_at=at - 1160 * MS, end_at=at - 160 * MS)


class Mouth(Node):
    """Plays a chunk in the time that it lasts, and wakes no more often."""

    effects = True

    async def open(self) -> None:
        self._text, self._samples, self._first_at = "", 0, 0

    async def process(self, frame: Speech | End) -> AsyncIterator[Heard]:
        now = self.ctx.clock.now
        if isinstance(frame, End):
            yield Heard(self._text, self._samples, self._first_at, now(), final=True)
            self._text, self._samples, self._first_at = "", 0, 0
            return
        if not self._first_at:
            self._first_at = now()
            yield Heard("", 0, self._first_at, self._first_at)
        await asyncio.sleep(frame.duration_ns / SECOND)
        self._text, self._samples = self._text + frame.text, self._samples + len(frame.samples)


FACTS = """
nodes:
  user: {type: facts}
  dialogue: {type: dialogue, end_silence: 400ms, speculate_after: 96ms}
  llm: {type: thinker}
  split: {type: cutter}
  tts: {type: voicebox}
  speaker: {type: mouth}
edges:
  - user -> dialogue -> llm -> split -> tts
  - {from: tts, to: speaker, hold: commit, capacity: 2s}
  - {from: speaker, to: dialogue, feedback: true}
"""


def facts_s() -> float:
    graph = Graph.from_text(FACTS, types={**TYPES, "facts": Facts, "mouth": Mouth}, environ={})
    heard: list[Heard] = []

    async def main() -> None:
        session = Session(graph)
        session.watch(Heard, heard.append)
        async with session:
            await session.finished()

    started = time.process_time()
    run_virtual(main())
    assert sum(frame.final for frame in heard) >= CONVERSATION_S // 4
    return time.process_time() - started


def wire_s() -> float:
    """Of 39 s of the bundled conversation, sound and sockets included."""
    started = time.process_time()
    run = converse()
    took = time.process_time() - started
    lasted_ns = run.frames[-1].at - run.frames[0].at
    assert all(turn.answered for turn in run.report.turns)
    return took * CONVERSATION_S * SECOND / lasted_ns


def silent_after_blocks(kind: Literal["advance", "pause"]) -> float:
    """Device blocks between the decision and the end of the last audible sample, its fade aside; the most of several interruptions."""
    # By default an answer is paused long before its interruption is confirmed: here, either the one or the other ends the sound.
    settings = ["dialogue.pause_after=400ms", "dialogue.confirm_after=400ms"] if kind == "advance" else []
    fade_ns = FADE_NS if kind == "advance" else BLOCK_NS
    with tempfile.TemporaryDirectory() as folder:
        run = converse(interruptions(Path(folder), MOMENTS_MS), *settings)
    trace = run.session.trace
    decided = (
        [at for at, *_ in trace.advances] if kind == "advance" else [at for at, gain, _ in trace.gains if not gain]
    )
    most = 0.0
    cuts = [heard for heard in run.of(Heard) if heard.final and heard.cut and heard.first_audible_at]
    assert len(cuts) >= len(MOMENTS_MS)
    for heard in cuts:
        at = next(at for at in decided if at > heard.first_audible_at)
        assert np.abs(run.played(at - 2 * BLOCK_NS, at)).max() >= AUDIBLE, "it was playing"
        audible = np.flatnonzero(np.abs(run.played(at, at + 200 * MS)) >= AUDIBLE)
        if len(audible):
            most = max(most, ((int(audible[-1]) + 1) * SECOND / 24_000 - fade_ns) / BLOCK_NS)
    return most


def figures() -> Iterator[Figure]:
    assert Frame.__setattr__ is object.__setattr__, "frames are guarded: that slows them down"
    yield Figure(
        "39 s of conversation on virtual time, facts given", min(facts_s() for _ in range(ROUNDS)), "s", most=0.1
    )
    yield Figure(
        "39 s of conversation on virtual time, over the wire", min(wire_s() for _ in range(ROUNDS)), "s", most=1
    )
    advanced, paused = silent_after_blocks("advance"), silent_after_blocks("pause")
    yield Figure("advance until the device is silent", advanced, "blocks", most=1, note="and a fade of 5 ms")
    yield Figure("pause until the device is silent", paused, "blocks", most=1, note="and a fade of one block")
