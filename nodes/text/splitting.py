"""Cut a streamed answer into pieces to speak, as early as each end is certain.

1. Nothing is lost or doubled: the pieces, joined, are the text.
2. How the text was cut into tokens makes no difference, as long as time isn't short. Positions are decided strictly from left to right, each by what stands
   before it and a bounded look ahead; a decision waits until that look is possible and is never taken back.
3. The first piece is a clause: it ends at `, ; : — –` or after so many words, whichever comes first, but not on a word that
   leans on the next one ("in the | morning"). The others are sentences.
   It is heard sooner for every look ahead that it does without: its marks need none unless a digit, an open quote or an address
   stands before them ("1,000", "10:30"); only a full stop always does ("3.14", "Node.js").
4. Nothing is cut inside inline code, a link or an address, and a fenced block of code is one piece: whoever cleans a piece for
   reading aloud must see them whole. A piece with no word in it isn't cut off: it goes with the next.
5. Where time is short (`pacing`), a sentence is cut behind a clause, or between two words that don't lean on each other, so that what
   there is of it can be spoken.
6. A piece has at most `max_chars` characters, cut at a clause or a space where it must be. Fenced code and single addresses may
   be longer, since nobody speaks them.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import Literal, Protocol

from nodes.text.abbreviations import GOES_ON, STARTERS, what_follows

First = Literal["clause", "sentence"]

STOPS = frozenset(".!?…。！？｡।؟۔")
WIDE_STOPS = frozenset("。！？｡")
"""Stops of scripts without spaces: they need none behind them."""
CLAUSE_MARKS = frozenset(",;:，；：、—–")
WIDE_CLAUSE_MARKS = frozenset("，；：、")
CLOSERS = frozenset("\"'”’»)]}」』）】》〉*_~")
"""What may stand between a stop and the space behind it."""
QUOTES = frozenset("\"'”’»)]}」』）】》〉")
OPENERS = frozenset('"“«„*_')
"""What makes a comma wait for one more character: its closing partner belongs to the clause."""
SCHEMES = frozenset(["http", "https", "ftp", "file", "mailto", "tel"])
"""What a colon makes an address of."""
NEWLINES = frozenset("\n\u2028\u2029")
LONGEST_LIST_NUMBER = 3
LEANING = frozenset(
    [
        *(
            "a",
            "an",
            "the",
            "my",
            "your",
            "his",
            "her",
            "its",
            "our",
            "their",
            "this",
            "that",
            "these",
            "those",
            "no",
            "some",
        ),
        *(
            "of",
            "in",
            "on",
            "at",
            "to",
            "for",
            "from",
            "by",
            "with",
            "about",
            "into",
            "over",
            "under",
            "per",
            "than",
            "as",
        ),
        *(
            "and",
            "or",
            "but",
            "if",
            "because",
            "so",
            "is",
            "are",
            "was",
            "were",
            "be",
            "have",
            "has",
            "had",
            "not",
            "very",
        ),
        *(
            "can",
            "could",
            "will",
            "would",
            "should",
            "may",
            "might",
            "must",
            "do",
            "does",
            "did",
            "i",
            "you",
            "he",
            "she",
            "we",
        ),
    ]
)
"""Nobody pauses behind these. In other languages a first clause may end on such a word, and only sounds less natural."""


class _Undecided(Exception):
    """The look ahead needs text that hasn't come yet."""


def _is_wide(char: str) -> bool:
    """Written without spaces, or a picture: what may follow a stop directly."""
    return unicodedata.east_asian_width(char) in ("W", "F")


def _joins(char: str) -> bool:
    """Belongs to the character before it: marks, joiners, variation selectors."""
    return unicodedata.category(char).startswith("M") or char == "\u200d"


class Timed(Protocol):
    """Says how long pieces may be for their sound to be there in time (`pacing.Pacing`)."""

    def left(self, characters: int) -> None:
        """A piece of so many characters has been cut off."""

    def most(self) -> int | None:
        """So many characters may the next one have; None: it may be a whole sentence."""
        ...


