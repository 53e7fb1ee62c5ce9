"""Sound on its way from a synthesiser to a client: 24 kHz, without dead silence around it, with its word times.

Synthesisers surround what they say with silence: 50 to 300 ms in front, which a listener waits for, and as much behind.
`Trimmed` takes it away while the sound passes, and holds back a silence until it is known what follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nodes.servers.voices import Voice

    Samples = npt.NDArray[np.float32]

RATE_HZ = 24_000
QUIET = 10 ** (-50 / 20)
"""-50 dBFS: what stays below is silence."""
LEAD = RATE_HZ * 10 // 1000
"""Samples kept before the first sound, so that it is not cut into."""
TAIL = RATE_HZ * 60 // 1000
SENTENCE_TAIL = RATE_HZ * 200 // 1000
"""Samples of silence behind the last sound: a breath after a sentence, less after a clause."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some sound at 24 kHz, and where words begin: (sample from the start of the text's sound, place in the text)."""

    samples: Samples
    marks: tuple[tuple[int, int], ...] = ()


class Engine(Protocol):
    """A synthesiser. `speak` blocks; it is called in one thread at a time, and hands on each piece as it is made."""

    @property
    def name(self) -> str: ...

    @property
    def voices(self) -> tuple[str, ...]: ...

    def speak(self, text: str, voice: Voice, language: str, speed: float, heard: Callable[[Piece], bool]) -> None:
        """Until all is spoken or `heard` returns False. `language` as in `voices.LANGUAGES`; `speed`: 1 = normal."""
        ...


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word as written (with its punctuation), in seconds from the first sample sent."""

    word: str
    start_time: float
    end_time: float


@dataclass(slots=True)
class Words:
    """Turns marks (where a synthesiser was in the text, and when) into the times of the written words.

    Synthesisers mark what they say, not what is written: three marks for "42nd", none for a dash. The first mark in
    a word counts; words without one share the time up to the next mark evenly.
    """

    text: str
    _spans: list[re.Match[str]] = field(init=False)
    _next: int = 0
    """The first word whose end is not known."""
    _since: int = 0
    """When it began (samples)."""

    def __post_init__(self) -> None:
        self._spans = list(re.finditer(r"\S+", self.text))

    def mark(self, sample: int, place: int) -> Iterator[TimedWord]:
        """The synthesiser begins at `place` of the text: every word before it is over."""
        index = next((i for i in range(self._next, len(self._spans)) if place < self._spans[i].end()), None)
        if index is not None and index > self._next:
            yield from self._until(index, sample)

    def end(self, sample: int) -> Iterator[TimedWord]:
        yield from self._until(len(self._spans), sample)

    def _until(self, index: int, sample: int) -> Iterator[TimedWord]:
        words = self._spans[self._next : index]
        sample = max(sample, self._since)
        for number, word in enumerate(words):
            times = [(self._since + (sample - self._since) * n / len(words)) / RATE_HZ for n in (number, number + 1)]
            yield TimedWord(word[0], round(times[0], 4), round(times[1], 4))
        self._next, self._since = index, sample


class Trimmed:
    """Sound without the silence around it, and its words."""

    def __init__(self, text: str) -> None:
        self._words = Words(text)
        self._tail = SENTENCE_TAIL if re.search(r"[.!?…。！？]\W*$", text) else TAIL
        self._began = False
        self._dropped = 0
        """Samples taken away at the front."""
        self._held: Samples | None = None
        self.sent = 0
        """Samples handed on."""

    def push(self, piece: Piece) -> tuple[Samples, list[TimedWord]]:
        import numpy as np

        samples = piece.samples if self._held is None else np.concatenate([self._held, piece.samples])
        loud = np.flatnonzero(np.abs(samples) > QUIET)
        if not self._began:
            first = max(int(loud[0]) - LEAD, 0) if len(loud) else max(len(samples) - LEAD, 0)
            self._dropped += first
            samples = samples[first:]
            loud = loud - first
            self._began = bool(len(loud))
        behind = int(loud[-1]) + 1 if len(loud) else 0
        passed, self._held = samples[:behind], samples[behind:]
        self.sent += len(passed)
        words = [word for sample, place in piece.marks for word in self._words.mark(self._place(sample), place)]
        return passed, words

    def end(self) -> tuple[Samples, list[TimedWord]]:
        import numpy as np

        if not self._began:
            return np.zeros(0, np.float32), []
        words = list(self._words.end(self.sent))
        held = self._held if self._held is not None else np.zeros(0, np.float32)
        tail = np.zeros(self._tail, np.float32)
        tail[: len(held)] = held[: self._tail]
        self.sent += len(tail)
        return tail, words

    def _place(self, sample: int) -> int:
        return max(sample - self._dropped, 0)
