"""One 32 ms window through the `vad` node, against a plain onnxruntime session that is given the same window."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np

from flowgraph.units import MS, SECOND
from nodes.vad import Vad
from nodes.vocabulary import Audio
from tests.benchmarks.bare import silero
from tests.benchmarks.figures import Figure, median

WINDOWS = 500
ROUNDS = 5


def node_ms(windows: list[Audio]) -> float:
    vad = Vad()
    asyncio.run(vad.open())
    took = []
    for frame in windows:
        started = time.perf_counter()
        for _ in vad.process(frame):
            pass
        took.append(time.perf_counter() - started)
    return median(took) * 1e3


def bare_ms(windows: list[Audio]) -> float:
    judge = silero()
    took = []
    for frame in windows:
        started = time.perf_counter()
        judge(frame.samples)
        took.append(time.perf_counter() - started)
    return median(took) * 1e3


def figures() -> Iterator[Figure]:
    sound = np.random.default_rng(1).standard_normal((WINDOWS, 512), dtype=np.float32) * np.float32(0.01)
    windows = [Audio(samples, 16_000, at=SECOND + 32 * MS * n) for n, samples in enumerate(sound)]
    rounds = [(node_ms(windows), bare_ms(windows)) for _ in range(ROUNDS)]
    yield Figure(
        "Silero VAD, one 32 ms window, inline",
        min(ours for ours, _ in rounds),
        "ms",
        min(bare for _, bare in rounds),
        "a bare onnxruntime session",
        most_ratio=1.5,
        most=0.3,
    )
