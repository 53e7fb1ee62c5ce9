"""Was the machine short of processor time while something real ran? Then what went wrong says nothing about us, and is tried again."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

BEAT_S = 0.005
STARVED_S = 0.01
"""Whoever wakes so much too late isn't given the processor when it is due. A sound server that has 21 ms for a block leaves sound out then."""


class Lateness:
    """`with Lateness() as lateness: …`: by how much, at the worst, a thread that wanted next to nothing was woken too late."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wake, name="lateness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def starved(self) -> bool:
        return self.worst_s > STARVED_S

    def _wake(self) -> None:
        due = time.monotonic() + BEAT_S
        while not self._over.wait(max(due - time.monotonic(), 0.0)):
            now = time.monotonic()
            self.worst_s = max(self.worst_s, now - due)
            due = now + BEAT_S
