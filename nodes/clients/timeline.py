"""Which sample of a stream was captured when."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

SECOND_NS = 1_000_000_000
JUMP_NS = 5_000_000
"""A block this far from where the blocks before it end: sound is missing between them, or the device's clock drifts."""
REMEMBERED_JUMPS = 256


class Timeline:
    """A recogniser names times in seconds of the sound that it got; this gives them back as times of capture.

    The two run apart wherever sound was dropped or left out on purpose.
    """

    def __init__(self, rate_hz: int) -> None:
        self.samples = 0
        """Sent so far."""
        self._rate_hz = rate_hz
        self._anchors: deque[tuple[int, int]] = deque(maxlen=REMEMBERED_JUMPS)

    @property
    def seconds(self) -> float:
        """Sent so far."""
        return self.samples / self._rate_hz

    def add(self, at: int, samples: int) -> None:
        """A block of sound goes into the stream; its first sample was captured at `at` (clock, nanoseconds)."""
        if not self._anchors or abs(at - self._captured(self.samples)) > JUMP_NS:
            self._anchors.append((self.samples, at))
        self.samples += samples

    def at(self, seconds: float) -> int:
        """When the sample at `seconds` of the stream was captured (clock, nanoseconds); 0 before any sound."""
        return self._captured(round(seconds * self._rate_hz)) if self._anchors else 0

    def _captured(self, sample: int) -> int:
        index = max(bisect_right(self._anchors, sample, key=lambda anchor: anchor[0]) - 1, 0)
        begun, at = self._anchors[index]
        return at + (sample - begun) * SECOND_NS // self._rate_hz
