"""Rules of the engine whose breaking shows only at close range: each test is here because a mutant lived without it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowgraph.errors import GraphError, NodeFailed
from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.lanes import LANE_FRAMES
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import _edge, graph_of, run_virtual
from flowgraph.units import MS, SECOND
from tests.frames import Boss, Idea, Note, Script, Sink, source, texts, worker_class
from tests.standins import TYPES


def nodes_of(subject: type[Node], script: Node) -> dict[str, Node]:
    return {"source": script, "boss": Boss(), "subject": subject(), "sink": Sink()}


def chained(nodes: dict[str, Node], **last: Any) -> Graph:
    """source → boss → subject → sink, the last edge as `last` says."""
    classes = {name: type(node) for name, node in nodes.items()}
    return graph_of(nodes, ("source", "boss"), ("boss", "subject"), _edge(classes, "subject", "sink", **last))


def run(graph: Graph, nodes: dict[str, Node]) -> Session:
    session = Session(graph, nodes=dict(nodes))

    async def main() -> None:
        async with session, asyncio.timeout(600):
            await session.finished()

    run_virtual(main())
    return session


def now() -> float:
    return asyncio.get_running_loop().time()


# -- interruption ------------------------------------------------------------------------------------------------------


def test_a_stop_and_an_interruption_in_the_same_moment_leave_the_next_frame_alone() -> None:
    begun: list[str] = []

    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        begun.append(frame.text)
        await asyncio.sleep(1000)
        yield frame

    nodes = nodes_of(worker_class(process), source("advance", "first", 5000.0))

    async def main() -> None:
        session = Session(chained(nodes), nodes=dict(nodes))
        async with session:
            await asyncio.sleep(1)
            worker = session._workers["subject"]
            assert worker._consumer is not None
            worker._consumer.cancel()  # the stop …
            session.turn.advance()  # … and the interruption: one CancelledError for both
            [plans] = worker.inbox.channels
            plans.put(Idea("next").restamped(turn=2, id=1000))
            await asyncio.wait([worker._consumer], timeout=1)
            assert worker._consumer.cancelled()

    run_virtual(main())

    assert begun == ["first"]


def test_a_node_that_swallows_its_cancel_can_be_interrupted_again() -> None:
    ended: list[float] = []

    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append(now())
        yield frame

    nodes = nodes_of(
        worker_class(process), source("advance", "a", 1.0, "advance", "b", 1.0, "advance", "c", 1.0, "advance")
    )
    run(chained(nodes), nodes)

    assert [round(end - ended[0], 3) for end in ended] == [0.0, 1.0, 2.0]
    assert nodes["sink"].got == []  # type: ignore[attr-defined]


def test_the_generator_of_a_stale_plan_is_closed_before_the_next_frame_begins() -> None:
    log: list[str] = []

    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        log.append(f"begin {frame.text}")
        try:
            for _ in range(9):
                yield Idea(frame.text)
        finally:
            log.append(f"closed {frame.text}")

    nodes = nodes_of(worker_class(process), source("advance", "a", 1.0, "advance", "b", 1.0, "commit"))
    run(chained(nodes, hold=True, capacity=2), nodes)

    assert log == ["begin a", "closed a", "begin b", "closed b"]


@pytest.mark.parametrize("kind", ["plain", "async", "blocking"])
def test_nothing_more_is_made_of_a_plan_that_has_become_worthless(kind: str) -> None:
    made: list[int] = []
    closed_in: list[str] = []

    def making(frame: Idea) -> Iterator[Idea]:
        try:
            for count in range(9):
                made.append(count)
                yield Idea(frame.text)
        finally:
            closed_in.append(threading.current_thread().name)

    def process(self: Node, frame: Idea) -> Iterator[Idea]:
        yield from making(frame)

    async def process_async(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        for idea in making(frame):
            yield idea

    subject = worker_class(process_async if kind == "async" else process, blocking=kind == "blocking")
    nodes = nodes_of(subject, source("advance", "a", 1.0, "advance", 1.0))
    run(chained(nodes, hold=True, capacity=2), nodes)

    assert made == [0, 1, 2], "the third was waiting for room"
    assert closed_in[0].startswith("subject") == (kind == "blocking"), "a generator is closed where it ran"


def test_facts_in_several_lanes_outlive_an_interruption() -> None:
    async def process(self: Node, frame: Note) -> AsyncIterator[Note]:
        await asyncio.sleep(1)
        yield frame

    nodes: dict[str, Node] = {
        "facts": source("a", "b", "c"), "source": source("advance", 0.5, "advance"), "boss": Boss(),
        "subject": worker_class(process, parallel=2)(), "sink": Sink(),
    }  # fmt: skip
    run(graph_of(nodes, ("facts", "subject"), ("subject", "sink"), ("source", "boss")), nodes)

    assert texts(nodes["sink"].got) == ["a", "b", "c"]  # type: ignore[attr-defined]


def test_lanes_clean_up_then_the_node_is_flushed_then_the_next_attempt_begins() -> None:
    log: list[str] = []

    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        log.append(f"begin {frame.text}")
        try:
            await asyncio.sleep(1000 if frame.turn == 1 else 0)
            yield frame
        finally:
            await asyncio.sleep(0.04)
            log.append(f"end {frame.text}")

    def flush(self: Node) -> None:
        log.append("flush")

    nodes = nodes_of(
        worker_class(process, parallel=2, flush=flush), source("advance", "a", "b", 1.0, "advance", "c", 1.0)
    )
    run(chained(nodes), nodes)

    assert log[log.index("begin a") :] == ["begin a", "begin b", "end a", "end b", "flush", "begin c", "end c"]


def test_clean_up_that_hangs_in_a_lane_is_reported_too_and_keeps_nobody() -> None:
    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        if frame.text != "stuck":
            yield frame
            return
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(500)

    nodes = nodes_of(
        worker_class(process, parallel=2), source("advance", "stuck", "stuck", 1.0, "advance", "next", 1.0)
    )
    session = run(chained(nodes), nodes)

    assert texts(nodes["sink"].got) == ["next"]  # type: ignore[attr-defined]
    [interruption] = [at for at, attempt, _ in session.trace.advances if attempt == 2]
    told = [(at - interruption, node) for at, node, text in session.trace.notes if "detached" in text]
    assert told == [(50 * MS, "subject")] * 2


def test_a_lane_runs_ahead_no_further_than_its_buffer() -> None:
    made: list[int] = []

    async def process(self: Node, frame: Idea) -> AsyncIterator[Idea]:
        for count in range(1000):
            made.append(count)
            yield Idea(frame.text)

    nodes = nodes_of(worker_class(process, parallel=2), source("advance", "a", 1.0, "advance", 1.0))
    run(chained(nodes, hold=True, capacity=8), nodes)

    assert len(made) == 8 + 1 + LANE_FRAMES + 1, "on the edge, waiting for it, in the lane, waiting for that"


@pytest.mark.parametrize("parallel", [1, 2])
def test_what_process_returns_when_it_has_awaited_is_said(parallel: int) -> None:
    async def process(self: Node, frame: Note) -> list[Note]:
        await asyncio.sleep(1)
        return [Note(f"{frame.text} {count}") for count in range(2)]

    process.__annotations__["return"] = Iterator[Note]
    nodes: dict[str, Node] = {
        "source": source("a", "b"), "subject": worker_class(process, parallel=parallel)(), "sink": Sink(),
    }  # fmt: skip
    run(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes)

    assert texts(nodes["sink"].got) == ["a 0", "a 1", "b 0", "b 1"]  # type: ignore[attr-defined]


@pytest.mark.realtime
def test_a_stop_waits_for_a_step_in_a_thread_to_its_end() -> None:
    started, released, ended = threading.Event(), threading.Event(), threading.Event()

    def process(self: Node, frame: Note) -> None:
        started.set()
        assert released.wait(5)
        ended.set()

    async def main() -> None:
        nodes: dict[str, Node] = {"source": source("a"), "subject": worker_class(process, blocking=True)()}
        async with Session(graph_of(nodes, ("source", "subject")), nodes=nodes):
            while not started.is_set():
                await asyncio.sleep(0.01)
            threading.Timer(0.2, released.set).start()

    asyncio.run(main())

    assert ended.is_set()


def test_a_step_in_a_thread_is_waited_for_before_the_node_is_flushed() -> None:
    log: list[str] = []
    started, released = threading.Event(), threading.Event()

    def process(self: Node, frame: Idea) -> Iterator[Idea]:
        started.set()
        assert released.wait(5)
        log.append("the step has ended")
        return iter(
            [frame]
        )  # no generator: there is nothing to close, and so nothing else that would wait for the thread

    def flush(self: Node) -> None:
        if started.is_set():
            log.append("flush")

    async def script() -> AsyncIterator[Note]:
        yield Note("advance")
        yield Note("idea")
        while not started.is_set():
            await asyncio.sleep(0)
        yield Note("advance")
        for _ in range(100):
            await asyncio.sleep(0)
        released.set()

    interrupting = Script()
    interrupting.__dict__["script"] = script
    nodes = nodes_of(worker_class(process, flush=flush, blocking=True), interrupting)
    run(chained(nodes), nodes)

    assert log == ["the step has ended", "flush"]


# -- stamps ------------------------------------------------------------------------------------------------------------


def test_a_time_that_the_node_states_itself_is_kept() -> None:
    def process(self: Node, frame: Note) -> Iterator[Note]:
        yield Note("mine", at=777)
        yield Note("its")

    nodes = {"source": source(Note("x", at=123)), "subject": worker_class(process)(), "sink": Sink()}
    run(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes)

    assert [note.at for note in nodes["sink"].got] == [777, 123]


def test_what_run_yields_belongs_to_the_attempt_of_the_cause_that_it_names() -> None:
    class Late(Node):
        async def open(self) -> None:
            self.asked: asyncio.Queue[Idea] = asyncio.Queue()

        def process(self, frame: Idea) -> None:
            self.asked.put_nowait(frame)

        async def run(self) -> AsyncIterator[Idea | Note]:
            idea = await self.asked.get()
            yield Note("heard", cause=idea)
            yield Idea("answer", cause=idea)

    nodes: dict[str, Node] = {
        "source": source("advance", "idea", 1.0), "boss": Boss(), "subject": Late(), "sink": Sink()
    }  # fmt: skip
    frames: list[Frame] = []
    session = Session(chained(nodes), nodes=dict(nodes))
    session.watch(Frame, frames.append)

    async def main() -> None:
        async with session:
            await session.finished()

    run_virtual(main())

    [idea] = [frame for frame in frames if frame.source == "boss"]
    assert [(frame.cause, frame.turn, frame.at) for frame in nodes["sink"].got] == [(idea.id, 1, idea.at)] * 2  # type: ignore[attr-defined]


def test_a_plan_from_run_without_a_cause_is_an_error_where_the_turn_is_owned() -> None:
    class Loose(Node):
        async def run(self) -> AsyncIterator[Idea]:
            yield Idea("whose?")

    nodes: dict[str, Node] = {"source": source("x"), "boss": Boss(), "loose": Loose(), "sink": Sink()}

    with pytest.raises(NodeFailed, match=r"node 'loose' failed.*while running by itself") as failure:
        run(graph_of(nodes, ("source", "boss"), ("loose", "sink")), nodes)

    assert "name the Plan's cause" in failure.value.hint


# -- tasks -------------------------------------------------------------------------------------------------------------


def test_a_plain_process_gives_the_loop_its_turn_within_a_slice() -> None:
    processed: list[int] = []
    turns: list[int] = []

    def process(self: Node, frame: Note) -> None:
        if not processed:
            asyncio.get_running_loop().call_soon(lambda: turns.append(len(processed)))
        processed.append(frame.id)

    nodes = {"source": source(*["x"] * 1000), "subject": worker_class(process)()}
    classes = {name: type(node) for name, node in nodes.items()}
    run(graph_of(nodes, _edge(classes, "source", "subject", capacity=4000)), nodes)

    assert len(processed) == 1000
    assert turns[0] <= 64


def test_consumers_run_before_their_sources() -> None:
    log: list[str] = []

    class First(Node):
        async def run(self) -> AsyncIterator[Note]:
            log.append("source")
            yield Note("x")

    class Second(Node):
        def process(self, frame: Note) -> None:
            log.append("note")

        async def run(self) -> AsyncIterator[Idea]:
            log.append("consumer")
            return
            yield

    nodes: dict[str, Node] = {"source": First(), "subject": Second()}
    run(graph_of(nodes, ("source", "subject")), nodes)

    assert log == ["consumer", "source", "note"]


# -- failure and stop --------------------------------------------------------------------------------------------------


def with_errors(graph: Graph, name: str, on_error: str) -> Graph:
    import dataclasses

    graph.nodes[name] = dataclasses.replace(graph.nodes[name], on_error=on_error)  # type: ignore[arg-type]
    return graph


def test_each_restart_waits_twice_as_long_as_the_one_before() -> None:
    opened: list[int] = []

    def process(self: Node, frame: Note) -> Iterator[Note]:
        raise ValueError("no")
        yield frame

    async def open(self: Node) -> None:
        opened.append(self.ctx.clock.now())

    nodes = {
        "source": source("a", 1.0, "b", 1.0, "c", 1.0, "d"),
        "subject": worker_class(process, open=open)(),
        "sink": Sink(),
    }
    graph = with_errors(graph_of(nodes, ("source", "subject"), ("subject", "sink")), "subject", "restart")

    with pytest.raises(NodeFailed, match="restarted 3 times in 30 s"):
        run(graph, nodes)

    waits = [at - opened[0] for at in opened]
    assert [round(wait / MS) for wait in waits] == [0, 100, 1000 + 200, 2000 + 400]
    assert waits[3] < 4 * SECOND


def test_the_owner_of_the_turn_may_only_fail() -> None:
    class Foolish(Boss):
        def process(self, frame: Note) -> Iterator[Idea]:
            raise ValueError("no")
            yield Idea()

    nodes: dict[str, Node] = {"source": source("x", 10.0), "boss": Foolish(), "sink": Sink()}
    graph = with_errors(graph_of(nodes, ("source", "boss"), ("boss", "sink")), "boss", "skip")

    with pytest.raises(NodeFailed, match=r"node 'boss' failed .*ValueError: no"):
        run(graph, nodes)


def test_of_an_attempt_that_has_failed_the_facts_are_processed_all_the_same() -> None:
    def process(self: Node, frame: Idea | Note) -> Iterator[Note]:
        if frame.is_plan:
            raise ValueError("no")
        yield Note(frame.text)

    nodes: dict[str, Node] = {
        "source": source("advance", "idea", 1.0), "facts": source(0.5, "fact"), "boss": Boss(),
        "subject": worker_class(process)(), "sink": Sink(),
    }  # fmt: skip
    graph = graph_of(nodes, ("source", "boss"), ("boss", "subject"), ("facts", "subject"), ("subject", "sink"))
    run(with_errors(graph, "subject", "skip"), nodes)

    assert [(note.text, note.turn) for note in nodes["sink"].got] == [("fact", 1)]  # type: ignore[attr-defined]


def test_a_stop_waits_for_two_seconds_and_no_longer() -> None:
    """Of three frames on their way, what takes 1.9 s comes through; the others are left."""

    async def process(self: Node, frame: Note) -> AsyncIterator[Note]:
        await asyncio.sleep(float(frame.text))
        yield frame

    nodes: dict[str, Node] = {
        "source": source("1.9", "2.1", "1000", 9.0), "subject": worker_class(process, parallel=3)(), "sink": Sink(),
    }  # fmt: skip

    async def main() -> tuple[list[str], float]:
        session = Session(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes=dict(nodes))
        async with session:
            await asyncio.sleep(0)
            began = now()
            await session.stop()
            await session.finished()
            return texts(nodes["sink"].got), now() - began  # type: ignore[attr-defined]

    came, took = run_virtual(main())

    assert came == ["1.9"]
    assert took == pytest.approx(2.0, abs=0.09), "and what is cancelled cleans up"


def test_a_stop_returns_when_what_was_on_its_way_has_come_through() -> None:
    async def process(self: Node, frame: Note) -> AsyncIterator[Note]:
        await asyncio.sleep(0.5)
        yield frame

    nodes = {"source": source("a", "b", 1000.0), "subject": worker_class(process)(), "sink": Sink()}

    async def main() -> tuple[list[str], float]:
        session = Session(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes=dict(nodes))
        async with session:
            await asyncio.sleep(0.1)
            began = now()
            await session.stop()
            return texts(nodes["sink"].got), now() - began

    came, took = run_virtual(main())

    assert came == ["a", "b"]
    assert took == pytest.approx(0.9)


# -- what is checked, what is kept -------------------------------------------------------------------------------------


def test_every_way_from_a_speculating_owner_to_a_speaker_has_to_be_held() -> None:
    text = """
