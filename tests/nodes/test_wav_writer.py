from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import NodeFailed
from flowgraph.testing import run_node
from nodes.sound.resampling import resampled
from nodes.sound.wav import WavSource
from nodes.vocabulary import Audio, Speech
from nodes.wav_writer import WavWriter

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)).astype(np.float32)


def read(path: Path) -> tuple[int, np.ndarray]:
    source = WavSource(path)
    samples = source.read(1_000_000)
    source.close()
    return source.rate_hz, samples


def test_the_file_has_the_rate_of_the_first_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    run_node(WavWriter(path=str(path)), [Speech(TONE[n : n + 1000], 24_000) for n in range(0, 24_000, 1000)])

    rate_hz, samples = read(path)
    assert rate_hz == 24_000
    assert samples == pytest.approx(TONE, abs=1e-4)


def test_sound_of_other_rates_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    run_node(
        WavWriter(path=str(path), rate_hz=16_000),
        [Speech(TONE, 24_000), Audio(TONE[:1600], 16_000), Speech(TONE, 24_000)],
    )

    rate_hz, samples = read(path)
    assert (rate_hz, len(samples)) == (16_000, 16_000 + 1600 + 16_000)
    assert samples[:16_000] == pytest.approx(resampled(TONE, 24_000, 16_000), abs=1e-4)
    assert samples[16_000:17_600] == pytest.approx(TONE[:1600], abs=1e-4)


def test_without_sound_the_file_is_there_and_empty(tmp_path: Path) -> None:
    run_node(WavWriter(path=str(tmp_path / "a.wav")), [])

    assert len(read(tmp_path / "a.wav")[1]) == 0


def test_a_place_that_cannot_be_written_fails_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed, match="can't write"):
        run_node(WavWriter(path=str(tmp_path / "no" / "a.wav")), [])


def test_where_the_session_fails_what_came_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    broken = Speech(TONE, 24_000)
    object.__setattr__(broken, "samples", None)
    with pytest.raises(NodeFailed):
        run_node(WavWriter(path=str(path)), [Speech(TONE, 24_000), broken])

    assert read(path)[1] == pytest.approx(TONE, abs=1e-4)
