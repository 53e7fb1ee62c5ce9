"""Streamed 16-bit sound: bytes in any portions to samples, without the silence at both ends.

1. A portion may end inside a sample: the odd byte waits for its other half.
2. Servers pad what they say (40–120 ms before, up to 500 ms behind). Between the sentences of one answer that is dead air, so at most
   `keep_ms` of it stay, and 5 ms fades make the joint inaudible.
3. Silence may be the end, so it is held back until sound follows or the stream ends; at most `HOLD_MS` of it, since a pause inside a
   sentence must not starve the speaker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

SILENT = 10 ** (-50 / 20)
"""−50 dBFS: the level below which nothing is audible."""
FADE_MS = 5
HOLD_MS = 600


class SampleReader:
    """s16le bytes to float32 samples in [-1, 1)."""

    def __init__(self) -> None:
        self._odd = b""

    def feed(self, portion: bytes) -> Samples:
        """The samples that are complete now."""
        import numpy as np

        data = self._odd + portion
        whole = len(data) & ~1
        self._odd = data[whole:]
        return np.frombuffer(data[:whole], dtype="<i2").astype(np.float32) / np.float32(32768)


class Trimmer:
    """Takes samples, gives them without the silence at both ends, fades included."""

    def __init__(self, *, rate_hz: int, keep_ms: float) -> None:
        import numpy as np

        self._keep = round(rate_hz * keep_ms / 1000)
        self._fade = round(rate_hz * FADE_MS / 1000)
        self._hold = round(rate_hz * HOLD_MS / 1000)
        self._held: Samples = np.zeros(0, np.float32)
        self._begun = False
        self.cut = 0
        """Samples dropped at the beginning so far."""

    def feed(self, samples: Samples) -> Samples:
        """What is certainly inside."""
        import numpy as np

        held = np.concatenate((self._held, samples))
        loud = np.flatnonzero(np.abs(held) > SILENT)
        if not self._begun:
            begin = max((int(loud[0]) if len(loud) else len(held)) - self._keep, 0)
            self.cut += begin
            held = held[begin:]
            if not len(loud):
                self._held = held
                return held[:0]
            loud = loud - begin
            self._begun = True
            rise = min(self._fade, len(held))
            held[:rise] *= np.linspace(0, 1, rise, endpoint=False, dtype=np.float32)
        quiet_from = int(loud[-1]) + 1 if len(loud) else 0
        certain = max(min(quiet_from, len(held) - self._fade), len(held) - self._hold, 0)
        self._held = held[certain:]
        return held[:certain]

    def end(self) -> Samples:
        """The rest: the last sound, a little silence, faded out."""
        import numpy as np

        if not self._begun:
            return self._held[:0]
        loud = np.flatnonzero(np.abs(self._held) > SILENT)
        rest = self._held[: (int(loud[-1]) + 1 if len(loud) else 0) + self._keep].copy()
        fall = min(self._fade, len(rest))
        rest[len(rest) - fall :] *= np.linspace(1, 0, fall, dtype=np.float32)
        self._held = self._held[:0]
        return rest
