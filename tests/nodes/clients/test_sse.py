from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgraph.errors import ServiceError
from nodes.clients.sse import EventReader


def read(*portions: bytes) -> list[str]:
    reader = EventReader()
    return [event for portion in portions for event in reader.feed(portion)] + reader.end()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: a\n\ndata: b\n\n", ["a", "b"]),
        ("data:a\r\n\r\n", ["a"]),
        ("data: a\ndata: b\n\n", ["a\nb"]),
        (": keep-alive\n\n: more\ndata: a\n\n", ["a"]),
        ("event: message\nid: 1\nretry: 5\ndata: a\n\n", ["a"]),
        ("\ufeffdata: a\n\n", ["a"]),
        ("data: a", ["a"]),
        ('error: {"code": 500}\n\n', ['{"error": {"code": 500}}']),
        ("error: out of memory\n\n", ['{"error": "out of memory"}']),
        ("data:  two spaces\n\n", [" two spaces"]),
        ("", []),
    ],
)
def test_events_as_servers_send_them(stream: str, events: list[str]) -> None:
    data = stream.encode()
    assert read(data) == events
    assert read(*(bytes([byte]) for byte in data)) == events


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1), max_size=5),
    st.data(),
)
def test_characters_survive_any_cut(values: list[str], data: st.DataObject) -> None:
    stream = "".join(f"data: {value}\n\n" for value in values).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    assert read(*(stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True))) == values


def test_an_endless_event_is_an_error() -> None:
    reader = EventReader()
    reader.feed(b"data: " + b"x" * 1_000_000)
    with pytest.raises(ServiceError, match="1 MiB"):
        reader.feed(b"x" * 100_000)
