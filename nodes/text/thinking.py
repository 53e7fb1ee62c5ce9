"""Take a reasoning model's `<think>…</think>` out of a streamed answer."""

from __future__ import annotations

_OPEN = "<think>"
_CLOSE = "</think>"


class ThoughtFilter:
    """Takes text in any portions, gives what is meant to be heard. Holds back only what may be the beginning of a mark."""

    def __init__(self) -> None:
        self.thought = False
        """There was something between the marks (models whose thinking is off put empty lines there)."""
        self.unopened = False
        """A thought has ended that never began: its beginning stands in the server's own template, and it was taken for the answer."""
        self._held = ""
        self._inside = False
        self._after_thought = False

    def feed(self, text: str) -> str:
        """What can be said now."""
        self._held += text
        said = ""
        while True:
            marks = (_CLOSE,) if self._inside else (_OPEN, _CLOSE)
            found = [at for mark in marks if (at := self._held.find(mark)) >= 0]
            if not found:
                break
            before, rest = self._held[: min(found)], self._held[min(found) :]
            said += self._passed(before)
            closes = rest.startswith(_CLOSE)
            self.unopened |= closes and not self._inside
            self._inside, self._after_thought = not closes, closes
            self._held = rest.removeprefix(_CLOSE if closes else _OPEN)
        kept = max(_begun(self._held, mark) for mark in marks)
        said += self._passed(self._held[: len(self._held) - kept])
        self._held = self._held[len(self._held) - kept :]
        return said

    def end(self) -> str:
        """The text has ended: what was held back and turned out to be no mark. A thought without an end stays unsaid."""
        held, self._held = self._held, ""
        return "" if self._inside else self._say(held)

    def _passed(self, text: str) -> str:
        """What of a text without marks is meant to be heard."""
        if self._inside:
            self.thought |= bool(text.strip())
            return ""
        return self._say(text)

    def _say(self, text: str) -> str:
        """Without the empty lines that models put behind a thought."""
        if self._after_thought:
            text = text.lstrip()
            self._after_thought = not text
        return text


def _begun(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    longest = min(len(mark) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if mark.startswith(text[-n:])), 0)
