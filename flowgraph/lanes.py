"""Nodes with `parallel`: up to n frames in process at once, their outputs in the order of their inputs.

Each frame has a lane: a task that fills a small bounded buffer. One emitter empties the lanes, oldest first, so that an output
carries its own frame's cause and turn. An interruption cancels every lane of a stale Plan.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from flowgraph.frame import Frame

if TYPE_CHECKING:
    from flowgraph.channel import Inbox

LANE_FRAMES = 64
"""So many outputs of a frame may wait for the frame before it."""


class Lane:
    """One frame in process, and what it has yielded so far."""

    __slots__ = ("_news", "_room", "frame", "outputs", "task")

    def __init__(self, frame: Frame, process: Callable[[Any], Any], news: asyncio.Event, name: str) -> None:
        self.frame = frame
        self.outputs: deque[Frame] = deque()
        self._room = asyncio.Event()
        self._news = news
        self.task = asyncio.get_running_loop().create_task(self._fill(process), name=name)

    def take(self) -> Frame:
        self._room.set()
        return self.outputs.popleft()

    async def _fill(self, process: Callable[[Any], Any]) -> None:
        try:
            outputs: Any = process(self.frame)
            if hasattr(outputs, "__anext__"):
                try:
                    async for output in outputs:
                        await self._add(output)
                finally:
                    await outputs.aclose()
            else:
                if inspect.iscoroutine(outputs):
                    outputs = await outputs
                for output in _iterable(outputs):
                    await self._add(output)
        finally:
            self._news.set()

    async def _add(self, output: Frame) -> None:
        while len(self.outputs) >= LANE_FRAMES:
            self._room.clear()
            await self._room.wait()
        self.outputs.append(output)
        self._news.set()


class Lanes:
    """The frames in process of one node."""

    def __init__(
        self,
        name: str,
        most: int,
        *,
        inbox: Inbox,
        emit: Callable[[Frame, Frame], Awaitable[None]],
        failed: Callable[[Exception, Frame], None],
        worthless: Callable[[Frame], bool],
        overdue: Callable[[asyncio.Task[Any]], None],
        clean_up_s: float,
    ) -> None:
        """`worthless` tells whether a frame's attempt is over (or refused here).

        `overdue` is told of a task that hangs in its clean-up for more than `clean_up_s` seconds.
        """
        self._name = name
        self._most = most
        self._inbox = inbox
        self._emit = emit
        self._failed = failed
        self._worthless = worthless
        self._overdue = overdue
        self._clean_up_s = clean_up_s
        self._lanes: deque[Lane] = deque()
        self._news = asyncio.Event()

    async def consume(self, process: Callable[[Any], Any], before: Callable[[], None]) -> None:
        """Work the inbox until it has ended. `before` runs in band, between frames."""
        emitter = asyncio.get_running_loop().create_task(self._empty(), name=f"{self._name}.lanes")
        emitter.add_done_callback(lambda _: self._inbox.wake())
        try:
            while True:
                if emitter.done():
                    emitter.result()
                before()
                frame = self._inbox.poll() if len(self._lanes) < self._most else None
                if frame is None:
                    if self._inbox.ended and not self._lanes:
                        return
                    await self._inbox.wait()
                elif not self._worthless(frame):
                    self._lanes.append(Lane(frame, process, self._news, f"{self._name}.process"))
                    self._news.set()
        finally:
            tasks = [emitter, *(lane.task for lane in self._lanes)]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=self._clean_up_s)

    def interrupt(self) -> None:
        """The turn advanced: cancel what is worthless."""
        loop = asyncio.get_running_loop()
        for lane in self._lanes:
            if not lane.task.done() and self._worthless(lane.frame):
                lane.task.cancel()
                loop.call_later(self._clean_up_s, self._look, lane.task)
        self._news.set()

    def _look(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            self._overdue(task)

    async def _empty(self) -> None:
        while True:
            lane = self._lanes[0] if self._lanes else None
            worthless = lane is not None and self._worthless(lane.frame)
            if lane is None or not (lane.outputs or lane.task.done() or worthless):
                self._news.clear()
                await self._news.wait()
            elif lane.outputs and not worthless:
                await self._emit(lane.take(), lane.frame)
            else:
                self._lanes.popleft()
                self._inbox.wake()
                if not lane.task.done():
                    lane.task.cancel()
                elif not worthless and not lane.task.cancelled() and (error := lane.task.exception()) is not None:
                    if not isinstance(error, Exception):
                        raise error
                    self._failed(error, lane.frame)


def _iterable(outputs: Any) -> Iterable[Frame]:
    return () if outputs is None else outputs
