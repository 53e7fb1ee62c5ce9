"""Digits that are said one by one, or in groups: a telephone number, a code. Are there as many as it takes?

1. Where it was said how many ("the last four digits"), so many are all.
2. A telephone number may end where a local or a national one may (ITU E.164). A national one in full is all of it in the North American
   numbering plan: ten digits that begin with neither 0 nor 1, or eleven behind a 1. Elsewhere more may come, and so it may of other numbers.
3. A code has four digits at least (ISO 9564), and nobody but the user knows how many.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from nodes.text.lexicon import MONTHS

FIGURES = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
REPEATS = {"double": 2, "triple": 3}
COUNTS = {
    **{word: int(figure) for word, figure in FIGURES.items()},
    "ten": 10,
    **{str(count): count for count in range(1, 21)},
}
TELEPHONE = (7, 10, 11)
"""So many digits may be a telephone number: local, national, with its country."""
LEAST_OF_A_CODE = 4
LEAST = 3
"""Fewer may be anything, where nobody asked for digits; and so may a single numeral …"""
LEAST_IN_A_NUMERAL = 7
"""… that is shorter: a year, a price."""
_SERVICE = re.compile(r"[2-9]11|112|999")
"""Three digits that are a whole telephone number: of the North American plan, of Europe, of Britain."""
_NATIONAL = re.compile(r"[2-9]\d{9}|1[2-9]\d{9}")
_SO_MANY = re.compile(r"\b(\w+) digits?\b")
_TELEPHONE = re.compile(r"\b(?:phone|telephone|mobile|cell|call|reach)\b")

Extent = Literal["none", "part", "perhaps", "all"]


def dictated(words: Sequence[str], question: str, wanted: Literal["number", "code", ""]) -> Extent:
    """How much of a number `words` end with; `none`: none that is dictated. `question`: in lower case, without marks, before them.

    `wanted`: what that asks for.
    """
    tokens = _run(words)
    before = words[-len(tokens) - 1] if len(words) > len(tokens) else ""
    if before in MONTHS or (tokens == ["one"] and before):
        return "none"  # a date; "I don't have one"
    if len(tokens) > 1 and tokens[-1] in REPEATS:
        return "part"
    digits = _expanded(tokens)
    if not digits or not (wanted or (len(digits) >= LEAST and (len(tokens) > 1 or len(digits) >= LEAST_IN_A_NUMERAL))):
        return "none"
    counted = _SO_MANY.search(question) if wanted else None
    if counted and (count := COUNTS.get(counted[1], 0)):
        return "all" if len(digits) >= count else "part"
    if wanted == "code":
        return "perhaps" if len(digits) >= LEAST_OF_A_CODE else "part"
    if _NATIONAL.fullmatch(digits) and _TELEPHONE.search(f"{question} {' '.join(words)}"):
        return "all"
    return "perhaps" if len(digits) in TELEPHONE or _SERVICE.fullmatch(digits) else "part"


def _run(words: Sequence[str]) -> list[str]:
    """The digits that they end with, as they were said."""
    begin = len(words)
    while begin and (words[begin - 1].isdecimal() or words[begin - 1] in FIGURES or words[begin - 1] in REPEATS):
        begin -= 1
    return list(words[begin:])


def _expanded(tokens: Sequence[str]) -> str:
    """`double five 0147` as figures: `550147`."""
    digits, times = "", 1
    for token in tokens:
        if token in REPEATS:
            times = REPEATS[token]
        else:
            digits += FIGURES.get(token, token) * times
            times = 1
    return digits