services: {stt: {url: embedded}, llm: {url: embedded}, tts: {url: embedded}}
nodes:
  mic: {type: mic}
  stt: {type: ws_stt}
  dialogue: {type: dialogue, speculate_after: 96ms}
  llm: {type: llm_stream, model: demo}
  split: {type: sentence_split}
  one: {type: kokoro_tts}
  two: {type: kokoro_tts}
  speaker: {type: speaker}
edges:
  - mic -> stt -> dialogue -> llm -> split -> one
  - split -> two
  - {from: one, to: speaker, hold: commit}
  - two -> speaker
  - {from: speaker, to: dialogue, feedback: true}
"""

    with pytest.raises(GraphError) as failure:
        Graph.from_text(text, environ={}, types=TYPES)

    [problem] = failure.value.problems
    assert "could be heard or done before it is committed" in problem.message
    assert problem.message.endswith("dialogue -> llm -> split -> two -> speaker")
    Graph.from_text(text.replace("two -> speaker", "{from: two, to: speaker, hold: commit}"), environ={}, types=TYPES)


def test_a_long_session_remembers_the_latest_attempts_only() -> None:
    nodes: dict[str, Node] = {
        "source": source(*["advance", "idea", "commit", 1.0] * 300),
        "boss": Boss(),
        "sink": Sink(),
    }
    session = run(graph_of(nodes, ("source", "boss"), ("boss", "sink")), nodes)

    assert len(nodes["sink"].got) == 300  # type: ignore[attr-defined]
    for kept in ({record.turn for record in session.trace.records.values()}, set(session.trace.commits)):
        assert kept >= set(range(280, 301)), "the last 20 turns are"
        assert min(kept) > 200
