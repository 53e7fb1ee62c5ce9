"""Change the rate of sound that streams, with 1–2 ms of delay.

A windowed sinc in polyphase form: output sample n is the sound at n / to_hz exactly, so the delay is no shift in time, only a
wait for `LOBES` periods of the lower rate. (soxr's streaming mode is the better filter, but it gives its output in steps of
20 to 40 ms: more than all of a microphone's own latency.)
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, Any

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
NEAR = 6
"""Where outputs of one phase lie no further apart, in input samples, the filter is laid on every place between them too, in one
call: two thirds of that are for nothing from 48 to 16 kHz, and yet it takes a third of the time that a window for each output takes
(from 24 to 48 kHz, a tenth)."""
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

        out = np.empty(count, np.float32)
        if self._down <= NEAR:
            self._fill(out)
        else:
            for begin in range(0, count, AT_ONCE):
                self._fill_apart(out[begin : begin + AT_ONCE])
        return out

    def _fill(self, out: Samples) -> None:
        """The next outputs, where those with one phase lie near each other: `down` input samples apart."""
        import numpy as np

        for i in range(min(self._up, len(out))):
            start, phase = self._place(self._given + i)
            last = start + (len(out) - 1 - i) // self._up * self._down
            sound = self._buffer[start : last + self._rows.shape[1]]
            out[i :: self._up] = np.correlate(sound, self._rows[phase])[:: self._down]
        self._drop(len(out))

    def _fill_apart(self, out: Samples) -> None:
        """The next outputs, each from a window of its own: where they lie further apart."""
        import numpy as np

        starts, phases = self._place(np.arange(self._given, self._given + len(out)))
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, self._rows.shape[1])[starts]
        if self._up == 1:
            np.dot(windows, self._rows[0], out=out)
        else:
            np.einsum("ij,ij->i", windows, self._rows[phases], out=out)
        self._drop(len(out))

    def _place(self, n: Any) -> Any:
        """Where in the buffer the window of output n begins, and the filter's row for it."""
        return n * self._down // self._up - self._half + 1 - self._first, n * self._down % self._up

    def _drop(self, given: int) -> None:
        """So many outputs more are given: forget what no later one needs."""
        self._given += given
        used = min(self._place(self._given)[0], len(self._buffer))
        self._buffer = self._buffer[used:]
        self._first += used


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """All of a sound at another rate: it lasts as long as before."""
    import numpy as np

    if from_hz == to_hz:
        return samples
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate((resampler.feed(samples), resampler.end()))
