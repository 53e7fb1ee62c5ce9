from __future__ import annotations

import numpy as np

from flowgraph.testing import run_node
from flowgraph.units import MS
from nodes.echo import Echo
from nodes.vocabulary import Audio, Speech


def test_what_is_heard_is_said_after_a_delay() -> None:
    heard = [Audio(np.full(320, level, np.float32), 16_000) for level in (0.1, 0.2, 0.3)]
    said = [frame for frame in run_node(Echo(delay=50 * MS), heard) if isinstance(frame, Speech)]

    sound = np.concatenate([frame.samples for frame in said])
    assert not sound[:800].any()
    assert np.array_equal(sound[800:], np.concatenate([frame.samples for frame in heard]))
    assert {frame.rate_hz for frame in said} == {16_000}
    assert {frame.turn for frame in said} == {1}
