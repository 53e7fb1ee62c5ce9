"""Recorded users: the bundled one is what it says it is, and a wrong file is told where and what to do."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgraph.errors import GraphError
from flowgraph.units import MS
from nodes.sound.conversation import RATE_HZ, Conversation, RecordedUtterance, annotate, load_conversation

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "graphs" / "conversations" / "demo.yaml"


@pytest.fixture(scope="module")
def demo() -> Conversation:
    return load_conversation(DEMO)


def write_wav(path: Path, samples: npt.NDArray[np.float32], rate_hz: int = RATE_HZ, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def tone(*spans_ms: tuple[int, int], total_ms: int = 1000, noise: float = 0.0) -> npt.NDArray[np.float32]:
    """300 Hz at −9 dBFS in these spans (which begin and end in a crest), silence or noise elsewhere."""
    time = np.arange(total_ms * RATE_HZ // 1000)
    loud = np.zeros(len(time), bool)
    for begin, end in spans_ms:
        loud[begin * RATE_HZ // 1000 : end * RATE_HZ // 1000] = True
    room = np.random.default_rng(1).normal(0, noise, len(time))
    return np.where(loud, 0.5 * np.cos(2 * np.pi * 300 / RATE_HZ * time), room).astype(np.float32)


def write_yaml(folder: Path, utterances: str, head: str = "name: test") -> Path:
    write_wav(folder / "a.wav", tone((100, 400), (600, 900)))
    path = folder / "test.yaml"
    path.write_text(f"{head}\nutterances:\n{utterances}")
    return path


# The bundled conversation


def test_the_bundled_conversation_has_eight_turns_that_expect_an_answer(demo: Conversation) -> None:
    assert [utterance.expects for utterance in demo.utterances] == ["answer"] * 8
    assert all(utterance.text for utterance in demo.utterances)


def test_the_bundled_conversation_is_annotated_not_estimated(demo: Conversation) -> None:
    assert not demo.estimated


def test_the_bundled_conversation_hesitates_within_an_utterance_for_less_than_the_usual_end_of_turn(
    demo: Conversation,
) -> None:
    longest_ms = [
        max((last + 1 - first) * 1000 / RATE_HZ for first, last in utterance.hesitations)
        for utterance in demo.utterances
        if utterance.hesitations
    ]
    assert any(250 <= pause_ms <= 300 for pause_ms in longest_ms)
    assert max(longest_ms) < 400


def test_the_bundled_conversation_barges_in_once_and_into_the_story(demo: Conversation) -> None:
    barging = [number for number, utterance in enumerate(demo.utterances) if utterance.barge_in is not None]
    assert len(barging) == 1
    assert "story" in demo.utterances[barging[0] - 1].text


def test_annotated_ends_agree_with_the_sound_within_10_ms(demo: Conversation) -> None:
    block = RATE_HZ * 2 // 1000
    for utterance in demo.utterances:
        samples = utterance.samples()
        peaks = np.abs(samples[: len(samples) // block * block]).reshape(-1, block).max(axis=1)
        loud = np.flatnonzero(peaks > 0.008)  # the peak of a sine at −45 dBFS
        assert loud[0] * block == pytest.approx(utterance.speech_start, abs=RATE_HZ // 100), utterance.text
        assert (loud[-1] + 1) * block == pytest.approx(utterance.speech_end, abs=RATE_HZ // 100), utterance.text


def test_annotated_pauses_are_quiet_and_no_other_stretch_of_100_ms_is(demo: Conversation) -> None:
    for utterance in demo.utterances:
        found = annotate(utterance.samples())
        assert found == ((utterance.speech_start, utterance.speech_end), utterance.hesitations)


def test_the_bundled_caller_is_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in DEMO.parent.rglob("demo*/*.wav")) < 2_000_000


def test_the_noise_floor_has_the_stated_level_and_is_the_same_each_time(demo: Conversation) -> None:
    noise = demo.noise_floor()
    assert 20 * np.log10(np.sqrt(np.mean(noise**2))) == pytest.approx(-60, abs=0.01)
    assert noise.dtype == np.float32
    assert np.array_equal(noise, demo.noise_floor())


def test_samples_are_float32_and_as_long_as_stated(demo: Conversation) -> None:
    utterance = demo.utterances[0]
    samples = utterance.samples()
    assert samples.dtype == np.float32
    assert len(samples) * 1_000_000_000 // RATE_HZ == utterance.duration_ns


def test_importing_and_reading_a_conversation_imports_no_numpy() -> None:
    program = (
        f"import sys; from nodes.sound.conversation import *; load_conversation({str(DEMO)!r}); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "numpy" not in loaded.stdout.split()


# Sound


def test_the_first_and_last_voiced_sample_are_found_to_within_the_5_ms_window() -> None:
    found = annotate(tone((200, 700)))
    assert found is not None
    (first, last), pauses = found
    assert first == pytest.approx(200 * 16, abs=40)
    assert last == pytest.approx(700 * 16, abs=40)
    assert pauses == ()


def test_silence_has_no_voiced_sample() -> None:
    assert annotate(tone()) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 400))
def test_a_gap_is_a_pause_from_100_ms_on(gap_ms: int) -> None:
    found = annotate(tone((100, 400), (400 + gap_ms, 700 + gap_ms), total_ms=1300))
    assert found is not None
    for first, last in found[1]:
        assert (last + 1 - first) / 16 == pytest.approx(gap_ms, abs=6)
    if abs(gap_ms - 100) > 6:
        assert len(found[1]) == (gap_ms > 100)


def test_spans_are_given_for_the_part_that_is_played(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, "- {audio: a.wav, range: [8000, 15999], speech: [9600, 14399]}")
    utterance = load_conversation(path).utterances[0]
    assert len(utterance.samples()) == 8000
    assert (utterance.speech_start, utterance.speech_end) == (1600, 6399)
    assert utterance.samples()[1600] == pytest.approx(tone((600, 900))[9600], abs=1e-4)


def test_silences_are_put_in_while_playing_and_counted_by_every_span(tmp_path: Path) -> None:
    text = "- {audio: a.wav, silences: [[8000, 15999]], speech: [1600, 22399], pauses: [[6400, 17599]]}"
    utterance = load_conversation(write_yaml(tmp_path, text)).utterances[0]
    samples, stored = utterance.samples(), tone((100, 400), (600, 900))
    assert len(samples) == 24_000
    assert utterance.duration_ns == 1500 * MS
    assert not samples[8000:16_000].any()
    assert np.allclose(np.delete(samples, np.s_[8000:16_000]), stored, atol=1e-4)
    assert annotate(samples) == (pytest.approx((1600, 22_399), abs=40), (pytest.approx((6400, 17_599), abs=40),))


def test_a_range_counts_the_silences_too(tmp_path: Path) -> None:
    text = "- {audio: a.wav, silences: [[8000, 15999]], range: [1000, 20999], speech: [1600, 20999]}"
    utterance = load_conversation(write_yaml(tmp_path, text.replace("}", ", pauses: [[6400, 17599]]}"))).utterances[0]
    whole = np.insert(tone((100, 400), (600, 900)), 8000, np.zeros(8000))
    assert np.allclose(utterance.samples(), whole[1000:21_000], atol=1e-4)
    assert utterance.speech_start == 600


def test_a_pause_that_is_put_in_is_estimated_like_one_that_was_recorded(tmp_path: Path) -> None:
    utterance = load_conversation(write_yaml(tmp_path, "- {audio: a.wav, silences: [[8000, 15999]]}")).utterances[0]
    assert utterance.pauses == (pytest.approx((6400, 17_599), abs=40),)


def test_speech_without_an_annotation_is_estimated_and_says_so(tmp_path: Path) -> None:
    conversation = load_conversation(write_yaml(tmp_path, "- {audio: a.wav, range: [160, 15999]}"))
    utterance = conversation.utterances[0]
    assert conversation.estimated
    assert utterance.speech is not None
    assert utterance.speech[0] == pytest.approx(1600, abs=40)
    assert utterance.speech[1] == pytest.approx(14400, abs=40)
    assert len(utterance.pauses) == 1


def test_a_folder_of_wav_files_is_a_conversation_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, begin in (("2.wav", 300), ("1.wav", 100)):
        write_wav(tmp_path / name, tone((begin, 800), noise=0.003))
    conversation = load_conversation(tmp_path)
    assert [utterance.audio.name for utterance in conversation.utterances] == ["1.wav", "2.wav"]
    assert [utterance.speech_start for utterance in conversation.utterances] == [
        pytest.approx(1600, abs=40),
        pytest.approx(4800, abs=40),
    ]
    assert conversation.estimated


def test_the_room_of_a_noisy_recording_is_not_taken_for_speech(tmp_path: Path) -> None:
    write_wav(tmp_path / "1.wav", tone((300, 800), noise=10 ** (-40 / 20)))
    utterance = load_conversation(tmp_path).utterances[0]
    assert utterance.speech_start == pytest.approx(4800, abs=80)
    assert utterance.speech_end == pytest.approx(12800, abs=80)


# What can be wrong


def complaint(path: Path) -> str:
    with pytest.raises(GraphError) as caught:
        load_conversation(path)
    for problem in caught.value.problems:
        assert problem.hint, f"says nothing about what to do: {problem}"
    return str(caught.value)


@pytest.mark.parametrize(
    ("utterance", "column", "message"),
    [
        ("- {audio: b.wav}", 11, "can't read"),
        ("- {audio: a.wav, txt: hello}", 18, "unknown key 'txt'"),
        ("- {text: hello}", 3, "'audio' is missing"),
        ("- {audio: a.wav, speech: [1600, 16000]}", 26, "a.wav, which has 16000 samples"),
        ("- {audio: a.wav, range: [0, 20000]}", 25, "a.wav, which has 16000 samples"),
        ("- {audio: a.wav, range: [0, 9000], speech: [1600, 9600]}", 44, "outside of `range`"),
        ("- {audio: a.wav, speech: [9600, 1600]}", 26, "first before last"),
        ("- {audio: a.wav, speech: 100ms}", 26, "'speech'"),
        ("- {audio: a.wav, speech: [1600, 14399], pauses: [[6400, 7000]]}", 49, "shorter than 100 ms"),
        ("- {audio: a.wav, speech: [1600, 14399], pauses: [[6400, 9599], [9000, 12000]]}", 49, "overlaps"),
        ("- {audio: a.wav, speech: [1600, 14399], pauses: [[1000, 9599]]}", 49, "overlaps"),
        ("- {audio: a.wav, speech: [1600, 14399], pauses: [[6400, 15000]]}", 49, "outside of `speech`"),
        ("- {audio: a.wav, pauses: [[6400, 9599]]}", 26, "pauses without `speech`"),
        ("- {audio: a.wav, silences: [[16002, 20000]]}", 28, "which has 19999 samples, `silences` included"),
        ("- {audio: a.wav, silences: [[900, 2000], [1000, 3000]]}", 28, "has no sound before it"),
        ("- {audio: a.wav, silences: [[900, 2000]], range: [1000, 3000]}", 50, "cuts into `silences`"),
        ("- {audio: a.wav, silences: [[8000, 9999]], speech: [1600, 16399]}", 3, "no pause covers"),
        ("- {audio: a.wav, pause: 700}", 25, "duration with its unit"),
        ("- {audio: a.wav, pause: 700ms, barge_in: 1s}", 25, "not both"),
        ("- {audio: a.wav, expects: applause}", 27, "'answer' or 'nothing'"),
        ("- {audio: a.wav, barge_in: 1s}", 28, "no answer to barge into"),
        ("- hello", 3, "expected an utterance, found 'hello'"),
        ("- {audio: a.wav, audio: b.wav}", 18, "'audio' is written twice"),
    ],
)
def test_a_wrong_utterance_is_told_by_file_line_and_column(
    tmp_path: Path, utterance: str, column: int, message: str
) -> None:
    path = write_yaml(tmp_path, utterance + "\n")
    text = complaint(path)
    assert message in text
    assert text.startswith(f"{path}:3:{column}: ")
    assert text.count(" = ") == 1, "one mistake is one problem"


def test_a_misspelt_key_is_told_what_was_meant(tmp_path: Path) -> None:
    assert "did you mean 'speech'?" in complaint(write_yaml(tmp_path, "- {audio: a.wav, speach: [1600, 14399]}"))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = complaint(write_yaml(tmp_path, "- {audio: b.wav}\n- {audio: c.wav}"))
    assert "b.wav" in text
    assert "c.wav" in text


@pytest.mark.parametrize(
    ("rate_hz", "channels", "found"), [(8000, 1, "8000 Hz"), (RATE_HZ, 2, "2 channel(s)"), (44100, 1, "44100 Hz")]
)
def test_sound_of_another_kind_is_told_how_to_convert_it(
    tmp_path: Path, rate_hz: int, channels: int, found: str
) -> None:
    path = write_yaml(tmp_path, "- {audio: b.wav}")
    write_wav(tmp_path / "b.wav", tone((100, 400)), rate_hz, channels)
    text = complaint(path)
    assert found in text
    assert "ffmpeg -i b.wav" in text


@pytest.mark.parametrize("content", [b"", b"RIFF\x00\x00", b"no sound at all, but some text"])
def test_a_file_that_is_no_wav_is_told_how_to_convert_it(tmp_path: Path, content: bytes) -> None:
    path = write_yaml(tmp_path, "- {audio: b.wav}")
    (tmp_path / "b.wav").write_bytes(content)
    assert "ffmpeg -i b.wav" in complaint(path)


def test_a_recording_of_silence_is_told_to_hold_no_speech(tmp_path: Path) -> None:
    write_wav(tmp_path / "1.wav", tone())
    assert "no speech in 1.wav" in complaint(tmp_path)


def test_two_barge_ins_into_one_answer_must_not_overlap(tmp_path: Path) -> None:
    start = "- {audio: a.wav, speech: [1600, 14399]}\n- {audio: a.wav, expects: nothing, barge_in: 1s}\n"
    assert "begin at 2s or later" in complaint(write_yaml(tmp_path, start + "- {audio: a.wav, barge_in: 1500ms}"))
    assert len(load_conversation(write_yaml(tmp_path, start + "- {audio: a.wav, barge_in: 2s}")).utterances) == 3


def test_an_aside_does_not_end_the_answer_but_speech_after_it_does(tmp_path: Path) -> None:
    text = "- {audio: a.wav}\n- {audio: a.wav, expects: nothing}\n- {audio: a.wav, barge_in: 1s}"
    assert "no answer to barge into" in complaint(write_yaml(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"- 1\n- 2\n", "expected a map with `utterances:`"),
        (b"name: x\n", "'utterances' is missing"),
        (b"utterances: []\n", "at least one utterance"),
        (b"utterances: [{audio: a.wav]", "is missing before this"),
        (b"[" * 100_000, "nested more than 32 deep"),
        (b"\xff\xfe\x00\x01", "isn't a text file"),
        (b"name: \x00\n", "isn't a text file"),
        (b"#" * 2_000_000, "larger than 256 KiB"),
        (b"utterances: [{audio: a.wav}]\nnoise_floor_dbfs: -5\n", "less than or equal to -20"),
        (b"utterances: [{audio: a.wav}]\n? [a]\n: b\n", "a key must be a name"),
    ],
)
def test_a_file_that_is_no_conversation_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "test.yaml"
    path.write_bytes(content)
    text = complaint(path)
    assert message in text
    assert "graph" not in text.replace("graphs/conversations", "")


def test_a_missing_file_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    assert "can't read the conversation" in complaint(tmp_path / "gone.yaml")
    assert "no WAV file" in complaint(tmp_path)


def test_every_option_is_described() -> None:
    for model in (Conversation, RecordedUtterance):
        for name, field in model.model_fields.items():
            assert field.description or name in ("name", "description", "utterances"), name


def test_the_head_of_the_bundled_file_explains_every_key() -> None:
    head = DEMO.read_text().split("utterances:\n")[0]
    for name in [*RecordedUtterance.model_fields, "noise_floor_dbfs", "patience"]:
        assert f"#   {name} " in head or f"# {name}:" in head, name


def test_defaults_are_700_ms_of_pause_and_an_answer() -> None:
    utterance = RecordedUtterance(audio=Path("a.wav"))
    assert (utterance.pause, utterance.expects, utterance.barge_in) == (700 * MS, "answer", None)
