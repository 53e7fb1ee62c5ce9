"""What the sound-card tests do in front of the card, each in a process of its own: `python scenarios.py NAME FOLDER`.

A scenario leaves what the microphone captured in FOLDER/captured.npz and prints what it knows as one line of JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import numpy as np

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of
from flowgraph.units import MS
from nodes.mic import Mic
from nodes.sound.hardware import HardwareStream, default, list_devices
from nodes.speaker import Speaker
from nodes.vocabulary import Audio, End, Heard, Speech

RATE = 24_000
BEEPS = 5
MOMENTS_MS = (103, 126, 149, 172, 191, 214, 237, 260)
"""Interruptions at many phases of the device's blocks."""


def tone(ms: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE * ms // 1000) / RATE)).astype(np.float32)


class Beeps(Node):
    """Says some beeps, each an answer of its own."""

    after_s: float = 0.4

    async def run(self) -> AsyncIterator[Speech | End]:
        await asyncio.sleep(self.after_s)
        for part in range(BEEPS):
            yield Speech(tone(100), RATE, text=f"Beep {part}. ", part=part, last=True)
            yield End()
            await asyncio.sleep(0.3 + 0.007 * part)


class Interrupter(Node):
    """Begins long answers and interrupts them."""

    owns_turn = True

    async def run(self) -> AsyncIterator[Speech | End]:
        turn = self.ctx.turn
        self.moments: list[int] = []
        for ms in MOMENTS_MS:
            turn.commit(turn.advance())
            yield Speech(tone(1000), RATE, text="A long answer.", last=True)
            yield End()
            await asyncio.sleep(0.1 + ms / 1000)
            self.moments.append(self.ctx.clock.now())
            turn.advance()
            await asyncio.sleep(0.2)


async def run(talker: Node | None, until: Awaitable[None], folder: Path) -> tuple[dict[str, Any], Session]:
    """A session with a microphone, and a speaker where somebody talks. Raises what ends it before `until` is done."""
    nodes: dict[str, Node] = {"mic": Mic()}
    edges = []
    if talker is not None:
        nodes |= {"talker": talker, "speaker": Speaker()}
        edges.append(("talker", "speaker"))
    frames: list[Frame] = []
    session = Session(graph_of(nodes, *edges), nodes=dict(nodes), say=lambda text: print(text, file=sys.stderr))
    session.watch(Frame, frames.append)
    async with session:
        enough, finished = asyncio.ensure_future(until), asyncio.ensure_future(session.finished())
        await asyncio.wait([enough, finished], return_when=asyncio.FIRST_COMPLETED)
        if not enough.done():
            await finished
        lines = [line for node in nodes.values() if (line := getattr(node, "_line", None)) is not None]
        streams = [device.stream for device in dict.fromkeys(line.device for line in lines)]
    audio = [frame for frame in frames if isinstance(frame, Audio)]
    np.savez(
        folder / "captured.npz",
        samples=np.concatenate([frame.samples for frame in audio]),
        at=np.concatenate([frame.at + np.arange(len(frame.samples)) * 62_500 for frame in audio]),
    )
    heard = [frame for frame in frames if isinstance(frame, Heard)]
    assert all(isinstance(stream, HardwareStream) for stream in streams)
    known = {
        "said": session.said,
        "streams": len(streams),
        "rate_hz": streams[0].rate_hz,
        "output_latency_ms": streams[-1].output_latency_ns / MS,
        "overflows": sum(stream.overflows for stream in streams),
        "underflows": sum(stream.underflows for stream in streams),
        "gaps_ms": max((abs(b.at - a.end_at) / MS for a, b in itertools.pairwise(audio)), default=0),
        "lost": sum(frame.lost for frame in audio),
        "heard": [(one.turn, one.text, one.first_audible_at, one.played_until, one.final, one.cut) for one in heard],
    }
    return known, session


async def capture(folder: Path) -> dict[str, Any]:
    """Listen while `paplay` speaks into the room."""

    async def question() -> None:
        await asyncio.sleep(0.3)
        player = await asyncio.create_subprocess_exec("paplay", "--device=room", str(folder / "question.wav"))
        await player.wait()
        await asyncio.sleep(0.3)

    return (await run(None, question(), folder))[0]


async def answers(folder: Path) -> dict[str, Any]:
    """Play some answers, and listen to the speaker's own monitor."""
    return (await run(Beeps(), asyncio.sleep(0.8 + 0.45 * BEEPS), folder))[0]


async def late_answers(folder: Path) -> dict[str, Any]:
    """The same, once the device has had time to find its buffer."""
    return (await run(Beeps(after_s=3.0), asyncio.sleep(3.4 + 0.45 * BEEPS), folder))[0]


async def interruptions(folder: Path) -> dict[str, Any]:
    """Interrupt answers, and listen to the speaker's own monitor."""
    talker = Interrupter()
    known, _ = await run(talker, asyncio.sleep(0.5 + sum(0.3 + ms / 1000 for ms in MOMENTS_MS)), folder)
    return {**known, "moments": talker.moments}


async def vanish(folder: Path) -> dict[str, Any]:
    """Listen and talk until the card is gone."""

    async def ready() -> None:
        await asyncio.sleep(0.5)
        print("ready", flush=True)
        await asyncio.sleep(20)

    try:
        await run(Beeps(), ready(), folder)
    except NodeFailed as error:
        return {"failed": str(error)}
    return {"failed": ""}


async def devices(_: Path) -> dict[str, Any]:
    """What there is."""
    return {
        "addresses": [device.address for device in list_devices()],
        "default": [default("input").name, default("output").name],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(globals()[sys.argv[1]](Path(sys.argv[2])))))
