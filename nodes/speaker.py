"""Play the answer, and say what of it was heard.

1. What arrives is written into a ring, and waits for room there: so back-pressure reaches the edge that holds the answer.
2. The device's callback plays from the ring and compares attempts by itself (`nodes/sound/playback.py`): an interruption is heard
   within one block, wherever the sound was.
3. What was heard is told at the first audible sample, every 250 ms, and once more, finally, when the answer has been played to
   its end or was cut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Literal

from flowgraph import MS, SECOND, Duration, Field, Node
from flowgraph.errors import DeviceError
from flowgraph.node import Trouble, troubles
from nodes.sound.addresses import DeviceName, parse_address, require_device
from nodes.sound.playback import NEWS_NS, News, Playback
from nodes.sound.reply import Reply
from nodes.sound.room import QUIET_NS, Line, Room
from nodes.vocabulary import End, Heard, Played, Speech

if TYPE_CHECKING:
    from nodes.vocabulary import Samples

HANDOFF_ITEMS = 512


class Speaker(Node):
    """Plays speech on a sound device and reports what was really heard of it."""

    effects = True
    needs = (Speech,)

    device: DeviceName = Field(
        "default", description="`default`, a part of a device's name, `file:PATH.wav`, or `null` (silent, but paced)."
    )
    latency: Literal["low", "high"] = Field(
        "low",
        description="The device's own buffer. `low` grows by itself where it runs dry; `high`: 35 ms or so, at once.",
    )
    buffer: Duration = Field(
        5 * SECOND,
        ge=40 * MS,
        description="So much sound is taken ahead of the device; the rest waits. What is there tells how long a sentence is, and so "
        "which of its words were heard.",
    )

    def problems(self) -> Iterator[Trouble]:
        yield from troubles("device", require_device, self.device, "output")

    async def open(self) -> None:
        self._line: Line | None = None
        self._handoff = self.ctx.handoff(HANDOFF_ITEMS)
        self._room: Room = self.ctx.shared("room", lambda: Room(self.ctx.clock))
        self._replies: deque[Reply] = deque()
        self._ordinal = 0
        self._position = 0
        self._position_at = 0
        self._moved = asyncio.Event()
        self._line = self._room.speaker(
            parse_address(self.device, "output"), say=self.ctx.say, failed=self._handoff.put, latency=self.latency
        )
        self._playback = Playback(
            self.ctx.turn,
            rate_hz=self._line.rate_hz,
            capacity_ns=self.buffer,
            tell=self._handoff.put,
            monitor=self._monitor if self.ctx.wants(Played) else None,
        )
        self._line.fill = self._playback.fill

    async def close(self) -> None:
        if self._line is not None:
            await self._room.leave(self._line)

    async def process(self, frame: Speech | End) -> AsyncIterator[Heard]:
        reply = self._reply_for(frame)
        if isinstance(frame, Speech):
            await self._write(reply, reply.add(frame))
            return
        rest = reply.finish(frame)
        if self._position < self._playback.written:  # two milliseconds: not worth a sound of their own behind a gap
            await self._write(reply, rest)
        reply.end_position = self._playback.written
        for heard in self._completed():
            yield heard

    async def run(self) -> AsyncIterator[Heard | Played]:
        assert self._line is not None
        await self._room.start(self._line)
        async for item in self._handoff:
            if isinstance(item, News):
                for heard in self._on_news(item):
                    yield heard
            elif isinstance(item, DeviceError):
                raise item
            else:
                at, samples = item
                yield Played(samples, self._playback.rate_hz, at=at)
        for reply in self._replies:
            yield reply.complete(self.ctx.clock.now())

    async def drain(self) -> None:
        patience = (self.buffer + SECOND) / SECOND
        try:
            async with asyncio.timeout(patience):
                while self._position < self._playback.written and self.ctx.turn.gain:
                    await self._next_news()
        except TimeoutError:
            pass  # a device that has stopped moving: there is nothing to wait for
        self._handoff.close()

    # -- into the ring -------------------------------------------------------------------------------------------------

    def _reply_for(self, frame: Speech | End) -> Reply:
        if self._replies and (last := self._replies[-1]).end is None and last.attempt == frame.turn:
            return last
        self._ordinal += 1
        playback = self._playback
        reply = Reply(self._ordinal, frame.turn, begin=playback.written, device_hz=playback.rate_hz)
        self._replies.append(reply)
        return reply

    async def _write(self, reply: Reply, samples: Samples) -> None:
        playback, now = self._playback, self.ctx.clock.now
        while len(samples) and reply.attempt >= self.ctx.turn.number:
            count = playback.write(samples, turn=reply.attempt, answer=reply.ordinal, now=now())
            samples = samples[count:]
            if len(samples):
                playback.wanted = True
                await self._next_news()

    async def _next_news(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    # -- from the device -----------------------------------------------------------------------------------------------

    def _monitor(self, at: int, samples: Samples) -> None:
        samples.flags.writeable = False
        self._handoff.put((at, samples))

    def _on_news(self, news: News) -> Iterator[Heard]:
        self._position, self._position_at = news.position, news.at
        self._moved.set()
        current = next((reply for reply in self._replies if reply.ordinal == news.answer), None)
        if current is not None and news.audible >= 0:
            if not current.audible_at:
                current.audible_at = news.audible_at
                current.sounding_until = news.audible_at
                self._room.answer_begins(news.audible_at)
                yield current.heard(news.position, news.at, cause_at=news.audible)
            if news.sounding_until - current.sounding_until > QUIET_NS:
                self._room.answer_begins(news.sounding_until)  # after so long, who listens takes it for another
            current.sounding_until = news.sounding_until
            self._room.answer_sounds(news.sounding_until)
        yield from self._cut(news)
        yield from self._completed()
        if current is not None and current in self._replies:
            current.told_at = current.told_at or news.at
            if news.at - current.told_at >= NEWS_NS:
                yield current.heard(news.position, news.at)

    def _cut(self, news: News) -> Iterator[Heard]:
        """The answers that an interruption ended."""
        while self._replies and self._replies[0].attempt < news.number:
            reply = self._replies[0]
            stopped, at = (news.stopped, news.stopped_at) if news.stopped >= 0 else (news.position, news.at)
            if reply.end is not None and reply.end_position <= stopped:
                yield from self._completed()
                continue
            self._replies.popleft()
            self._tell_over(reply, at, cut=True)
            yield reply.cut(stopped, at)

    def _completed(self) -> Iterator[Heard]:
        """The answers that have been played to their end."""
        while self._replies and (reply := self._replies[0]).end is not None and reply.end_position <= self._position:
            self._replies.popleft()
            until = self._position_at - (self._position - reply.end_position) * SECOND // self._playback.rate_hz
            self._tell_over(reply, until)
            yield reply.complete(until)

    def _tell_over(self, reply: Reply, at: int, *, cut: bool = False) -> None:
        if reply.audible_at:
            self._room.answer_ends(at, cut=cut)
