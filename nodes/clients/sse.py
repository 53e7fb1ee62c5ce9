"""Server-sent events from bytes in any portions, as servers really send them.

Lines end with LF or CR LF; the space behind the colon is optional; data may have several lines; lines that begin with a colon
are signs of life. Lines are cut before they are decoded, so a character may be split between two portions.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json

from flowgraph.errors import ServiceError

LONGEST_EVENT = 1 << 20
"""Bytes. More than this without an end isn't an event stream."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventReader:
    """Takes bytes, gives the data of each event."""

    def __init__(self) -> None:
        self._held = b""
        self._data: list[str] = []
        self._size = 0

    def feed(self, portion: bytes) -> list[str]:
        """The data of the events that are complete now. Raises ServiceError where an event is endless."""
        *lines, self._held = (self._held + portion).split(b"\n")
        events = [event for line in lines for event in self._line(line)]
        if len(self._held) + self._size > LONGEST_EVENT:
            raise ServiceError(
                f"an event of more than {LONGEST_EVENT >> 20} MiB", hint="is the URL that of an LLM service?"
            )
        return events

    def end(self) -> list[str]:
        """The stream has ended: what is left of it, also without the empty line that should be there."""
        line, self._held = self._held, b""
        return [*self._line(line), *self._line(b"")]

    def _line(self, line: bytes) -> list[str]:
        line = line.removesuffix(b"\r").removeprefix(_BYTE_ORDER_MARK)
        if not line:
            event, self._data, self._size = self._data, [], 0
            return ["\n".join(event)] if event else []
        name, _, value = line.decode("utf-8", errors="replace").partition(":")
        if name in ("data", "error"):
            value = value.removeprefix(" ")
            self._data.append(_wrapped(value) if name == "error" else value)
            self._size += len(line)
        return []


def _wrapped(error: str) -> str:
    """`error: {…}` of older llama.cpp servers as the object that all others send."""
    return (
        error
        if error.startswith('{"error"')
        else f'{{"error": {error if error.startswith("{") else json.dumps(error)}}}'
    )
