from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from nodes.servers import hearing
from nodes.servers.gate import BLOCK_BYTES, BLOCK_MS, Gate, Pitch
from nodes.servers.hearing import Hearing, Word, decoder, only_noise, understand
from tests.servers.recorded import RATE_HZ, conversation, noise, pcm, said
from tests.servers.understood import errors, words

PRODUCT = 2
"""The utterance with a hesitation: "Could you please tell me | what is nine times seven?" """


ADAPTED = (2, 6)


def tone(hz: float, ms: int, level: float) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(ms * RATE_HZ // 1000) / RATE_HZ)


JUNK = {
    "hum": tone(100, 1000, 0.1), "thump": tone(80, 200, 0.3), "rush": noise(1000, dbfs=-30),
    "breath": noise(200, dbfs=-30), "knock": noise(20, dbfs=-10),
}  # fmt: skip


@pytest.fixture(scope="module")
def streaming() -> Any:
    return decoder(streaming=True)


def text(found: list[Word]) -> str:
    return " ".join(word.text for word in found)


def blocks(sound: bytes) -> list[bytes]:
    return [sound[start : start + BLOCK_BYTES] for start in range(0, len(sound) - BLOCK_BYTES + 1, BLOCK_BYTES)]


def test_the_gate_lets_speech_through_and_keeps_the_rooms_noise_out() -> None:
    gate = Gate()
    silence = [gate.is_sound(block) for block in blocks(pcm(noise(3000)))]
    speech = [gate.is_sound(block) for block in blocks(said(0, before_ms=0, after_ms=0))]

    assert not any(silence)
    assert sum(speech) > len(speech) * 0.7


def test_a_voice_has_pitch_and_noise_has_none() -> None:
    pitch = Pitch()
    voice = [pitch.is_voiced(block) for block in blocks(said(0, before_ms=0, after_ms=0))]
    junk = [pitch.is_voiced(block) for sound in JUNK.values() for block in blocks(pcm(sound))]

    assert sum(voice) > len(voice) * 0.3
    assert not any(junk)


def test_the_gate_gets_used_to_a_louder_room() -> None:
    gate = Gate()
    loud = [gate.is_sound(block) for block in blocks(pcm(noise(5000, dbfs=-40)))]

    assert all(loud[:50])
    assert not any(loud[-50:])


@pytest.mark.parametrize(
    ("found", "noise_only"),
    [
        ([], True),
        ([Word("the", 0, 200)], True),
        ([Word("a", 0, 200), Word("and", 300, 2000)], True),
        ([Word("lower", 0, 1600)], True),
        ([Word("stop", 0, 400)], False),
        ([Word("yes", 0, 400), Word("the", 400, 500)], False),
        ([Word("in", 0, 100), Word("the", 100, 200), Word("a", 200, 300)], False),
    ],
)
def test_lone_function_words_and_drawn_out_ones_are_what_noise_sounds_like(found: list[Word], noise_only: bool) -> None:
    assert only_noise(found) is noise_only


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_noises_are_not_words(streaming: Any, junk: np.ndarray) -> None:
    hearing = Hearing(streaming)
    silence = noise(1500)
    hearing.feed(pcm(np.concatenate([silence, junk, silence])))

    assert text(hearing.finish()) == ""


def test_silence_is_not_decoded(streaming: Any) -> None:
    hearing = Hearing(streaming)
    frames = streaming.n_frames()
    hearing.feed(pcm(noise(10_000)))

    assert not hearing.listening
    assert streaming.n_frames() == frames
    assert hearing.finish() == []


def test_a_finalise_in_a_pause_costs_no_words(streaming: Any) -> None:
    sound = said(PRODUCT)
    pause = conversation().utterances[PRODUCT].hesitations[0][0]
    place = 2 * (pause + (500 + 96) * RATE_HZ // 1000)

    undisturbed = Hearing(streaming)
    undisturbed.feed(sound)
    whole = text(undisturbed.finish())

    hearing = Hearing(streaming)
    hearing.feed(sound[:place])
    first = hearing.finalise()
    nothing_new = hearing.words()
    hearing.feed(sound[place:])
    second = hearing.finish()

    assert whole == "could you please tell me what is nine times seven"
    assert text(first) == "could you please tell me"
    assert nothing_new == []
    assert text(second) == "what is nine times seven"
    assert first[-1].end_ms <= second[0].start_ms


def test_words_lie_where_they_were_spoken(streaming: Any) -> None:
    one = conversation().utterances[PRODUCT]
    hearing = Hearing(streaming)
    hearing.feed(said(PRODUCT))
    found = hearing.finish()

    assert abs(found[0].start_ms - 500 - one.speech_start * 1000 // RATE_HZ) < 100
    assert abs(found[-1].end_ms - 500 - one.speech_end * 1000 // RATE_HZ) < 200


def test_how_the_sound_is_cut_into_messages_does_not_matter(streaming: Any) -> None:
    sound = said(1)
    found = []
    for size in (len(sound), 333, 4000):
        hearing = Hearing(streaming)
        for start in range(0, len(sound), size):
            hearing.feed(sound[start : start + size])
        found.append(text(hearing.finish()))

    assert found == [found[0]] * 3
    assert found[0] == "do you know what time it is"


def test_the_ear_adapts_to_a_voice_within_its_first_utterance(streaming: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> int:
        total = 0
        for index in ADAPTED:
            listener = Hearing(streaming)
            listener.feed(said(index))
            total += errors(words(conversation().utterances[index].text), words(text(listener.finish())))
        return total

    adapting = wrong()
    monkeypatch.setattr(hearing, "ADAPT_MS", 0)
    monkeypatch.setattr(hearing, "ADAPTED_MS", 0)

    assert adapting < wrong()


def test_a_decoder_keeps_nothing_of_the_stream_before(streaming: Any) -> None:
    def measured() -> str:
        listener = Hearing(streaming)
        listener.feed(said(1))
        listener.finish()
        return listener._ear.mean

    first = measured()
    other = Hearing(streaming)
    other.feed(pcm(noise(2000, dbfs=-35)) + said(PRODUCT))
    other.finish()

    assert measured() == first


def test_who_never_pauses_is_understood_too(streaming: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "LONGEST_MS", 1500)
    listener = Hearing(streaming)
    listener.feed(said(PRODUCT))

    assert len(text(listener.finish()).split()) >= 8


def test_the_rest_of_a_block_is_not_lost_at_the_end(streaming: Any) -> None:
    hearing = Hearing(streaming)
    hearing.feed(bytes(BLOCK_BYTES + 10))
    hearing.finish()

    assert hearing.now_ms == 2 * BLOCK_MS


def test_a_whole_recording_is_understood_utterance_by_utterance() -> None:
    found = understand(decoder(streaming=False), said(0) + pcm(noise(3000)) + said(1))

    assert text(found) == "good morning my name is david do you know what time it is"
    assert any(after.start_ms - before.end_ms > 3000 for before, after in itertools.pairwise(found))
    assert understand(decoder(streaming=False), b"") == []
