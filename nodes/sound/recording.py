"""A stereo recording of a session: the caller on the left, the assistant on the right, each block at its time.

1. Time 0 is the first block that comes. Blocks that follow each other closely are joined without a seam; across a gap, a block
   goes where its time says.
2. What is older than `WINDOW_S` is written to disk, so memory is bounded; a block that comes later than that is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nodes.sound.resampling import Resampler
from nodes.sound.wav import WavTarget

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nodes.vocabulary import Sound

    Samples = npt.NDArray[np.float32]

SECOND = 1_000_000_000
WINDOW_S = 10
JOINED_S = 0.02
"""A block whose time differs by no more than this from the end of the one before goes on with it."""
LEFT, RIGHT = 0, 1


class _Track:
    """One channel: where its next sample goes."""

    def __init__(self) -> None:
        self.next = 0
        self.resampler: Resampler | None = None


class Recording:
    """`captured` and `played` take blocks in any order; `save` gives the file its name."""

    def __init__(self, path: str | Path, rate_hz: int = 16_000) -> None:
        """Raises DeviceError."""
        import numpy as np

        self.rate_hz = rate_hz
        self._target = WavTarget(path, rate_hz, channels=2)
        self._tracks = (_Track(), _Track())
        self._begin_at = 0
        self._window: Samples = np.zeros((2 * WINDOW_S * rate_hz, 2), np.float32)
        self._written = 0
        """Samples on disk: the window's first is this one."""
        self._end = 0

    @property
    def begin_at(self) -> int:
        """Clock, nanoseconds: when the recording begins; 0 = nothing has come yet."""
        return self._begin_at

    def captured(self, sound: Sound) -> None:
        """A block that the microphone heard."""
        self._take(LEFT, sound)

    def played(self, sound: Sound) -> None:
        """A block that the speaker played."""
        self._take(RIGHT, sound)

    def save(self) -> None:
        """Write the rest. The file is there from now on. May be called twice. Raises DeviceError."""
        for channel, track in enumerate(self._tracks):
            self._finish(channel, track)
        self._write(self._end)
        self._target.save()

    def _take(self, channel: int, sound: Sound) -> None:
        self._begin_at = self._begin_at or sound.at
        track = self._tracks[channel]
        resampler = track.resampler
        waiting_ns = resampler.pending_ns if resampler is not None else 0
        index = round((sound.at - waiting_ns - self._begin_at) * self.rate_hz / SECOND)
        joined = (
            resampler is not None
            and resampler.from_hz == sound.rate_hz
            and abs(index - track.next) <= JOINED_S * self.rate_hz
        )
        if not joined:
            self._finish(channel, track)
            track.resampler = resampler = Resampler(sound.rate_hz, self.rate_hz)
            track.next = round((sound.at - self._begin_at) * self.rate_hz / SECOND)
        assert resampler is not None
        self._add(channel, track, resampler.feed(sound.samples))

    def _finish(self, channel: int, track: _Track) -> None:
        if track.resampler is not None:
            self._add(channel, track, track.resampler.end())
            track.resampler = None

    def _add(self, channel: int, track: _Track, samples: Samples) -> None:
        begin, track.next = track.next, track.next + len(samples)
        while len(samples):
            late = self._written - begin
            if late > 0:
                samples, begin = samples[late:], self._written
                continue
            place = begin - self._written
            if place >= len(self._window) // 2:
                self._write(min(begin - len(self._window) // 4, self._written + len(self._window) // 2))
                continue
            count = min(len(samples), len(self._window) - place)
            self._window[place : place + count, channel] += samples[:count]
            samples, begin = samples[count:], begin + count
            self._end = max(self._end, begin)

    def _write(self, until: int) -> None:
        """Move everything before sample `until` to disk."""
        count = max(until - self._written, 0)
        while count:
            piece = min(count, len(self._window))
            self._target.write(self._window[:piece])
            self._window[:-piece] = self._window[piece:].copy()
            self._window[len(self._window) - piece :] = 0.0
            self._written += piece
            count -= piece
        self._end = max(self._end, self._written)
