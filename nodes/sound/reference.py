"""What the speaker plays, by the time at which it is heard, at the microphone's rate: an echo canceller's reference.

1. A block goes where its `at` says. One that begins close to the end of those before joins them without a seam, and its stamp
   moves all that is kept: stamps follow a device slowly, and jitter.
2. Where nothing is known to have been played there is silence: before the first block, behind the last, in a gap.
3. Reading goes on from sample to sample as long as that is right within `SLACK_NS`: a canceller has learnt a distance between the
   two sounds, and a change of one sample costs it some of that. Beyond it, the place is corrected where nothing sounds; beyond
   `FAR_NS`, at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.sound.resampling import Resampler

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

MS = 1_000_000
SECOND = 1_000_000_000
JOINED_NS = 15 * MS
SLACK_NS = MS
FAR_NS = 4 * MS
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
        self._next: int | None = None
        """Sample kept that is read next; None = the place isn't settled."""

    @property
    def known_until(self) -> int:
        """When the last sample kept has been heard (clock, nanoseconds); 0 = nothing has been added."""
        return self._begin_at + len(self._samples) * SECOND // self.rate_hz if self._resampler is not None else 0

    def add(self, samples: Samples, rate_hz: int, at: int) -> None:
        """A block that is heard from `at` on."""
        import numpy as np

        resampler = self._resampler
        if resampler is None or resampler.from_hz != rate_hz:
            resampler = self._begin(rate_hz, at)
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

    def _place(self, at: int, count: int) -> int:
        wanted = round((at - self._begin_at) * self.rate_hz / SECOND)
        if self._next is None:
            return wanted
        off = abs(wanted - self._next) * SECOND // self.rate_hz
        silent = off > SLACK_NS and not self._samples[max(min(self._next, wanted), 0) : max(self._next, wanted) + count].any()
        return wanted if off > FAR_NS or silent else self._next

    def _begin(self, rate_hz: int, at: int) -> Resampler:
        """Forget what was played: this is another sound, or another time."""
        import numpy as np

        self._resampler = Resampler(rate_hz, self.rate_hz)
        self._samples, self._begin_at, self._next = np.zeros(0, np.float32), at, None
        return self._resampler

    def _forget(self, before: int) -> None:
        """Drop the samples kept before this one."""
        before = min(before, len(self._samples))  # what isn't known yet isn't forgotten
        if before > 0:
            self._samples = self._samples[before:]
            self._begin_at += before * SECOND // self.rate_hz
            self._next = None if self._next is None else self._next - before
