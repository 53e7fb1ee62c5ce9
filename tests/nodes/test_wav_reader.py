from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import NodeFailed
from flowgraph.testing import run_node
from flowgraph.units import MS, SECOND
from nodes.sound.wav import WavTarget
from nodes.vocabulary import Audio
from nodes.wav_reader import WavReader


def tone_file(path: Path, rate_hz: int = 16_000, seconds: float = 1.0) -> tuple[str, np.ndarray]:
    samples = (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)
    target = WavTarget(path, rate_hz)
    target.write(samples)
    target.save()
    return str(path), samples


def test_a_file_is_read_to_its_last_sample(tmp_path: Path) -> None:
    path, samples = tone_file(tmp_path / "a.wav", seconds=1.0071)
    frames = [frame for frame in run_node(WavReader(path=path), []) if isinstance(frame, Audio)]

    assert np.concatenate([frame.samples for frame in frames]) == pytest.approx(samples, abs=1e-4)
    assert {len(frame.samples) for frame in frames[:-1]} == {320}
    assert all(b.at == pytest.approx(a.end_at, abs=1) for a, b in itertools.pairwise(frames))


def test_another_rate_is_converted_and_lasts_as_long(tmp_path: Path) -> None:
    path, _ = tone_file(tmp_path / "a.wav", rate_hz=44_100)
    frames = [frame for frame in run_node(WavReader(path=path), []) if isinstance(frame, Audio)]

    assert sum(len(frame.samples) for frame in frames) == 16_000
    assert {frame.rate_hz for frame in frames} == {16_000}


@pytest.mark.parametrize(("paced", "seconds"), [(True, 3.0), (False, 0.0)])
def test_it_is_paced_where_asked(tmp_path: Path, paced: bool, seconds: float) -> None:
    import asyncio

    from flowgraph.node import Node
    from flowgraph.session import Session
    from flowgraph.testing import graph_of, run_virtual

    path, _ = tone_file(tmp_path / "a.wav", seconds=3.0)
    ahead: list[int] = []

    async def main() -> float:
        nodes: dict[str, Node] = {"reader": WavReader(path=path, paced=paced)}
        session = Session(graph_of(nodes), nodes=nodes)
        session.watch(Audio, lambda audio: ahead.append(audio.end_at - session.clock.now()))
        async with session:
            begin = asyncio.get_running_loop().time()
            await session.finished()
            return asyncio.get_running_loop().time() - begin

    assert run_virtual(main()) == pytest.approx(seconds, abs=0.001)
    assert (max(ahead) <= MS) is paced, "captured before it is there?"
    assert max(ahead) <= 3 * SECOND


def test_a_file_that_is_not_there_fails_with_its_name() -> None:
    with pytest.raises(NodeFailed, match=r"can't read gone\.wav"):
        run_node(WavReader(path="gone.wav"), [])
