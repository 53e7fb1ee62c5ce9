"""Word error rate."""

from __future__ import annotations

import re
from collections.abc import Sequence

CONTRACTED = {"i'm": "i am", "can't": "can not", "cannot": "can not", "it's": "it is", "don't": "do not"}


def words(text: str) -> list[str]:
    """Lower case, no punctuation, contractions written out."""
    found = re.findall(r"[a-z']+", text.lower())
    return " ".join(CONTRACTED.get(word, word) for word in found).split()


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """How many words have to be put in, taken away or exchanged."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
