from __future__ import annotations

import numpy as np
import pytest

from nodes.sound.timeline import MS, SECOND, Timeline, measure_offset

BLOCK = 480
BLOCK_NS = 10 * MS


def test_jitter_of_the_stamps_is_smoothed_away() -> None:
    rng, timeline = np.random.default_rng(2), Timeline(48_000)
    places = [timeline.place(n * BLOCK_NS + int(rng.integers(-6, 7)) * MS, BLOCK) - n * BLOCK_NS for n in range(1000)]

    assert max(abs(place) for place in places[100:]) < 1.5 * MS
    steps = np.diff(places[100:])
    assert np.abs(steps).max() < 0.3 * MS, "blocks follow each other without gaps"


def test_a_device_whose_clock_is_off_is_followed() -> None:
    timeline = Timeline(48_000)
    stamp = 0
    for n in range(6000):
        stamp = round(n * BLOCK_NS * (1 + 200e-6))  # 200 ppm, for a minute
        place = timeline.place(stamp, BLOCK)
    assert place == pytest.approx(stamp, abs=1 * MS)


def test_missing_samples_make_the_count_begin_anew() -> None:
    timeline = Timeline(48_000)
    for n in range(100):
        timeline.place(n * BLOCK_NS, BLOCK)
    for jump in (2, 50):
        places = [timeline.place((n + jump) * BLOCK_NS, BLOCK) - (n + jump) * BLOCK_NS for n in range(100, 110)]

        assert places[-1] == 0


def test_one_wild_stamp_is_not_believed() -> None:
    timeline = Timeline(48_000)
    for n in range(100):
        timeline.place(n * BLOCK_NS, BLOCK)
    timeline.place(100 * BLOCK_NS + SECOND // 5, BLOCK)

    assert timeline.place(101 * BLOCK_NS, BLOCK) == pytest.approx(101 * BLOCK_NS, abs=4 * MS)


def test_the_offset_is_taken_from_the_tightest_reading() -> None:
    ours = iter([0, 90, 100, 101, *[110, 190] * 6])
    offset = measure_offset(lambda: next(ours), lambda: 5e-8)

    assert offset == 100 - 50
