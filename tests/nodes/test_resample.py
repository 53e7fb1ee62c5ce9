from __future__ import annotations

import numpy as np
import pytest

from flowgraph.testing import run_node
from flowgraph.units import MS, SECOND
from nodes.resample import Resample
from nodes.sound.resampling import resampled
from nodes.vocabulary import Audio, End, Sound, Speech

TONE = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)


def sound_of(frames: list[object]) -> np.ndarray:
    return np.concatenate([frame.samples for frame in frames if isinstance(frame, Sound)])


def test_captured_sound_streams_at_the_other_rate_and_keeps_its_time() -> None:
    blocks = [Audio(TONE[n : n + 960], 48_000, at=SECOND + n * SECOND // 48_000) for n in range(0, 48_000, 960)]
    frames = run_node(Resample(rate_hz=16_000), blocks)

    sound = sound_of(frames)
    assert sound == pytest.approx(resampled(TONE, 48_000, 16_000)[: len(sound)], abs=1e-6)
    assert all(isinstance(frame, Audio) and frame.rate_hz == 16_000 for frame in frames)
    ends = [frame.end_at for frame in frames if isinstance(frame, Audio)]
    assert ends == pytest.approx([block.end_at - 2 * MS for block in blocks], abs=0.1 * MS)


def test_a_part_of_speech_lasts_as_long_as_before_and_its_words_keep_their_times() -> None:
    chunks = [
        Speech(TONE[:2400], 24_000, text="One two.", words=(("One ", 0, 1200),)),
        Speech(TONE[2400:4800], 24_000, last=True, words=(("two.", 1200, 4800),)),
        Speech(TONE[:2400], 24_000, text="Three.", part=1, last=True),
        End(),
    ]
    frames = run_node(Resample(rate_hz=16_000), chunks)

    speech = [frame for frame in frames if isinstance(frame, Speech)]
    assert [len(frame.samples) for frame in (speech[0], speech[2])] == [1600 - 32, 1600]
    assert sum(len(frame.samples) for frame in speech[:2]) == 3200
    assert speech[0].words + speech[1].words == (("One ", 0, 800), ("two.", 800, 3200))
    assert [frame.text for frame in speech] == ["One two.", "", "Three."]
    assert isinstance(frames[-1], End)


def test_the_rate_that_it_has_already_is_left_alone() -> None:
    [frame] = run_node(Resample(rate_hz=24_000), [Speech(TONE[:2400], 24_000, text="Same.", last=True)])

    assert isinstance(frame, Speech)
    assert np.array_equal(frame.samples, TONE[:2400])
