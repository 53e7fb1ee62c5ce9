"""The only door from a foreign thread (a device's callback) into a node: a preallocated ring, one wake-up a burst."""

from __future__ import annotations

import asyncio
import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Handoff(Generic[T]):
    """One thread puts, the node's `run` iterates. When the ring is full the item is lost, and counted."""

    __slots__ = ("_closed", "_head", "_loop", "_ring", "_signalled", "_tail", "_thread", "_waiter", "count_lost")

    def __init__(self, loop: asyncio.AbstractEventLoop, capacity: int) -> None:
        self.count_lost = 0
        """Items that found the ring full, so far."""
        self._loop = loop
        # Made in the loop's own thread, by a node that opens.
        self._thread = threading.get_ident()
        self._ring: list[T | None] = [None] * (capacity + 1)
        self._head = 0
        self._tail = 0
        self._signalled = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: T) -> bool:
        """From one foreign thread (or the loop's). False = lost. Never blocks, never raises."""
        tail = self._tail
        after = tail + 1 if tail + 1 < len(self._ring) else 0
        if after == self._head:
            self.count_lost += 1
            return False
        self._ring[tail] = item
        self._tail = after
        if not self._signalled:
            self._signalled = True
            self._signal()
        return True

    def close(self) -> None:
        """Nothing more comes: the iteration ends behind the last item. From any thread."""
        self._closed = True
        self._signal()

    def __aiter__(self) -> Handoff[T]:
        return self

    async def __anext__(self) -> T:
        while self._head == self._tail:
            if self._closed:
                raise StopAsyncIteration
            self._signalled = False
            if self._head != self._tail:
                break  # put between the look and the reset: its wake-up may not come
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        head = self._head
        item = self._ring[head]
        self._ring[head] = None
        self._head = head + 1 if head + 1 < len(self._ring) else 0
        return item  # type: ignore[return-value]

    def _signal(self) -> None:
        if threading.get_ident() == self._thread:  # a virtual device: no need to wake a loop that is awake
            self._wake()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            self._closed = True  # the loop is gone, and nobody iterates any more

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
