"""A room for tests: what a microphone hears of a loudspeaker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nodes.sound.wav import WavSource

RATE_HZ = 16_000
DEMO = Path(__file__).parents[1] / "graphs/conversations/demo"

Samples = npt.NDArray[np.float32]


def recorded(*names: str) -> Samples:
    """Speech of the bundled caller, one after the other, at 16 kHz."""
    pieces = []
    for name in names:
        source = WavSource(DEMO / f"{name}.wav")
        pieces.append(source.read(source.rate_hz * 60))
        source.close()
    return np.concatenate(pieces)


def response(
    *, loss_db: float = 20.0, delay_ms: float = 0.0, reverberation_ms: float = 250.0, rate_hz: int = RATE_HZ, seed: int = 7
) -> Samples:
    """An impulse response: the direct sound after `delay_ms`, then noise that decays by 60 dB in `reverberation_ms`.

    Its energy is that of a factor of −`loss_db`; half of it is the direct sound.
    """
    rng = np.random.default_rng(seed)
    count = int(rate_hz * reverberation_ms / 1000)
    tail = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    tail[0] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    tail *= 10 ** (-loss_db / 20) / np.sqrt(2)
    return np.concatenate((np.zeros(round(rate_hz * delay_ms / 1000)), tail)).astype(np.float32)


def through(sound: Samples, room: Samples) -> Samples:
    """What is heard of a sound in a room, cut to the sound's length."""
    count = len(sound) + len(room)
    heard = np.fft.irfft(np.fft.rfft(sound, count) * np.fft.rfft(room, count), count)
    return heard[: len(sound)].astype(np.float32)


def dbfs(samples: Samples) -> float:
    """The level of a sound: 0 is a mean square of 1."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))
