"""Long runs, by `make soak`: what holds for a minute has to hold for an hour."""

from __future__ import annotations

import random
import resource
from pathlib import Path

import pytest

from tests.test_scenarios import (
    converse,
    interruptions,
)
from tests.test_scenarios import (
    test_after_a_barge_in_nothing_stale_is_heard_the_next_answer_comes_and_the_history_holds_what_was_heard as after_a_barge_in,
)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("seed", range(100, 150))
def test_after_any_of_a_thousand_interruptions_nothing_stale_is_heard(tmp_path: Path, seed: int, words: bool) -> None:
    after_a_barge_in(tmp_path, seed, words)


def test_forty_minutes_of_conversation_needs_no_more_memory_than_five_minutes(tmp_path: Path) -> None:
    """Virtual time. The peak after the long run may exceed the one after the short run by little: nothing piles up."""
    rng = random.Random(1)

    def peak_mb(turns: int) -> float:
        run = converse(interruptions(tmp_path, [rng.randrange(500, 3500) for _ in range(turns)]), keep=False)
        assert all(turn.answered for turn in run.report.turns)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    short = peak_mb(60)
    long = peak_mb(480)

    assert long - short < 30, f"{short:.0f} MB after five minutes, {long:.0f} MB after forty"
