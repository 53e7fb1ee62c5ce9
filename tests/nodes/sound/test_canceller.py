from __future__ import annotations

import sys

import numpy as np
import pytest

from flowgraph.errors import FlowError
from nodes.sound.canceller import DELAYS, Canceller
from tests.rooms import dbfs, recorded, response, through


@pytest.mark.parametrize("noise_suppression", [False, True])
@pytest.mark.parametrize("rate_hz", DELAYS)
def test_it_is_known_how_late_the_sound_comes_out(rate_hz: int, noise_suppression: bool) -> None:
    """WebRTC doesn't say it: a release that changes it has to be noticed here."""
    canceller = Canceller(noise_suppression=noise_suppression)
    rng = np.random.default_rng(1)
    count = rate_hz // 100 * 150
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum[int(len(spectrum) * 6000 / rate_hz) :] = 0  # below 3 kHz: resampling inside is exact there
    near = (np.fft.irfft(spectrum, count) * 0.1).astype(np.float32)

    clean = canceller.clean(near, np.zeros_like(near), rate_hz)

    after = slice(rate_hz // 2, rate_hz)
    fits = [float(clean[after] @ near[after.start - late : after.stop - late]) for late in range(rate_hz // 25)]
    assert int(np.argmax(fits)) == canceller.delay_samples(rate_hz)


def test_what_is_louder_than_full_scale_is_clipped_not_wrapped_around() -> None:
    near = np.full(1600, 3.0, np.float32) * np.sign(np.sin(np.arange(1600) / 8)).astype(np.float32)

    clean = Canceller().clean(near, np.zeros_like(near), 16_000)

    assert np.abs(clean).max() <= 1.01
    assert clean[128 + 1200 : 1600] @ near[1200 : 1600 - 128] > 0


def test_an_echo_goes_down_to_the_noise_of_the_room() -> None:
    far = recorded("2-time", "4-recall", "6-story", "3-product", "1-name", "8-bye")
    far = far[: len(far) // 160 * 160]
    noise = np.random.default_rng(2).standard_normal(len(far)).astype(np.float32) * 10 ** (-80 / 20)
    echo = through(far, response(loss_db=20, delay_ms=15))

    clean = Canceller().clean(echo + noise, far, 16_000)

    learnt = slice(4 * 16_000, None)
    assert dbfs(clean[learnt]) - dbfs(echo[learnt]) < -30


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit", None)
    monkeypatch.delitem(sys.modules, "livekit.rtc", raising=False)

    with pytest.raises(FlowError) as caught:
        Canceller()

    assert caught.value.hint == "pip install 'flowgraph[aec]'"
