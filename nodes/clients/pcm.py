"""Streamed 16-bit sound: bytes in any portions to samples, without the silence at both ends.

1. A portion may end inside a sample: the odd byte waits for its other half.
2. Servers pad what they say (40–120 ms before, up to 500 ms behind). Between the sentences of one answer that is dead air, so at most
   `keep_ms` of it stay, and 5 ms fades make the joint inaudible.
3. Silence may be the end, so it is held back until sound follows or the stream ends; at most `HOLD_MS` of it, since a pause inside a
   sentence must not starve the speaker.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from flowgraph.errors import ServiceError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

SILENT = 10 ** (-50 / 20)
"""−50 dBFS: the level below which nothing is audible."""
FADE_MS = 5
HOLD_MS = 600


class SampleReader:
    """s16le mono bytes to float32 samples in [-1, 1). Also takes a WAV stream, whose sizes nobody can know and nobody reads."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        """The rate of what comes out; a WAV header may have another."""
        self._held = b""
        self._begun = False

    def feed(self, portion: bytes) -> Samples:
        """The samples that are complete now. Raises ServiceError for a WAV stream of another kind."""
        import numpy as np

        data = self._held + portion
        if not self._begun:
            data = self._without_header(data)
        whole = len(data) & ~1 if self._begun else 0
        self._held = data[whole:]
        return np.frombuffer(data[:whole], dtype="<i2").astype(np.float32) / np.float32(32768)

    def _without_header(self, data: bytes) -> bytes:
        """What stands behind the header; all of it, and not begun, while that isn't known yet."""
        if not data.startswith(b"RIFF"):
            self._begun = not b"RIFF".startswith(data)
            return data
        at = 12
        while len(data) >= at + 8:
            name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if name == b"data":
                self._begun = True
                return data[at + 8 :]
            if name == b"fmt " and len(data) >= at + 24:
                kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", data, at + 8)
                if kind not in (1, 0xFFFE) or channels != 1 or bits != 16:
                    raise ServiceError(f"the sound isn't 16-bit mono, but {bits}-bit with {channels} channels")
                self.rate_hz = rate_hz
            at += 8 + size + (size & 1)
        return data


class Trimmer:
    """Takes samples, gives them without the silence at both ends, fades included."""

    def __init__(self, *, rate_hz: int, keep_ms: float) -> None:
        import numpy as np

        self._keep = round(rate_hz * keep_ms / 1000)
        self._fade = round(rate_hz * FADE_MS / 1000)
        self._hold = round(rate_hz * HOLD_MS / 1000)
        self._held: Samples = np.zeros(0, np.float32)
        self._begun = False
        self._rise = np.linspace(0, 1, self._fade, endpoint=False, dtype=np.float32)
        """What is left of the fade-in."""
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
        quiet_from = int(loud[-1]) + 1 if len(loud) else 0
        certain = max(min(quiet_from, len(held) - self._fade), len(held) - self._hold, 0)
        self._held = held[certain:]
        return self._faded_in(held[:certain])

    def end(self) -> Samples:
        """The rest: the last sound, a little silence, faded out."""
        import numpy as np

        if not self._begun:
            return self._held[:0]
        self._held = self._faded_in(self._held)
        loud = np.flatnonzero(np.abs(self._held) > SILENT)
        rest = self._held[: (int(loud[-1]) + 1 if len(loud) else 0) + self._keep].copy()
        fall = min(self._fade, len(rest))
        rest[len(rest) - fall :] *= np.linspace(1, 0, fall, dtype=np.float32)
        self._held = self._held[:0]
        return rest

    def _faded_in(self, samples: Samples) -> Samples:
        """`samples`, changed in place as far as the fade-in reaches."""
        count = min(len(self._rise), len(samples))
        samples[:count] *= self._rise[:count]
        self._rise = self._rise[count:]
        return samples
