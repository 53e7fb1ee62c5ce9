"""Whisper's features, from sound in pieces. That they are the ones which the model was trained on: test_turn_model.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from nodes.sound.mel import HOP, SAMPLES, LogMel, _hann, _triangles, features

if TYPE_CHECKING:
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]


def sound(seconds: float, *, seed: int = 1) -> Samples:
    """Noise under a swelling chirp: power in every mel, changing all the time."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    chirp = np.sin(2 * np.pi * (100 + 400 * time) * time) * np.sin(3 * time) ** 2
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (0.3 * chirp + 0.01 * noise).astype(np.float32)


def seen(samples: Samples, *, block: int = 320) -> Samples:
    mel = LogMel()
    for begin in range(0, len(samples), block):
        mel.add(samples[begin : begin + block])
    return features(mel.clip())


def at_once(samples: Samples) -> Samples:
    """The same without any economy: the whole sound is normalised, mirrored and transformed in double precision."""
    whole = len(samples) // HOP * HOP
    clip = np.concatenate((np.zeros(SAMPLES), samples[:whole]))[-SAMPLES:]
    clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    mirrored = np.pad(clip, 200, mode="reflect")
    windows = np.stack([mirrored[begin : begin + 400] for begin in range(0, SAMPLES, HOP)])
    power = np.abs(np.fft.rfft(windows * _hann().astype(np.float64))) ** 2
    decades = np.log10(np.maximum(power @ _triangles().astype(np.float64), 1e-10))
    return ((np.maximum(decades, decades.max() - 8).T + 4) / 4).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.5, 7.99, 8.0, 8.013, 15.9, 16.1, 40.0])
def test_sound_in_pieces_is_seen_as_the_whole_is(seconds: float) -> None:
    samples = sound(seconds)

    picture = seen(samples)

    assert picture.shape == (80, 800)
    assert picture.dtype == np.float32
    assert np.abs(picture - at_once(samples)).max() < 1e-4


@pytest.mark.parametrize("block", [1, 7, 160, 513, 16_000, 300_000])
def test_the_size_of_the_pieces_makes_no_difference(block: int) -> None:
    samples = sound(0.7 if block == 1 else 19.0)

    assert np.abs(seen(samples, block=block) - seen(samples)).max() < 1e-5


def test_a_constant_and_a_factor_are_not_seen() -> None:
    samples = sound(10.0)

    assert np.abs(seen(samples * 0.3 + 0.2) - seen(samples)).max() < 1e-3


def test_a_clip_stays_as_it_was_when_more_is_heard() -> None:
    mel = LogMel()
    mel.add(sound(9.0))
    clip = mel.clip()
    before = features(clip)

    for second in range(20):
        mel.add(sound(1.0, seed=second))

    assert (features(clip) == before).all()
    assert not (features(mel.clip()) == before).all()


def test_what_is_forgotten_is_zeros() -> None:
    mel = LogMel()
    mel.add(sound(20.0))
    mel.clear()
    mel.add(sound(1.0))

    assert (features(mel.clip()) == seen(sound(1.0), block=16_000)).all()
    assert (mel.last(2 * 16_000)[:16_000] == 0).all()
    assert (mel.last(16_000) == sound(1.0)).all()
    assert len(mel.last(1_000_000)) == SAMPLES


def test_every_triangle_has_the_same_area_and_they_are_narrow_below_1_khz() -> None:
    triangles = _triangles()
    peaks = triangles.argmax(0) * 40

    assert triangles[:, 20:].sum(0) * 40 == pytest.approx(1, abs=0.1)
    assert triangles[0].max() == 0
    assert (np.diff(peaks) >= 0).all()
    assert np.searchsorted(peaks, 1000) == pytest.approx(26, abs=1)  # 15 of 45.2 mel, 81 steps
