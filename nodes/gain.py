"""Make sound louder or quieter."""

from __future__ import annotations

from collections.abc import Iterator

from flowgraph import Field, Node
from nodes.vocabulary import End, Sound


class Gain(Node):
    """Makes sound louder or quieter: Audio in, Audio out; Speech in, Speech out."""

    factor: float = Field(1.0, ge=0, description="1.0 leaves the level unchanged; what gets too loud is clipped.")

    def process(self, frame: Sound | End) -> Iterator[Sound | End]:
        if isinstance(frame, End):
            yield frame
            return
        samples = frame.samples * self.factor
        if self.factor > 1:
            samples.clip(-1, 1, out=samples)
        yield frame.with_samples(samples)
