"""Write sound into a WAV file."""

from __future__ import annotations

from collections.abc import Iterator

from flowgraph import Field, FileName, Node
from flowgraph.node import Trouble, troubles
from nodes.sound.resampling import Resampler
from nodes.sound.wav import WavTarget, require_writable
from nodes.vocabulary import Sound


class WavWriter(Node):
    """Writes all sound that reaches it into a WAV file (16 bit, mono), which appears when it is complete."""

    path: FileName = Field(description="The file; an older one is replaced when the new one is complete.")
    rate_hz: int = Field(0, ge=0, le=192_000, description="Rate of the file; 0 = that of the first sound.")

    def problems(self) -> Iterator[Trouble]:
        yield from troubles("path", require_writable, self.path)

    async def open(self) -> None:
        self._target: WavTarget | None = None
        self._target = WavTarget(self.path, self.rate_hz)
        self._resampler = Resampler(16_000, 16_000)

    async def close(self) -> None:
        if self._target is not None:
            if self._target.rate_hz:
                self._target.write(self._resampler.end())
            self._target.save()

    def process(self, frame: Sound) -> None:
        target = self._target
        assert target is not None
        if not target.rate_hz:
            target.set_rate(frame.rate_hz)
        if (frame.rate_hz, target.rate_hz) != (self._resampler.from_hz, self._resampler.to_hz):
            target.write(self._resampler.end())
            self._resampler = Resampler(frame.rate_hz, target.rate_hz)
        target.write(self._resampler.feed(frame.samples))
