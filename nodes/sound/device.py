"""A sound device in use: kept open with as short a buffer as it gets along with, and watched.

1. A sound server has cycles of its own (PipeWire's: 21 ms, and never less where it knows that the machine is virtual: `vm.overrides` in
   pipewire.conf), and a buffer of less than two of them loses sound all the time. How long they are can't be asked. So a device that
   keeps losing sound is opened anew with a longer buffer, and says so.
2. Lost sound shows as the driver's overflows and underflows, and as blocks that should have come and didn't: ALSA's plugins tell only of some.
3. A device that falls silent without a word (its sound server has died) is a device that has failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from flowgraph.errors import DeviceError
from nodes.sound.hardware import BLOCKS_A_SECOND, Block, Hardware, HardwareStream

if TYPE_CHECKING:
    from flowgraph.clock import Clock

MS = 1_000_000
SECOND = 1_000_000_000
LOOK_S = 0.5
LOOKS, MOST_LOSING = 20, 2
"""Of the last looks at it, so many may lose sound: a program that joins the sound server makes it stumble once."""
MISSING = 0.15
"""A look with so much less than its blocks lost sound. (They come in bundles of a cycle: 43 ms are usual.)"""
HELD_UP = 1.5
"""A look that took so many times its time tells nothing."""
STALLED_LOOKS = 4
"""After so many without a single block it has stopped."""
LONGER_S = (0.04, 0.08, 0.16)
"""Buffers to try …"""
LONGER = 1.4
"""… of those that are so many times what the device says it has: it rounds to its own blocks."""


class Device:
    """One direction of a sound device, or both in one stream."""

    def __init__(
        self,
        *,
        heard: Hardware | None,
        played: Hardware | None,
        block: Block,
        failed: Callable[[DeviceError], object],
        say: Callable[[str], object],
        clock: Clock,
        latency: Literal["low", "high"] = "low",
    ) -> None:
        """`block` and `failed` are called in the device's thread, `failed` and `say` in the loop."""
        self.stream: HardwareStream | None = None
        self._heard = heard
        self._played = played
        self._block = block
        self._failed = failed
        self._say = say
        self._now = clock.now
        self._latency: float | Literal["low", "high"] = latency
        self._changing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Sound flows from now on. Raises DeviceError."""
        self.stream = await asyncio.to_thread(self._opened)
        self._watching = asyncio.create_task(self._watch(self.stream))

    async def stop(self) -> None:
        """Close it at once, without playing what it still has."""
        async with self._changing:
            if self._watching is not None:
                self._watching.cancel()
            if self.stream is not None:
                await self.stream.stop()

    def _opened(self) -> HardwareStream:
        return HardwareStream(
            heard=self._heard,
            played=self._played,
            block=self._block,
            failed=self._failed,
            now=self._now,
            latency=self._latency,
        )

    async def _watch(self, stream: HardwareStream) -> None:
        losing: deque[bool] = deque(maxlen=LOOKS)
        silent = 0
        while True:
            blocks, faults, since = stream.blocks, stream.faults, self._now()
            await asyncio.sleep(LOOK_S)
            came, elapsed_s = stream.blocks - blocks, (self._now() - since) / SECOND
            silent = 0 if came else silent + 1
            if silent == STALLED_LOOKS:
                self._failed(
                    DeviceError(
                        f"the sound device has stopped: nothing came from it for {STALLED_LOOKS * LOOK_S:.0f} s",
                        hint="is the sound server still running? `flow devices` shows what is there",
                    )
                )
                return
            if silent:
                continue
            if elapsed_s > HELD_UP * LOOK_S:  # not the device but we: the process was stopped, or the machine suspended
                continue
            losing.append(stream.faults > faults or came < (1 - MISSING) * elapsed_s * BLOCKS_A_SECOND)
            longer_s = next((one for one in LONGER_S if one * SECOND > LONGER * stream.latency_ns), None)
            if sum(losing) > MOST_LOSING and longer_s is not None:
                losing.clear()
                try:
                    stream = await self._reopened(stream, longer_s)
                except DeviceError as error:
                    self._failed(error)
                    return

    async def _reopened(self, stream: HardwareStream, latency_s: float) -> HardwareStream:
        """The same device with another buffer. Raises DeviceError."""
        async with self._changing:
            before_ms = stream.latency_ns // MS
            self._latency = latency_s
            self.stream = None
            await stream.stop()
            self.stream = stream = await asyncio.to_thread(self._opened)
        self._say(
            f"the sound device {stream.name} lost sound with a buffer of {before_ms} ms, "
            f"so it has one of {stream.latency_ns // MS} ms now"
        )
        return stream
