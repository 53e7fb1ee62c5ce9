"""Whose attempt may be heard: two integers and a gain.

1. `number` never goes down. Interruption is this integer going up: whoever holds a Plan compares, and what is below is worthless.
2. `committed` is the highest attempt that may be heard. `commit` names the attempt and refuses any other.
3. `gain` is 1, ducked, or 0 (paused: the position stands still). `advance` sets it back to 1.
4. At most one node, the owner, moves them. Without one, number = committed = 1 and any node may make Plans.

The speaker's device callback reads `number` and `gain` from its own thread: plain attributes, never more than one write each.
"""

from __future__ import annotations

from collections.abc import Callable

from flowgraph.taps import ADVANCE, COMMIT, GAIN, Tap


class Turn:
    """The state of the turn, shared by all channels, workers and devices of a session."""

    __slots__ = ("_advanced", "_committed", "_now", "_tap", "by", "committed", "gain", "number")

    def __init__(self, *, owned: bool, now: Callable[[], int], tap: Tap) -> None:
        self.number = 0 if owned else 1
        self.committed = self.number
        self.gain = 1.0
        self.by: Callable[[], int] = lambda: 0
        """Id of the frame that the owner is processing: the cause of what it does to the turn."""
        self._now = now
        self._tap = tap
        self._advanced: list[Callable[[], None]] = []
        self._committed: list[Callable[[], None]] = []

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Tell `listener` after each advance. It runs in the owner's task: short and synchronous."""
        self._advanced.append(listener)

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Tell `listener` after each commit. It runs in the owner's task: short and synchronous."""
        self._committed.append(listener)

    def advance(self) -> int:
        """Make every Plan so far worthless. Returns the number of the new attempt."""
        self.number += 1
        self.gain = 1.0
        self._tap((self._now(), ADVANCE, self.number, self.by()))
        for listener in self._advanced:
            listener()
        return self.number

    def commit(self, number: int) -> bool:
        """Let attempt `number` be heard. False, and nothing happens, if it isn't the current one."""
        if number != self.number:
            return False
        if number != self.committed:
            self.committed = number
            self._tap((self._now(), COMMIT, number, self.by()))
            for listener in self._committed:
                listener()
        return True

    def set_gain(self, gain: float) -> None:
        """1 = as it is, between = ducked, 0 = paused. Heard within one device block."""
        if gain != self.gain:
            self.gain = gain
            self._tap((self._now(), GAIN, gain, self.by()))
