"""Change the rate of sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from flowgraph import Field, Node
from nodes.sound.resampling import Resampler
from nodes.vocabulary import Audio, End, Sound, Speech


class Resample(Node):
    """Converts sound to another rate as it streams: Audio in, Audio out; Speech in, Speech out."""

    rate_hz: int = Field(16_000, ge=8_000, le=192_000, description="The rate that leaves the node.")

    async def open(self) -> None:
        self._resampler = Resampler(self.rate_hz, self.rate_hz)
        self._stream: tuple[object, ...] = ()

    def process(self, frame: Sound | End) -> Iterator[Sound | End]:
        if isinstance(frame, End):
            yield frame
            return
        part = frame.part if isinstance(frame, Speech) else None
        stream = (type(frame), frame.source, frame.turn if frame.is_plan else 0, part, frame.rate_hz)
        if stream != self._stream or frame.lost:
            self._stream = stream
            self._resampler = Resampler(frame.rate_hz, self.rate_hz)
        yield self._converted(frame)

    def _converted(self, frame: Sound) -> Sound:
        import numpy as np

        waiting_ns = self._resampler.pending_ns
        samples = self._resampler.feed(frame.samples)
        if isinstance(frame, Speech):
            if frame.last:  # a part lasts as long as before
                samples = np.concatenate((samples, self._resampler.end()))
                self._stream = ()
            words = tuple(
                (word, self._moved(frame, begin), self._moved(frame, end)) for word, begin, end in frame.words
            )
            return dataclasses.replace(frame, samples=samples, rate_hz=self.rate_hz, words=words, cause=0, at=frame.at)
        sound: Sound = frame.with_samples(samples, self.rate_hz)
        if isinstance(frame, Audio):
            sound = dataclasses.replace(sound, at=frame.at - waiting_ns)
        return sound

    def _moved(self, frame: Speech, sample: int) -> int:
        return sample * self.rate_hz // frame.rate_hz
