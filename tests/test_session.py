from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from flowgraph.errors import NodeFailed, Stuck
from flowgraph.frame import End, Heard, Plan, frame
from flowgraph.graph import Graph
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import _edge, graph_of, run_virtual
from flowgraph.units import MS, SECOND
from tests.frames import Boss, Idea, Note, Sink, source, texts, worker_class


@frame
class Piece(Plan):
    """Of an idea."""


def passing(self: Node, frame: Note) -> Iterator[Note]:
    yield frame


def three(log: list[str], **faults: str) -> tuple[Graph, dict[str, Node]]:
    """source → middle → sink, each writing down its life."""

    def life(name: str) -> dict[str, Any]:
        async def open(self: Node) -> None:
            log.append(f"open {name}")
            await asyncio.sleep(1)
            if faults.get(name) == "open":
                raise OSError("no such device")

        async def close(self: Node) -> None:
            log.append(f"close {name}")
            if faults.get(name) == "close":
                raise OSError("stuck")
            if faults.get(name) == "hang":
                await asyncio.sleep(1000)

        return {"open": open, "close": close}

    class Source(Node):
        async def run(self) -> AsyncIterator[Note]:
            log.append("run source")
            yield Note("x")

    for key, value in life("source").items():
        setattr(Source, key, value)

    def swallow(self: Node, frame: Note) -> None:
        log.append("sink got it")

    nodes: dict[str, Node] = {
        "source": Source(),
        "middle": worker_class(passing, **life("middle"))(),
        "sink": worker_class(swallow, **life("sink"))(),
    }
    return graph_of(nodes, ("source", "middle"), ("middle", "sink")), nodes


async def through(graph: Graph, nodes: dict[str, Node], **options: Any) -> Session:
    session = Session(graph, nodes=dict(nodes), **options)
    async with session, asyncio.timeout(600):
        await session.finished()
    return session


def test_all_nodes_open_at_once_behind_a_barrier_and_close_in_topological_order() -> None:
    log: list[str] = []
    graph, nodes = three(log)

    async def main() -> float:
        began = asyncio.get_running_loop().time()
        await through(graph, nodes)
        return asyncio.get_running_loop().time() - began

    assert run_virtual(main()) < 1.1
    assert log == [
        "open source", "open middle", "open sink", "run source", "sink got it", "close source", "close middle", "close sink",
    ]  # fmt: skip


def test_a_failed_open_is_one_error_and_everything_is_closed() -> None:
    log: list[str] = []
    graph, nodes = three(log, middle="open")

    with pytest.raises(NodeFailed, match="test:middle: node 'middle' failed: OSError: no such device"):
        run_virtual(through(graph, nodes))

    assert log[3:] == ["close source", "close middle", "close sink"]


def test_a_close_that_fails_is_reported_and_the_others_are_closed_all_the_same() -> None:
    log: list[str] = []
    graph, nodes = three(log, source="close")

    session = run_virtual(through(graph, nodes))

    assert session.said == ["node 'source' could not close: stuck"]
    assert log[-1] == "close sink"


def test_a_close_that_hangs_is_left_after_three_seconds() -> None:
    log: list[str] = []
    graph, nodes = three(log, source="hang")

    async def main() -> tuple[list[str], float]:
        session = Session(graph, nodes=dict(nodes))
        async with session:
            await session.finished()
            began = asyncio.get_running_loop().time()
        return session.said, asyncio.get_running_loop().time() - began

    said, took = run_virtual(main())

    assert said == ["node 'source' took more than 3 s to close and was left"]
    assert took == pytest.approx(3.0)
    assert log[-1] == "close sink"


def test_of_several_nodes_that_cannot_open_each_is_told() -> None:
    graph, nodes = three([], source="open", sink="open")
    said: list[str] = []

    with pytest.raises(NodeFailed, match="node 'source' failed"):
        run_virtual(through(graph, nodes, say=said.append))

    assert [text.partition("\n")[0] for text in said] == ["test:sink: node 'sink' failed: OSError: no such device"]


