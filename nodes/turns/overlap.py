"""Somebody speaks over the answer: an interruption, or only a cough, an "mhm", or the answer's own echo?

1. From the onset on the answer is ducked; once the speech has lasted `pause_after` it pauses, so it is silent while it is undecided.
2. Words decide as soon as there are any: one that is neither a backchannel nor an echo of the answer is an interruption.
3. Without words, length does: nobody coughs for as long as `confirm_after`.
4. Speech that has ended without either is none once its transcript is there, or `patience` later. Where an acoustic model hears
   that the user has not finished, twice as long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from nodes.text.finishing import words_of

ECHO_WORDS = 3
"""So many words in a row that the answer has just said are its echo."""
ECHO_REACH = 25
"""They are looked for among the last so many words that were heard."""
UNFINISHED = 0.3
"""A probability below this says that the user is in the middle of something."""

Verdict = Literal["open", "interruption", "nothing"]


@dataclasses.dataclass(slots=True)
class Overlap:
    """Speech that began while an answer was on. Times in nanoseconds on the session's clock."""

    onset_at: int
    lasted: int = 0
    """How long it is voiced, up to now or to its end."""
    ended: bool = False
    unfinished: bool = False
    """An acoustic model heard that the user goes on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listening:
    """What tells an interruption from what is none."""

    confirm_after: int
    """Nanoseconds of speech that interrupt, whatever was said."""
    patience: int
    """Nanoseconds of silence behind it, within which its transcript has to come."""
    backchannels: frozenset[tuple[str, ...]]
    """Each as its words."""

    def verdict(self, overlap: Overlap, *, said: str, settled: bool, silence: int, heard: str) -> Verdict:
        """`said`: its words so far; `settled`: a final transcript covers it; `silence`: since it ended; `heard`: the answer so far."""
        words = words_of(said)
        telling = bool(words) and not self.is_backchannel(words) and not is_echo(words, words_of(heard))
        if telling:
            return "interruption"
        if not words and overlap.lasted >= self.confirm_after:
            return "interruption"
        if words and overlap.lasted >= 3 * self.confirm_after:
            return "interruption"
        if not overlap.ended:
            return "open"
        patience = self.patience * (2 if overlap.unfinished else 1)
        return "nothing" if settled or silence >= patience else "open"

    def is_backchannel(self, words: Sequence[str]) -> bool:
        """Nothing but backchannels, one or several?"""
        rest = tuple(words)
        while rest:
            found = max((len(one) for one in self.backchannels if one == rest[: len(one)]), default=0)
            if not found:
                return False
            rest = rest[found:]
        return bool(words)


def backchannels(texts: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """`["uh huh", "yeah"]` as words."""
    return frozenset(tuple(words) for text in texts if (words := words_of(text)))


def is_echo(words: Sequence[str], heard: Sequence[str]) -> bool:
    """Are these words, at least three, what the answer has just said?"""
    if len(words) < ECHO_WORDS:
        return False
    recent = list(heard[-ECHO_REACH:])
    return any(recent[i : i + len(words)] == list(words) for i in range(len(recent) - len(words) + 1))
