"""Words before a full stop that may not end a sentence. Small on purpose: what is missing costs a pause, never a character."""

from __future__ import annotations

import re
from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NAME_FOLLOWS = _words(
    "mr mrs ms mx dr prof gen sen rep gov capt cpt lt col sgt maj rev hon pres messrs mme mlle sra srta dra ud uds "
    "e.g i.e cf vs viz approx ca bzw incl excl"
)
"""Something always follows: never the end."""

NUMBER_FOLLOWS = _words("no nos nr fig figs p pp vol ch sec art eq op jan feb mar apr jun jul aug sep sept oct nov dec")
"""Not the end before a digit: "No. 5", but "No. I don't."."""

CAPITAL_ENDS = _words("etc al usw a.m p.m am pm")
"""The end if a capital follows."""

STARTER_ENDS = _words("st mt ave blvd rd dept univ est jr sr inc ltd co corp bros ph.d")
"""Often inside a name ("St. Louis", "Acme Inc. London"): the end only if a word follows that begins sentences.
So are initials and acronyms ("J. R. R. Tolkien", "the U.S. Army")."""

STARTERS = _words(
    "the a an this that these those there here he she it they we you i my your his her its our their "
    "but and or so if when then now what why how who where which in on at as for after before while because since "
    "however also still yes no not let do does did is are was were can could will would should have has had "
    "maybe perhaps well ok okay sure please thanks some many most all both each one next first finally"
)
"""Words that begin sentences far more often than they go on after a name."""

GOES_ON = _words(
    "monday tuesday wednesday thursday friday saturday sunday et est edt ct cst cdt mt mst mdt pt pst pdt gmt utc cet cest "
    "eastern central mountain pacific"
)
"""Capitalised, and yet it belongs to the time of day before it: "8 a.m. Monday"."""

_ACRONYM = re.compile(r"[^\W\d_]{1,2}(\.[^\W\d_]{1,2})+")

Follow = Literal["ends", "goes on", "number", "capital", "starter"]


def what_follows(word: str) -> Follow:
    """Whether `word` (without its last full stop) ends a sentence, or what has to follow for it not to / to do so."""
    lower = word.lower()
    if lower in NAME_FOLLOWS:
        return "goes on"
    if lower in NUMBER_FOLLOWS:
        return "number"
    if lower in CAPITAL_ENDS:
        return "capital"
    initial = len(word) == 1 and word.isupper()
    if initial or lower in STARTER_ENDS or _ACRONYM.fullmatch(word):
        return "starter"
    return "ends"
