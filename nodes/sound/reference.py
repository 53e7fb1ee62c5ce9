"""What the speaker plays, by the time at which it is heard, at the microphone's rate: an echo canceller's reference.

1. A block goes where its `at` says, but not to the millisecond: stamps jitter, and a callback that comes late moves one of them by a
   block. The samples count (`Timeline`), so that blocks join without a seam; only stamps that stay far away are believed.
2. Where nothing is known to have been played there is silence: before the first block, behind the last, in a gap.
3. Reading goes on from sample to sample too: a canceller has learnt a distance between the two sounds, and loses it with every change.
   Where the place stays wrong by more than `SLACK_NS` (clocks that drift apart), it is corrected in the next silence, or after
   a while anyway. `seek` is for who knows that sound is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.sound.resampling import Resampler
from nodes.sound.timeline import Timeline

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

MS = 1_000_000
SECOND = 1_000_000_000
JOINED_NS = 15 * MS
SLACK_NS = MS
STRAYS, MOST_STRAYS = 5, 100
"""So many readings in a row at a wrong place, before it is corrected in a silence; before it is corrected at all."""
KEPT_NS = SECOND // 10
"""So much before the place that is read next: a clock that is corrected backwards reads some of it again."""
MOST_NS = 2 * SECOND
"""So much where nobody reads. A longer gap is another beginning."""


class Reference:
    """Blocks are added in the order in which they are heard, and read in the order of the microphone's."""

    def __init__(self, rate_hz: int) -> None:
        import numpy as np

        self.rate_hz = rate_hz
        self._samples: Samples = np.zeros(0, np.float32)
        self._begin_at = 0
        """When the first sample kept is heard (clock, nanoseconds)."""
        self._resampler: Resampler | None = None
        self._timeline = Timeline(rate_hz)
        self._next: int | None = None
        """Sample kept that is read next; None = the place isn't settled."""
        self._strays = 0

    @property
    def known_until(self) -> int:
        """When the last sample kept has been heard (clock, nanoseconds); 0 = nothing has been added."""
        return self._begin_at + len(self._samples) * SECOND // self.rate_hz if self._resampler is not None else 0

    @property
    def read_until(self) -> int:
        """When the last sample read is heard (clock, nanoseconds); 0 = the place isn't settled."""
        return self._begin_at + self._next * SECOND // self.rate_hz if self._next is not None else 0

    def add(self, samples: Samples, rate_hz: int, at: int) -> None:
        """A block that is heard from `at` on."""
        import numpy as np

        resampler = self._resampler
        if resampler is None or resampler.from_hz != rate_hz:
            resampler = self._begin(rate_hz, at)
        at = self._timeline.place(at, len(samples))
        distance = at - resampler.pending_ns - self.known_until
        if abs(distance) <= JOINED_NS:
            self._begin_at += distance
        elif 0 < distance < MOST_NS:
            resampler.reset()
            gap = np.zeros((at - self.known_until) * self.rate_hz // SECOND, np.float32)
            self._samples = np.concatenate((self._samples, gap))
        else:
            resampler = self._begin(rate_hz, at)
        self._samples = np.concatenate((self._samples, resampler.feed(samples)))
        self._forget(len(self._samples) - MOST_NS * self.rate_hz // SECOND)

    def take(self, at: int, count: int) -> Samples:
        """What is heard from `at` on; silence where nothing is known."""
        import numpy as np

        taken = np.zeros(count, np.float32)
        if self._resampler is None:
            return taken
        begin = self._place(at, count)
        first, last = max(begin, 0), min(begin + count, len(self._samples))
        if first < last:
            taken[first - begin : last - begin] = self._samples[first:last]
        self._next = begin + count
        self._forget(self._next - KEPT_NS * self.rate_hz // SECOND)
        return taken

    def seek(self) -> None:
        """What is read next doesn't go on with what was read last."""
        self._next = None

    def _place(self, at: int, count: int) -> int:
        wanted = round((at - self._begin_at) * self.rate_hz / SECOND)
        if self._next is None:
            self._strays = 0
            return wanted
        off = abs(wanted - self._next) * SECOND // self.rate_hz
        self._strays = self._strays + 1 if off > SLACK_NS else 0
        if self._strays < STRAYS:
            return self._next
        first, last = min(self._next, wanted), max(self._next, wanted) + count
        if self._strays < MOST_STRAYS and self._samples[max(first, 0) : max(last, 0)].any():
            return self._next
        self._strays = 0
        return wanted

    def _begin(self, rate_hz: int, at: int) -> Resampler:
        """Forget what was played: this is another sound, or another time."""
        import numpy as np

        self._resampler = Resampler(rate_hz, self.rate_hz)
        self._timeline = Timeline(rate_hz)
        self._samples, self._begin_at, self._next = np.zeros(0, np.float32), at, None
        return self._resampler

    def _forget(self, before: int) -> None:
        """Drop the samples kept before this one."""
        before = min(before, len(self._samples))  # what isn't known yet isn't forgotten
        if before > 0:
            self._samples = self._samples[before:]
            self._begin_at += before * SECOND // self.rate_hz
            self._next = None if self._next is None else self._next - before
