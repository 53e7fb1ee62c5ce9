"""Play a file with the `ffplay` node, record what the sound card plays, and say by how many milliseconds the two disagree.

    python -m tests.nodes.ffplay_ear FILE TIMES       in front of a sound card whose default source is its speaker's monitor

Prints a JSON list: what the node told minus what was recorded, for the first audible sample, in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of
from flowgraph.units import MS, SECOND
from nodes.ffplay import Ffplay
from nodes.sound.hardware import HardwareStream, default
from nodes.sound.levels import first_audible
from nodes.vocabulary import End, Heard, SpeechFile


async def main(path: Path, times: int) -> list[float]:
    class Feed(Node):
        async def run(self) -> AsyncIterator[SpeechFile | End]:
            for _ in range(times):
                await asyncio.sleep(1.5)  # more than it takes to start the program and to play the file
                yield SpeechFile(path, "One, two.")
                yield End()

    blocks: list[tuple[int, np.ndarray]] = []
    microphone = HardwareStream(
        heard=default("input"),
        played=None,
        block=lambda heard, _played, at, _: blocks.append((at, np.array(heard))),
        failed=lambda error: print(error, file=sys.stderr),
        now=time.monotonic_ns,
    )
    nodes: dict[str, Node] = {"feed": Feed(), "speaker": Ffplay()}
    told: list[int] = []
    session = Session(graph_of(nodes, ("feed", "speaker")), nodes=nodes)
    session.watch(Heard, lambda heard: told.append(heard.first_audible_at) if heard.final else None)
    async with session:
        await session.finished()
    await asyncio.sleep(0.2)
    await microphone.stop()
    return [(at - recorded(blocks, at, microphone.rate_hz)) / MS for at in told]


def recorded(blocks: list[tuple[int, np.ndarray]], around: int, rate_hz: int) -> int:
    """When something was first audible in the recording, from 300 ms before a time on."""
    since = [(at, samples) for at, samples in blocks if at >= around - 300 * MS]
    found = first_audible(np.concatenate([samples for _, samples in since]), rate_hz)
    assert found is not None
    for at, samples in since:
        if found < len(samples):
            return at + found * SECOND // rate_hz
        found -= len(samples)
    raise AssertionError


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))))
