"""Which piece of the original text is heard when, from the word times of its spoken copy.

The spoken copy lacks what nobody reads aloud, and a server spells numbers out or takes punctuation for words. So words are
matched by their letters, in order; an original word without a partner shares the time between its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

Span = tuple[str, int, int]
"""(text, first sample, end sample)."""

_WORD = re.compile(r"\s*\S+\s*")


def align(text: str, spoken: Sequence[Span], *, after: int = 0, until: int | None = None) -> tuple[list[Span], str]:
    """Spans of the original's words, as far as `spoken` reaches, and the text that is left.

    They begin at `after` and never go back. With `until`, the sound ends there and nothing is left; without, more spoken words
    will come, and the words behind the last match stay. Joined, the spans' texts and the rest are `text`.
    """
    words = _WORD.findall(text)
    heard = [span for span in spoken if _letters(span[0])]
    matches = SequenceMatcher(None, [_letters(w) for w in words], [_letters(s[0]) for s in heard], autojunk=False)
    times: list[tuple[int, int] | None] = [None] * len(words)
    for block in matches.get_matching_blocks():
        for i in range(block.size):
            _, start, end = heard[block.b + i]
            times[block.a + i] = (start, end)
    known = len(words) if until is not None else max((i + 1 for i, time in enumerate(times) if time), default=0)
    return _fill(words[:known], times[:known], after, until or 0), "".join(words[known:])


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", word).casefold()))


def _fill(words: list[str], times: list[tuple[int, int] | None], position: int, last: int) -> list[Span]:
    """Give each word a time: those without one share the gap between their neighbours by their letters."""
    spans: list[Span] = []
    index = 0
    while index < len(words):
        time = times[index]
        if time is not None:
            start = max(time[0], position)
            position = max(time[1], start)
            spans.append((words[index], start, position))
            index += 1
            continue
        behind = next((i for i in range(index, len(words)) if times[i] is not None), len(words))
        following = times[behind] if behind < len(words) else None
        until = max(following[0] if following else last, position)
        weights = [len(_letters(word)) for word in words[index:behind]]
        total, begun, gone = sum(weights), position, 0
        for word, weight in zip(words[index:behind], weights, strict=True):
            gone += weight
            end = begun + (until - begun) * gone // total if total else position
            spans.append((word, position, end))
            position = end
        index = behind
    return spans
