"""What somebody knows of a conversation from hearing it: who is to be heard when, and what is an answer.

In the place of a `Room`, whose players tell it, for a recorded user who talks with a program of which nothing else is known.

1. Both sides come in windows of 10 ms, audible or not, by the rules of `nodes.sound.ear`.
2. An answer begins where the program becomes audible after a second of silence, or after 200 ms of it if the user has spoken since the
   last answer began and has been silent for at least 100 ms.
3. It is over after a second of silence, then since its last sound. One that broke off while the user spoke, or within 300 ms after,
   was cut.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from nodes.sound.levels import WINDOWS_A_SECOND
from nodes.sound.room import SECOND, Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

OVER_NS = SECOND
QUIET_NS = SECOND // 5
SILENT_NS = SECOND // 10
CUT_NS = SECOND * 3 // 10
REMEMBERED = 30 * WINDOWS_A_SECOND
"""Windows of the user's that are kept."""


class Windows:
    """Cuts blocks of sound into windows of 10 ms."""

    def __init__(self, rate_hz: int) -> None:
        import numpy as np

        self._size = rate_hz // WINDOWS_A_SECOND
        self._rate_hz = rate_hz
        self._rest: Samples = np.zeros(0, np.float32)

    def feed(self, samples: Samples, at: int) -> Iterator[tuple[int, float]]:
        """(end, level) of each window that is complete: clock, nanoseconds, and dBFS. `at` is the time of the first sample."""
        import numpy as np

        at -= len(self._rest) * SECOND // self._rate_hz
        sound = np.concatenate((self._rest, samples))
        whole = len(sound) // self._size
        power = np.mean(np.square(sound[: whole * self._size].reshape(whole, self._size), dtype=np.float64), axis=1)
        self._rest = sound[whole * self._size :]
        for index, level in enumerate(10 * np.log10(np.maximum(power, 1e-20))):
            yield at + (index + 1) * self._size * SECOND // self._rate_hz, float(level)


class Ends:
    """Where speech ended in a sound: the ends of its audible windows, as far back as half a minute."""

    def __init__(self) -> None:
        self._ends: deque[int] = deque(maxlen=REMEMBERED)

    def add(self, end_at: int) -> None:
        """An audible window, in order."""
        self._ends.append(end_at)

    def last(self, since: int, until: int) -> int:
        """The end of the last audible window within; 0 = there is none."""
        return next((end for end in reversed(self._ends) if since <= end <= until), 0)


class Overheard:
    """Knows answers by hearing them."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        """The latest."""
        self._user_at = 0
        """The end of the user's last audible window."""

    def user(self, end_at: int) -> None:
        """An audible window of the user's."""
        self._user_at = end_at

    def program(self, end_at: int) -> None:
        """An audible window of the program's."""
        begin_at = end_at - SECOND // WINDOWS_A_SECOND
        answer = self.answer
        if answer is None or self._begins(answer, begin_at):
            self.answer = Answer(begin_at, end_at)
        else:
            answer.sounding_until, answer.over_at, answer.cut = end_at, 0, False

    def quiet_since(self, now: int) -> int:
        """Since when no answer has been sounding; 0 = one is sounding now; 1 = there was none yet."""
        answer = self.answer
        if answer is None:
            return 1
        if now - answer.sounding_until <= OVER_NS:
            return 0
        if not answer.over_at:
            answer.over_at = answer.sounding_until
            answer.cut = self._user_at > answer.audible_at and answer.over_at <= self._user_at + CUT_NS
        return answer.over_at

    def _begins(self, answer: Answer, at: int) -> bool:
        quiet = at - answer.sounding_until
        spoken = self._user_at > answer.audible_at and at - self._user_at >= SILENT_NS
        return quiet >= OVER_NS or (quiet >= QUIET_NS and spoken)
