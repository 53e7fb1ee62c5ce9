from __future__ import annotations

import numpy as np
import pytest

from flowgraph.testing import run_node
from nodes.gain import Gain
from nodes.vocabulary import Audio, End, Speech

SAMPLES = np.array([0.1, -0.4, 0.8], np.float32)


def test_sound_gets_louder_and_is_clipped() -> None:
    [louder] = run_node(Gain(factor=2.0), [Audio(SAMPLES, 16_000)])

    assert isinstance(louder, Audio)
    assert louder.samples == pytest.approx([0.2, -0.8, 1.0])
    assert louder.samples.dtype == np.float32
    assert SAMPLES[0] == np.float32(0.1), "what came in is as it was"


def test_speech_keeps_its_text_and_its_end_follows() -> None:
    [softer, end] = run_node(
        Gain(factor=0.5), [Speech(SAMPLES, 24_000, text="Hi.", part=2, last=True), End(reason="length")]
    )

    assert isinstance(softer, Speech)
    assert (softer.text, softer.part, softer.last, softer.rate_hz) == ("Hi.", 2, True, 24_000)
    assert softer.samples == pytest.approx(SAMPLES / 2)
    assert isinstance(end, End)
    assert end.reason == "length"
