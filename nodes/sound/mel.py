"""What Whisper sees of the last 8 s of sound: a log-mel spectrogram, worked out while the sound comes in.

1. It is that of `WhisperFeatureExtractor(chunk_length=8)` with `do_normalize=True` (Hugging Face transformers): the sound is
   brought to a mean of 0 and a variance of 1; a spectrum of 25 ms is taken every 10 ms, the first one centred on the first
   sample, with the sound mirrored at both ends; 80 triangles on Slaney's mel scale; the power in decades, at most 8
   below the loudest, then (x + 4) / 4. Sound that is shorter than 8 s has zeros before it.
2. Mean and variance are known only at the end, but power is linear in a scale, and a constant touches nothing but the two
   lowest bins of a spectrum under a Hann window. The lowest has no weight in any triangle, so of the second one the complex
   value is kept: both corrections are then exact, and no spectrum is taken twice. Only the three spectra that the
   mirrored ends reach into are.
3. A `Clip` is a view: what comes in later is written behind it or into a new buffer, so another thread may read it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Complexes = npt.NDArray[np.complex64]

RATE_HZ = 16_000
WINDOW = 400
"""Samples a spectrum: 25 ms (`N_FFT` in openai/whisper, whisper/audio.py, as the next three)."""
HOP = 160
"""Samples from one spectrum to the next: 10 ms."""
MELS = 80
QUIETEST = 1e-10
"""Less power than this is not told from nothing."""
DECADES = 8.0
"""What is further below the loudest is cut off."""
LEAST_VARIANCE = 1e-7
"""Added to the variance, so that silence can be divided by it (`zero_mean_unit_var_norm` in transformers)."""
HOPS = 800
"""Spectra of a clip."""
SAMPLES = HOPS * HOP
"""Length of a clip: 8 s."""

LINEAR_HZ = 200 / 3
"""Slaney's scale, up to 1 kHz (15 mel): so many Hz a mel. Above, each 27 mels are a factor of 6.4 (Auditory Toolbox, 1998)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """8 s of sound, and what is known of its spectra: one a hop, before normalisation."""

    samples: Floats
    """Shape (128000,)."""
    mels: Floats
    """Shape (800, 80): power in each triangle, without the second bin of the spectrum."""
    second: Complexes
    """Shape (800,): that bin."""


class LogMel:
    """Takes sound in blocks of any size (16 kHz, float32 in [-1, 1]); gives the last 8 s of it as a `Clip`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all sound: zeros stand before what comes."""
        self._samples = np.zeros(2 * SAMPLES, np.float32)
        self._mels = np.zeros((2 * HOPS, MELS), np.float32)
        self._second = np.zeros(2 * HOPS, np.complex64)
        self._filled = SAMPLES
        self._known = (SAMPLES - WINDOW // 2) // HOP + 1
        """Spectra so far: each as soon as there is sound on both sides of its centre."""

    def add(self, samples: Floats) -> None:
        for begin in range(0, len(samples), SAMPLES // 2):
            piece = samples[begin : begin + SAMPLES // 2]
            if self._filled + len(piece) > len(self._samples):
                self._move()
            self._samples[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            known = (self._filled - WINDOW // 2) // HOP + 1
            if known > self._known:
                new = slice(self._known, known)
                sound = self._samples[new.start * HOP - WINDOW // 2 : (known - 1) * HOP + WINDOW // 2]
                self._mels[new], self._second[new] = _spectra(sound)
                self._known = known

    def last(self, samples: int) -> Floats:
        """The last so many samples (at most 8 s), zeros where there were none."""
        return self._samples[self._filled - min(samples, SAMPLES) : self._filled]

    def clip(self) -> Clip:
        """The last 8 s that end with a whole hop: up to 10 ms of the newest sound stay out."""
        end = self._filled // HOP
        hops = slice(end - HOPS, end)
        return Clip(self._samples[hops.start * HOP : end * HOP], self._mels[hops], self._second[hops])

    def _move(self) -> None:
        """Go on in a new buffer; clips keep the old one."""
        first = self._filled // HOP - HOPS
        samples, mels, second = self._samples[first * HOP : self._filled], self._mels[first:], self._second[first:]
        filled, known = self._filled - first * HOP, self._known - first
        self.clear()
        self._samples[:filled] = samples
        self._mels[: len(mels)], self._second[: len(second)] = mels, second
        self._filled, self._known = filled, known


def features(clip: Clip) -> Floats:
    """The model's input: float32, shape (80, 800), about -1 to 1.5."""
    sound, half = clip.samples, WINDOW // 2
    mels, second = clip.mels.copy(), clip.second.copy()
    begin = np.concatenate((sound[half:0:-1], sound[: HOP + half]))
    end = np.concatenate((sound[-HOP - half :], sound[-2 : -2 - (half - HOP) : -1]))
    mels[:2], second[:2] = _spectra(begin)
    mels[-1:], second[-1:] = _spectra(end)
    mean, variance = sound.mean(dtype=np.float64), sound.var(dtype=np.float64)
    constant = np.float32(mean) * np.complex64(np.fft.rfft(_hann())[1])
    power = np.square(np.abs(second - constant))
    mels += power[:, None] * _triangles()[1]
    mels *= np.float32(1 / (variance + LEAST_VARIANCE))
    decades = np.log10(np.maximum(mels, np.float32(QUIETEST)))
    return np.ascontiguousarray((np.maximum(decades, decades.max() - DECADES).T + 4) / 4, np.float32)


def _spectra(sound: Floats) -> tuple[Floats, Complexes]:
    """Of each window that lies whole in the sound, a hop apart: its mels without the second bin, and that bin."""
    spectra = np.fft.rfft(sliding_window_view(sound, WINDOW)[::HOP] * _hann())
    power = np.square(spectra.real) + np.square(spectra.imag)
    mels = power[:, 2:] @ _triangles()[2:]
    return mels.astype(np.float32, copy=False), spectra[:, 1].astype(np.complex64, copy=False)


@functools.cache
def _hann() -> Floats:
    """Periodic: the next window's first sample would be its last one."""
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@functools.cache
def _triangles() -> Floats:
    """Shape (201, 80): the weight of each bin in each mel; every triangle has the same area."""
    top = 15 + 27 * np.log(RATE_HZ / 2 / 1000) / np.log(6.4)
    mel = np.linspace(0, top, MELS + 2)
    corner = np.where(mel < 15, mel * LINEAR_HZ, 1000 * 6.4 ** ((mel - 15) / 27))
    bins = np.linspace(0, RATE_HZ / 2, WINDOW // 2 + 1)
    rows = [
        np.interp(bins, (low, middle, high), (0, 2 / (high - low), 0))
        for low, middle, high in zip(corner, corner[1:], corner[2:], strict=False)
    ]
    return np.array(rows, np.float32).T.copy()
