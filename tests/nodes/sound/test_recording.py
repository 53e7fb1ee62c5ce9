from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import DeviceError
from flowgraph.units import MS, SECOND
from nodes.sound.recording import WINDOW_S, Recording
from nodes.vocabulary import Audio, Played

BEGIN = 1000 * SECOND


def audio(level: float, ms: int, at_ms: float, rate_hz: int = 16_000) -> Audio:
    return Audio(np.full(rate_hz * ms // 1000, level, np.float32), rate_hz, at=round(BEGIN + at_ms * MS))


def played(level: float, ms: int, at_ms: float, rate_hz: int = 16_000) -> Played:
    return Played(np.full(rate_hz * ms // 1000, level, np.float32), rate_hz, at=round(BEGIN + at_ms * MS))


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32767


def test_caller_and_assistant_are_on_two_channels_in_time(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.wav")
    recording.captured(audio(0.5, 100, 0))
    recording.played(played(0.25, 100, 250))
    recording.captured(audio(0.5, 100, 400))
    recording.save()

    sound = read(tmp_path / "a.wav")
    assert len(sound) == 16 * 500
    assert [np.flatnonzero(side > 0.1)[[0, -1]].tolist() for side in sound.T] == [[0, 7999], [4000, 5599]]
    assert not sound[1600:6400, 0].any()


def test_blocks_that_follow_each_other_have_no_seam_though_their_times_jitter(tmp_path: Path) -> None:
    recording, rng = Recording(tmp_path / "a.wav"), np.random.default_rng(1)
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 24_000).astype(np.float32)
    for n in range(200):
        at = BEGIN + n * 10 * MS + int(rng.integers(-5, 6)) * MS * (n > 0)
        recording.played(Played(tone[n * 240 : (n + 1) * 240], 24_000, at=at))
    recording.save()

    expected = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    assert read(tmp_path / "a.wav")[100:-100, 1] == pytest.approx(expected[100:-100], abs=1e-3)


def test_a_long_session_takes_bounded_memory(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.wav")
    size = recording._window.nbytes
    for second in range(3 * WINDOW_S):
        recording.captured(audio(0.1, 1000, second * 1000))
        if second % 7 == 0:
            recording.played(played(0.2, 500, second * 1000 - 400))
        assert recording._window.nbytes == size
    recording.save()

    sound = read(tmp_path / "a.wav")
    assert len(sound) == 3 * WINDOW_S * 16_000
    assert sound[:, 0] == pytest.approx(0.1, abs=0.01)
    starts = np.flatnonzero(np.diff(np.concatenate(([0], sound[:, 1] > 0.1)).astype(int)) == 1) / 16
    assert starts.tolist() == [0, 6600, 13600, 20600, 27600]


def test_two_minutes_without_sound_are_silence_of_two_minutes(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.wav")
    recording.captured(audio(0.5, 100, 0))
    recording.played(played(0.25, 100, 120_000))
    recording.save()

    sound = read(tmp_path / "a.wav")
    assert len(sound) == (120_000 + 100) * 16
    assert np.flatnonzero(sound[:, 1] > 0.1)[0] == 120_000 * 16
    assert not sound[1600:-1600].any()


def test_what_comes_too_late_is_lost_and_nothing_else(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.wav")
    recording.captured(audio(0.1, 40_000, 0))
    recording.played(played(0.9, 1000, 1000))
    recording.played(played(0.2, 1000, 39_000))
    recording.save()

    sound = read(tmp_path / "a.wav")
    assert sound[:, 1].max() == pytest.approx(0.2, abs=0.01)
    assert np.flatnonzero(sound[:, 1] > 0.1)[0] == 39_000 * 16


def test_saving_twice_is_saving_once_and_before_that_there_is_no_file(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.wav")
    recording.captured(audio(0.5, 100, 0))
    assert not (tmp_path / "a.wav").exists()
    recording.save()
    recording.save()

    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_nothing_recorded_is_an_empty_file(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.wav")
    recording.save()

    assert len(read(tmp_path / "a.wav")) == 0
    assert recording.begin_at == 0


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="can't write"):
        Recording(tmp_path / "no" / "a.wav")
