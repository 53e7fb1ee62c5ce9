"""Read a WAV file as if it were being captured now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from flowgraph import SECOND, Field, FileName, Node
from flowgraph.node import Trouble, troubles
from nodes.sound.resampling import Resampler
from nodes.sound.wav import WavSource, require_readable
from nodes.vocabulary import Audio


class WavReader(Node):
    """Yields the sound of a WAV file, as fast as it is taken; its times count from the start as if it were captured live."""

    path: FileName = Field(description="WAV file, 8 to 32 bit; more than one channel is mixed into one.")
    rate_hz: int = Field(
        16_000, ge=8_000, le=192_000, description="Rate of the sound on the graph; converted from the file's."
    )
    block_ms: int = Field(20, ge=1, le=1000, description="Length of a frame.")
    paced: bool = Field(False, description="True: at the pace of real time, and not faster.")

    def problems(self) -> Iterator[Trouble]:
        yield from troubles("path", require_readable, self.path)

    async def open(self) -> None:
        self._source: WavSource | None = None
        self._source = WavSource(self.path)

    async def close(self) -> None:
        if self._source is not None:
            self._source.close()

    async def run(self) -> AsyncIterator[Audio]:
        import numpy as np

        source = self._source
        assert source is not None
        resampler = Resampler(source.rate_hz, self.rate_hz)
        begin, given, size = self.ctx.clock.now(), 0, max(source.rate_hz * self.block_ms // 1000, 1)
        ended = False
        while not ended:
            raw = source.read(size)
            samples = resampler.feed(raw)
            if len(raw) < size:
                ended = True
                samples = np.concatenate((samples, resampler.end()))
            if self.paced:
                ahead_ns = begin + (given + len(samples)) * SECOND // self.rate_hz - self.ctx.clock.now()
                await asyncio.sleep(max(ahead_ns, 0) / SECOND)
            if len(samples):
                samples.flags.writeable = False
                yield Audio(samples, self.rate_hz, at=begin + given * SECOND // self.rate_hz)
            given += len(samples)
