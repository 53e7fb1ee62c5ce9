"""When each word of a recorded utterance has been said: what a recogniser that errs not could have heard by then.

1. What is annotated is exact: the words before each of `silences` (`said_before`) end with the last voiced sample before it, all
   words with the end of speech.
2. Between two such places words share the voiced time by their letters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.sound.conversation import RecordedUtterance, Span


def word_ends(utterance: RecordedUtterance) -> tuple[int, ...]:
    """For each word of `text` the sample at which it is over, as an index into `samples()`; rising."""
    words = utterance.text.split()
    first = utterance.played[0]
    bounds: list[int] = []
    if utterance.said_before:
        bounds = [begin - first for begin, _ in utterance.silences]
    voiced = list(_voiced((utterance.speech_start, utterance.speech_end), utterance.hesitations))
    counts = [0, *(utterance.said_before if bounds else ()), len(words)]
    ends: list[int] = []
    for (begin, end), (low, high) in zip(
        itertools.pairwise([0, *bounds, utterance.speech_end + 1]), itertools.pairwise(counts), strict=True
    ):
        inside = [(max(start, begin), min(stop, end - 1)) for start, stop in voiced if start < end and stop >= begin]
        ends += _shared(words[low:high], inside)
    return tuple(ends)


def _voiced(speech: Span, pauses: Sequence[Span]) -> Iterator[Span]:
    """What lies between the pauses."""
    begin = speech[0]
    for first, last in pauses:
        yield begin, first - 1
        begin = last + 1
    yield begin, speech[1]


def _shared(words: Sequence[str], voiced: Sequence[Span]) -> Iterator[int]:
    """Where each of the words ends, if they fill these spans."""
    letters = list(itertools.accumulate(1 + sum(map(str.isalnum, word)) for word in words))
    whole = sum(last + 1 - first for first, last in voiced)
    for so_far in letters:
        left = round(whole * so_far / letters[-1])
        for first, last in voiced:
            if left <= last + 1 - first:
                yield first + max(left - 1, 0)
                break
            left -= last + 1 - first
        else:
            yield voiced[-1][1]
