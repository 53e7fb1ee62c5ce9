from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from flowgraph.clock import run_virtual
from flowgraph.node import Node
from flowgraph.recording import recording
from flowgraph.session import Session
from flowgraph.testing import graph_of
from nodes.gain import Gain
from nodes.vocabulary import Audio


class Hum(Node):
    """A second of sound."""

    async def run(self) -> AsyncIterator[Audio]:
        for block in range(10):
            yield Audio(np.full(1600, 0.25, np.float32), 16_000, at=1_000_000_000 + block * 100_000_000)


class Sink(Node):
    def process(self, frame: Audio) -> None:
        pass


def test_what_is_captured_is_recorded_once_whatever_passes_it_on(tmp_path: Path) -> None:
    """Behind a gain, or an echo canceller, it is the same sound again."""

    async def main() -> None:
        nodes: dict[str, Node] = {"hum": Hum(), "louder": Gain(factor=2.0), "sink": Sink()}
        graph = graph_of(nodes, ("hum", "louder"), ("louder", "sink"))
        session = Session(graph, nodes=nodes)
        with recording(session, tmp_path / "sound.wav"):
            async with session:
                await session.finished()

    run_virtual(main())

    with wave.open(str(tmp_path / "sound.wav")) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768
    assert len(sound) == 16_000
    assert sound[:, 0] == pytest.approx(0.25, abs=1e-3)
