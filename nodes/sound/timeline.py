"""Device time on the session's clock.

1. A device has a clock of its own. Its distance from ours is measured once and kept for the session.
2. A device's time stamps jitter by milliseconds (they are taken when a callback happens to run), its sample count doesn't.
   So a block's time is counted in samples, and follows the stamps slowly.
3. Samples that are missing (an overflow, a suspended device) show as a stamp that stays far away: then the count starts anew.
"""

from __future__ import annotations

from collections.abc import Callable

MS = 1_000_000
SECOND = 1_000_000_000

FOLLOW = 1 / 64
"""The share of a stamp's distance from the count that the count follows, a block."""
FAR_NS = 12 * MS
"""A stamp that is this far away …"""
FAR_BLOCKS = 4
"""… so many times in a row means that samples are missing."""


def measure_offset(now: Callable[[], int], device_now: Callable[[], float]) -> int:
    """Our clock minus the device's, in nanoseconds. The tightest of a few readings."""
    best, offset = 1 << 62, 0
    for _ in range(8):
        before = now()
        device = device_now()
        after = now()
        if after - before < best:
            best, offset = after - before, (before + after) // 2 - round(device * SECOND)
    return offset


class Timeline:
    """When the blocks of one stream really begin."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._begin = 0.0
        self._blocks = 0
        self._far = 0

    def place(self, stamp: int, samples: int) -> int:
        """The time of a block of `samples` that the device says begins at `stamp` (clock, nanoseconds)."""
        distance = stamp - self._begin
        self._far = self._far + 1 if abs(distance) > FAR_NS else 0
        if not self._blocks or self._far >= FAR_BLOCKS:
            self._begin, self._blocks, self._far = float(stamp), 0, 0
        else:
            # The first blocks count equally, later ones less and less down to FOLLOW.
            self._begin += max(FOLLOW, 1 / (self._blocks + 1)) * distance
        self._blocks += 1
        at = round(self._begin)
        self._begin += samples * SECOND / self.rate_hz
        return at
