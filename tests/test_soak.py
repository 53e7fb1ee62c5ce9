"""Long runs, by `make soak`: what holds for a minute has to hold for an hour."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from pathlib import Path

import pytest

from flowgraph.session import Session
from tests.test_scenarios import (
    converse,
    interruptions,
)
from tests.test_scenarios import (
    test_after_a_barge_in_nothing_stale_is_heard_the_next_answer_comes_and_the_history_holds_what_was_heard as after_a_barge_in,
)

ROOT = Path(__file__).parent.parent
STORY_MS = 1700
"""The question for a story takes longer than this."""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("seed", range(100, 150))
def test_after_any_of_a_thousand_interruptions_nothing_stale_is_heard(tmp_path: Path, seed: int, words: bool) -> None:
    after_a_barge_in(tmp_path, seed, words)


def test_half_an_hour_of_conversation_piles_nothing_up(tmp_path: Path) -> None:
    """What the engine and the nodes hold after half an hour is what they held after five minutes. Virtual time."""
    rng = random.Random(1)
    held: list[float] = []

    async def weigh(session: Session) -> None:
        for minutes in (5, 25):
            await asyncio.sleep(minutes * 60)
            session.trace.collect()
            gc.collect()
            ours = [tracemalloc.Filter(True, str(ROOT / folder / "*")) for folder in ("flowgraph", "nodes")]
            theirs = [tracemalloc.Filter(False, str(ROOT / "nodes" / "servers" / "*"))]
            snapshot = tracemalloc.take_snapshot().filter_traces([*ours, *theirs])
            held.append(sum(one.size for one in snapshot.statistics("filename")) / 1e6)
        await session.stop()

    # More than can be said in half an hour, however fast the answers are.
    moments_ms = [rng.randrange(500, 3500) for _ in range(30 * 60 * 1000 // STORY_MS)]
    tracemalloc.start()
    try:
        run = converse(interruptions(tmp_path, moments_ms), keep=False, during=weigh)
    finally:
        tracemalloc.stop()

    assert len(run.report.turns) > 100
    assert all(turn.answered for turn in run.report.turns[:-1]), "the last one was left"
    early, late = held
    assert late - early < 8, f"{early:.1f} MB after five minutes, {late:.1f} MB after thirty"
