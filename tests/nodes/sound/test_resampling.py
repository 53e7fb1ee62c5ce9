from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from nodes.sound.resampling import Resampler, resampled

RATES = [
    (48_000, 16_000),
    (16_000, 48_000),
    (24_000, 48_000),
    (44_100, 16_000),
    (16_000, 44_100),
    (22_050, 48_000),
    (24_000, 16_000),
    (192_000, 16_000),
]


def chord(rate_hz: int, lowest_hz: int, seconds: float = 0.5) -> npt.NDArray[np.float32]:
    """Tones up to 84 % of what the lower of two rates can hold."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    tones = [np.sin(2 * np.pi * hz * t + hz) for hz in (100, 440, 0.2 * lowest_hz, 0.35 * lowest_hz, 0.42 * lowest_hz)]
    return (np.sum(tones, axis=0) / 5).astype(np.float32)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_it_agrees_with_a_studio_resampler_to_70_db(from_hz: int, to_hz: int) -> None:
    sound = chord(from_hz, min(from_hz, to_hz))
    ours, theirs = resampled(sound, from_hz, to_hz), soxr.resample(sound, from_hz, to_hz, quality="VHQ")

    inner = slice(to_hz // 20, -to_hz // 20)
    assert len(ours) == len(theirs)
    assert np.std(ours[inner] - theirs[inner]) < np.std(theirs) * 10 ** (-70 / 20)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_blocks_of_any_size_give_the_same_sound(from_hz: int, to_hz: int) -> None:
    sound = chord(from_hz, min(from_hz, to_hz))
    resampler, rng = Resampler(from_hz, to_hz), np.random.default_rng(1)
    cuts = np.sort(rng.integers(0, len(sound), 30))

    pieces = [resampler.feed(piece) for piece in np.split(sound, cuts)]

    assert np.allclose(np.concatenate([*pieces, resampler.end()]), resampled(sound, from_hz, to_hz), atol=1e-6)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_it_holds_back_2_ms_and_says_so(from_hz: int, to_hz: int) -> None:
    resampler = Resampler(from_hz, to_hz)
    given = 0
    for block in np.split(chord(from_hz, 8_000), range(from_hz // 100, from_hz // 2, from_hz // 100)):
        given += len(resampler.feed(block))
        fed_ns = resampler.pending_ns + given * 1_000_000_000 // to_hz
        assert 0 < resampler.pending_ns <= 2_100_000
    assert fed_ns == pytest.approx(500_000_000, abs=10_000)


def test_what_the_lower_rate_cannot_hold_is_gone() -> None:
    hiss = np.sin(2 * np.pi * 9_000 * np.arange(24_000) / 48_000).astype(np.float32)

    assert np.abs(resampled(hiss, 48_000, 16_000)[400:-400]).max() < 10 ** (-70 / 20)


def test_a_click_stays_where_it_is() -> None:
    click = np.zeros(48_000, np.float32)
    click[30_000] = 1

    assert np.argmax(resampled(click, 48_000, 16_000)) == 10_000
    assert np.argmax(resampled(click, 48_000, 44_100)) == pytest.approx(27_562.5, abs=1)


def test_after_its_end_it_is_ready_for_another_sound() -> None:
    resampler, sound = Resampler(24_000, 48_000), chord(24_000, 24_000)
    first = np.concatenate((resampler.feed(sound), resampler.end()))
    second = np.concatenate((resampler.feed(sound), resampler.end()))

    assert np.array_equal(first, second)


def test_the_same_rate_passes_untouched() -> None:
    sound = chord(16_000, 16_000)
    resampler = Resampler(16_000, 16_000)

    assert resampler.feed(sound) is sound
    assert resampler.pending_ns == 0
    assert len(resampler.end()) == 0
