"""What goes on for hours piles nothing up: without an owner of the turn, and where nobody says anything that is to be answered."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_virtual
from flowgraph.trace import KEPT_EVENTS
from tests.frames import Boss, Idea, Note, Sink, source, worker_class

ROOT = Path(__file__).parent.parent
EACH_S = 0.1
MINUTES = 5
KEPT_S = 90
MIC_BLOCK_S = 0.02


async def wait(session: Session, seconds: int) -> None:
    """Collects every second, as a session on the real clock does."""
    for _ in range(seconds):
        await asyncio.sleep(1)
        session.trace.collect()


def going_on() -> Node:
    """Ten notes a second."""
    return source(*[item for _ in range(round(MINUTES * 60 / EACH_S)) for item in ("?", EACH_S)])


def kept(graph: Graph, nodes: dict[str, Node]) -> list[tuple[str, str]]:
    """Type and text of the frames that the trace still knows in the end."""

    async def main() -> list[tuple[str, str]]:
        async with Session(graph, nodes=nodes) as session:
            await wait(session, MINUTES * 60)
            return [(record.type, getattr(record.frame, "text", "")) for record in session.trace.records.values()]

    return run_virtual(main())


def test_without_an_owner_the_trace_keeps_a_minute_and_a_half_of_everything() -> None:
    def process(self: Node, frame: Note) -> Iterator[Idea]:
        yield Idea("!")

    nodes: dict[str, Node] = {"source": going_on(), "subject": worker_class(process)(), "sink": Sink()}
    frames = kept(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes)

    expected = KEPT_S / EACH_S
    assert frames.count(("Note", "?")) == pytest.approx(expected, abs=11)
    assert frames.count(("Idea", "!")) == pytest.approx(expected, abs=11)


def test_while_an_attempt_lasts_the_trace_keeps_a_minute_and_a_half_of_its_facts_and_all_of_its_plans() -> None:
    nodes: dict[str, Node] = {
        "asks": source("advance", "commit", "planned"), "boss": Boss(), "source": going_on(), "sink": Sink(),
    }  # fmt: skip
    frames = kept(graph_of(nodes, ("asks", "boss"), ("boss", "sink"), ("source", "sink")), nodes)

    assert frames.count(("Note", "?")) == pytest.approx(KEPT_S / EACH_S, abs=11)
    assert frames.count(("Idea", "planned")) == 1


def test_what_a_session_says_of_itself_for_hours_has_a_bound() -> None:
    async def main() -> list[int]:
        nodes: dict[str, Node] = {"source": source(MINUTES * 60.0), "boss": Boss(), "sink": Sink()}
        async with Session(graph_of(nodes, ("source", "boss"), ("boss", "sink")), nodes=nodes) as session:
            for number in range(10_000):
                session.turn.set_gain(number % 2 / 2)
                session.turn.commit(session.turn.advance())
                session._noter(0)(f"note {number}")
                session._wire("llm", "reused", number, number)
            trace = session.trace
            trace.collect()
            assert trace.advances[-1][1] == 10_000
            assert trace.notes[-1][2] == "note 9999"
            return [len(events) for events in (trace.advances, trace.gains, trace.notes, trace.wires)]

    assert run_virtual(main()) == [KEPT_EVENTS] * 4


def test_of_the_sound_the_trace_keeps_a_minute_and_a_half() -> None:
    settings = ["mic.device=null", "speaker.device=null"]

    async def main() -> Counter[str]:
        async with Session(Graph.load(ROOT / "graphs/echo.yaml", settings=settings, environ={})) as session:
            await wait(session, 2 * KEPT_S)
            return Counter(record.type for record in session.trace.records.values())

    kept = run_virtual(main())

    assert kept["Audio"] == pytest.approx(KEPT_S / MIC_BLOCK_S, abs=51)
    assert kept["Speech"] == pytest.approx(KEPT_S / MIC_BLOCK_S, abs=51)


def test_what_repeats_the_microphone_holds_in_the_end_what_it_held_in_the_middle() -> None:
    held: list[int] = []
    settings = ["mic.device=null", "speaker.device=null"]

    async def main() -> None:
        async with Session(Graph.load(ROOT / "graphs/echo.yaml", settings=settings, environ={})) as session:
            for _ in range(2):
                await wait(session, KEPT_S + 5)
                gc.collect()
                held.append(sys.getallocatedblocks())

    run_virtual(main(), limit_s=600)

    frames = (KEPT_S + 5) / MIC_BLOCK_S
    assert held[1] - held[0] < frames / 10
