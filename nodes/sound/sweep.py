"""How late and how loud sweeps come back: what a microphone captured, and when a speaker is stated to have played them.

1. A matched filter finds each sweep, also far below the noise of the room. The first arrival counts, not the loudest reflection;
   its place is interpolated between samples. Most of the sweeps have to be found, or nothing was heard; those have to agree, or
   sound was lost on the way (a block of it is enough, and leaves no other trace in a stream).
2. A sweep's time at the speaker and at the microphone are those that the devices state. What lies between them is what the devices
   don't state: the way through the air (3 ms for a metre), and buffers that they leave out, or count twice.
3. The echo return loss is the energy that comes back, within 300 ms of the first arrival, against what was played: as the signal
   goes in and comes out, volume and sensitivity included.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

MS = 1_000_000
SECOND = 1_000_000_000
LOW_HZ, HIGH_HZ = 200.0, 6_000.0
SWEEP_S = 0.4
EDGE_S = 0.02
PEAK = 0.25
BEFORE_S, BEHIND_S = 0.2, 0.6
"""An echo is looked for so long before, and behind, the time at which its sweep is stated to be heard."""
ECHO_S = 0.3
CLEAR = 6.0
"""An arrival is this many times the median of the matched filter's output. Noise alone reaches 4."""
FIRST = 0.5
"""The first arrival is at least this share of the loudest, …"""
FIRST_S = 0.03
"""… and no more than this before it."""
AGREED_MS = 1.0
LOST_MS = 100.0
"""Sweeps that come further apart are none: somebody whistles. Lost sound adds up to less before a `Device` gets a longer buffer."""
RESPONSE_MS = 5
RESPONSE_S = 0.15


@dataclasses.dataclass(frozen=True, slots=True)
class Echo:
    """What came back of the sweeps."""

    late_ms: float
    """From the time at which the speaker is stated to sound to that at which the microphone is stated to have captured it."""
    spread_ms: float
    """By how much the sweeps differ in that."""
    return_loss_db: float
    """How much quieter it is than what was played."""
    response_db: tuple[float, ...]
    """Level of the room's response against its loudest, in steps of 5 ms from the first arrival on."""
    strayed: int = 0
    """Sweeps that came at another time than the rest: the device lost sound."""


class SoundLost(Exception):
    """The sweeps came back, each at another time."""

    def __init__(self, spread_ms: float) -> None:
        super().__init__(f"the sweeps came back up to {spread_ms:.1f} ms apart")
        self.spread_ms = spread_ms


def sweep(rate_hz: int) -> Samples:
    """From `LOW_HZ` to `HIGH_HZ`, with soft edges."""
    import numpy as np

    count = round(SWEEP_S * rate_hz)
    times = np.arange(count) / rate_hz
    phase = 2 * np.pi * (LOW_HZ * times + (HIGH_HZ - LOW_HZ) / (2 * SWEEP_S) * times**2)
    edge = np.minimum(1.0, np.minimum(np.arange(count), np.arange(count)[::-1]) / (EDGE_S * rate_hz))
    sound: Samples = (PEAK * np.sin(phase) * np.sin(np.pi / 2 * edge) ** 2).astype(np.float32)
    return sound


