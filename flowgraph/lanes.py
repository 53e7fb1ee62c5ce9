"""Nodes with `parallel`: up to n frames in process at once, their outputs in the order of their inputs.

Each frame has a lane: a task that fills a small bounded buffer. One emitter empties the lanes, oldest first, so that an output
carries its own frame's cause and turn. An interruption cancels every lane of a stale Plan; the next frame waits until they have
cleaned up, or for as long as that may take.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from flowgraph.frame import Frame
from flowgraph.mistakes import contained

if TYPE_CHECKING:
    from flowgraph.channel import Inbox

LANE_FRAMES = 64
"""So many outputs of a frame may wait for the frame before it."""


class Lane:
    """One frame in process, and what it has yielded so far."""

    __slots__ = ("_news", "_room", "cancelled", "frame", "outputs", "overdue", "task")

    def __init__(self, frame: Frame, process: Callable[[Any], Any], news: asyncio.Event, name: str) -> None:
        self.frame = frame
        self.outputs: deque[Frame] = deque()
        self.cancelled = False
        self.overdue = False
        """It was cancelled, and hangs in its clean-up: nobody waits for it any more."""
        self._room = asyncio.Event()
        self._news = news
        self.task = asyncio.get_running_loop().create_task(self._fill(process), name=name)
        self.task.add_done_callback(lambda _: news.set())

    @property
    def leaving(self) -> bool:
        """Is it still cleaning up?"""
        return self.cancelled and not self.overdue and not self.task.done()

    def take(self) -> Frame:
        self._room.set()
        return self.outputs.popleft()

    async def _fill(self, process: Callable[[Any], Any]) -> None:
        await contained(self._work(process))

    async def _work(self, process: Callable[[Any], Any]) -> None:
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
            for output in () if outputs is None else outputs:
                await self._add(output)

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
                frame = None
                if not any(lane.leaving for lane in self._lanes):
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

    @property
    def frames(self) -> Iterator[Frame]:
        """What is in process."""
        return (lane.frame for lane in self._lanes if not lane.task.done())

    def processed_in(self, task: asyncio.Task[Any]) -> Frame | None:
        """Whose lane this task is."""
        return next((lane.frame for lane in self._lanes if lane.task is task), None)

    def interrupt(self) -> None:
        """The turn advanced: cancel what is worthless."""
        for lane in self._lanes:
            if self._worthless(lane.frame):
                self._cancel(lane)
        self._news.set()

    def _cancel(self, lane: Lane) -> None:
        """Once: a second time would end its clean-up."""
        if not lane.cancelled and not lane.task.done():
            lane.cancelled = True
            lane.task.cancel()
            asyncio.get_running_loop().call_later(self._clean_up_s, self._look, lane)

    def _look(self, lane: Lane) -> None:
        if lane.leaving:
            lane.overdue = True
            self._overdue(lane.task)
            self._news.set()

    async def _empty(self) -> None:
        while True:
            lane = self._lanes[0] if self._lanes else None
            worthless = lane is not None and self._worthless(lane.frame)
            if lane is not None and worthless:
                self._cancel(lane)
            if lane is not None and lane.outputs and not worthless:
                await self._emit(lane.take(), lane.frame)
            elif lane is not None and (lane.task.done() or lane.overdue):
                self._lanes.popleft()
                self._inbox.wake()
                error = lane.task.exception() if lane.task.done() and not lane.task.cancelled() else None
                if error is not None and not isinstance(error, Exception):
                    raise error
                if error is not None and not worthless:
                    self._failed(error, lane.frame)
            else:
                self._news.clear()
                await self._news.wait()
