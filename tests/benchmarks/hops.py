"""A frame through a chain of eight nodes that pass it on, in a real session with its taps on, against eight tasks on queues."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator

from flowgraph.frame import Fact, frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of
from tests.benchmarks.figures import Figure, best_of, median

NODES = 8
FRAMES = 10_000
IDLE_FRAMES = 200
IDLE_S = 0.001
ROUNDS = 5
CAPACITY = 64


@frame
class Ping(Fact):
    sent_at: float = 0.0
    """perf_counter, seconds."""


class Burst(Node):
    """As many as it can."""

    async def run(self) -> AsyncIterator[Ping]:
        for _ in range(FRAMES):
            yield Ping(time.perf_counter())


class Trickle(Node):
    """One at a time, with nothing else to do."""

    async def run(self) -> AsyncIterator[Ping]:
        for _ in range(IDLE_FRAMES):
            await asyncio.sleep(IDLE_S)
            yield Ping(time.perf_counter())


class Pass(Node):
    def process(self, frame: Ping) -> Iterator[Ping]:
        yield frame


class AsyncPass(Node):
    async def process(self, frame: Ping) -> AsyncIterator[Ping]:
        yield frame


class Arrival(Node):
    async def open(self) -> None:
        self.took: list[float] = []
        self.first_sent_at = 0.0
        self.last_at = 0.0

    def process(self, frame: Ping) -> None:
        self.last_at = time.perf_counter()
        self.took.append(self.last_at - frame.sent_at)
        if not self.first_sent_at:
            self.first_sent_at = frame.sent_at


def session_of(source: type[Node], link: type[Node]) -> Arrival:
    """Run source → 8 × link → arrival to its end."""
    arrival = Arrival()
    names = ["source", *(f"n{i}" for i in range(NODES)), "arrival"]
    classes: dict[str, type[Node] | Node] = dict.fromkeys(names, link)
    classes |= {"source": source, "arrival": arrival}

    async def main() -> None:
        graph = graph_of(classes, *itertools.pairwise(names))
        async with Session(graph, nodes={"arrival": arrival}) as session:
            await session.finished()

    asyncio.run(main())
    assert len(arrival.took) in (FRAMES, IDLE_FRAMES)
    return arrival


def us_per_edge(link: type[Node]) -> float:
    arrival = session_of(Burst, link)
    return (arrival.last_at - arrival.first_sent_at) / FRAMES / (NODES + 1) * 1e6


def idle_us(link: type[Node]) -> float:
    return median(session_of(Trickle, link).took) * 1e6


def bare_chain(frames: int, pause_s: float) -> tuple[float, list[float]]:
    """The same with `asyncio.Queue` and tasks: (µs per edge, seconds from first in to last out of each)."""

    async def main() -> tuple[float, list[float]]:
        queues: list[asyncio.Queue[Ping | None]] = [asyncio.Queue(CAPACITY) for _ in range(NODES + 1)]
        took: list[float] = []

        async def source() -> None:
            for _ in range(frames):
                if pause_s:
                    await asyncio.sleep(pause_s)
                await queues[0].put(Ping(time.perf_counter()))
            await queues[0].put(None)

        async def link(before: asyncio.Queue[Ping | None], after: asyncio.Queue[Ping | None]) -> None:
            while True:
                item = await before.get()
                await after.put(item)
                if item is None:
                    return

        async def arrival() -> None:
            while (item := await queues[-1].get()) is not None:
                took.append(time.perf_counter() - item.sent_at)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(arrival())
            for before, after in itertools.pairwise(queues):
                group.create_task(link(before, after))
            group.create_task(source())
        return (time.perf_counter() - started) / frames / (NODES + 1) * 1e6, took

    return asyncio.run(main())


def figures() -> Iterator[Figure]:
    bare, plain, awaiting = best_of(
        ROUNDS,
        lambda: bare_chain(FRAMES, 0.0)[0],
        lambda: us_per_edge(Pass),
        lambda: us_per_edge(AsyncPass),
    )
    against = "bare asyncio.Queue and tasks"
    yield Figure("a frame over one edge, `def` node", min(plain), "µs", min(bare), against, most_ratio=3.0, most=5.0)
    yield Figure("a frame over one edge, `async def` node", min(awaiting), "µs", min(bare), against, most_ratio=4.0)
    idle_bare, idle = best_of(
        2 * ROUNDS,
        lambda: median(bare_chain(IDLE_FRAMES, IDLE_S)[1]) * 1e6,
        lambda: idle_us(Pass),
    )
    yield Figure("chain of 8 nodes, idle", min(idle), "µs", min(idle_bare), against, most_ratio=1.5)