def test_a_session_leaves_no_task_behind() -> None:
    graph, nodes = three([])

    async def main() -> int:
        await through(graph, nodes)
        return len(asyncio.all_tasks())

    assert run_virtual(main()) == 1


def test_stop_lets_what_is_on_its_way_come_through() -> None:
    nodes: dict[str, Node] = {"source": source("a", 1000.0, "never"), "sink": Sink()}

    async def main() -> float:
        session = Session(graph_of(nodes, ("source", "sink")), nodes=dict(nodes))
        async with session:
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
            await session.stop()
            await session.finished()
            return asyncio.get_running_loop().time() - began

    assert run_virtual(main()) < 0.1
    assert texts(nodes["sink"].got) == ["a"]  # type: ignore[attr-defined]


def test_a_watcher_sees_each_frame_where_it_is_yielded_even_if_nobody_takes_it() -> None:
    seen: list[Note] = []
    nodes: dict[str, Node] = {"source": source("a", "b")}

    async def main() -> None:
        session = Session(graph_of(nodes), nodes=dict(nodes))
        session.watch(Note, seen.append)
        async with session:
            await session.finished()

    run_virtual(main())

    assert texts(seen) == ["a", "b"]


@pytest.mark.parametrize("which", ["watch", "say at the start", "say"])
def test_what_an_observer_raises_is_no_nodes_fault_and_ends_the_session(which: str) -> None:
    class Talker(Node):
        async def open(self) -> None:
            self.ctx.say("here I am")

        def process(self, frame: Note) -> None:
            self.ctx.say(f"it said {frame.text}")

    told: list[object] = []

    def fail(of: object) -> None:
        told.append(of)
        raise BrokenPipeError

    def say(text: str) -> None:
        if which == "say at the start" or (which == "say" and text.startswith("it said")):
            fail(text)

    async def main() -> None:
        nodes: dict[str, Node] = {"source": source("a", "b", 60.0, "c"), "talker": Talker()}
        session = Session(graph_of(nodes, ("source", "talker")), nodes=nodes, say=say)
        if which == "watch":
            session.watch(Note, fail)
        async with session, asyncio.timeout(1):
            await session.finished()

    with pytest.raises(BrokenPipeError):
        run_virtual(main())

    assert len(told) == 1, "it is told nothing more"


def test_a_prompt_that_comes_to_no_end_is_reported_as_stuck() -> None:
    class Mouth(Node):
        def process(self, frame: Idea | End) -> Iterator[Heard]:
            if isinstance(frame, End):
                yield Heard(final=True)

    nodes: dict[str, Node] = {"source": source("advance", "commit", "idea", 1000.0), "boss": Boss(), "mouth": Mouth()}
    classes = {name: type(node) for name, node in nodes.items()}
    graph = graph_of(
        nodes, ("source", "boss"), ("boss", "mouth"), _edge(classes, "mouth", "boss", feedback=True, overflow="fail")
    )

    with pytest.raises(Stuck, match="attempt 1 came to no end: nothing of it has moved for 60 s"):
        run_virtual(through(graph, nodes))


def test_an_attempt_that_goes_on_for_long_is_not_stuck_while_something_of_it_moves() -> None:
    async def slowly(self: Node, frame: Idea) -> AsyncIterator[Piece | End]:
        for _ in range(30):
            await asyncio.sleep(50)
            yield Piece()
        yield End()

    def playing(self: Node, frame: Piece | End) -> Iterator[Heard]:
        if isinstance(frame, End):
            yield Heard(final=True)

    nodes: dict[str, Node] = {
        "source": source("advance", "commit", "idea", 2000.0),
        "boss": Boss(),
        "subject": worker_class(slowly)(),
        "mouth": worker_class(playing)(),
    }
    classes = {name: type(node) for name, node in nodes.items()}
    back = _edge(classes, "mouth", "boss", feedback=True, overflow="fail")
    graph = graph_of(nodes, ("source", "boss"), ("boss", "subject"), ("subject", "mouth"), back)

    async def main() -> None:
        session = Session(graph, nodes=dict(nodes))
        async with session:
            await session.finished()

    run_virtual(main())

    assert [heard.final for heard in nodes["boss"].heard] == [True]  # type: ignore[attr-defined]


