"""Typed instead of spoken: each line is a final transcript, and known to be right. Takes the place of microphone, VAD and STT.

1. A line that is typed while an answer is on waits until it has been heard: a pipe is a conversation, not a pile of interruptions.
2. The end of the input ends the stream once the last answer has been heard.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator

from flowgraph import MS, SECOND, FlowError, Node
from nodes.vocabulary import Heard, Prompt, Transcript, Utterance

CHUNK = 4096
AHEAD = 64
"""So many lines are read ahead."""
PROMPT_NS = 1 * SECOND
"""A line that hasn't led to a prompt by then leads to none."""
GREETING_NS = 50 * MS
"""A greeting, if there is one, has begun by then."""


class Keyboard(Node):
    """What the user types, line by line, as if it had been said."""

    live = True  # it begins by itself, also where nobody tells it what was heard

    async def open(self) -> None:
        self._lines = self.ctx.handoff(AHEAD)
        self._room = threading.Semaphore(AHEAD)
        self._unreadable = ""
        """Why there are no lines."""
        self._asked = 0
        self._heard_until = 0
        self._prompted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        threading.Thread(target=self._read, name=self.ctx.name, daemon=True).start()

    async def run(self) -> AsyncIterator[Utterance | Transcript]:
        await self._prompt_within(GREETING_NS)
        count = 0
        async for line in self._lines:
            self._room.release()
            await self._idle.wait()
            self._prompted.clear()
            # The answer's last sample may be on its way to the ear: nothing was said before it was heard.
            said_at = max(self.ctx.clock.now(), self._heard_until)
            yield Utterance(count, line, said_at, said_at)
            yield Transcript(line, final=True, start_at=said_at, end_at=said_at)
            await self._prompt_within(PROMPT_NS)
            count += 1
        if self._unreadable:
            raise FlowError(f"can't read the standard input: {self._unreadable}", hint="type, or give lines: < FILE")
        await self._idle.wait()

    def process(self, frame: Prompt | Heard) -> None:
        match frame:
            case Prompt():
                self._asked = frame.turn
                self._prompted.set()
                if Heard in self.ctx.fed:
                    self._idle.clear()
            case Heard(final=True) if frame.turn >= self._asked:
                self._heard_until = frame.played_until
                self._idle.set()

    async def _prompt_within(self, ns: int) -> None:
        if Prompt in self.ctx.fed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._prompted.wait(), ns / SECOND)

    def _read(self) -> None:
        """In a thread of its own, which a blocked terminal may keep: the process doesn't wait for it."""
        try:
            for line in lines_of_stdin():
                if line.strip():
                    self._room.acquire()
                    self._lines.put(line.strip())
        except OSError as error:
            if error.errno != errno.EIO:  # that is a terminal that has been closed
                self._unreadable = error.strerror or str(error)
        finally:
            self._lines.close()


def lines_of_stdin() -> Iterator[str]:
    """Lines as they come. Read from the descriptor: a thread blocked in `sys.stdin` would hold its lock at exit."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # replaced by something without one
        yield from sys.stdin or ()
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while chunk := os.read(descriptor, CHUNK):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from lines
    if rest:
        yield rest
