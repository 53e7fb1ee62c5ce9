from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowgraph.errors import NodeFailed
from flowgraph.frame import End, Frame, Heard, frame
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import _edge, graph_of, run_virtual
from flowgraph.units import MS
from tests.frames import Block, Boss, Idea, Note, Sink, source, texts, worker_class


def chain(*items: Any, subject: type[Node], **held: Any) -> tuple[Graph, dict[str, Node]]:
    """source → boss → subject → sink, the last edge as `held` says."""
    nodes: dict[str, Node] = {"source": source(*items), "boss": Boss(), "subject": subject(), "sink": Sink()}
    classes = {name: type(node) for name, node in nodes.items()}
    edges = [
        ("source", "boss"),
        ("boss", "subject"),
        _edge(classes, "subject", "sink", **held),
    ]
    return graph_of(nodes, *edges), nodes


def run(graph: Graph, nodes: dict[str, Node]) -> Session:
    """Run to the end with the given instances; the sink must be read from `nodes`."""
    session = Session(graph, nodes=dict(nodes), services=None)

    async def main() -> None:
        async with session, asyncio.timeout(600):
            await session.finished()

    run_virtual(main())
    return session


def with_errors(graph: Graph, name: str, on_error: str) -> Graph:
    import dataclasses

    graph.nodes[name] = dataclasses.replace(graph.nodes[name], on_error=on_error)  # type: ignore[arg-type]
    return graph


# -- stamps ------------------------------------------------------------------------------------------------------------


def test_a_frame_is_stamped_with_its_cause_and_its_causes_turn_and_time() -> None:
    def process(self: Node, frame: Note) -> Iterator[Block]:
        yield Block()

    nodes = {"source": source(0.5, Note("x", at=123)), "subject": worker_class(process)(), "sink": Sink()}
    run(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes)

    [block] = nodes["sink"].got
    assert block.cause == block.id - 1
    assert (block.at, block.turn, block.source) == (123, 1, "subject")


def test_a_received_frame_yielded_again_keeps_its_stamps() -> None:
    def process(self: Node, frame: Note) -> Iterator[Note]:
        yield frame

    nodes = {"source": source("x"), "subject": worker_class(process)(), "sink": Sink()}
    run(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes)

    [note] = nodes["sink"].got
    assert note.source == "source"


def test_a_stamped_frame_does_not_change() -> None:
    note = Note("x")
    note.id = 1  # type: ignore[misc]

    with pytest.raises(AttributeError, match=r"Note\.text: a stamped frame does not change"):
        note.text = "y"  # type: ignore[misc]


def test_a_late_plan_carries_the_attempt_that_asked_for_it() -> None:
    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # a service whose answer comes although it was cancelled
            yield Idea("stale " + frame.text)
        else:
            yield Idea("fresh " + frame.text)

    graph, nodes = chain("advance", "a", 0.5, "advance", "b", 2.0, subject=worker_class(process))
    run(graph, nodes)

    assert texts(nodes["sink"].got) == ["fresh b"]


def test_a_plan_made_of_a_fact_is_an_error_where_the_turn_is_owned() -> None:
    def process(self: Node, frame: Note) -> Iterator[Idea]:
        yield Idea()

    nodes = {"source": source("x"), "boss": Boss(), "subject": worker_class(process)(), "sink": Sink()}
    graph = graph_of(nodes, ("source", "boss"), ("source", "subject"), ("subject", "sink"))

    with pytest.raises(NodeFailed, match=r"node 'subject' failed .*yielded a Idea \(a Plan\) while processing a Note"):
        run(graph, nodes)


def test_without_an_owner_any_node_may_make_plans() -> None:
    def process(self: Node, frame: Note) -> Iterator[Idea]:
        yield Idea(frame.text)

    nodes = {"source": source("x"), "subject": worker_class(process)(), "sink": Sink()}
    run(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes)

    assert [(idea.text, idea.turn) for idea in nodes["sink"].got] == [("x", 1)]


# -- interruption ------------------------------------------------------------------------------------------------------


def test_an_advance_cancels_work_on_a_stale_plan_at_once() -> None:
    closed: list[float] = []

    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        try:
            await asyncio.sleep(30)
            yield Idea("too late")
        finally:
            closed.append(asyncio.get_running_loop().time())

    graph, nodes = chain("advance", "a", 1.0, "advance", "b", 1.0, "advance", subject=worker_class(process))
    start: list[float] = []

    async def main() -> None:
        start.append(asyncio.get_running_loop().time())
        async with Session(graph, nodes=dict(nodes)) as session:
            await session.finished()

    run_virtual(main())

    assert [round(at - start[0], 3) for at in closed] == [1.0, 2.0]
    assert nodes["sink"].got == []


