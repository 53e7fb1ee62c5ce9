"""Sound devices that are none: a voice, a listener, or both, paced by the event loop like hardware by its crystal.

1. Block n is due at `start + (n + 1) · block`: an absolute schedule, so that nothing drifts, on real time and on virtual time.
2. A late timer makes up for the blocks that it missed, each with its own time.
3. A stream begins on the clock's next whole block, so that a session's streams are due together: waking costs more than a block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nodes.sound.wav import WavSource, WavTarget

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nodes.sound.room import Room

    Samples = npt.NDArray[np.float32]

SECOND = 1_000_000_000
BLOCK_MS = 10
BLOCK_NS = BLOCK_MS * 1_000_000
SILENT_SPEAKER_HZ = 24_000
"""Kokoro's own rate: nothing has to be converted for a speaker that nobody hears."""
TOLERANCE_NS = 1000


class Voice(Protocol):
    """Somebody or something that a virtual microphone hears."""

    rate_hz: int

    def read(self, count: int, at: int) -> Samples:
        """The next samples; the first is captured at `at` (clock, nanoseconds)."""
        ...

    @property
    def ended(self) -> bool:
        """True once there is nothing more to hear."""
        ...

    def close(self) -> None:
        """Release its files."""
        ...


class Listener(Protocol):
    """Where a virtual speaker's sound goes."""

    def write(self, samples: Samples) -> None:
        """What was played, silence included."""
        ...

    def close(self) -> None:
        """Finish its files."""
        ...


class PacedStream:
    """A virtual device: calls `block` for every block of time, in the loop."""

    def __init__(
        self,
        *,
        rate_hz: int,
        now: Callable[[], int],
        block: Callable[[int, int], bool],
        block_ms: int = BLOCK_MS,
    ) -> None:
        """`block(samples, due)` handles the block that ends at `due` and says whether there is another."""
        self.rate_hz = rate_hz
        self._samples = rate_hz * block_ms // 1000
        self._now = now
        self._block = block
        self._loop = asyncio.get_running_loop()
        self._start = -(-now() // BLOCK_NS) * BLOCK_NS
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._plan()

    def stop(self) -> None:
        """No more blocks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _due(self) -> int:
        return self._start + (self._count + 1) * self._samples * SECOND // self.rate_hz

    def _plan(self) -> None:
        self._timer = self._loop.call_at(self._due / SECOND, self._tick)

    def _tick(self) -> None:
        now = self._now() + TOLERANCE_NS
        while (due := self._due) <= now:
            self._count += 1
            if not self._block(self._samples, due):
                self._timer = None
                return
        self._plan()


class Silence:
    """A microphone that hears nothing. Its room is empty, not dead: the stream goes on for ever."""

    rate_hz = 16_000
    ended = False

    def read(self, count: int, at: int) -> Samples:  # noqa: ARG002 (a voice is told the time)
        """Zeros."""
        import numpy as np

        return np.zeros(count, np.float32)

    def close(self) -> None:
        """Nothing to release."""


class FileVoice:
    """A WAV file as a microphone: played in real pace, then silence, until the answer to it is over.

    It ends `PATIENCE_NS` after the file if nothing is answered, or `TAIL_NS` after the answer.
    """

    PATIENCE_NS = 10 * SECOND
    TAIL_NS = 2 * SECOND

    def __init__(self, path: str | Path, room: Room) -> None:
        """Raises DeviceError."""
        self._source = WavSource(path)
        self.rate_hz = self._source.rate_hz
        self.ended = False
        self._room = room
        self._finished_at = 0

    def read(self, count: int, at: int) -> Samples:
        """The file, then zeros."""
        import numpy as np

        samples = self._source.read(count)
        if len(samples) < count:
            self._finished_at = self._finished_at or at
            quiet_since = self._room.quiet_since(at)
            if quiet_since:
                answered = quiet_since > self._finished_at
                waited = at - max(quiet_since, self._finished_at)
                self.ended = waited > (self.TAIL_NS if answered else self.PATIENCE_NS)
            samples = np.concatenate((samples, np.zeros(count - len(samples), np.float32)))
        return samples

    def close(self) -> None:
        """Release the file."""
        self._source.close()


class Nobody:
    """A silent speaker."""

    def write(self, samples: Samples) -> None:
        """Heard by nobody."""

    def close(self) -> None:
        """Nothing to finish."""


class FileListener:
    """A speaker that writes what it plays into a WAV file, from its first block to its last."""

    def __init__(self, path: str | Path, rate_hz: int) -> None:
        """Raises DeviceError."""
        self._target = WavTarget(path, rate_hz)

    def write(self, samples: Samples) -> None:
        """Append."""
        self._target.write(samples)

    def close(self) -> None:
        """Give the file its name."""
        self._target.save()
