"""Silero on the bundled recordings, whose first and last voiced samples are annotated."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import graphs
from flowgraph.errors import FlowError, NodeFailed
from flowgraph.testing import run_node
from flowgraph.units import MS, SECOND
from nodes import vad
from nodes.sound.conversation import Conversation, load_conversation
from nodes.sound.monologue import spoken_one_by_one
from nodes.vad import QUIET_NS, WINDOW_NS, Vad, _model_file
from nodes.vocabulary import Audio, SpeechStarted, Voice

if TYPE_CHECKING:
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

BLOCK = 320  # 20 ms
STARTS_AT = 5 * SECOND


@functools.cache
def conversation() -> Conversation:
    return load_conversation(Path(graphs.__path__[0]) / "conversations" / "demo.yaml")


def silence(seconds: float) -> Samples:
    return np.resize(conversation().noise_floor(), round(seconds * 16_000))


def utterance(index: int) -> Samples:
    """As it is heard: with the noise floor under it, and a second of it before and behind."""
    samples = conversation().utterances[index].samples()
    whole = np.concatenate([np.zeros(16_000, np.float32), samples, np.zeros(16_000, np.float32)])
    return (whole + np.resize(conversation().noise_floor(), len(whole))).astype(np.float32)


def blocks(samples: Samples, *, rate_hz: int = 16_000, block: int = BLOCK) -> list[Audio]:
    return [
        Audio(samples[i : i + block], rate_hz, at=STARTS_AT + i * SECOND // rate_hz)
        for i in range(0, len(samples), block)
    ]


def judged(samples: Samples, **options: Any) -> tuple[list[SpeechStarted], list[Voice]]:
    return heard(blocks(samples), **options)


def heard(frames: list[Audio], **options: Any) -> tuple[list[SpeechStarted], list[Voice]]:
    outputs = run_node(Vad(**options), frames)
    return [f for f in outputs if isinstance(f, SpeechStarted)], [f for f in outputs if isinstance(f, Voice)]


def last_voiced_at(voice: Voice) -> int:
    return voice.at - voice.silence_ms * MS


# -- windows -----------------------------------------------------------------------------------------------------------


def test_every_32_ms_window_gets_a_voice_whose_time_is_its_end() -> None:
    _, voices = judged(silence(1.0))

    assert [voice.at for voice in voices] == [STARTS_AT + 32 * MS * (n + 1) for n in range(31)]


@pytest.mark.parametrize("block", [16, 100, 512, 513, 4000])
def test_the_size_of_the_blocks_makes_no_difference(block: int) -> None:
    samples = utterance(0)

    starts, voices = heard(blocks(samples, block=block))
    expected_starts, expected = judged(samples)

    assert [v.probability for v in voices] == [v.probability for v in expected]
    assert [v.at for v in voices] == pytest.approx([v.at for v in expected], abs=1000)
    assert [s.at for s in starts] == pytest.approx([s.at for s in expected_starts], abs=1000)


def test_the_level_is_measured_against_a_full_scale_of_one() -> None:
    tone = 0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000).astype(np.float32)

    _, voices = judged(tone)
    _, nothing = judged(np.zeros(16_000, np.float32))

    assert voices[10].level_dbfs == pytest.approx(-9.03, abs=0.1)
    assert nothing[10].level_dbfs == -120.0


def test_silence_grows_from_the_start_of_the_stream() -> None:
    starts, voices = judged(silence(1.0))

    assert starts == []
    assert [voice.silence_ms for voice in voices] == [32 * (n + 1) for n in range(31)]
    assert not any(voice.speaking for voice in voices)


# -- the edges of speech -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(8))
def test_onset_and_end_agree_with_the_annotation(index: int) -> None:
    recorded = conversation().utterances[index]
    first = STARTS_AT + (16_000 + recorded.speech_start) * SECOND // 16_000
    last = STARTS_AT + (16_000 + recorded.speech_end) * SECOND // 16_000

    starts, voices = judged(utterance(index))

    assert starts[0].at == pytest.approx(first, abs=25 * MS)
    assert last_voiced_at(voices[-1]) == pytest.approx(last, abs=15 * MS)
    silent = next(voice for voice in voices if voice.at > last and not voice.speaking)
    assert silent.at - last <= 160 * MS
    assert last_voiced_at(silent) == last_voiced_at(voices[-1])


TURNS = Path(graphs.__path__[0]) / "conversations" / "turns"
PINK_DBFS = -50.0


@functools.cache
def pink() -> Samples:
    """Noise as rooms have it: most of it is low, and pieces of 4 ms differ more than those of white noise do. Eight seconds."""
    count = 8 * 16_000
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(count))
    spectrum[1:] /= np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / 16_000)[1:], 50))
    noise = np.fft.irfft(spectrum, count)
    return (noise * 10 ** (PINK_DBFS / 20) / np.sqrt(np.mean(noise * noise))).astype(np.float32)


def stream(path: Path, *, in_pink: bool) -> tuple[Samples, list[tuple[int, int]]]:
    """All that a recorded user says, one behind the other, and the first and last sample of each stretch of speech."""
    talk = load_conversation(path)
    parts, stretches, at = [np.zeros(48_000, np.float32)], [], 48_000
    for one in talk.utterances:
        begin = one.speech_start
        for first, last in one.hesitations:
            stretches.append((at + begin, at + first - 1))
            begin = last + 1
        stretches.append((at + begin, at + one.speech_end))
        parts += [one.samples(), np.zeros(24_000, np.float32)]
        at += len(parts[-2]) + 24_000
    clean = np.concatenate(parts)
    return clean + np.resize(pink() if in_pink else talk.noise_floor(), at), stretches


@pytest.mark.parametrize(
    ("room", "in_pink"),
    [
        ("loud", False),
        pytest.param("quiet", False, marks=pytest.mark.soak),
        pytest.param("quiet", True, marks=pytest.mark.soak),
    ],
)
def test_the_ends_of_all_voices_are_told_to_some_milliseconds_in_every_room(room: str, in_pink: bool) -> None:
    """Eight voices with a thousand ends, at pauses too. In noise the model hears each of them on for 100 to 180 ms."""
    late: list[float] = []
    count = 0
    for path in sorted(TURNS.glob(f"*/*-{room}.yaml")):
        samples, stretches = stream(path, in_pink=in_pink)
        _, voices = heard(blocks(samples, block=512))
        count += len(stretches)
        following = [begin for begin, _ in stretches[1:]] + [len(samples)]
        for (_, last), begin in zip(stretches, following, strict=True):
            end, until = (STARTS_AT + sample * SECOND // 16_000 for sample in (last, begin))
            silent = [voice for voice in voices if end < voice.at < until and not voice.speaking]
            if silent and abs(last_voiced_at(silent[-1]) - end) < SECOND // 2:  # else it heard no speech, or no pause
                late.append((last_voiced_at(silent[-1]) - end) / MS)

    assert len(late) >= 0.9 * count
    p10, p50, p90 = np.percentile(late, [10, 50, 90])
    assert -10 <= p10 <= p50 <= p90 <= 10
    assert np.mean(np.abs(late) > 25) <= 0.05


def test_speech_is_reported_once_it_has_lasted_and_then_speaking_is_true_until_silence_counts() -> None:
    outputs = run_node(Vad(), blocks(utterance(1)))

    [begun] = [i for i, frame in enumerate(outputs) if isinstance(frame, SpeechStarted)]
    before, after = outputs[begun - 1], outputs[begun + 1]
    assert isinstance(before, Voice)
    assert isinstance(after, Voice)
    assert (before.speaking, after.speaking) == (False, True)
    voices = [frame for frame in outputs if isinstance(frame, Voice)]
    assert all((voice.silence_ms == 0) == voice.speaking for voice in voices)


def test_silence_stands_still_while_speech_may_be_beginning() -> None:
    outputs = run_node(Vad(min_speech="160ms"), blocks(utterance(1)))

    begun = next(i for i, frame in enumerate(outputs) if isinstance(frame, SpeechStarted))
    waiting = [frame.silence_ms for frame in outputs[begun - 4 : begun] if isinstance(frame, Voice)]
    assert len(waiting) == 4
    assert len(set(waiting)) == 1


def test_a_click_is_not_speech_and_the_silence_counts_on_as_if_nothing_had_been() -> None:
    sound = utterance(1)

    starts, voices = judged(sound[: 16_000 * 2], min_speech="5s")

    assert any(voice.probability > 0.9 for voice in voices), "the recording should sound like speech"
    assert starts == []
    _, later = judged(np.concatenate([sound[:32_000], silence(1.0)]), min_speech="5s")
    assert last_voiced_at(later[-1]) == STARTS_AT


def test_a_short_silence_belongs_to_the_speech() -> None:
    hesitating = utterance(2)  # 280 ms of silence inside

    often, _ = judged(hesitating, min_silence="32ms")
    once, _ = judged(hesitating, min_silence="400ms")

    assert len(often) >= 2
    assert len(once) == 1


def test_a_higher_threshold_hears_no_more_than_a_lower_one() -> None:
    def spoken(threshold: float) -> int:
        return sum(voice.speaking for voice in judged(utterance(0), threshold=threshold)[1])

    assert spoken(0.99) < spoken(0.5) < spoken(0.05)


# -- sound that is missing ---------------------------------------------------------------------------------------------


def test_sound_lost_while_somebody_speaks_counts_as_speech() -> None:
    frames = blocks(utterance(1))
    middle = 80  # 1.6 s: in the middle of the words
    kept = [*frames[:middle], *frames[middle + 20 :]]

    _, voices = heard(kept)

    around = [v for v in voices if frames[middle].at < v.at <= frames[middle + 30].at]
    assert around[0].at >= frames[middle + 20].at, "nothing is judged that was not heard"
    assert all(voice.silence_ms <= 64 for voice in around)


def test_sound_lost_in_silence_counts_as_silence() -> None:
    frames = blocks(silence(3.0))

    _, voices = heard([*frames[:50], *frames[100:]])

    assert voices[-1].silence_ms == (voices[-1].at - STARTS_AT) // MS


def test_the_times_behind_a_gap_are_those_of_the_sound() -> None:
    frames = blocks(silence(2.0))

    _, voices = heard([*frames[:25], *frames[50:]])

    after = [voice.at for voice in voices if voice.at > frames[50].at]
    assert after[0] == frames[50].at + 32 * MS


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [16_000, 8_000])
def test_torch_and_onnx_agree_within_a_hundredth(rate_hz: int) -> None:
    import soxr

    samples = soxr.resample(np.concatenate([utterance(0), utterance(2)]), 16_000, rate_hz)

    _, onnx = heard(blocks(samples, rate_hz=rate_hz))
    _, torch = heard(blocks(samples, rate_hz=rate_hz), runtime="torch")

    assert [v.probability for v in torch] == pytest.approx([v.probability for v in onnx], abs=0.01)
    assert max(v.probability for v in onnx) > 0.9


def test_both_onnx_files_of_the_wheel_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, small = judged(utterance(0))
    monkeypatch.setattr(vad, "ONNX_16_KHZ", ())
    _, whole = judged(utterance(0))

    assert [v.probability for v in small] == pytest.approx([v.probability for v in whole], abs=0.001)


def test_8_khz_is_understood_too() -> None:
    import soxr

    samples = soxr.resample(utterance(1), 16_000, 8_000)

    starts, voices = heard(blocks(samples, rate_hz=8_000, block=160))

    assert len(starts) == 1
    assert voices[0].at == STARTS_AT + 32 * MS


def test_another_rate_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(NodeFailed) as failure:
        heard(blocks(silence(0.5), rate_hz=48_000))

    assert "48000 Hz" in failure.value.message
    assert "rate_hz: 16000" in failure.value.hint


def test_a_model_that_is_not_there_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(FlowError, match=r"no_such\.onnx") as failure:
        _model_file("no_such.onnx")

    assert "pip install" in failure.value.hint


def test_the_default_runtime_never_imports_torch() -> None:
    program = (
        "import asyncio, sys; from nodes.vad import Vad; asyncio.run(Vad().open()); "
        "print('torch' in sys.modules, 'silero_vad' in sys.modules, 'onnxruntime' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False", "True"]


def test_thresholds_in_the_wrong_order_are_a_problem_before_anything_starts() -> None:
    assert list(Vad(threshold=0.4, stop_threshold=0.6).problems()) != []
    assert list(Vad(threshold=0.4, stop_threshold=0.2).problems()) == []


def test_silence_is_told_as_soon_as_it_is_as_quiet_as_the_room_though_the_model_still_hears_speech() -> None:
    conversation = load_conversation("graphs/conversations/turns/fit/slt-loud.yaml")
    sound, spoken = spoken_one_by_one(conversation, SECOND)
    begin = SECOND
    blocks = [
        Audio(sound[first : first + 320], 16_000, at=begin + first * SECOND // 16_000)
        for first in range(0, len(sound) - 320, 320)
    ]
    voices = [frame for frame in run_node(Vad(), blocks) if isinstance(frame, Voice)]
    late = []
    for one in spoken:
        told = next(voice for voice in voices if voice.at > begin + one.end and not voice.speaking)
        late.append((told.at - begin - one.end) / MS)

    within = (QUIET_NS + WINDOW_NS) / MS  # and the window in which the speech ends
    assert sum(ms <= within + 10 for ms in late) >= 0.9 * len(late), sorted(late)
