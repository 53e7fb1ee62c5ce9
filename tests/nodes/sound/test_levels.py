from __future__ import annotations

import numpy as np
import pytest

from nodes.sound.levels import AudibleWindows, first_audible

RATE = 16_000


def tone(dbfs: float, samples: int) -> np.ndarray:
    """A tone of that root mean square."""
    return (10 ** (dbfs / 20) * np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(samples) / RATE)).astype(np.float32)


@pytest.mark.parametrize(("dbfs", "expected"), [(-49.5, 4800), (-50.5, None), (-20, 4800)])
def test_audible_is_what_is_above_50_dbfs(dbfs: float, expected: int | None) -> None:
    assert first_audible(np.concatenate((np.zeros(4800, np.float32), tone(dbfs, 1600))), RATE) == expected


def test_blocks_make_no_difference() -> None:
    sound = np.concatenate((np.zeros(1234, np.float32), tone(-30, 3210), np.zeros(999, np.float32)))
    whole, pieces = AudibleWindows(RATE), AudibleWindows(RATE)
    whole.feed(sound)
    for piece in np.split(sound, [1, 100, 161, 1500, 1501, 4000]):
        pieces.feed(piece)

    assert (whole.first, whole.last, whole.count) == (pieces.first, pieces.last, pieces.count) == (1120, 4480, 5443)


def test_silence_is_never_audible() -> None:
    assert first_audible(np.zeros(RATE, np.float32), RATE) is None
