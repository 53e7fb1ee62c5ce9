from __future__ import annotations

import base64
import json

import pytest

from flowgraph.errors import ServiceError
from nodes.clients.captions import CaptionReader


def line(sound: bytes, *words: tuple[str, float, float]) -> bytes:
    times = [{"word": word, "start_time": start, "end_time": end} for word, start, end in words]
    return json.dumps(
        {"audio": base64.b64encode(sound).decode(), "audio_format": "audio/pcm", "timestamps": times}
    ).encode()


def test_each_line_is_sound_and_its_words() -> None:
    stream = line(b"ab", ("Hi", 0.0, 0.5)) + b"\n\n" + line(b"cd")
    reader = CaptionReader()

    portions = [reader.feed(bytes([byte])) for byte in stream]

    assert [*(item for items in portions for item in items), *reader.end()] == [
        (b"ab", [("Hi", 0.0, 0.5)]),
        (b"cd", []),
    ]


@pytest.mark.parametrize(
    "stream", [b"RIFF....", b'{"error": "no timestamps"}', b"[]", b'{"audio": 1}', b'{"audio": "%"}']
)
def test_anything_else_is_an_error(stream: bytes) -> None:
    reader = CaptionReader()
    reader.feed(stream)

    with pytest.raises(ServiceError, match="not captioned speech"):
        reader.end()
