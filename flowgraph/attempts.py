"""What attempts at an answer were worth: what was prepared and never heard, and how far ahead of its commit the rest was ready."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowgraph.frame import Frame
    from flowgraph.session import Session


@dataclasses.dataclass(slots=True)
class Prepared:
    """What was made for attempts."""

    tokens: int = 0
    sound_ns: int = 0
    ready_at: int = 0
    """When the first sound of it was there (clock, nanoseconds); 0 = none was."""


class Attempts:
    """Watches a session that hasn't been entered yet. Frames of a vocabulary are told by their names: the engine knows none."""

    def __init__(self, session: Session, *, tokens: Iterable[type[Frame]], sound: Iterable[type[Frame]]) -> None:
        """`tokens`, `sound`: the frame types that are counted as such."""
        self._session = session
        self._prepared: dict[int, Prepared] = {}
        for kind in tokens:
            session.watch(kind, self._on_token)
        for kind in sound:
            session.watch(kind, self._on_sound)

    def wasted(self, attempts: Iterable[int]) -> Prepared:
        """All that was made for attempts that nobody heard. They are forgotten with it."""
        total = Prepared()
        for attempt in attempts:
            made = self._prepared.pop(attempt, None)
            if made is not None:
                total.tokens += made.tokens
                total.sound_ns += made.sound_ns
        return total

    def ahead_ns(self, attempt: int) -> int | None:
        """How long before its commit the first sound was ready (negative: after it); None if it was never both."""
        made, commit = self._prepared.get(attempt), self._session.trace.commits.get(attempt)
        return commit[0] - made.ready_at if made is not None and made.ready_at and commit is not None else None

    def _of(self, attempt: int) -> Prepared:
        return self._prepared.setdefault(attempt, Prepared())

    def _on_token(self, frame: Frame) -> None:
        self._of(frame.turn).tokens += 1

    def _on_sound(self, frame: Frame) -> None:
        made = self._of(frame.turn)
        made.sound_ns += frame.duration_ns
        if not made.ready_at and frame.duration_ns:
            made.ready_at = self._session.clock.now()
