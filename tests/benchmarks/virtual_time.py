"""A conversation on virtual time: how long 39 s of it take, and how soon after an advance, or a pause, the device is silent.

In CPU time, of all threads: nothing waits here, and whatever else the machine does at the time isn't counted. Beside it, what the same loop
takes without an engine: for facts, tasks that hand them on by queues; over the wire, `bare`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import aiohttp
import numpy as np

from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import run_virtual
from flowgraph.units import MS, SECOND
from flowgraph.wire import Wire
from nodes.servers import scripted
from nodes.sound.conversation import load_conversation
from nodes.vocabulary import End, Heard, Speech, SpeechStarted, Transcript, Voice
from tests.benchmarks.bare import listen, recorded, silero
from tests.benchmarks.figures import Figure, best_of
from tests.spoken import TYPES, Thinker, Voicebox
from tests.test_scenarios import AUDIBLE, DEMO, converse, interruptions

CONVERSATION_S = 39
ROUNDS = 3
MOST_FACTS = 4.0
"""Times the bare one: that of a frame over an edge through an `async def` node."""
MOST_WIRE = 3.0
"""Times the bare one, which hears but doesn't answer: half of a conversation is answers."""
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


def bare_facts_s() -> float:
    """The same facts at the same times, and answers in as many pieces, through tasks and queues."""
    spoken = Thinker().answer.split()
    heard = []

    async def main() -> None:
        to_dialogue, to_llm, to_tts, to_speaker = (asyncio.Queue[str | None](64) for _ in range(4))
        loop = asyncio.get_running_loop()

        async def user() -> None:
            began = loop.time()
            for window in range(CONVERSATION_S * 1000 // 32):
                await asyncio.sleep(began + (window + 1) * 0.032 - loop.time())
                await to_dialogue.put("question" if window % 125 == 46 else "")
            await to_dialogue.put(None)

        async def link(before: asyncio.Queue[str | None], after: asyncio.Queue[str | None], wait_s: float) -> None:
            while (item := await before.get()) is not None:
                if item:
                    await asyncio.sleep(wait_s)
                    await after.put(item)
            await after.put(None)

        async def tts() -> None:
            while await to_tts.get() is not None:
                await asyncio.sleep(Voicebox().delay / SECOND)
                for word in spoken:
                    await to_speaker.put(word)
            await to_speaker.put(None)

        async def speaker() -> None:
            while (word := await to_speaker.get()) is not None:
                await asyncio.sleep(0.1)
                heard.append(word)

        async with asyncio.TaskGroup() as group:
            for work in (
                user(), link(to_dialogue, to_llm, 0.0), link(to_llm, to_tts, Thinker().delay / SECOND), tts(), speaker()
            ):  # fmt: skip
                group.create_task(work)

    started = time.process_time()
    run_virtual(main())
    assert len(heard) >= CONVERSATION_S // 4 * len(spoken)
    return time.process_time() - started


def wire_s() -> float:
    """Of 39 s of the bundled conversation, sound and sockets included."""
    started = time.process_time()
    run = converse()
    took = time.process_time() - started
    lasted_ns = run.frames[-1].at - run.frames[0].at
    assert all(turn.answered for turn in run.report.turns)
    return took * CONVERSATION_S * SECOND / lasted_ns


def bare_wire_s() -> float:
    """`bare` for as long, with the same recogniser behind the same wire."""
    wire = Wire({"stt": scripted.stt(scripted.lines_of(load_conversation(DEMO)))})

    async def main() -> None:
        await wire.open()
        async with aiohttp.ClientSession(connector=wire.connector()) as session:
            await listen(session, "http://stt", silero(), recorded(), CONVERSATION_S)
        await wire.close()

    started = time.process_time()
    run_virtual(main())
    return time.process_time() - started


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
    facts, bare_facts = best_of(2 * ROUNDS, facts_s, bare_facts_s)
    yield Figure(
        "39 s of conversation on virtual time, facts given",
        min(facts), "s", min(bare_facts), "bare asyncio.Queue and tasks", most_ratio=MOST_FACTS, most=0.1,
    )  # fmt: skip
    wire, bare_wire = best_of(ROUNDS, wire_s, bare_wire_s)
    yield Figure(
        "39 s of conversation on virtual time, over the wire",
        min(wire), "s", min(bare_wire), "bare asyncio, aiohttp, onnxruntime", most_ratio=MOST_WIRE, most=1,
    )  # fmt: skip
    advanced, paused = silent_after_blocks("advance"), silent_after_blocks("pause")
    yield Figure("advance until the device is silent", advanced, "blocks", most=1, note="and a fade of 5 ms")
    yield Figure("pause until the device is silent", paused, "blocks", most=1, note="and a fade of one block")
