from __future__ import annotations

from pathlib import Path

import pytest

from flowgraph.errors import DeviceError
from nodes.sound.addresses import Address, bundled_callers, conversation_path, parse_address


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("default", "default", ""),
        ("null", "null", ""),
        ("file:a b.wav", "file", "a b.wav"),
        (r"file:C:\sound\a.wav", "file", r"C:\sound\a.wav"),
        ("caller:demo", "caller", "demo"),
        ("USB Audio: - (hw:1,0)", "name", "USB Audio: - (hw:1,0)"),
        (" Headset ", "name", "Headset"),
    ],
)
def test_an_address_is_taken_apart(text: str, kind: str, what: str) -> None:
    assert parse_address(text, "input") == Address(kind, what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "direction", "message"),
    [
        ("file:", "input", "write file:question.wav"),
        ("caller:", "input", "write caller:demo"),
        ("caller:demo", "output", "can't be a speaker"),
        ("", "output", "a device is missing"),
    ],
)
def test_a_wrong_address_is_told_what_to_write(text: str, direction: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_address(text, direction)  # type: ignore[arg-type]


def test_a_conversation_is_a_path_or_a_bundled_name(tmp_path: Path) -> None:
    assert conversation_path(str(tmp_path)) == tmp_path
    assert conversation_path("demo") == conversation_path("demo.yaml")
    assert conversation_path("demo").read_text().startswith("#")
    assert "demo" in bundled_callers()


def test_an_unknown_conversation_is_told_which_there_are() -> None:
    with pytest.raises(DeviceError, match="no conversation nobody") as caught:
        conversation_path("nobody")
    assert "demo" in caught.value.hint
