"""What is audible: a window of 10 ms above −50 dBFS (0 dBFS is a root mean square of 1.0). The one definition for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

AUDIBLE_DBFS = -50.0
WINDOWS_A_SECOND = 100


class AudibleWindows:
    """Finds the audible windows of a sound that comes in blocks. The windows count from its first sample."""

    def __init__(self, rate_hz: int) -> None:
        self._window = max(rate_hz // WINDOWS_A_SECOND, 1)
        self._threshold = 10 ** (AUDIBLE_DBFS / 10) * self._window
        self.reset()

    def reset(self) -> None:
        """Another sound begins."""
        self.count = 0
        """Samples so far."""
        self.first = -1
        """The first sample of the first audible window; −1 = none yet."""
        self.last = -1
        """One behind the last sample of the last audible window; −1 = none yet."""
        self._energy = 0.0

    def feed(self, samples: Samples) -> None:
        """The next block. No allocation but numpy's views."""
        begin, length, window = 0, len(samples), self._window
        while begin < length:
            left = window - self.count % window
            piece = samples[begin : begin + left]
            self._energy += float(piece @ piece)
            begin += len(piece)
            self.count += len(piece)
            if self.count % window == 0:
                if self._energy > self._threshold:
                    self.last = self.count
                    if self.first < 0:
                        self.first = self.count - window
                self._energy = 0.0


def first_audible(samples: Samples, rate_hz: int) -> int | None:
    """The first sample of the first audible window; None if nothing is audible."""
    windows = AudibleWindows(rate_hz)
    windows.feed(samples)
    return windows.first if windows.first >= 0 else None
