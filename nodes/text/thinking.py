"""Take a reasoning model's `<think>…</think>` out of a streamed answer."""

from __future__ import annotations

_OPEN = "<think>"
_CLOSE = "</think>"


class ThoughtFilter:
    """Takes text in any portions, gives what is meant to be heard. Holds back only what may be the beginning of a mark."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._after_thought = False

    def feed(self, text: str) -> str:
        """What can be said now."""
        self._held += text
        said = ""
        while True:
            mark = _CLOSE if self._inside else _OPEN
            before, found, behind = self._held.partition(mark)
            if not found:
                break
            if not self._inside:
                said += self._say(before)
            self._after_thought = self._inside
            self._inside = not self._inside
            self._held = behind
        kept = _begun(self._held, mark)
        if not self._inside:
            said += self._say(self._held[: len(self._held) - kept])
        self._held = self._held[len(self._held) - kept :]
        return said

    def end(self) -> str:
        """The text has ended: what was held back and turned out to be no mark. A thought without an end stays unsaid."""
        held, self._held = self._held, ""
        return "" if self._inside else self._say(held)

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
