"""Frames and nodes for tests of the engine: a fact, a plan, and an owner that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

from flowgraph.frame import End, Fact, Failure, Heard, Plan, frame
from flowgraph.node import Node


@frame
class Note(Fact):
    text: str = ""


@frame
class Idea(Plan):
    text: str = ""


@frame
class Block(Fact):
    """100 ms of something."""

    @property
    def duration_ns(self) -> int:
        return 100_000_000


@frame
class Long(Block):
    """200 ms."""

    @property
    def duration_ns(self) -> int:
        return 200_000_000


class Script(Node):
    """A source: yields what the given async generator function yields."""

    async def run(self) -> AsyncIterator[Note]:
        async for output in self.__dict__["script"]():
            yield output


class Boss(Node):
    """Owns the turn: each note is a call, `advance`, `commit` or anything else = an idea of that text."""

    owns_turn = True

    async def open(self) -> None:
        self.failures: list[Failure] = []
        self.heard: list[Heard] = []

    def process(self, frame: Note | Heard | Failure) -> Iterator[Idea | End]:
        turn = self.ctx.turn
        match frame:
            case Failure():
                self.failures.append(frame)
            case Heard():
                self.heard.append(frame)
            case Note(text="advance"):
                turn.advance()
            case Note(text="commit"):
                turn.commit(turn.number)
            case Note(text="end"):
                yield End()
            case Note(text=text):
                yield Idea(text)


class Sink(Node):
    """Remembers what came, and when."""

    async def open(self) -> None:
        self.got: list[Any] = []
        self.at: list[int] = []

    def process(self, frame: Note | Idea | End | Block | Failure) -> None:
        self.got.append(frame)
        self.at.append(self.ctx.clock.now())


def source(*items: str | float | Fact) -> Script:
    """A source that yields a note per text (or the fact given), and waits the seconds given between."""

    async def script() -> AsyncIterator[Fact]:
        for item in items:
            if isinstance(item, str):
                yield Note(item)
            elif isinstance(item, Fact):
                yield item
            else:
                await asyncio.sleep(item)

    node = Script()
    node.__dict__["script"] = script
    return node


def texts(frames: list[Any]) -> list[str]:
    return [getattr(one, "text", type(one).__name__) for one in frames]


def worker_class(process: Callable[..., Any], **members: Any) -> type[Node]:
    """A node class with the given `process` (its annotations are its ports)."""
    annotations = dict.fromkeys((name for name in ("parallel", "blocking") if name in members), ClassVar[int])
    return type(
        "Subject", (Node,), {"process": process, "__module__": __name__, "__annotations__": annotations, **members}
    )
