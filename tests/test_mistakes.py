"""What is wrong in the code of somebody's own node is told so that he finds it."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

from flowgraph.catalog import UnusableType, find
from flowgraph.errors import GraphError, NodeFailed
from flowgraph.graph import Graph
from flowgraph.node import Node, ports
from flowgraph.report import Report
from flowgraph.session import Session
from flowgraph.testing import graph_of, run_node, run_virtual
from tests.frames import Block, Boss, Idea, Note, Sink, source
from tests.spoken import spoken

LONG = "x" * 100


class Returns(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        return frame  # type: ignore[return-value]


class ReturnsLater(Node):
    async def process(self, frame: Note) -> list[Note]:
        return frame  # type: ignore[return-value]


class ReturnsSideBySide(Node):
    parallel: ClassVar[int] = 2

    async def process(self, frame: Note) -> list[Note]:
        return frame  # type: ignore[return-value]


class ReturnsInAThread(Node):
    blocking = True

    def process(self, frame: Note) -> Iterator[Note]:
        return frame  # type: ignore[return-value]


class ReturnsANumber(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        return 7  # type: ignore[return-value]


class YieldsText(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        yield LONG  # type: ignore[misc]


class YieldsNothing(Node):
    async def process(self, frame: Note) -> AsyncIterator[Note]:
        yield None  # type: ignore[misc]


class YieldsAnother(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        yield Block()  # type: ignore[misc]


class Leaves(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        sys.exit("bye")
        yield frame


class LeavesSideBySide(Node):
    parallel: ClassVar[int] = 2

    async def process(self, frame: Note) -> AsyncIterator[Note]:
        sys.exit(3)
        yield frame


class LeavesByItself(Node):
    async def run(self) -> AsyncIterator[Note]:
        sys.exit()
        yield Note()


class LeavesAtTheEnd(Node):
    async def drain(self) -> None:
        sys.exit("drained")

    def process(self, frame: Note) -> Iterator[Note]:
        yield frame


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class YieldsTheUnprintable(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        yield Unprintable()  # type: ignore[misc]


class YieldsAClass(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        yield Note  # type: ignore[misc]


class LeavesAtOnce(Node):
    async def open(self) -> None:
        sys.exit(1)

    def process(self, frame: Note) -> Iterator[Note]:
        yield frame


@pytest.mark.parametrize(
    ("cls", "why", "hint"),
    [
        (Returns, "it returned a Note instead of yielding it", "`yield frame`"),
        (ReturnsLater, "it returned a Note instead of yielding it", "`yield frame`"),
        (ReturnsSideBySide, "it returned a Note instead of yielding it", "`yield frame`"),
        (ReturnsInAThread, "it returned a Note instead of yielding it", "`yield frame`"),
        (ReturnsANumber, "it returned 7, which is no sequence of frames", "`yield frame` for each"),
        (YieldsText, f"it yielded '{LONG[:38]}…, which is no frame", "`yield Token(text)`"),
        (YieldsNothing, "it yielded None, which is no frame", "`yield Token(text)`"),
        (YieldsTheUnprintable, "it yielded a Unprintable, which is no frame", "`yield Token(text)`"),
        (YieldsAClass, "it yielded a class, which is no frame", "`yield Token(text)`"),
        (YieldsAnother, "it yielded a Block, but its annotations say that it yields Note", "-> Iterator[… | Block]"),
        (Leaves, "it ends the program: sys.exit('bye')", "raise an exception"),
        (LeavesSideBySide, "it ends the program: sys.exit(3)", "raise an exception"),
        (LeavesByItself, "it ends the program: sys.exit()", "raise an exception"),
        (LeavesAtOnce, "it ends the program: sys.exit(1)", "raise an exception"),
        (LeavesAtTheEnd, "it ends the program: sys.exit('drained')", "raise an exception"),
    ],
)
def test_what_a_node_does_wrong_is_told_with_what_to_write_instead(cls: type[Node], why: str, hint: str) -> None:
    with pytest.raises(NodeFailed) as caught:
        run_node(cls(), [Note("a"), 0.1, Note("b")] if ports(cls).inputs else [])

    said, _, place = caught.value.cause.partition(" (test_mistakes.py:")
    assert said == why
    assert bool(place) == why.startswith("it ends the program"), "the line where it does"
    assert hint in caught.value.hint


class LeavesOnItsWayOut(Node):
    async def close(self) -> None:
        sys.exit("closed")

    def process(self, frame: Note) -> Iterator[Note]:
        yield frame


class LeavesTheSecondTime(Node):
    opened: ClassVar[list[int]] = []

    async def open(self) -> None:
        self.opened.append(1)
        if len(self.opened) > 1:
            sys.exit("no GPU")

    def process(self, frame: Note) -> Iterator[Note]:
        raise ValueError("no")
        yield frame


class LeavesOnAnInterruption(Node):
    def flush(self) -> None:
        sys.exit("flushed")

    def process(self, frame: Idea) -> Iterator[Idea]:
        yield frame


def test_who_calls_sys_exit_while_closing_keeps_nobody_else_open() -> None:
    closed: list[str] = []

    class Closes(Sink):
        async def close(self) -> None:
            closed.append("sink")

    nodes: dict[str, Node] = {"source": source("x"), "subject": LeavesOnItsWayOut(), "sink": Closes()}
    said: list[str] = []
    session = Session(graph_of(nodes, ("source", "subject"), ("subject", "sink")), nodes=dict(nodes), say=said.append)

    async def main() -> None:
        async with session:
            await session.finished()

    run_virtual(main())

    assert closed == ["sink"]
    assert [text.partition("\n")[0] for text in said] == [
        "node 'subject' could not close: it ends the program: sys.exit('closed')"
    ]


def test_who_calls_sys_exit_in_a_restart_is_restarted_as_often_as_any_other() -> None:
    LeavesTheSecondTime.opened.clear()
    nodes: dict[str, Node] = {"source": source("x", 9.0), "subject": LeavesTheSecondTime(), "sink": Sink()}
    graph = graph_of(nodes, ("source", "subject"), ("subject", "sink"))
    graph.nodes["subject"] = dataclasses.replace(graph.nodes["subject"], on_error="restart")
    session = Session(graph, nodes=dict(nodes))

    async def main() -> None:
        async with session:
            await session.finished()

    with pytest.raises(NodeFailed, match=r"node 'subject' failed: it ends the program: sys\.exit\('no GPU'\)"):
        run_virtual(main())
    assert len(LeavesTheSecondTime.opened) == 4


def test_what_a_flush_raises_is_the_nodes() -> None:
    nodes: dict[str, Node] = {
        "source": source("x", 0.1, "advance", 0.1, "y"),
        "boss": Boss(),
        "subject": LeavesOnAnInterruption(),
        "sink": Sink(),
    }
    session = Session(graph_of(nodes, ("source", "boss"), ("boss", "subject"), ("subject", "sink")), nodes=dict(nodes))

    async def main() -> None:
        async with session, asyncio.timeout(60):
            await session.finished()

    with pytest.raises(NodeFailed, match=r"node 'subject' failed: it ends the program: sys\.exit\('flushed'\)"):
        run_virtual(main())


class Strict(BaseModel):
    size: int


class Several(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        yield Note(str(Strict.model_validate({"size": "big"})))


def test_a_message_in_several_lines_is_told_whole_and_the_traceback_is_in_the_trace() -> None:
    nodes: dict[str, Node] = {"source": source("x"), "subject": Several(), "sink": Sink()}
    graph = graph_of(nodes, ("source", "subject"), ("subject", "sink"))
    graph.nodes["subject"] = dataclasses.replace(graph.nodes["subject"], on_error="skip")
    session = Session(graph, nodes=dict(nodes))

    async def main() -> list[str]:
        async with session:
            await session.finished()
            return [text for _, node, text in session.trace.notes if node == "subject"]

    [note] = run_virtual(main())

    assert "ValidationError: 1 validation error for Strict; size; Input should be a valid integer" in session.said[0]
    assert "errors.pydantic.dev" not in session.said[0]
    assert session.said[0].endswith("= `flow run -v` shows the whole traceback")
    assert note.startswith(session.said[0])
    assert "Traceback (most recent call last)" in note
    assert 'Strict.model_validate({"size": "big"})' in note


class Base(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        yield Note(self._text({}))

    def _text(self, words: dict[str, str]) -> str:
        return words["greeting"]


class Derived(Base):
    """Inherits the mistake."""


class Foreign(Node):
    def process(self, frame: Note) -> Iterator[Note]:
        yield Note(str(Path("\0").stat()))


@pytest.mark.parametrize(
    ("cls", "why", "line"),
    [
        (Base, "KeyError: 'greeting'", 'return words["greeting"]'),
        (Derived, "KeyError: 'greeting'", 'return words["greeting"]'),
        (Foreign, "ValueError: embedded null byte", 'yield Note(str(Path("\\0").stat()))'),
    ],
)
def test_any_other_exception_is_told_with_the_line_of_the_node(cls: type[Node], why: str, line: str) -> None:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(index for index, text in enumerate(lines, start=1) if text.strip() == line)

    with pytest.raises(NodeFailed) as caught:
        run_node(cls(), [Note()])

    assert caught.value.cause == f"{why} (test_mistakes.py:{number})"
    assert caught.value.hint == "`flow run -v` shows the whole traceback"


class Lists(Node):
    def process(self, frame: Idea) -> list[Idea]:
        return [Idea("one"), Idea("two")]


def test_a_list_of_frames_is_as_good_as_a_generator() -> None:
    assert [one.text for one in run_node(Lists(), [Idea(), Idea()])] == ["one", "two", "one", "two"]  # type: ignore[attr-defined]


def test_an_attempt_may_be_over_in_the_middle_of_a_list() -> None:
    nodes: dict[str, Node] = {"source": source("x", 0.1, "y"), "boss": Boss(), "subject": Lists(), "sink": Sink()}
    session = Session(graph_of(nodes, ("source", "boss"), ("boss", "subject"), ("subject", "sink")), nodes=dict(nodes))
    over: list[Idea] = []

    def first(idea: Idea) -> None:
        if idea.source == "subject" and not over:
            over.append(idea)
            session.turn.advance()

    session.watch(Idea, first)

    async def main() -> None:
        async with session, asyncio.timeout(60):
            await session.finished()

    run_virtual(main())

    assert [idea.text for idea in nodes["sink"].got] == ["one", "two"]  # type: ignore[attr-defined]


# -- modules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import sys\nsys.exit(4)\n", r"it ends the program: sys\.exit\(4\) \(robot\.py:2\)"),
        ("x = 1\n\nraise KeyError('x')\n", r"KeyError: 'x' \(robot\.py:3\)"),
        ("def f(:\n", r"SyntaxError: .*\(robot\.py, line 1\)"),
        (
            "from flowgraph import Node\nclass Robot(Node):\n    n = 0\n",
            r"PydanticUserError: A non-annotated attribute .* \(robot\.py:2\)",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    (tmp_path / "robot.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "robot", raising=False)

    with pytest.raises(UnusableType, match=rf"^type 'robot:Robot' can't be imported: {why}") as caught:
        find("robot:Robot")

    assert "python -c 'import robot'" in caught.value.hint


def test_what_follows_from_a_type_that_is_not_there_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "extends: optimized\nnodes: {mine: {type: 'gone:Gone'}}\nedges:\n"
        "  - mic -> vad -> dialogue\n  - mic -> stt -> dialogue\n  - vad -> stt\n  - dialogue -> llm -> mine -> split -> tts\n"
        "  - {from: tts, to: speaker, hold: commit}\n  - {from: speaker, to: dialogue, feedback: true}\n",
        encoding="utf-8",
    )

    with pytest.raises(GraphError) as caught:
        Graph.load(path)

    assert [problem.message for problem in caught.value.problems] == ["type 'gone:Gone': there is no module gone"]


# -- the turn that was lost by it --------------------------------------------------------------------------------------


def test_a_turn_that_a_node_ended_with_the_session_says_so() -> None:
    """As one that a node ended which goes on (`on_error: skip`) does."""
    told: list[str] = []

    async def main() -> None:
        session = Session(spoken("ear.seconds=6", "llm.fails=true", says=[{"from": 500, "to": 1500, "text": "Well?"}]))
        report = Report(session)
        try:
            async with session:
                try:
                    await session.finished()
                except NodeFailed as error:
                    report.finish(error.cause)
                    raise
        except NodeFailed:
            told.extend(turn.verdict for turn in report.turns)

    run_virtual(main())

    assert len(told) == 1
    assert told[0].startswith("error: RuntimeError: no such model (spoken.py:")