def test_work_on_a_fact_is_never_cancelled() -> None:
    async def process(self: Node, frame: Note) -> AsyncIterator[Note]:
        await asyncio.sleep(2)
        yield frame

    nodes = {
        "source": source("advance", 1.0, "advance"),
        "boss": Boss(),
        "subject": worker_class(process)(),
        "sink": Sink(),
    }
    run(graph_of(nodes, ("source", "boss"), ("source", "subject"), ("subject", "sink")), nodes)

    assert texts(nodes["sink"].got) == ["advance", "advance"]


def test_flush_comes_in_band_before_the_next_frame() -> None:
    log: list[str] = []

    def process(self: Node, frame: Idea) -> Iterator[Idea]:
        log.append(frame.text)
        yield frame

    def flush(self: Node) -> None:
        log.append("flush")

    graph, nodes = chain("advance", "a", 0.1, "advance", "b", subject=worker_class(process, flush=flush))
    run(graph, nodes)

    assert log == ["flush", "a", "flush", "b"]


def test_an_interruption_after_the_frame_has_ended_loses_nothing() -> None:
    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        await asyncio.sleep(0.1)
        yield frame

    items: list[Any] = []
    for i in range(20):
        items += ["advance", f"{i}", 0.09 + 0.001 * i]  # around the very moment at which the frame ends
    graph, nodes = chain(*items, 1.0, subject=worker_class(process))
    run(graph, nodes)

    got = texts(nodes["sink"].got)
    assert got[-1] == "19"
    assert got == [f"{i}" for i in range(20) if f"{i}" in got]
    assert "12" in got
    assert "5" not in got


def test_a_stop_that_meets_an_interruption_is_not_absorbed() -> None:
    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        await asyncio.sleep(1000)
        yield frame

    graph, nodes = chain("advance", "a", 5000.0, subject=worker_class(process))

    async def main() -> float:
        session = Session(graph, nodes=dict(nodes))
        async with session:
            await asyncio.sleep(1)
            session.turn.advance()
            began = asyncio.get_running_loop().time()
            for task in session._tasks.values():
                task.cancel()
            await asyncio.wait(session._tasks.values(), timeout=100)
            return asyncio.get_running_loop().time() - began

    assert run_virtual(main()) < 0.2


def test_clean_up_that_hangs_is_detached_after_50_ms_and_reported() -> None:
    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        if frame.text != "stuck":
            yield frame
            return
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(500)

    graph, nodes = chain("advance", "stuck", 1.0, "advance", "next", 1.0, subject=worker_class(process))
    session = run(graph, nodes)

    assert texts(nodes["sink"].got) == ["next"]
    [note] = [note for note in session.trace.notes if "detached" in note[2]]
    assert note[1] == "subject"
    [advance] = [at for at, attempt, _ in session.trace.advances if attempt == 2]
    assert note[0] - advance == 50 * MS


def test_a_plan_waiting_at_a_held_edge_gives_way_to_the_next_attempt() -> None:
    def process(self: Node, frame: Idea) -> Iterator[Idea]:
        for i in range(100):
            yield Idea(f"{frame.text}{i}")

    graph, nodes = chain(
        "advance", "a", 1.0, "advance", "b", "commit", subject=worker_class(process), hold=True, capacity=4
    )
    run(graph, nodes)

    assert texts(nodes["sink"].got) == [f"b{i}" for i in range(100)]


# -- parallel, blocking ------------------------------------------------------------------------------------------------


def test_parallel_frames_overlap_and_leave_in_order_with_their_own_causes() -> None:
    async def process(self: Node, frame: Note) -> AsyncIterator[Block]:
        await asyncio.sleep(1.0 if frame.text == "slow" else 0.1)
        yield Block()

    nodes = {
        "source": source("slow", "quick", "quick"),
        "subject": worker_class(process, parallel=2)(),
        "sink": Sink(),
    }
    graph = graph_of(nodes, ("source", "subject"), ("subject", "sink"))
    session = run(graph, nodes)

    causes = [session.trace.records[block.cause].frame.text for block in nodes["sink"].got]  # type: ignore[union-attr]
    start = nodes["sink"].at[0] - 1000 * MS
    assert causes == ["slow", "quick", "quick"]
    assert [round((at - start) / MS) for at in nodes["sink"].at] == [1000, 1000, 1100]


def test_an_interruption_cancels_all_parallel_frames() -> None:
    cancelled: list[str] = []

    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        try:
            await asyncio.sleep(10)
            yield frame
        except asyncio.CancelledError:
            cancelled.append(frame.text)
            raise

    graph, nodes = chain(
        "advance", "a", "b", 1.0, "advance", "c", 20.0, subject=worker_class(process, parallel=2), capacity=8
    )
    run(graph, nodes)

    assert sorted(cancelled) == ["a", "b"]
    assert texts(nodes["sink"].got) == ["c"]


def test_a_failure_in_one_lane_names_its_frame() -> None:
    async def process(self: Node, frame: Note) -> AsyncIterator[Block]:
        await asyncio.sleep(0.1)
        if frame.text == "bad":
            raise ValueError("no")
        yield Block()

    nodes = {"source": source("good", "bad"), "subject": worker_class(process, parallel=2)(), "sink": Sink()}

    with pytest.raises(
        NodeFailed, match=r"node 'subject' failed while processing Note 2 from 'source'.*ValueError: no"
    ):
        run(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes)


