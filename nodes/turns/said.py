"""What the user said that no answer was heard to, put together from transcripts.

1. Transcripts join by the span of sound that they cover, never by arrival; one that contains an earlier span supersedes it. An empty
   one only says that nothing came behind what is known.
2. A partial counts until a final one reaches as far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowgraph.units import MS
from nodes.text.finishing import words_of

if TYPE_CHECKING:
    from nodes.vocabulary import Transcript

COVERS_NS = 150 * MS
"""A transcript whose span ends no earlier than this before the last voiced sample covers it."""


class Said:
    """The words that are to be answered."""

    def __init__(self) -> None:
        self._finals: list[Transcript] = []
        self._partial: Transcript | None = None

    def add(self, transcript: Transcript) -> bool:
        """Take in another transcript. True if it says more than the partial before it."""
        if not transcript.final:
            before, self._partial = self._partial, transcript
            return before is None or len(words_of(transcript.text)) > len(words_of(before.text))
        self.outdate(transcript)
        kept = [one for one in self._finals if not _supersedes(transcript, one)]
        self._finals = sorted([*kept, transcript], key=lambda one: one.start_at)
        return True

    def outdate(self, final: Transcript) -> None:
        """A final transcript is there: a partial that reaches no further is worth nothing any more."""
        if self._partial is not None and self._partial.end_at <= final.end_at:
            self._partial = None

    @property
    def text(self) -> str:
        """All of it, in the order of the sound."""
        return self.since(0)

    def since(self, at: int) -> str:
        """What was said in sound that ends after `at` (clock, nanoseconds)."""
        texts = [one.text.strip() for one in self._finals if one.end_at > at]
        partial = self._partial
        if (
            partial is not None
            and partial.end_at > at
            and not (self._finals and partial.end_at <= self._finals[-1].end_at)
        ):
            texts.append(partial.text.strip())
        return " ".join(text for text in texts if text)

    def covers(self, at: int, *, partials: bool = False) -> bool:
        """Is there a final transcript (or a partial, if those count) of what was voiced until `at`?"""
        ends = [self._finals[-1].end_at] if self._finals else []
        if partials and self._partial is not None:
            ends.append(self._partial.end_at)
        return max(ends, default=0) >= at - COVERS_NS if ends else False

    def forget(self) -> None:
        """None of it is to be answered."""
        self._finals.clear()
        self._partial = None

    def forget_before(self, at: int) -> None:
        """Drop what begins before `at` (clock, nanoseconds)."""
        self._finals = [one for one in self._finals if one.start_at >= at]
        if self._partial is not None and self._partial.start_at < at:
            self._partial = None

    def split(self, at: int) -> Said:
        """Cut off what begins before `at` (clock, nanoseconds): it is answered. The rest stays."""
        answered = Said()
        answered._finals = [one for one in self._finals if one.start_at < at]
        if self._partial is not None and self._partial.start_at < at:
            answered._partial = self._partial
        self.forget_before(at)
        return answered

    def forget_since(self, at: int) -> None:
        """Drop what ends after `at` (clock, nanoseconds)."""
        self._finals = [one for one in self._finals if one.end_at <= at]
        if self._partial is not None and self._partial.end_at > at:
            self._partial = None


def _supersedes(new: Transcript, old: Transcript) -> bool:
    """Does it tell the same sound anew?"""
    inside = new.start_at <= old.start_at and old.end_at <= new.end_at
    return inside and bool(new.text.strip() or not old.text.strip())


def same(one: str, other: str) -> bool:
    """Do they say the same, case, spaces and punctuation aside?"""
    return words_of(one) == words_of(other)
