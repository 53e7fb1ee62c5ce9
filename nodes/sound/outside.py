"""A run that is judged from outside: who speaks aloud is a process of its own (`nodes.sound.aloud`), the figures are those of its recording.

1. An utterance's end is told to the session's report as the graph's own microphone heard it, by the same rule of level, on the session's own
   clock. So what the engine says of a turn owes nothing to the recording, and can be held against it.
2. An exchange of the recording belongs to the utterance whose end is nearest to its own end of speech, within `NEAR_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from flowgraph.children import import_path
from flowgraph.errors import DeviceError
from flowgraph.units import MS, SECOND
from nodes.sound.addresses import conversation_path
from nodes.sound.conversation import load_conversation
from nodes.sound.ear import USER_DBFS, Exchange, judge
from nodes.sound.overheard import Ends, Windows
from nodes.vocabulary import Audio, Utterance

if TYPE_CHECKING:
    from types import TracebackType

READY_S = 15.0
NEAR_S = 0.15
CAPTURED_NS = 150 * MS
"""The recording's clock and the microphone's differ by less."""
NOT_HEARD = "the graph's microphone didn't hear the recorded user"


class Outside:
    """`async with Outside(caller, path): …`. Raises DeviceError."""

    def __init__(self, conversation: str, path: Path) -> None:
        """`conversation` as in `caller:CONVERSATION`; `path`: where the stereo recording goes."""
        self.path = path
        self.begin_at = 0
        """Clock, nanoseconds: when the recording begins. Known at the end."""
        self.lost_ms = 0.0
        """So much the recording has lost."""
        self.cpu_s = 0.0
        """What it has cost: not the graph's."""
        self._conversation = conversation
        self._known = load_conversation(conversation_path(conversation)).utterances
        self._said: dict[int, int] = {}
        """Utterance → clock, nanoseconds: its end, as the recording heard it."""
        self._ends = Ends()
        self._windows: dict[str, Windows] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "nodes.sound.aloud", self._conversation, str(self.path), "--parent"),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(import_path())},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for us alone
        )
        try:
            async with asyncio.timeout(READY_S):
                await self._next()
        except TimeoutError:
            await self._kill()
            raise DeviceError(f"who speaks aloud wasn't ready within {READY_S:.0f} s") from None
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(READY_S):
                await self._process.wait()
        except TimeoutError:
            await self._kill()

    def captured(self, sound: Audio) -> None:
        """A block that a microphone of the graph's heard."""
        windows = self._windows.setdefault(sound.source, Windows(sound.rate_hz))
        for end_at, level in windows.feed(sound.samples, sound.at):
            if level > USER_DBFS:
                self._ends.add(end_at)

    async def utterance(self, *, go: bool = False) -> Utterance | None:
        """The next that has been spoken; None: the conversation is over. `go`: it may begin. Raises DeviceError."""
        if go:
            assert self._process.stdin is not None
            self._process.stdin.write(b"\n")
            await self._process.stdin.drain()
        told = await self._next()
        if told["event"] == "ended":
            self.begin_at, self.lost_ms, self.cpu_s = told["begin_at"], told["lost_ms"], told["cpu_s"]
            return None
        return self._found(told)

    def exchanges(self) -> dict[int, Exchange]:
        """Utterance → what the recording tells of it, when it is there. Raises DeviceError."""
        return assigned(judge(self.path), {index: (end - self.begin_at) / SECOND for index, end in self._said.items()})

    def _found(self, told: dict[str, Any]) -> Utterance:
        """An utterance as the graph's microphone heard it. Raises DeviceError."""
        recorded = self._known[told["index"]]
        self._said[told["index"]] = told["end_at"]
        spoken = told["end_at"] - told["start_at"]
        end_at = self._ends.last(told["end_at"] - CAPTURED_NS, told["end_at"] + CAPTURED_NS)
        if self._windows and not end_at:
            hint = "does its node `mic` have another device than the default one? Is its level turned down?"
            raise DeviceError(NOT_HEARD, hint=hint)
        end_at = end_at or told["end_at"]
        return Utterance(
            told["index"],
            recorded.text,
            end_at - spoken,
            end_at,
            expects=recorded.expects,
            barges_in=recorded.barge_in is not None,
            at=end_at,
        )

    async def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {}
        if told.get("event") == "error":
            raise DeviceError(told["message"], hint=told["hint"])
        if not told:
            status = await self._process.wait()
            raise DeviceError(f"who speaks aloud has ended with exit status {status}")
        return told

    async def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


def assigned(exchanges: Iterable[Exchange], ends_s: dict[int, float]) -> dict[int, Exchange]:
    """Utterance → its exchange. `ends_s`: where each ends in the recording, roughly."""
    found: dict[int, Exchange] = {}
    for one in exchanges:
        nearest = min(ends_s, key=lambda index: abs(ends_s[index] - one.speech_end_s), default=None)
        if nearest is not None and abs(ends_s[nearest] - one.speech_end_s) <= NEAR_S:
            found.setdefault(nearest, one)
    return found
