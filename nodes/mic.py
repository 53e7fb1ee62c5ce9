"""Listen to a microphone, a file, or a recorded user.

1. Sound arrives in a device's callback, on its own thread or paced by the loop, and passes a ring into `run`: one code path.
2. `at` of each frame is when its first sample was captured, on the session's clock; the resampler's wait is taken off.
3. Where sound is missing (the ring was full, the device skipped), the frame ends there, and the next one says what was lost.
4. A recorded user also says what was really said, and when (`Utterance`): the ground truth for everything that is measured.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Literal

from flowgraph import MS, SECOND, Field, Node
from flowgraph.errors import DeviceError
from flowgraph.node import Trouble, troubles
from nodes.sound.addresses import DeviceName, parse_address, require_device
from nodes.sound.resampling import Resampler
from nodes.sound.room import Line, Room
from nodes.vocabulary import Audio, Utterance

if TYPE_CHECKING:
    from nodes.vocabulary import Samples

RING_BLOCKS = 200
"""Two seconds of device blocks."""
GAP_NS = 15 * MS
"""A block that begins so far from the end of the one before: sound is missing between them."""


class Mic(Node):
    """Captures sound from a microphone, a WAV file or a recorded user."""

    live = True

    device: DeviceName = Field(
        "default",
        description="`default`, a part of a device's name, `file:PATH.wav`, `caller:CONVERSATION`, or `null`.",
    )
    rate_hz: int = Field(
        16_000, ge=8_000, le=48_000, description="Rate of the sound on the graph; converted from the device's."
    )
    block_ms: int = Field(
        20, ge=10, le=200, description="Length of a frame; a multiple of the device's blocks of 10 ms."
    )
    latency: Literal["low", "high"] = Field(
        "low",
        description="The device's own buffer. `low` grows by itself where the device says that it loses sound; `high`: 35 ms or so, at once.",
    )

    def problems(self) -> Iterator[Trouble]:
        yield from troubles("device", require_device, self.device, "input")

    async def open(self) -> None:
        self._line: Line | None = None
        self._missing = 0
        self._handoff = self.ctx.handoff(RING_BLOCKS)
        self._room: Room = self.ctx.shared("room", lambda: Room(self.ctx.clock))
        self._line = self._room.microphone(
            parse_address(self.device, "input"),
            say=self.ctx.say,
            failed=self._handoff.put,
            latency=self.latency,
            block_ms=self.block_ms,
        )
        self._line.heard = self._heard
        self._line.ended = self._handoff.close
        self._resampler = Resampler(self._line.rate_hz, self.rate_hz)
        self._pieces: list[Samples] = []
        self._collected = 0
        self._end_at = 0
        self._lost = 0

    async def close(self) -> None:
        if self._line is not None:
            await self._room.leave(self._line)

    async def run(self) -> AsyncIterator[Audio | Utterance]:
        from nodes.sound.caller import Caller

        assert self._line is not None
        await self._room.start(self._line)
        size = self._line.rate_hz * self.block_ms // 1000
        caller = self._line.voice if isinstance(self._line.voice, Caller) else None
        async for item in self._handoff:
            if isinstance(item, DeviceError):
                raise item
            at, samples, lost = item
            if self._end_at and abs(at - self._end_at) > GAP_NS:
                for frame in self._frame():
                    yield frame
                self._resampler.reset()
                lost = max(lost, (at - self._end_at) // (10 * MS))
            self._lost += lost
            self._add(at, samples)
            if self._collected >= size:
                for frame in self._frame():
                    yield frame
            while caller is not None and caller.spoken:
                yield caller.spoken.popleft()

    # -- sound ---------------------------------------------------------------------------------------------------------

    def _heard(self, samples: Samples, at: int) -> None:
        """In the device's thread, or in the loop."""
        handoff = self._handoff
        missing = handoff.count_lost - self._missing
        if handoff.put((at, samples.copy(), missing)):
            self._missing += missing

    def _add(self, at: int, samples: Samples) -> None:
        self._pieces.append(self._resampler.feed(samples))
        self._collected += len(samples)
        assert self._line is not None
        self._end_at = at + len(samples) * SECOND // self._line.rate_hz

    def _frame(self) -> Iterator[Audio]:
        """Everything that has been collected, as one frame."""
        import numpy as np

        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
        self._pieces.clear()
        self._collected = 0
        if not len(samples):
            return
        samples.flags.writeable = False
        end_at = self._end_at - self._resampler.pending_ns
        audio = Audio(samples, self.rate_hz, at=end_at - len(samples) * SECOND // self.rate_hz)
        if self._lost:
            frames = -(-self._lost * 10 // self.block_ms)
            audio, self._lost = audio.restamped(lost=frames), 0
        yield audio