def test_a_held_plan_that_nobody_can_commit_any_more_does_not_keep_the_session() -> None:
    nodes: dict[str, Node] = {"source": source("advance", "idea"), "boss": Boss(), "sink": Sink()}
    classes = {name: type(node) for name, node in nodes.items()}
    graph = graph_of(nodes, ("source", "boss"), _edge(classes, "boss", "sink", hold=True))

    run_virtual(through(graph, nodes))

    assert nodes["sink"].got == []  # type: ignore[attr-defined]


# -- the critical path -------------------------------------------------------------------------------------------------


class Thinker(Node):
    async def process(self, frame: Idea) -> AsyncIterator[Idea]:
        await asyncio.sleep(0.2)
        yield Idea("answer")


class Mouth(Node):
    async def process(self, frame: Idea) -> AsyncIterator[Heard]:
        await asyncio.sleep(0.05)
        yield Heard(final=True, first_audible_at=self.ctx.clock.now() + 20 * MS)


def spoken(*, commit_after: float) -> tuple[Graph, dict[str, Node]]:
    nodes: dict[str, Node] = {
        "source": source(1.0, "advance", "question", commit_after, "commit", 2.0),
        "boss": Boss(),
        "thinker": Thinker(),
        "mouth": Mouth(),
    }
    classes = {name: type(node) for name, node in nodes.items()}
    graph = graph_of(
        nodes,
        ("source", "boss"),
        ("boss", "thinker"),
        _edge(classes, "thinker", "mouth", hold=True),
        _edge(classes, "mouth", "boss", feedback=True, overflow="fail"),
    )
    return graph, nodes


def path_of(session: Session, heard: Heard, since: int) -> list[tuple[str, str, int]]:
    steps = session.trace.path(heard.cause_id, by=heard.source, audible_at=heard.first_audible_at, since=since)
    assert steps[0].start == since
    assert steps[-1].end == heard.first_audible_at
    assert all(a.end == b.start for a, b in itertools.pairwise(steps))
    return [(step.kind, step.where, round(step.ms)) for step in steps if step.end > step.start]


@pytest.mark.parametrize(
    ("commit_after", "expected"),
    [
        # The answer is ready before the commit: the path is the commit's.
        (0.5, [("speech end", "source", 800), ("playout", "mouth", 70)]),
        # The commit came first: the path is the answer's.
        (0.1, [("speech end", "source", 300), ("working", "thinker", 200), ("playout", "mouth", 70)]),
    ],
)
def test_at_a_held_edge_the_path_follows_whichever_came_last(
    commit_after: float, expected: list[tuple[str, str, int]]
) -> None:
    graph, nodes = spoken(commit_after=commit_after)
    heard: list[Heard] = []

    async def main() -> list[tuple[str, str, int]]:
        session = Session(graph, nodes=dict(nodes))
        session.watch(Heard, heard.append)
        async with session, asyncio.timeout(600):
            await session.finished()
        began = session.trace._started + SECOND
        return path_of(session, heard[0], began - 300 * MS)

    steps = run_virtual(main())

    assert steps == expected


@pytest.mark.parametrize("run", [pytest.param(asyncio.run, marks=pytest.mark.realtime), run_virtual])
def test_what_the_program_consists_of_is_kept_from_the_collector_where_a_pause_would_be_heard(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    frozen: list[int] = []

    def process(self: Node, frame: Note) -> None:
        frozen.append(gc.get_freeze_count())

    async def main() -> None:
        nodes = {"source": source("x"), "sink": worker_class(process)()}
        async with Session(graph_of(nodes, ("source", "sink")), nodes=nodes) as session:
            await session.finished()

    run(main())

    [during] = frozen
    assert (during > 10_000) == (run is asyncio.run)
    assert gc.get_freeze_count() == 0
