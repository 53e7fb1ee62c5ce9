"""How much of an answer's text has been heard, to the word.

1. A word counts when half of its span has been played.
2. Where the server gives word times, they are the spans. Else a word's span is its share of the characters of its passage, where a
   pause at a mark is worth `PAUSE_CHARACTERS` (against espeak-ng's own word times, that makes cuts at which more than one word
   is wrong five times rarer: 1 % instead of 5 %).
3. A passage is the text that one chunk of speech brought, and all the sound up to the next text. While its length isn't known
   yet, it is taken to be spoken at `CHARACTERS_A_SECOND`, but never shorter than what is there already.
4. What is heard is always a beginning of the text, exactly as it was written.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.vocabulary import Speech

CHARACTERS_A_SECOND = 15
PAUSE_CHARACTERS = 6
_MARK = re.compile(r"[,;:.!?…、。！？，；：][\"'”’)\]]*\s*$")
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_CJK}]|[^\s{_CJK}]+)\s*")
"""Where no spaces are written, a character is a word."""


@dataclasses.dataclass(slots=True)
class Passage:
    """A piece of text and the sound that speaks it."""

    text: str
    part: int
    begin: int
    """Its first sample in the answer."""
    part_begin: int
    """The first sample of its part: word times count from there."""
    rate_hz: int
    length: int = 0
    """Samples so far."""
    complete: bool = False
    words: tuple[tuple[str, int, int], ...] = ()

    def heard(self, played: int) -> str:
        """Its text that was heard when `played` samples of the answer have been played."""
        inside = played - self.begin
        if self.complete and inside >= self.length:
            return self.text
        if inside <= 0:
            return ""
        return self._by_word_times(played - self.part_begin) if self.words else self._by_share(inside)

    def _by_word_times(self, played: int) -> str:
        count = 0
        for word, begin, end in self.words:
            if 2 * played < begin + end:
                break
            count += len(word)
        return self.text[:count]

    def _by_share(self, played: int) -> str:
        length = self.length
        if not self.complete:
            length = max(length, len(self.text) * self.rate_hz // CHARACTERS_A_SECOND)
        words = _WORD.findall(self.text)
        spans = [(len(word.strip()), PAUSE_CHARACTERS if _MARK.search(word) else 0) for word in words]
        characters = sum(own + pause for own, pause in spans)
        heard = before = 0
        for word, (own, pause) in zip(words, spans, strict=True):
            if 2 * played * characters < length * (2 * before + own):
                break
            before += own + pause
            heard += len(word)
        return self.text[:heard]


class SpokenText:
    """The text of one answer, along the sound that speaks it."""

    def __init__(self) -> None:
        self.samples = 0
        """Samples of speech so far."""
        self._passages: list[Passage] = []
        self._part = -1
        self._part_begin = 0

    def add(self, speech: Speech) -> None:
        """The next chunk."""
        if speech.part != self._part:
            self._part, self._part_begin = speech.part, self.samples
            self._complete()
        if speech.text or not self._passages or self._passages[-1].complete:
            self._complete()
            self._passages.append(
                Passage(speech.text, speech.part, self.samples, self._part_begin, speech.rate_hz, words=speech.words)
            )
        elif speech.words:
            self._passages[-1].words += speech.words
        self._passages[-1].length += len(speech.samples)
        self.samples += len(speech.samples)
        if speech.last:
            self._complete()

    def end(self) -> None:
        """Nothing more comes."""
        self._complete()

    def heard(self, played: int) -> str:
        """The text that was heard when `played` samples have been played."""
        pieces: list[str] = []
        for passage in self._passages:
            piece = passage.heard(played)
            pieces.append(piece)
            if len(piece) < len(passage.text):
                break
        return "".join(pieces)

    def _complete(self) -> None:
        if self._passages:
            self._passages[-1].complete = True