def test_a_blocking_node_runs_in_one_thread_that_is_always_waited_for() -> None:
    seen: list[tuple[str, bool]] = []
    running: list[str] = []

    def process(self: Node, frame: Idea) -> Iterator[Idea]:
        running.append(frame.text)
        assert len(running) == 1
        time.sleep(0.02)  # a model in C: nothing can cancel it
        seen.append((frame.text, threading.current_thread() is threading.main_thread()))
        running.remove(frame.text)
        yield frame

    graph, nodes = chain("advance", "a", "advance", "b", 1.0, subject=worker_class(process, blocking=True))
    run(graph, nodes)

    assert seen[-1] == ("b", False)
    assert texts(nodes["sink"].got) == ["b"]


# -- failure -----------------------------------------------------------------------------------------------------------


@frame
class Said(Frame):
    pass


def flaky(**members: Any) -> type[Node]:
    def process(self: Node, frame: Idea | End) -> Iterator[Idea | End]:
        if getattr(frame, "text", "") == "bad":
            raise ValueError("no")
        yield frame

    return worker_class(process, **members)


def test_a_failure_names_node_place_frame_and_attempt() -> None:
    graph, nodes = chain("advance", "bad", subject=flaky())

    with pytest.raises(
        NodeFailed,
        match=r"test:subject: node 'subject' failed while processing Idea \d+ from 'boss' \(attempt 1\): ValueError: no",
    ):
        run(graph, nodes)


def test_skip_ends_the_attempt_with_an_error_and_tells_the_owner() -> None:
    graph, nodes = chain("advance", "ok", "bad", "rest", "end", 0.1, "advance", "new", "end", subject=flaky())
    boss = nodes["boss"]
    session = run(with_errors(graph, "subject", "skip"), nodes)

    got = nodes["sink"].got
    assert texts(got) == ["ok", "End", "new", "End"]
    assert session.trace.counts["subject -> sink", "put"] == len(got)
    assert [(end.reason, end.turn) for end in got if isinstance(end, End)] == [("error", 1), ("done", 2)]
    assert [(failure.node, failure.attempt) for failure in boss.failures] == [("subject", 1)]  # type: ignore[attr-defined]


def test_a_player_that_fails_is_said_to_be_silent_so_that_the_owner_does_not_wait() -> None:
    def process(self: Node, frame: Idea | End) -> Iterator[Heard]:
        if isinstance(frame, Idea):
            raise OSError("no device")
        yield Heard(final=True)

    nodes = {
        "source": source("advance", "a", "end", 0.1, "advance", "end"),
        "boss": Boss(),
        "subject": worker_class(process)(),
    }
    classes = {name: type(node) for name, node in nodes.items()}
    graph = graph_of(
        nodes,
        ("source", "boss"),
        ("boss", "subject"),
        _edge(classes, "subject", "boss", feedback=True, overflow="fail"),
    )
    run(with_errors(graph, "subject", "skip"), nodes)

    heard = nodes["boss"].heard  # type: ignore[attr-defined]
    assert [(one.turn, one.final, one.reason) for one in heard] == [(1, True, "error"), (2, True, "done")]
    assert "no device" in heard[0].detail


def test_restart_makes_a_fresh_node_and_goes_on_with_the_next_frame() -> None:
    opened: list[object] = []
    closed: list[object] = []

    async def open(self: Node) -> None:
        opened.append(self)

    async def close(self: Node) -> None:
        closed.append(self)

    graph, nodes = chain("advance", "bad", 1.0, "advance", "new", 1.0, subject=flaky(open=open, close=close))
    run(with_errors(graph, "subject", "restart"), nodes)

    assert [end.reason for end in nodes["sink"].got if isinstance(end, End)] == ["error"]
    assert texts(nodes["sink"].got) == ["End", "new"]
    assert len(opened) == len(closed) == 2
    assert opened[0] is not opened[1]


def test_a_node_that_fails_again_and_again_ends_the_session() -> None:
    items: list[Any] = []
    for _ in range(6):
        items += ["advance", "bad", 2.0]
    graph, nodes = chain(*items, subject=flaky())

    with pytest.raises(NodeFailed, match="restarted 3 times in 30 s"):
        run(with_errors(graph, "subject", "restart"), nodes)


def test_a_run_that_fails_is_restarted_too() -> None:
    runs: list[int] = []

    class Ticker(Node):
        async def run(self) -> AsyncIterator[Note]:
            runs.append(1)
            yield Note(f"{len(runs)}")
            if len(runs) < 3:
                raise OSError("gone")

    nodes: dict[str, Node] = {"ticker": Ticker(), "sink": Sink()}
    graph = graph_of(nodes, ("ticker", "sink"))
    run(with_errors(graph, "ticker", "restart"), nodes)

    assert texts(nodes["sink"].got) == ["1", "2", "3"]
