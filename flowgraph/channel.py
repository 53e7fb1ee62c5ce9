"""Channels: one edge at run time. Bounded, with a declared overflow policy; they compare, so that nothing stale passes.

1. A Plan of an earlier attempt is refused at put and at take. Facts are never refused.
2. A held channel gives its Plans out only once their attempt is committed; a held head gives way to the node's other inputs,
   and counts as put at its commit.
3. A node's inputs are taken in the order of their puts.
4. A full channel does what its edge declares: the put waits, the oldest frame is dropped and counted, or it is an error.
   What is stale makes room first. A put that waits is woken, and refused, by an interruption.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from flowgraph.errors import FlowError
from flowgraph.frame import Frame
from flowgraph.taps import DROP, FULL, HELD, PUT, STALE, TAKE, Tap

if TYPE_CHECKING:
    from flowgraph.turn import Turn

MOST_FRAMES = 4096
"""An edge whose capacity is a duration also holds no more frames than this: some have no length."""


class EdgeLike(Protocol):
    """What a channel needs to know of its edge (`flowgraph.graph.Edge`)."""

    @property
    def label(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def capacity(self) -> int: ...
    @property
    def capacity_ns(self) -> int: ...
    @property
    def overflow(self) -> str: ...
    @property
    def hold(self) -> bool: ...
    @property
    def feedback(self) -> bool: ...


class Outlet(Protocol):
    """Where a worker puts what its node yields: a channel, or somebody who watches."""

    def put(self, frame: Frame) -> bool: ...
    def put_at_once(self, frame: Frame) -> None: ...
    async def wait_put(self, frame: Frame) -> None: ...


class Watch:
    """An observer outside the graph: told of each frame where it is yielded, and never in its way.

    What it raises is no failure of the node that yielded: `failed` is told, and the observer nothing more.
    """

    def __init__(self, callback: Callable[[Frame], None], failed: Callable[[Exception], None]) -> None:
        self._callback: Callable[[Frame], None] | None = callback
        self._failed = failed

    def put(self, frame: Frame) -> bool:
        if self._callback is not None:
            try:
                self._callback(frame)
            except Exception as error:
                self._callback = None
                self._failed(error)
        return True

    def put_at_once(self, frame: Frame) -> None:
        self.put(frame)

    async def wait_put(self, frame: Frame) -> None:
        self.put(frame)


class Overflow(FlowError):
    """A channel with `overflow: fail` is full."""


class Inbox:
    """All inputs of one node: gives out the frame that was put first."""

    __slots__ = ("_waiter", "channels")

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self._waiter: asyncio.Future[None] | None = None

    def poll(self) -> Frame | None:
        """The next frame, or None if there is nothing to take now."""
        best: Channel | None = None
        first = 0
        for channel in self.channels:
            order = channel.head()
            if order and (best is None or order < first):
                best, first = channel, order
        return best.take() if best is not None else None

    @property
    def source(self) -> bool:
        """True if nothing but feedback feeds the node: the stream begins, and ends, with it."""
        return all(channel.feedback for channel in self.channels)

    @property
    def ended(self) -> bool:
        """True once every input that counts is closed and empty."""
        for channel in self.channels:
            if not (channel.closed and not len(channel)) and (not channel.feedback or self.source):
                return False
        return True

    async def wait(self) -> None:
        """Return when there may be something to take, or something else to see to."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """End the wait."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


