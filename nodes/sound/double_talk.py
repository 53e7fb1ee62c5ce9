"""Does something sound in the room that isn't the loudspeaker's echo? By power alone, so that it is known soon.

1. A canceller takes a sound at the level of the echo for echo, all over the spectrum; speech stands out in some band before it does in all. So
   the power of both sounds is compared in bands, in windows of 20 ms, every 10 ms: Geigel's detector (D. L. Duttweiler, "A twelve-channel
   digital echo canceler", IEEE Trans. Commun. 26(5), 1978: near-end speech is what is louder than the loudest recent reference can be),
   band by band, and with the echo return learnt.
2. The echo to be expected: the reference's power, held for some steps (it comes early, and the air takes its time), then falling as a room of
   0.4 s does, times the echo return. That is the loudest of half a second of echo, the median of the last such: a median doesn't mind who
   speaks over an answer, nor does it follow the rare peaks.
3. Conservative where it doesn't know: a band that has not yet had half a second of echo tells nothing, and nor does one that comes back
   almost as loud as it was played: there it is noise that is heard. Where half of the bands come back so, the devices state a wrong delay, and
   none tells anything.
4. At an echo return of −20 dB, ten of eleven beginnings over an answer are told 10 to 50 ms after their first voiced sample. The eleventh
   is a synthetic hiss that stays below `AUDIBLE` in each band until its vowel comes: 109 ms. At −10 dB it is 10 to 149 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

STEPS_A_SECOND = 100
EDGES_HZ = (200, 500, 1000, 2000, 3200, 4800, 7600)
HELD_STEPS = 8
DECAY = 10**-0.15
"""Per step: 60 dB in 0.4 s."""
BLOCK_STEPS, BLOCKS = 50, 15
CLEAR = 10**0.7
"""So much above the echo to be expected is something else: in 7 min of answers nothing audible was …"""
CLEAR_OF_FLOOR = 10**1.5
"""… so much above the softest window, as noise varies within a band …"""
AUDIBLE = 10**-5.0
"""… and no softer than this."""
MOST_RETURNED = 10**-0.5
"""A higher echo return isn't believed."""
RISE = 10**0.003
"""Per step: the floor follows a room that has become louder by 3 dB a second."""
ECHOES = 10**-6.5
"""A reference softer than this has no echo to be learnt from."""


class DoubleTalk:
    """Compares a microphone's sound with its reference, 10 ms at a time."""

    def __init__(self, rate_hz: int) -> None:
        import numpy as np

        self._step = rate_hz // STEPS_A_SECOND
        self._size = 2 * self._step
        window = np.hanning(self._size)
        self._window = (window / np.sqrt(np.sum(window**2) * self._size / 2)).astype(np.float32)
        self._edges = [round(edge * self._size / rate_hz) for edge in EDGES_HZ if edge <= rate_hz / 2]
        self._bands = [_Band() for _ in self._edges[1:]]
        self._past: npt.NDArray[np.float32] = np.zeros((2, self._step), np.float32)
        self._silent = STEPS_A_SECOND
        """So many steps of the reference were silent: nothing is told, as there is no echo, nor worked out."""

    def hears(self, near: Samples, far: Samples) -> int:
        """Samples, a multiple of 10 ms, up to the end of the first step in which something else sounds; 0 = in none."""
        import numpy as np

        if far.any():
            if self._silent >= STEPS_A_SECOND:
                for band in self._bands:
                    band.forget_floor()  # a fan may have been switched on
            self._silent = 0
        else:
            self._silent += len(far) // self._step
        both = np.concatenate((self._past, (near, far)), axis=1)
        self._past = both[:, len(near) :]
        if self._silent >= STEPS_A_SECOND:
            return 0
        found = 0
        for begin in range(0, len(near), self._step):
            spectra = np.fft.rfft(both[:, begin : begin + self._size] * self._window)
            powers = np.add.reduceat(spectra.real**2 + spectra.imag**2, self._edges, axis=1)
            heard, played = powers.tolist()  # so few are faster outside numpy
            clear = [band.judge(heard[index], played[index]) for index, band in enumerate(self._bands)]
            if not found and any(clear) and self._aligned():
                found = begin + self._step
        return found

    def _aligned(self) -> bool:
        """Is what comes back in most bands an echo?"""
        known = [band.echoes for band in self._bands if band.known]
        return 2 * sum(known) > len(known)


class _Band:
    """What is known of one band of the spectrum."""

    __slots__ = ("_count", "_echo", "_floor", "_peaks", "_played", "_returned")

    def __init__(self) -> None:
        self._played = [0.0] * HELD_STEPS
        self._echo = 0.0
        """The echo to be expected, before the loss on its way."""
        self._floor = 1.0
        self._peaks = [0.0]
        """Of the echo return, per block; the last one isn't full yet."""
        self._count = 0
        self._returned = 1.0

    def judge(self, heard: float, played: float) -> bool:
        """Take in the next step's powers. Is what was heard something else than an echo?"""
        del self._played[0]
        self._played.append(played)
        self._echo = echo = max(self._echo * DECAY, *self._played)
        self._floor = floor = min(heard, self._floor * RISE) + 1e-12
        if echo > ECHOES and heard > 10 * floor:
            self._peaks[-1] = max(self._peaks[-1], heard / echo)
            self._count += 1
            if self._count % BLOCK_STEPS == 0:
                self._returned = sorted(self._peaks)[len(self._peaks) // 2]
                self._peaks = [*self._peaks[1 - BLOCKS :], 0.0]
        return self.echoes and heard > max(self._returned * CLEAR * echo, CLEAR_OF_FLOOR * floor, AUDIBLE)

    def forget_floor(self) -> None:
        """Nothing was heard for a while."""
        self._floor = 1.0

    @property
    def known(self) -> bool:
        """Has there been echo enough to tell how much comes back?"""
        return self._count >= BLOCK_STEPS

    @property
    def echoes(self) -> bool:
        """Is that little enough to be an echo?"""
        return self._returned < MOST_RETURNED