class Splitter:
    """Takes text in any portions, gives pieces whose end is certain."""

    def __init__(
        self, *, first: First = "clause", first_words: int = 8, max_chars: int = 220, pacing: Timed | None = None
    ) -> None:
        self._pacing = pacing
        self._clause_first = first == "clause"
        self._first_words = first_words
        self._max_chars = max_chars
        self.clear()

    def feed(self, text: str) -> list[str]:
        """The pieces that are certain now, in order."""
        self._text += text
        return self._pieces(ended=False)

    def end(self) -> list[str]:
        """The text has ended: the pieces that are left. Ready for the next text."""
        pieces = self._pieces(ended=True)
        if self._text:
            pieces.append(self._text)
        self.clear()
        return pieces

    def clear(self) -> None:
        """Forget everything: another text begins."""
        self._text = ""
        self._first = self._clause_first
        self._at_line_start = True
        self._begin_piece()

    # -- one piece -----------------------------------------------------------------------------------------------------

    def _begin_piece(self) -> None:
        self._at = 0
        self._words = 0
        self._clauses = self._breaths = 0
        self._in_word = False
        self._word_start = 0
        self._line_start = 0 if self._at_line_start else -1
        self._fence = ""
        self._has_code = False
        self._ticks = 0
        self._link: Literal["", "text", "between", "target"] = ""

    def _pieces(self, *, ended: bool) -> list[str]:
        pieces: list[str] = []
        self._ended = ended
        while self._at < len(self._text):
            try:
                cut = self._decide()
            except _Undecided:
                break
            if cut:
                pieces.append(self._take(cut))
        return pieces

    def _take(self, cut: int) -> str:
        piece, self._text = self._text[:cut], self._text[cut:]
        if self._words:
            self._first = False
        if self._pacing is not None:
            self._pacing.left(len(piece))
        self._at_line_start = piece[-1] in NEWLINES
        self._begin_piece()
        return piece

    @property
    def _limit(self) -> int:
        """How far this piece may reach."""
        return sys.maxsize if self._has_code or "://" in self._word() else self._max_chars

    def _peek(self, at: int) -> str:
        """The character there; "" behind the end of the text or of what a piece may hold."""
        if at >= self._limit:
            return ""
        if at < len(self._text):
            return self._text[at]
        if self._ended:
            return ""
        raise _Undecided

    def _decide(self) -> int:
        """Decide the character at `_at` and step behind it. Returns where to cut, 0 = nowhere. Raises _Undecided."""
        at = self._at
        char = self._text[at]
        if at >= self._max_chars and at >= self._limit:
            return self._forced_cut()
        if char in "`~" and (step := self._code_mark(at, char)):
            self._at = at + step
            return 0
        if char in NEWLINES:
            return self._newline(at)
        if self._fence:
            self._at = at + 1
            return 0
        if char.isspace():
            cut = self._space(at)
            self._in_word, self._word_start = False, at + 1
            self._link = "" if self._link in ("between", "target") else self._link
            self._at = at + 1
            return cut
        if self._ticks or self._in_link(char):
            self._at = at + 1
            self._count(char)
            return 0
        if char in STOPS and self._words:
            return self._stop(at)
        if char in CLAUSE_MARKS and self._first and self._words:
            cut = self._clause(at, char)
            self._at = at + 1
            return cut
        self._at = at + 1
        self._count(char)
        return 0

    def _count(self, char: str) -> None:
        if not self._in_word and char.isalnum():
            self._in_word = True
            self._words += 1

    # -- code, links, addresses: not cut inside ------------------------------------------------------------------------

    def _code_mark(self, at: int, char: str) -> int:
        """The length of the run of marks at `at` if it opens or closes code, else 0."""
        starts_line = self._line_start >= 0 and not self._text[self._line_start : at].strip(" \t")
        if self._fence and not (starts_line and char == self._fence[0]):
            return 0
        if char == "~" and not starts_line:
            return 0
        run = 1
        while self._peek(at + run) == char:
            run += 1
        if self._fence:
            if run >= len(self._fence):
                self._fence = ""
            return run
        if starts_line and run >= 3:
            self._fence = char * run
            self._has_code = True
            return run
        if char == "~":
            return 0
        if not self._ticks:
            self._ticks = run
        elif self._ticks == run:
            self._ticks = 0
        return run

    def _in_link(self, char: str) -> bool:
        """Follow `[text](target)`. True while inside it."""
        before = self._link
        match before, char:
            case "", "[":
                self._link = "text"
            case "text", "]":
                self._link = "between"
            case "between", "(":
                self._link = "target"
            case ("target", ")") | ("between", _):
                self._link = ""
        return self._link in ("text", "target") or before in ("text", "target")

    def _word(self) -> str:
        """What stands between the last space and `_at`, inclusive."""
        return self._text[self._word_start : self._at + 1]

    def _in_address(self) -> bool:
        """Is the word at `_at` a web or mail address?"""
        word = self._word()
        return "://" in word or "www." in word or "@" in word

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _newline(self, at: int) -> int:
        self._at = at + 1
        self._in_word, self._word_start, self._line_start = False, at + 1, at + 1
        if self._fence:
            return 0
        self._ticks, self._link = 0, ""
        return at + 1 if self._words or self._has_code else 0

    def _space(self, at: int) -> int:
        """Where the piece ends if it is long enough at the space at `at`: the first clause, or what has no time to grow."""
        word = self._text[self._word_start : at]
        if self._ticks or self._link or not self._words or not word:
            return 0
        if self._first:
            return at + 1 if self._words >= self._first_words and word.lower() not in LEANING else 0
        if word[-1] in CLAUSE_MARKS:
            self._clauses = at + 1
        elif word.lower() not in LEANING and not word[-1].isdigit() and word[-1] not in STOPS:
            self._breaths = at + 1
        most = self._pacing.most() if self._pacing is not None else None
        if most is None or at < most:
            return 0
        return next((cut for cut in (self._clauses, self._breaths) if cut > most // 2), 0)

    def _clause(self, at: int, char: str) -> int:
        """Where the first clause ends if the mark at `at` ends it."""
        before = self._text[at - 1]
        if char in WIDE_CLAUSE_MARKS:
            return at + 1
        if char == "–" and not before.isspace():
            return 0
        if char in "—–":
            return 0 if before.isdigit() and self._peek(at + 1).isdigit() else at + 1
        scheme = char == ":" and self._word()[:-1].lower() in SCHEMES
        if not (scheme or before.isdigit() or before.isspace() or self._is_open(at)):
            return at + 1
        end = at + 1
        while (after := self._peek(end)) and after in CLOSERS:
            end += 1
        if not after:
            return end
        return end + 1 if after.isspace() else 0

    def _is_open(self, at: int) -> bool:
        """Does what stands before `at` go on behind a mark there: an address, or what a quote or an emphasis has opened?"""
        return self._in_address() or not OPENERS.isdisjoint(self._text[:at])

    def _stop(self, at: int) -> int:
        """Where the sentence ends if the stops at `at` end it. Steps behind the stops and what closes with them."""
        text = self._text
        if self._first and text[at] in "!?" and not self._is_open(at):
            self._at = at + 1
            return at + 1
        end = at + 1
        while (after := self._peek(end)) and after in STOPS:
            end += 1
        stops = text[at:end]
        while (after := self._peek(end)) and after in CLOSERS:
            end += 1
        cut = end + 1 if after.isspace() else end
        if not self._ends_sentence(stops, text[at + len(stops) : end], after, end):
            cut = 0
        self._at = end
        return cut

    def _ends_sentence(self, stops: str, closers: str, after: str, end: int) -> bool:
        if not after or after in NEWLINES or not WIDE_STOPS.isdisjoint(stops):
            return True
        if not after.isspace():
            return _is_wide(after)
        if stops == "." and not closers:
            return self._full_stop_ends(end)
        if self._first:
            return True
        trails_off = set(stops) <= {".", "…"} and stops != "."
        if trails_off or not QUOTES.isdisjoint(closers):
            return not self._next_word(end, whole=False).islower()
        return True

    def _full_stop_ends(self, end: int) -> bool:
        """Does a single full stop before a space end the sentence? `end` is the place of the space."""
        word = self._text[self._word_start : end - 1].lstrip("\"'“‘«„([{*_")
        if self._is_list_mark(end - 1):
            return False
        match what_follows(word):
            case "goes on":
                return False
            case "number":
                return not self._next_word(end, whole=False).isdigit()
            case "capital":
                following = self._next_word(end)
                return not following or (not following[0].islower() and following.lower() not in GOES_ON)
            case "starter":
                following = self._next_word(end)
                return not following or (following[0].isupper() and following.lower() in STARTERS)
            case _:
                return True

    def _is_list_mark(self, at: int) -> bool:
        """Is the full stop at `at` that of "1." or "a." at the start of a line?"""
        if self._line_start < 0:
            return False
        mark = self._text[self._line_start : at].strip(" \t*_#>-")
        return (mark.isdigit() and len(mark) <= LONGEST_LIST_NUMBER) or (len(mark) == 1 and mark.isalpha())

    def _next_word(self, at: int, *, whole: bool = True) -> str:
        """The word behind the spaces at `at`, or only its first character; "" where a line or the text ends first."""
        while (char := self._peek(at)) and char.isspace():
            if char in NEWLINES:
                return ""
            at += 1
        while char and char in OPENERS:
            at += 1
            char = self._peek(at)
        if not whole:
            return char
        end = at
        while (char := self._peek(end)) and char.isalnum():
            end += 1
        return self._text[at:end]

    def _forced_cut(self) -> int:
        """Where to cut a piece that is full: behind the last clause of its second half, else the last space, else anywhere."""
        window = self._text[: self._max_chars]
        spaces = [i for i, char in enumerate(window) if char.isspace() and any(map(str.isalnum, window[:i]))]
        for i in reversed(spaces):
            if i >= len(window) // 2 and window[i - 1] in CLAUSE_MARKS:
                return i + 1
        if spaces:
            return spaces[-1] + 1
        if self._at > self._max_chars:
            return self._at  # behind an address that is longer than a piece
        cut = self._max_chars
        while cut > self._max_chars // 2 and (_joins(self._text[cut]) or self._text[cut - 1] == "\u200d"):
            cut -= 1
        return cut if cut > self._max_chars // 2 else self._max_chars
