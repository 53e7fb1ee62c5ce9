from __future__ import annotations

from flowgraph.units import MS, SECOND
from nodes.clients.timeline import Timeline


def test_seconds_of_a_stream_are_times_of_capture() -> None:
    timeline = Timeline(16_000)
    timeline.add(5 * SECOND, 320)
    timeline.add(5 * SECOND + 20 * MS, 320)
    assert timeline.at(0.03) == 5 * SECOND + 30 * MS
    assert timeline.seconds == 0.04


def test_sound_that_was_left_out_makes_the_clock_jump() -> None:
    timeline = Timeline(16_000)
    timeline.add(SECOND, 16_000)
    timeline.add(10 * SECOND, 16_000)
    assert timeline.at(0.5) == SECOND + 500 * MS
    assert timeline.at(1.5) == 10 * SECOND + 500 * MS


def test_jitter_is_no_jump() -> None:
    timeline = Timeline(16_000)
    for block in range(10):
        timeline.add(block * 20 * MS + block % 2 * MS, 320)
    assert timeline.at(0.15) == 150 * MS


def test_a_device_clock_that_drifts_is_followed() -> None:
    timeline = Timeline(16_000)
    for block in range(1000):
        timeline.add(block * 20_010_000, 320)
    assert abs(timeline.at(19.98) - 999 * 20_010_000) < 6 * MS


def test_before_any_sound_there_is_no_time() -> None:
    assert Timeline(16_000).at(1.0) == 0
