"""Is there sound, and could it be a voice? Asked of blocks of 20 ms, before anything is decoded.

A recogniser makes words of everything. Two cheap questions keep most of what is not speech away from it: does a block
rise above the noise of the room, and has what rises a pitch, as voices have and knocks, breath and rustling have not.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

RATE_HZ = 16_000
BLOCK_MS = 20
BLOCK_BYTES = RATE_HZ * BLOCK_MS // 1000 * 2


class Gate:
    """Tells sound from the noise of the room: a block is sound where it rises well above the floor of late."""

    WINDOW_BLOCKS = 15
    WINDOWS = 8
    """The floor is the lowest level in the last 2.4 s."""
    ABOVE_FLOOR_DB = 8.0
    QUIETEST_DBFS = -62.0
    """No room is quieter, and a muted microphone's dither is not speech."""

    def __init__(self) -> None:
        self._lowest: deque[float] = deque([self.QUIETEST_DBFS] * self.WINDOWS, maxlen=self.WINDOWS)
        self._now = 0.0
        self._blocks = 0

    def is_sound(self, block: bytes) -> bool:
        level_dbfs = _level_dbfs(block)
        self._now = min(self._now, level_dbfs)
        self._blocks += 1
        if self._blocks == self.WINDOW_BLOCKS:
            self._lowest.append(max(self._now, self.QUIETEST_DBFS))
            self._now, self._blocks = 0.0, 0
        return level_dbfs > min(self._lowest) + self.ABOVE_FLOOR_DB


def _samples(block: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(block, "<i2").astype(np.float32) * np.float32(1 / 32768)


def _level_dbfs(block: bytes) -> float:
    samples = _samples(block)
    return 10 * math.log10(float(np.dot(samples, samples)) / len(samples) + 1e-12)


class Pitch:
    """Tells a voice from other sound: two blocks are voiced where they resemble themselves a pitch period later.

    Low hums and thumps resemble themselves too; the first difference, which speech has plenty of, takes them away.
    """

    HIGHEST_HZ, LOWEST_HZ = 400, 70
    LIKENESS = 0.5
    """Of the first difference with itself; 1 = periodic, 0 = noise."""
    WEAKEST = 0.1
    """Of the sound, that must be left in its first difference: 0.1 is a tone of 250 Hz."""

    def __init__(self) -> None:
        self._before = bytes(BLOCK_BYTES)

    def is_voiced(self, block: bytes) -> bool:
        samples = _samples(self._before + block)
        self._before = block
        edges = np.diff(samples, prepend=samples[:1])
        whole, left = float(np.dot(samples, samples)), float(np.dot(edges, edges))
        if left <= whole * self.WEAKEST**2:
            return False
        spectrum = np.fft.rfft(edges, 2048)
        likeness = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)
        shortest, longest = RATE_HZ // self.HIGHEST_HZ, RATE_HZ // self.LOWEST_HZ
        # A later copy overlaps less of itself: make up for it.
        overlap = len(edges) - np.arange(shortest, longest)
        return bool((likeness[shortest:longest] * len(edges) / overlap).max() > self.LIKENESS * likeness[0])
