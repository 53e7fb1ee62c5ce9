"""The last step to the ear: a ring of sound that a device's callback plays, and what it says of it.

1. The loop writes, the device's callback reads, each its own indices; a segment is published by the write of one integer. Ring
   and segments are allocated once.
2. Each segment carries its attempt. The callback compares it with `turn.number`, block by block: what is stale is dropped, and
   the new attempt's sound, if there is any, begins in the same block. Where sound breaks off (stale, or run dry), the last
   value decays within 5 ms instead of clicking.
3. `turn.gain` is followed with a ramp over one block. At 0 the position stands still, so that a resumed answer goes on exactly
   where it was.
4. A position counts all samples ever written, from 0. What the callback has to say is one `News` a block at most; one that
   finds no room is said again with the next block.
5. A paced stream that runs late makes up for the blocks it missed. What was written after a block's time isn't played in it,
   as on a device that had run on time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from nodes.sound.levels import AudibleWindows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowgraph.turn import Turn

    Samples = npt.NDArray[np.float32]

SECOND = 1_000_000_000
SEGMENTS = 512
DECAY_S = 0.0008
"""Time constant of the last value's decay: 54 dB in 5 ms."""
FADE_IN_S = 0.005
NEWS_NS = 250_000_000


class News(NamedTuple):
    """What the callback tells the loop."""

    number: int
    """`turn.number` as the callback saw it: everything of earlier attempts is silent from `at` on."""
    position: int
    """So much has been played or dropped."""
    at: int
    """When the sample before `position` ends at the ear (clock, nanoseconds)."""
    stopped: int
    """Where the sound of earlier attempts broke off (a position); −1 = it hasn't."""
    stopped_at: int
    """When that was at the ear (clock, nanoseconds): where it was paused before, when the pause began."""
    answer: int
    """The answer that the rest is about."""
    audible: int
    """The first sample of the answer's first audible window (a position); −1 = not yet."""
    audible_at: int
    """When that left the device (clock, nanoseconds)."""
    sounding_until: int
    """The end of the answer's latest audible window (clock, nanoseconds)."""


