"""Kokoro-FastAPI's `/dev/captioned_speech`: lines of JSON, each with sound and the times of the words in it."""

from __future__ import annotations

import base64
import json
from typing import Any

from flowgraph.errors import ServiceError
from nodes.clients.problems import error_in, shortened

Word = tuple[str, float, float]
"""(word, start, end) in seconds from the beginning of the speech."""


class CaptionReader:
    """Takes bytes in any portions, gives (s16le sound, words) for each line."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, portion: bytes) -> list[tuple[bytes, list[Word]]]:
        """The lines that are complete now. Raises ServiceError."""
        *lines, self._held = (self._held + portion).split(b"\n")
        return [_captioned(line) for line in lines if line.strip()]

    def end(self) -> list[tuple[bytes, list[Word]]]:
        """The last line, also without its end."""
        return self.feed(b"\n")


def _captioned(line: bytes) -> tuple[bytes, list[Word]]:
    value: Any = None
    try:
        value = json.loads(line)
        words = [(str(w["word"]), float(w["start_time"]), float(w["end_time"])) for w in value.get("timestamps") or ()]
        return base64.b64decode(value["audio"], validate=True), words
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        said = error_in(value) or line[:200].decode("utf-8", errors="replace")
        raise ServiceError(f"not captioned speech: {shortened(said, 80)}", hint="set words: false") from None
