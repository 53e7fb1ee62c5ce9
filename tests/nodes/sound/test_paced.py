from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from flowgraph.clock import clock_of
from flowgraph.testing import run_virtual
from flowgraph.units import MS, SECOND
from nodes.sound.paced import PacedStream


def pace(rate_hz: int, seconds: float, during: Callable[[int], None] = lambda _: None) -> list[tuple[int, int, int]]:
    """(samples, due, really), each from the start of the stream."""
    blocks: list[tuple[int, int, int]] = []

    async def main() -> None:
        now = clock_of(asyncio.get_running_loop()).now
        start = now()

        def block(samples: int, due: int) -> bool:
            blocks.append((samples, due - start, now() - start))
            during(len(blocks))
            return True

        stream = PacedStream(rate_hz=rate_hz, now=now, block=block)
        await asyncio.sleep(seconds)
        stream.stop()
        count = len(blocks)
        await asyncio.sleep(1)
        assert len(blocks) == count, "stopped is stopped"

    run_virtual(main())
    return blocks


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_blocks_come_on_an_absolute_schedule_and_never_drift(rate_hz: int) -> None:
    blocks = pace(rate_hz, 60.001)

    samples = np.cumsum([count for count, _, _ in blocks])
    assert samples[-1] == pytest.approx(60 * rate_hz, abs=rate_hz // 100)
    assert all(due == total * SECOND // rate_hz for total, (_, due, _) in zip(samples, blocks, strict=True))
    assert max(abs(really - due) for _, due, really in blocks) <= 1


def test_missed_blocks_are_made_up_for_with_their_own_times() -> None:
    """The virtual clock is moved under the loop's feet, as by a callback that takes 55 ms."""

    def during(count: int) -> None:
        if count == 3:
            asyncio.get_running_loop()._now_ns += 55 * MS  # type: ignore[attr-defined]

    blocks = pace(16_000, 0.2, during)

    assert [due for _, due, _ in blocks] == [n * 10 * MS for n in range(1, 21)]
    assert [round(really / MS) for _, _, really in blocks[2:10]] == [30, 85, 85, 85, 85, 85, 90, 100]
