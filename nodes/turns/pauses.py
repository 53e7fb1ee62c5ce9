"""How long this user pauses without having finished: learned while they talk.

The estimate is that of a retransmission timeout (RFC 6298, section 2): a smoothed mean and a smoothed deviation; the bound is the mean
plus two deviations. The first pauses count little against what the options say.
"""

from __future__ import annotations

LONGEST_PAUSE_MS = 3000
"""A longer silence is no pause within a turn."""
TRUSTED_AFTER = 4
"""After so many pauses they count as much as the option."""


class Pauses:
    """The pauses after which the user went on with the same turn. Milliseconds."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._deviation = 0.0

    def add(self, ms: float) -> None:
        """The user paused so long, and went on. What is no pause (no silence at all, or a longer one than a turn has) teaches nothing."""
        if not 0 < ms <= LONGEST_PAUSE_MS:
            return
        self.count += 1
        if self.count == 1:
            self._mean, self._deviation = ms, ms / 2
            return
        self._deviation += (abs(ms - self._mean) - self._deviation) / 4
        self._mean += (ms - self._mean) / 8

    def bound_ms(self, otherwise: float) -> float:
        """So long this user may pause; near `otherwise` until there are enough pauses to go by."""
        if not self.count:
            return otherwise
        trust = self.count / (self.count + TRUSTED_AFTER)
        return otherwise + trust * (self._mean + 2 * self._deviation - otherwise)
