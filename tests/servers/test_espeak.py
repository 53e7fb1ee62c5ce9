from __future__ import annotations

import pytest

from nodes.servers.espeak import Espeak, Manner
from nodes.servers.serving import ServingError

Words = list[tuple[int, int, int]]


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def spoken(espeak: Espeak, text: str, manner: Manner = Manner()) -> tuple[list[int], Words]:  # noqa: B008
    """Samples in each piece, and all words."""
    pieces: list[int] = []
    marks: Words = []

    def heard(sound: bytes, words: Words) -> bool:
        pieces.append(len(sound) // 2)
        marks.extend(words)
        return True

    espeak.speak(text, manner, heard)
    return pieces, marks


def test_sound_comes_in_pieces_long_before_the_text_is_spoken(espeak: Espeak) -> None:
    pieces, _ = spoken(espeak, "This is a sentence that takes a while.")

    assert espeak.rate_hz == 22_050
    assert sum(pieces) > espeak.rate_hz
    assert max(pieces) <= espeak.rate_hz // 10


def test_words_are_marked_where_they_begin(espeak: Espeak) -> None:
    text = "Café means coffee"
    pieces, words = spoken(espeak, text)

    assert [text[place : place + length] for _, place, length in words] == ["Café", "means", "coffee"]
    assert words[0][0] < words[1][0] < words[2][0] < sum(pieces)


def test_a_listener_who_goes_stops_it_at_once(espeak: Espeak) -> None:
    calls = []

    def heard(sound: bytes, _words: Words) -> bool:
        calls.append(len(sound))
        return len(calls) < 3

    espeak.speak("word " * 1000, Manner(), heard)

    assert len(calls) == 3


def test_a_faster_manner_takes_less_time(espeak: Espeak) -> None:
    slow, fast = (sum(spoken(espeak, "one two three four", Manner(words_per_minute=wpm))[0]) for wpm in (120, 240))

    assert slow > 1.5 * fast


def test_a_voice_that_is_not_there_is_an_error(espeak: Espeak) -> None:
    with pytest.raises(ServingError, match="nobody"):
        espeak.speak("hello", Manner("nobody"), lambda _sound, _words: True)


@pytest.mark.parametrize("text", ["", "...", "\0", "日本語", "\ud800", "<speak>&amp;"])
def test_any_text_can_be_spoken(espeak: Espeak, text: str) -> None:
    spoken(espeak, text)
