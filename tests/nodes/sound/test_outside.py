"""A user who speaks aloud, seen from the run that is judged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import DeviceError
from nodes.sound.outside import Outside
from nodes.sound.room import SECOND
from nodes.vocabulary import Audio

RATE_HZ = 16_000
MS = 1_000_000


def heard(outside: Outside, level: float) -> None:
    """Ten seconds of a microphone, in frames of 20 ms: loud from 3 s to 4.235 s."""
    sound = np.zeros(10 * RATE_HZ, np.float32)
    sound[3 * RATE_HZ : round(4.235 * RATE_HZ)] = level
    size = RATE_HZ // 50
    for begin in range(0, len(sound), size):
        outside.captured(
            Audio(
                sound[begin : begin + size],
                RATE_HZ,
                at=begin * SECOND // RATE_HZ,
            )
        )


def test_an_utterance_ends_where_the_graphs_own_microphone_heard_it_end(tmp_path: Path) -> None:
    outside = Outside("demo", tmp_path / "a.wav")
    heard(outside, 0.1)

    found = outside._found({"index": 1, "start_at": 3030 * MS, "end_at": 4280 * MS})

    assert found.end_at == 4240 * MS, "to a window of 10 ms"
    assert found.start_at == 2990 * MS
    assert found.text == "Do you know what time it is?"
    assert not found.barges_in


def test_a_microphone_that_hears_somebody_else_is_an_error(tmp_path: Path) -> None:
    outside = Outside("demo", tmp_path / "a.wav")
    heard(outside, 0.001)

    with pytest.raises(DeviceError, match="microphone didn't hear the recorded user") as caught:
        outside._found({"index": 1, "start_at": 3030 * MS, "end_at": 4280 * MS})

    assert "`mic`" in caught.value.hint


def test_a_graph_without_captured_sound_is_taken_at_the_recordings_word(tmp_path: Path) -> None:
    found = Outside("demo", tmp_path / "a.wav")._found({"index": 6, "start_at": 3030 * MS, "end_at": 4280 * MS})

    assert (found.end_at, found.barges_in) == (4280 * MS, True)


def test_what_keeps_the_user_from_speaking_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    async def main() -> None:
        async with Outside("demo", tmp_path / "a.wav"):
            pass

    with pytest.raises(DeviceError, match="there is no parec") as caught:
        asyncio.run(main())

    assert "apt-get install pulseaudio-utils" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