class Channel:
    """One edge at run time: from any task of one node to the inbox of another."""

    __slots__ = (
        "_capacity", "_edge", "_hold", "_inbox", "_lost", "_now", "_order", "_putters", "_queue", "_released", "_tap", "_timed",
        "_turn", "_used", "_waits", "closed", "feedback", "index",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        edge: EdgeLike,
        inbox: Inbox,
        *,
        turn: Turn,
        now: Callable[[], int],
        tap: Tap,
        order: Iterator[int],
        owned: bool = False,
    ) -> None:
        """`order` counts the puts of a session, from 1. `owned`: the owner puts into it, and the owner never waits."""
        self.index = index
        self.feedback = edge.feedback
        self.closed = False
        self._edge = edge
        self._inbox = inbox
        self._turn = turn
        self._now = now
        self._tap = tap
        self._order = order
        self._hold = edge.hold
        self._timed = edge.capacity_ns > 0
        self._capacity = edge.capacity_ns or edge.capacity
        self._waits = edge.overflow == "block" and not owned
        self._used = 0
        self._lost = 0
        self._released = 0
        self._queue: deque[tuple[int, Frame]] = deque()
        self._putters: list[asyncio.Future[None]] = []
        inbox.channels.append(self)
        turn.on_advance(self._wake_putters)
        if self._hold:
            turn.on_commit(self._release)

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, frame: Frame) -> bool:
        """Put a frame. True = it is settled (accepted, or refused as stale); False = the channel is full: `wait_put`.

        Raises Overflow if the edge says so.
        """
        if frame.is_plan and frame.turn < self._turn.number:
            self._tap((self._now(), STALE, self.index, frame.id))
            return True
        if not self._timed:
            if len(self._queue) >= self._capacity and not self._make_room(frame):
                return False
        elif self._full(frame) and not self._make_room(frame):
            return False
        self._queue.append((next(self._order), frame))
        if self._timed:
            self._used += frame.duration_ns
        self._tap((self._now(), PUT, self.index, frame.id))
        if self._hold and frame.is_plan and frame.turn > self._turn.committed:
            self._tap((self._now(), HELD, self.index, frame.id))
        else:
            self._inbox.wake()
        return True

    def put_at_once(self, frame: Frame) -> None:
        """The engine's own frames (how an attempt ended, what failed) are few, and never wait."""
        self._queue.append((next(self._order), frame))
        if self._timed:
            self._used += frame.duration_ns
        self._tap((self._now(), PUT, self.index, frame.id))
        self._inbox.wake()

    async def wait_put(self, frame: Frame) -> None:
        """Put a frame when there is room; return at once if it becomes stale meanwhile."""
        self._tap((self._now(), FULL, self.index, frame.id))
        loop = asyncio.get_running_loop()
        while True:
            waiter = loop.create_future()
            self._putters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._putters:
                    self._putters.remove(waiter)
                raise
            if self.put(frame):
                return

    def head(self) -> int:
        """The place in the order of puts of the frame that `take` would give; 0 = nothing to take now."""
        queue = self._queue
        while queue:
            order, frame = queue[0]
            if not frame.is_plan:
                return order
            if frame.turn < self._turn.number:
                self._discard(STALE)
                continue
            if not self._hold:
                return order
            if frame.turn > self._turn.committed:
                return 0
            return max(order, self._released)
        return 0

    def take(self) -> Frame:
        """The frame that `head` saw."""
        frame = self._queue.popleft()[1]
        if self._timed:
            self._used -= frame.duration_ns
        self._tap((self._now(), TAKE, self.index, frame.id))
        if self._putters:
            self._wake_putters()
        if self._lost:
            frame = frame.restamped(lost=self._lost)
            self._lost = 0
        return frame

    def close(self) -> None:
        """The producer has ended: nothing more comes."""
        self.closed = True
        self._inbox.wake()

    def _full(self, frame: Frame) -> bool:
        if not self._timed:
            return len(self._queue) >= self._capacity
        too_long = self._used > 0 and self._used + frame.duration_ns > self._capacity
        return too_long or len(self._queue) >= MOST_FRAMES

    def _make_room(self, frame: Frame) -> bool:
        while self._queue and (head := self._queue[0][1]).is_plan and head.turn < self._turn.number:
            self._discard(STALE)
        if not self._full(frame):
            return True
        if self._edge.overflow == "fail":
            raise Overflow(
                f"{self._edge.place}: the edge {self._edge.label} is full ({len(self._queue)} frames)",
                hint="its consumer is too slow: give it more `capacity`, or say what to lose with `overflow: drop_oldest`",
            )
        if self._edge.overflow == "drop_oldest":
            while self._queue and self._full(frame):
                self._discard(DROP)
                self._lost += 1
            return True
        return not self._waits

    def _discard(self, kind: int) -> None:
        frame = self._queue.popleft()[1]
        if self._timed:
            self._used -= frame.duration_ns
        self._tap((self._now(), kind, self.index, frame.id))
        if self._putters:
            self._wake_putters()

    def _release(self) -> None:
        self._released = next(self._order)
        self._inbox.wake()

    def _wake_putters(self) -> None:
        putters, self._putters = self._putters, []
        for waiter in putters:
            if not waiter.done():
                waiter.set_result(None)
