"""With a tiny model behind the real kokoro-onnx: its text to phonemes, its batches, its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.servers.kokoro import PAUSE, KokoroEngine, sentences, weights
from nodes.servers.serving import ServingError
from nodes.servers.speech import RATE_HZ, Piece
from nodes.servers.tts import choose
from nodes.servers.voices import Voice
from tests.servers import tiny_kokoro


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> KokoroEngine:
    return KokoroEngine(*tiny_kokoro.save(tmp_path_factory.mktemp("kokoro")))


@pytest.fixture(autouse=True)
def no_weights_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KOKORO_MODEL", raising=False)
    monkeypatch.delenv("KOKORO_VOICES", raising=False)


def spoken(engine: KokoroEngine, text: str, *, voice: str = "af_heart", speed: float = 1.0) -> list[Piece]:
    pieces: list[Piece] = []
    engine.speak(text, Voice.parse(voice, engine.voices), "en-us", speed, lambda piece: pieces.append(piece) is None)
    return pieces


def test_each_sentence_is_a_piece_with_a_pause_between(engine: KokoroEngine) -> None:
    first, pause, second = spoken(engine, "Hello there. Nice to meet you!")

    assert len(pause.samples) == PAUSE
    assert not pause.samples.any()
    assert all(len(piece.samples) % 600 == 0 and piece.samples.any() for piece in (first, second))
    assert engine.voices == ("af_heart", "bm_lewis")


def test_words_have_their_place_in_the_whole_text(engine: KokoroEngine) -> None:
    text = "Hello there. Nice to meet you!"
    pieces = spoken(engine, text)
    marks = [mark for piece in pieces for mark in piece.marks]

    assert [text[place:].partition(" ")[0] for _, place in marks] == text.split(" ")
    assert [sample for sample, _ in marks] == sorted({sample for sample, _ in marks})
    assert marks[2][0] >= len(pieces[0].samples) + PAUSE


def test_a_model_without_durations_speaks_without_word_times(tmp_path: Path) -> None:
    engine = KokoroEngine(*tiny_kokoro.save(tmp_path, durations=False))

    assert [piece.marks for piece in spoken(engine, "Hello there.")] == [()]


def test_a_listener_who_goes_stops_it_after_the_sentence(engine: KokoroEngine) -> None:
    pieces: list[Piece] = []
    engine.speak(
        "One. Two. Three.", Voice.parse("af_heart", engine.voices), "en-us", 1.0, lambda p: bool(pieces.append(p))
    )

    assert len(pieces) == 1


def test_speeds_and_mixes_that_kokoro_cannot_take_are_brought_into_its_range(engine: KokoroEngine) -> None:
    assert spoken(engine, "Hello.", speed=4.0)
    assert spoken(engine, "Hello.", speed=0.25)
    assert spoken(engine, "Hello.", voice="af_heart(2)+bm_lewis(1)")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two!  Three?", [(0, "One."), (5, "Two!"), (11, "Three?")]),
        ('She said "Yes." Then 3.5 more', [(0, 'She said "Yes."'), (16, "Then 3.5 more")]),
        ("a\nb", [(0, "a\n"), (2, "b")]),
        ("... — !", []),
        ("", []),
    ],
)
def test_text_is_cut_into_sentences(text: str, found: list[tuple[int, str]]) -> None:
    assert sentences(text) == found


def test_weights_are_found_by_option_environment_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights() is None
    assert choose().name == "espeak-ng"

    cached = tiny_kokoro.save(tmp_path / ".cache/flowgraph/kokoro")
    assert weights() == cached
    assert choose().name == "kokoro-onnx"
    assert choose("espeak").name == "espeak-ng"

    named = tiny_kokoro.save(tmp_path / "named")
    monkeypatch.setenv("KOKORO_MODEL", str(named[0]))
    monkeypatch.setenv("KOKORO_VOICES", str(named[1]))
    assert weights() == named
    assert weights(str(cached[0])) == (cached[0], named[1])


def test_weights_that_are_named_and_missing_or_broken_are_an_error(tmp_path: Path) -> None:
    model, voices = tiny_kokoro.save(tmp_path)
    with pytest.raises(ServingError, match=r"there is no file /no/model\.onnx"):
        choose(model="/no/model.onnx", voices=str(voices))
    with pytest.raises(ServingError, match="weights are not in"):
        choose("kokoro")
    model.write_bytes(b"not a model")
    with pytest.raises(ServingError, match="cannot be loaded"):
        choose(model=str(model), voices=str(voices))


def test_what_it_makes_is_float_at_24_khz(engine: KokoroEngine) -> None:
    [piece] = spoken(engine, "Hello.")

    assert piece.samples.dtype == np.float32
    assert RATE_HZ == 24_000