class Playback:
    """The ring between the loop and one device."""

    def __init__(
        self,
        turn: Turn,
        *,
        rate_hz: int,
        capacity_ns: int,
        tell: Callable[[News], bool],
        monitor: Callable[[int, Samples], object] | None = None,
    ) -> None:
        """`tell` is called in the callback's thread and says whether it had room. `monitor(at, block)` sees what is played."""
        import numpy as np

        self.rate_hz = rate_hz
        self.written = 0
        self.underruns = 0
        """Times that an answer ran dry before its end."""
        self.wanted = False
        """Set by a writer that waits for room: it is told when half the ring is free."""
        self._turn = turn
        self._tell = tell
        self._monitor = monitor
        self._size = max(rate_hz * capacity_ns // SECOND, rate_hz // 50)
        self._ring: Samples = np.zeros(self._size, np.float32)
        self._turns = [0] * SEGMENTS
        self._answers = [0] * SEGMENTS
        self._ends = [0] * SEGMENTS
        self._puts = [0] * SEGMENTS
        self._tail = 0
        # The callback's own.
        self._head = 0
        self._position = 0
        self._number = turn.number
        self._gain = turn.gain
        self._paused_at = 0
        """When the last sample before the pause ended at the ear; 0 = it isn't paused."""
        self._answer = -1
        self._answer_begin = 0
        self._dry = True
        self._last = 0.0
        self._decay: Samples = np.exp(-np.arange(1, rate_hz // 10 + 1) / (DECAY_S * rate_hz)).astype(np.float32)
        self._slope: Callable[[int], Samples] = lambda n: np.linspace(0, 1, n, endpoint=False, dtype=np.float32)
        self._ramp = self._slope(rate_hz // 100)
        self._fade_in = self._slope(round(rate_hz * FADE_IN_S))
        self._windows = AudibleWindows(rate_hz)
        self._audible = -1
        self._audible_at = 0
        self._sounding_until = 0
        self._stopped = -1
        self._stopped_at = 0
        self._owed = False
        self._told_at = 0

    # -- the loop's side -----------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many samples can be written now."""
        if self._tail - self._head >= SEGMENTS:
            return 0
        return self._size - (self.written - self._position)

    def write(self, samples: Samples, *, turn: int, answer: int, now: int) -> int:
        """Append what there is room for; return how many samples that was. `answer` tells one answer from the next."""
        count = min(len(samples), self.room)
        if not count:
            return 0
        begin = self.written % self._size
        first = min(count, self._size - begin)
        self._ring[begin : begin + first] = samples[:first]
        self._ring[: count - first] = samples[first:count]
        slot = self._tail % SEGMENTS
        self.written += count
        self._turns[slot], self._answers[slot], self._ends[slot], self._puts[slot] = turn, answer, self.written, now
        self._tail += 1
        return count

    # -- the callback's side -------------------------------------------------------------------------------------------

    def fill(self, out: Samples, output_at: int, due: int = 0) -> None:
        """Fill one block that is heard from `output_at` on. `due`: the block's own time, where it may be made up for later."""
        number, target = self._turn.number, self._turn.gain
        if number != self._number:
            self._drop_stale(number, target, output_at)
        filled = self._play(out, number, target, output_at, due)
        self._settle(out, filled)
        if target:
            self._paused_at = 0
        elif self._gain:
            self._paused_at = output_at + filled * SECOND // self.rate_hz
        self._gain = target
        if self._monitor is not None:
            self._monitor(output_at, out.copy())
        at = output_at + filled * SECOND // self.rate_hz
        if self.wanted and self.room * 2 >= self._size:
            self.wanted, self._owed = False, True
        if self._owed or (filled and at - self._told_at >= NEWS_NS):
            self._report(at)

    def _report(self, at: int) -> None:
        news = News(
            self._number, self._position, at, self._stopped, self._stopped_at,
            self._answer, self._audible, self._audible_at, self._sounding_until,
        )  # fmt: skip
        self._owed = not self._tell(news)
        if not self._owed:
            self._stopped, self._told_at = -1, at

    def _drop_stale(self, number: int, target: float, output_at: int) -> None:
        """An attempt is over: nothing more of it is played."""
        self._number = number
        self._gain = target
        self._stopped, self._stopped_at = self._position, self._paused_at or output_at
        self._dry = True
        self._owed = True

    def _play(self, out: Samples, number: int, target: float, output_at: int, due: int) -> int:
        """Copy what may be played to the beginning of the block. Returns how many samples."""
        wanted, filled = len(out), 0
        while self._head < self._tail:
            slot = self._head % SEGMENTS
            end = self._ends[slot]
            if self._turns[slot] < number:
                self._position = end
                self._head += 1
                continue
            if filled == wanted or self._gain == target == 0.0 or (due and self._puts[slot] > due):
                break
            if self._answers[slot] != self._answer:
                self._begin_answer(self._answers[slot], output_at + filled * SECOND // self.rate_hz)
            count = min(wanted - filled, end - self._position)
            piece = out[filled : filled + count]
            self._copy(piece)
            self._shape(piece, filled, wanted, target)
            self._listen(piece, output_at + filled * SECOND // self.rate_hz)
            self._position += count
            filled += count
            if self._position == end:
                self._head += 1
        if filled and self._head == self._tail:
            self._owed = True
        if filled < wanted and (target or self._gain):
            self._dry = True
        return filled

    def _begin_answer(self, answer: int, at: int) -> None:
        if self._answer >= 0:
            self._report(at)  # the last that there is to say of the one before
        self._answer = answer
        self._told_at = at
        self._dry = False  # its first sound is played as it is
        self._windows.reset()
        self._answer_begin = self._position
        self._audible, self._audible_at, self._sounding_until = -1, 0, 0

    def _copy(self, piece: Samples) -> None:
        begin = self._position % self._size
        first = min(len(piece), self._size - begin)
        piece[:first] = self._ring[begin : begin + first]
        piece[first:] = self._ring[: len(piece) - first]

    def _shape(self, piece: Samples, offset: int, block: int, target: float) -> None:
        """Gain, and a soft beginning where sound resumes in the middle of an answer."""
        if self._dry:
            self._dry = False
            self.underruns += 1
            rise = self._fade_in[: len(piece)]
            piece[: len(rise)] *= rise
        if self._gain != target:
            if len(self._ramp) != block:
                self._ramp = self._slope(block)
            piece *= self._gain + (target - self._gain) * self._ramp[offset : offset + len(piece)]
        elif target != 1.0:
            piece *= target

    def _listen(self, piece: Samples, at: int) -> None:
        windows = self._windows
        windows.feed(piece)
        if windows.last >= 0:
            behind = windows.count - windows.last
            self._sounding_until = at + (len(piece) - behind) * SECOND // self.rate_hz
            if self._audible < 0:
                self._audible = self._answer_begin + windows.first
                self._audible_at = at + (len(piece) - windows.count + windows.first) * SECOND // self.rate_hz
                self._owed = True

    def _settle(self, out: Samples, filled: int) -> None:
        """What isn't filled is silence, after a soft end."""
        if filled:
            self._last = float(out[filled - 1])
        if filled < len(out):
            rest = out[filled:]
            if abs(self._last) < 1e-5:
                rest[:] = 0.0
                self._last = 0.0
            else:
                decay = self._decay[: len(rest)]
                rest[len(decay) :] = 0.0
                rest[: len(decay)] = decay
                rest[: len(decay)] *= self._last
                self._last = float(rest[-1])
