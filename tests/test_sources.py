"""A source that is told, over feedback, what became of what it said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import _edge, graph_of, run_virtual
from tests.frames import Note


class Asker(Node):
    """Asks the next question when the last one was answered."""

    async def open(self) -> None:
        self.answers: list[str] = []

    async def run(self) -> AsyncIterator[Note]:
        for question in ("one", "two", "three"):
            yield Note(question)
            while not self.answers or self.answers[-1] != question:
                await asyncio.sleep(0.01)

    def process(self, frame: Note) -> None:
        self.answers.append(frame.text)


class Parrot(Node):
    async def process(self, frame: Note) -> AsyncIterator[Note]:
        yield Note(frame.text)


def test_a_node_that_only_feedback_feeds_is_a_source_that_hears_it() -> None:
    nodes = {"asker": Asker(), "parrot": Parrot()}
    classes = {name: type(node) for name, node in nodes.items()}
    graph = graph_of(nodes, ("asker", "parrot"), _edge(classes, "parrot", "asker", feedback=True))

    async def main() -> None:
        async with Session(graph, nodes=dict(nodes)) as session:
            await session.finished()

    run_virtual(main())

    assert nodes["asker"].answers == ["one", "two", "three"]


def test_stopping_ends_a_source_that_feedback_feeds() -> None:
    nodes = {"asker": Asker(), "parrot": Parrot()}
    graph = graph_of(
        nodes, ("asker", "parrot"), _edge({"asker": Asker, "parrot": Parrot}, "parrot", "asker", feedback=True)
    )

    async def main() -> float:
        async with Session(graph, nodes=dict(nodes)) as session:
            began = session.clock.now()
            await asyncio.sleep(0.05)
            await session.stop()
            await session.finished()
            return (session.clock.now() - began) / 1e9

    assert run_virtual(main()) < 0.1


def test_what_does_not_end_within_the_drain_is_ended() -> None:
    class Deaf(Parrot):
        async def process(self, frame: Note) -> AsyncIterator[Note]:
            await asyncio.sleep(3600)
            yield frame

    nodes = {"asker": Asker(), "deaf": Deaf()}
    graph = graph_of(nodes, ("asker", "deaf"))

    async def main() -> float:
        async with Session(graph, nodes=dict(nodes)) as session:
            await asyncio.sleep(0.05)
            began = session.clock.now()
            await session.stop(drain_s=2)
            await session.finished()
            return (session.clock.now() - began) / 1e9

    assert run_virtual(main()) == 2.0
