"""Say what is heard: turns captured sound into speech."""

from __future__ import annotations

from collections.abc import Iterator

from flowgraph import MS, SECOND, Duration, Field, Node
from nodes.vocabulary import Audio, Speech


class Echo(Node):
    """Repeats what the microphone hears. For graphs without an owner of the turn, to try out devices."""

    delay: Duration = Field(
        200 * MS,
        ge=0,
        description="Silence put before the first sound: it also covers what the microphone's blocks come late.",
    )

    async def open(self) -> None:
        self._begun = False

    def process(self, frame: Audio) -> Iterator[Speech]:
        if not self._begun:
            self._begun = True
            yield self._silence(frame.rate_hz)
        yield Speech(frame.samples, frame.rate_hz)

    def _silence(self, rate_hz: int) -> Speech:
        import numpy as np

        return Speech(np.zeros(rate_hz * self.delay // SECOND, np.float32), rate_hz)
