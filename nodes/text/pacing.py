"""How much text the next piece may have, so that its sound is there before the sound before it ends.

1. What a voice takes for a piece is learned from what it took: something fixed, and something for each character. As long as only pieces
   of one length are known, all of it is taken to depend on the length: that is the cautious end.
2. The sound so far ends at a certain time, and a piece has to leave so much before it. Who writes slowly has less of that time left for
   the voice: so it is asked anew as the text comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import fmean, linear_regression

REMEMBERED = 8
MARGIN_MS = 50.0
LEAST_CHARACTERS = 16
"""Two or three words: shorter pieces would win less time than each of them costs."""
CHARACTER_MS = 65.0
"""Of speech, until it is known better."""


class Pacing:
    """Of the answers of one voice."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: the clock, in milliseconds."""
        self._now = now
        self._seen: deque[tuple[int, float, float]] = deque(maxlen=REMEMBERED)
        self._fixed = self._each = 0.0
        self._character_ms = CHARACTER_MS
        self.clear()

    def clear(self) -> None:
        """Another answer begins."""
        self._made = 0.0
        """When the sound of what was asked for so far begins to come: from then on the voice has time for the next."""
        self._queued = 0.0
        """How long it is."""
        self._ends = 0.0
        """When it will have been heard, at the earliest."""

    def learn(self, characters: int, first_ms: float, sound_ms: float) -> None:
        """A piece took `first_ms` until its sound began, and lasts `sound_ms`."""
        self._seen.append((max(characters, 1), first_ms, sound_ms))
        sizes = [seen[0] for seen in self._seen]
        firsts = [seen[1] for seen in self._seen]
        most = fmean(firsts) / fmean(sizes)
        self._each = most
        if min(sizes) < max(sizes):
            self._each = min(max(linear_regression(sizes, firsts).slope, 0.0), most)
        self._fixed = fmean(firsts) - self._each * fmean(sizes)
        self._character_ms = sum(seen[2] for seen in self._seen) / sum(sizes)

    def left(self, characters: int) -> None:
        """A piece has left for the voice."""
        self._made = max(self._made, self._now()) + self._fixed + self._each * characters
        sound = characters * self._character_ms
        self._queued += sound
        self._ends = max(self._ends, self._made) + sound

    def waits(self) -> None:
        """Nothing of the answer is heard yet: it isn't committed."""
        if self._queued:
            self._ends = max(self._ends, self._now() + self._queued)

    def most(self) -> int | None:
        """Characters that a piece which leaves now may have; None: as many as it likes."""
        if not self._seen or not self._queued:
            return None
        time = self._ends - MARGIN_MS - max(self._made, self._now()) - self._fixed
        if time > 0 and self._each * 1000 < time:
            return None
        return max(int(time / self._each) if self._each else 0, LEAST_CHARACTERS)
