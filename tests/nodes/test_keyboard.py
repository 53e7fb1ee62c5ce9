from __future__ import annotations

import asyncio
import io
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowgraph.errors import NodeFailed
from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import _edge, graph_of
from flowgraph.units import MS, SECOND
from nodes.keyboard import AHEAD, Keyboard, lines_of_stdin
from nodes.vocabulary import Heard, Prompt, Transcript, Utterance

ANSWER_NS = 50 * MS


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Write bytes into what the process reads as its standard input; then it ends."""
    opened: list[Any] = []

    def write(content: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        opened.append(os.fdopen(reading))
        monkeypatch.setattr("sys.stdin", opened[-1])

    yield write
    for file in opened:
        file.close()


def held(nodes: dict[str, Node], *edges: Any) -> list[Frame]:
    """Run the nodes to their end on the real clock: virtual time doesn't wait for a thread that it can't see."""
    frames: list[Frame] = []

    async def main() -> None:
        session = Session(graph_of(nodes, *edges), nodes=dict(nodes))
        session.watch(Frame, frames.append)
        async with session, asyncio.timeout(10):
            await session.finished()

    asyncio.run(main())
    return frames


@pytest.mark.realtime
def test_each_line_is_a_final_transcript_and_the_truth(typed: Any) -> None:
    typed(b"one\n\n  two  \n")
    frames = held({"keyboard": Keyboard()})

    assert [frame.text for frame in frames if isinstance(frame, Transcript) and frame.final] == ["one", "two"]
    assert [(frame.index, frame.text) for frame in frames if isinstance(frame, Utterance)] == [(0, "one"), (1, "two")]


def test_the_last_line_needs_no_end_of_line(typed: Any) -> None:
    typed(b"one\ntwo")

    assert list(lines_of_stdin()) == ["one", "two"]


def test_text_is_utf_8_and_what_is_not_is_replaced(typed: Any) -> None:
    typed("schön\n".encode() + b"\xff\n")

    assert list(lines_of_stdin()) == ["schön", "�"]


def test_a_character_may_be_cut_by_a_read(typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.keyboard.CHUNK", 1)
    typed("ü€\n".encode())

    assert list(lines_of_stdin()) == ["ü€"]


def test_a_standard_input_without_a_descriptor_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))

    assert [line.strip() for line in lines_of_stdin()] == ["one", "two"]


@pytest.mark.realtime
def test_a_standard_input_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "written").open("w") as file:
        monkeypatch.setattr("sys.stdin", file)

        with pytest.raises(NodeFailed, match="can't read the standard input: Bad file descriptor"):
            held({"keyboard": Keyboard()})


@pytest.mark.realtime
def test_no_line_is_lost_however_many_there_are(typed: Any) -> None:
    count = 5 * AHEAD
    typed(b"".join(b"%d\n" % number for number in range(count)))
    frames = held({"keyboard": Keyboard()})

    assert [frame.text for frame in frames if isinstance(frame, Transcript)] == [str(n) for n in range(count)]


class Answerer(Node):
    """Owns the turn; each transcript is a prompt, heard to its end ANSWER_NS later."""

    owns_turn = True

    async def open(self) -> None:
        self._heard: list[Prompt] = []

    def process(self, frame: Transcript | Heard) -> Iterator[Prompt]:
        if isinstance(frame, Transcript):
            self.ctx.turn.commit(self.ctx.turn.advance())
            yield Prompt((("user", frame.text),))


class Ear(Node):
    async def process(self, frame: Prompt) -> AsyncIterator[Heard]:

        await asyncio.sleep(ANSWER_NS / SECOND)
        yield Heard("yes", final=True, played_until=self.ctx.clock.now())


@pytest.mark.realtime
def test_a_line_waits_until_the_answer_to_the_one_before_has_been_heard(typed: Any) -> None:
    typed(b"one\ntwo\nthree\n")
    nodes: dict[str, Node] = {"keyboard": Keyboard(), "owner": Answerer(), "ear": Ear()}
    classes = {name: type(node) for name, node in nodes.items()}
    frames = held(
        nodes,
        ("keyboard", "owner"),
        ("owner", "ear"),
        _edge(classes, "owner", "keyboard", feedback=True),
        _edge(classes, "ear", "keyboard", feedback=True),
    )
    times = [frame.at for frame in frames if isinstance(frame, Transcript)]

    assert len(times) == 3
    assert all(later - earlier >= ANSWER_NS for earlier, later in itertools.pairwise(times))
