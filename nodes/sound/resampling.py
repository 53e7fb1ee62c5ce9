"""Change the rate of sound that streams, with 1–2 ms of delay.

A windowed sinc in polyphase form: output sample n is the sound at n / to_hz exactly, so the delay is no shift in time, only a
wait for `LOBES` periods of the lower rate. (soxr's streaming mode is the better filter, but it gives its output in steps of
20 to 40 ms: more than all of a microphone's own latency.)
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

LOBES = 32
"""Half the filter's length, in samples of the lower rate: 2 ms at 16 kHz."""
PASSED = 0.93
"""The pass band's edge (−6 dB), as a share of the lower rate's half."""
BETA = 7.0
"""Kaiser window: 70 dB."""
AT_ONCE = 4096


@lru_cache(maxsize=16)
def _phases(up: int, down: int) -> Samples:
    """The filter, one row for each place of an output sample between two input samples: shape (up, taps)."""
    import numpy as np

    half = -(-LOBES * max(up, down) // up)
    ratio = min(1.0, up / down) * PASSED
    offsets = np.arange(-half + 1, half + 1) - np.arange(up)[:, None] / up
    window = np.i0(BETA * np.sqrt(np.maximum(0, 1 - (offsets / half) ** 2))) / np.i0(BETA)
    rows = np.sinc(offsets * ratio) * ratio * window
    rows /= rows.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(rows.astype(np.float32))


class Resampler:
    """Takes blocks at one rate, gives them at another; block sizes are free."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        divisor = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        self._same = from_hz == to_hz
        if not self._same:
            self._rows = _phases(self._up, self._down)
            self._half = self._rows.shape[1] // 2
        self.reset()

    def reset(self) -> None:
        """Forget what was fed: another sound begins."""
        import numpy as np

        self._received = 0
        self._given = 0
        if not self._same:
            # Input sample `_first` is the buffer's first. Before the sound there is silence.
            self._buffer: Samples = np.zeros(self._half - 1, np.float32)
            self._first = 1 - self._half

    @property
    def pending_ns(self) -> int:
        """How much of the sound it was fed hasn't come out yet."""
        return self._received * 1_000_000_000 // self.from_hz - self._given * 1_000_000_000 // self.to_hz

    def feed(self, samples: Samples) -> Samples:
        """What can be said of the sound so far."""
        self._received += len(samples)
        if self._same:
            self._given += len(samples)
            return samples
        import numpy as np

        self._buffer = np.concatenate((self._buffer, samples))
        # The last output whose window ends inside the buffer: window of n is [n·down//up − half + 1, n·down//up + half].
        ready = ((self._first + len(self._buffer) - self._half) * self._up - 1) // self._down + 1
        return self._give(max(ready - self._given, 0))

    def end(self) -> Samples:
        """The rest: all in all, as much time as was fed. Ready for another sound afterwards."""
        import numpy as np

        rest = np.zeros(0, np.float32)
        if not self._same:
            wanted = -(-self._received * self._up // self._down)
            self._buffer = np.concatenate((self._buffer, np.zeros(2 * self._half, np.float32)))
            rest = self._give(wanted - self._given)
        self.reset()
        return rest

    def _give(self, count: int) -> Samples:
        import numpy as np

        taps = self._rows.shape[1]
        out = np.empty(count, np.float32)
        for begin in range(0, count, AT_ONCE):
            n = np.arange(self._given, self._given + min(AT_ONCE, count - begin)) * self._down
            starts = n // self._up - self._half + 1 - self._first
            windows = np.lib.stride_tricks.sliding_window_view(self._buffer, taps)[starts]
            if self._up == 1:
                np.dot(windows, self._rows[0], out=out[begin : begin + len(n)])
            else:
                np.einsum("ij,ij->i", windows, self._rows[n % self._up], out=out[begin : begin + len(n)])
            self._given += len(n)
            used = min(self._given * self._down // self._up - self._half + 1 - self._first, len(self._buffer))
            self._buffer = self._buffer[used:]
            self._first += used
        return out


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """All of a sound at another rate: it lasts as long as before."""
    import numpy as np

    if from_hz == to_hz:
        return samples
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate((resampler.feed(samples), resampler.end()))