class Capture:
    """What a microphone heard: blocks, each with the time of its first sample."""

    def __init__(self, blocks: Sequence[tuple[int, Samples]], rate_hz: int) -> None:
        import numpy as np

        self.rate_hz = rate_hz
        self._times = np.array([at for at, _ in blocks], np.int64)
        self._starts = np.cumsum([0, *(len(samples) for _, samples in blocks)])
        self._samples = np.concatenate([samples for _, samples in blocks])

    @property
    def peak(self) -> float:
        """The largest absolute value."""
        import numpy as np

        return float(np.abs(self._samples).max())

    def level_dbfs(self, begin_at: int, end_at: int) -> float:
        """0 dBFS is a mean square of 1; silence and nothing are −120."""
        import numpy as np

        samples = self._samples[self._index(begin_at) : self._index(end_at)]
        power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
        return float(10 * np.log10(max(power, 1e-12)))

    def around(self, at: int) -> tuple[Samples, int]:
        """The samples in which the echo of a sweep heard at `at` is looked for, and the time of the first."""
        import numpy as np

        begin = max(self._index(at - round(BEFORE_S * SECOND)), 0)
        found = self._samples[begin : begin + round((BEFORE_S + SWEEP_S + BEHIND_S) * self.rate_hz)]
        block = int(np.searchsorted(self._starts, begin, "right")) - 1
        block = min(block, len(self._times) - 1)
        return found, int(self._times[block] + (begin - self._starts[block]) * SECOND // self.rate_hz)

    def _index(self, at: int) -> int:
        import numpy as np

        block = max(int(np.searchsorted(self._times, at, "right")) - 1, 0)
        return int(self._starts[block] + round((at - int(self._times[block])) * self.rate_hz / SECOND))


def find_echo(capture: Capture, heard_at: Sequence[int]) -> Echo | None:
    """What came back of sweeps that are stated to be heard at these times; None = nothing did. Raises SoundLost."""
    import numpy as np

    found = [response for at in heard_at if (response := _Response.of(capture, at)) is not None]
    if len(found) * 2 <= len(heard_at):
        return None
    agreed = max(([one for one in found if abs(one.late_ms - other.late_ms) < AGREED_MS] for other in found), key=len)
    if len(agreed) * 2 <= len(heard_at):
        late = [one.late_ms for one in found]
        if max(late) - min(late) > LOST_MS:
            return None
        raise SoundLost(max(late) - min(late))
    late = [one.late_ms for one in agreed]
    echo: Samples = np.mean([one.echo for one in agreed], axis=0)
    played = np.abs(np.fft.rfft(sweep(capture.rate_hz), 2 * len(echo))) ** 2
    back = np.abs(np.fft.rfft(echo, 2 * len(echo))) ** 2 * played
    step = capture.rate_hz * RESPONSE_MS // 1000
    steps = echo[: round(RESPONSE_S * capture.rate_hz) // step * step].reshape(-1, step)
    levels = 10 * np.log10(np.mean(steps**2, axis=1) + 1e-20)
    return Echo(
        late_ms=statistics.median(late),
        spread_ms=max(late) - min(late),
        return_loss_db=float(10 * np.log10(played.sum() / back.sum())),
        response_db=tuple(round(float(level), 1) for level in levels - levels.max()),
        strayed=len(found) - len(agreed),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Response:
    """The way from the speaker to the microphone, as one sweep shows it."""

    late_ms: float
    echo: Samples
    """Impulse response, band-limited, from 5 ms before the first arrival on."""

    @classmethod
    def of(cls, capture: Capture, at: int) -> _Response | None:
        import numpy as np

        heard, begin_at = capture.around(at)
        one, rate_hz = sweep(capture.rate_hz), capture.rate_hz
        lags = len(heard) - len(one)
        if lags < rate_hz * BEFORE_S:
            return None  # the stream broke off
        size = len(heard) + len(one)
        spectrum, replica = np.fft.rfft(heard, size), np.fft.rfft(one, size)
        envelope = _envelope(spectrum * replica.conj(), size)[:lags]
        loudest = int(np.argmax(envelope))
        if envelope[loudest] < CLEAR * float(np.median(envelope)):
            return None
        first = _first_arrival(envelope, loudest, round(FIRST_S * rate_hz))
        power = np.abs(replica) ** 2
        impulse = np.fft.irfft(spectrum * replica.conj() / (power + 1e-3 * power.max()), size)
        margin = rate_hz * RESPONSE_MS // 1000
        echo = np.zeros(round(ECHO_S * rate_hz) + margin, np.float32)
        start = max(int(first) - margin, 0)
        piece = impulse[start : start + len(echo)]
        echo[: len(piece)] = piece
        return cls((begin_at - at) / MS + first * 1000 / rate_hz, echo)


def _envelope(spectrum: npt.NDArray[np.complex128], size: int) -> npt.NDArray[np.float64]:
    """The magnitude of the analytic signal: it has its peak where the sound is, whatever its phase."""
    import numpy as np

    whole = np.zeros(size, np.complex128)
    whole[: len(spectrum)] = spectrum
    whole[1 : (size + 1) // 2] *= 2
    magnitude: npt.NDArray[np.float64] = np.abs(np.fft.ifft(whole))
    return magnitude


def _first_arrival(envelope: npt.NDArray[np.float64], loudest: int, reach: int) -> float:
    """The place of the first peak that is nearly as loud as the loudest, between samples."""
    place = loudest
    for index in range(max(loudest - reach, 1), loudest):
        if (
            envelope[index - 1] <= envelope[index] > envelope[index + 1]
            and envelope[index] >= FIRST * envelope[loudest]
        ):
            place = index
            break
    if not 0 < place < len(envelope) - 1:
        return float(place)
    before, here, after = (float(envelope[place + side]) for side in (-1, 0, 1))
    bend = before - 2 * here + after
    return place + (0.5 * (before - after) / bend if bend else 0.0)
