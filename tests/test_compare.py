from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from flowgraph.compare import Comparison, RunResult, difference, word_errors
from tests.results import answered, runs


def noisy(rng: random.Random, base: float = 0.0) -> list[list[float | None]]:
    """8 utterances that differ much, in 3 repeats that differ a little."""
    own = [rng.uniform(300, 900) for _ in range(8)]
    return [[ms + base + rng.gauss(0, 25) for ms in own] for _ in range(3)]


def test_a_graph_against_itself_differs_by_nothing_in_nine_of_ten_tries() -> None:
    hits = 0
    for seed in range(60):
        rng = random.Random(seed)
        own = [rng.uniform(300, 900) for _ in range(8)]

        def once(rng: random.Random = rng, own: list[float] = own) -> list[list[float | None]]:
            return [[ms + rng.gauss(0, 25) for ms in own] for _ in range(3)]

        found = Comparison([*runs("a", once()), *runs("b", once())]).difference("a", "b")
        assert found is not None
        hits += found.contains_zero

    assert hits >= 54


def test_a_planted_difference_is_found_and_its_interval_is_far_from_zero() -> None:
    rng = random.Random(1)
    own = [rng.uniform(300, 900) for _ in range(8)]
    slow: list[list[float | None]] = [[ms + 100 + rng.gauss(0, 10) for ms in own] for _ in range(3)]
    fast: list[list[float | None]] = [[ms + rng.gauss(0, 10) for ms in own] for _ in range(3)]

    found = Comparison([*runs("a", slow), *runs("b", fast)]).difference("a", "b")

    assert found is not None
    assert found.median == pytest.approx(100, abs=10)
    assert found.low > 80
    assert found.high < 120
    assert found.won == 24
    assert found.pairs == 24


def test_an_interval_is_wider_where_the_utterances_disagree_than_where_the_repeats_do() -> None:
    values = [float(value) for value in range(-12, 12)]
    agreeing = difference([values[i::8] for i in range(8)])
    disagreeing = difference([values[3 * i : 3 * i + 3] for i in range(8)])

    assert disagreeing.high - disagreeing.low > agreeing.high - agreeing.low


def test_only_turns_answered_in_both_are_paired_and_the_others_are_counted() -> None:
    both = Comparison([*runs("a", [[500.0, None, 400.0]]), *runs("b", [[300.0, 200.0, None]])])

    found = both.difference("a", "b")

    assert found is not None
    assert (found.pairs, found.median) == (1, 200.0)
    assert [both.summary(graph).failed for graph in "ab"] == [1, 1]


def test_graphs_that_share_no_answered_turn_have_no_difference() -> None:
    assert Comparison([*runs("a", [[None]]), *runs("b", [[1.0]])]).difference("a", "b") is None


def test_the_blame_of_all_phases_adds_up_to_the_mean_difference() -> None:
    a = [RunResult("a", 0, (answered(0, 900.0, LLM=500, TTS=400), answered(1, 700.0, LLM=700)), 1, 1)]
    b = [RunResult("b", 0, (answered(0, 500.0, LLM=450, TTS=50), answered(1, 650.0, LLM=600, STT=50)), 1, 1)]
    both = Comparison([*a, *b])

    blame = {one.name: one.saved for one in both.blame("a", "b")}

    assert blame == {"STT": -25.0, "LLM": 75.0, "TTS": 175.0}
    found = both.difference("a", "b")
    assert found is not None
    assert sum(blame.values()) == found.mean


@pytest.mark.parametrize(
    ("said", "wrong"),
    [("What time is it?", 0), ("what time it", 1), ("", 4), ("what the time is it now", 2), ("it is time what", 4)],
)
def test_word_errors_are_the_edit_distance_in_words(said: str, wrong: int) -> None:
    assert word_errors("what time is it", said) == (wrong, 4)


def test_the_gains_of_a_row_of_graphs_add_up_and_each_is_held_against_the_one_before() -> None:
    row = Comparison(
        [*runs("a", [[900.0, 700.0]]), *runs("b", [[800.0, None]]), *runs("c", [[300.0, 100.0]])], order=["a", "b", "c"]
    )

    gains = row.gains()

    assert [(gain.graph, gain.mean) for gain in gains] == [("a", 900.0), ("b", 800.0), ("c", 300.0)]
    assert gains[0].before is None
    assert [gain.before.mean for gain in gains if gain.before is not None] == [100.0, 500.0]


def test_steps_are_blamed_by_name_with_the_largest_difference_first() -> None:
    a = [RunResult("a", 0, (answered(0, 900.0, llm=500, tts=400),), 1, 1)]
    b = [RunResult("b", 0, (answered(0, 500.0, llm=450, tts=50),), 1, 1)]

    blamed = Comparison([*a, *b]).blame_steps("a", "b")

    assert [(one.name, one.saved) for one in blamed] == [("working tts", 350.0), ("working llm", 50.0)]


def test_a_budget_is_held_against_all_runs_and_says_what_broke_it() -> None:
    run = RunResult("a", 0, (answered(0, 900.0, LLM=600, TTS=300), answered(1, 400.0, LLM=100, TTS=300)), 1, 1)

    [broken, kept] = Comparison(
        [run], budgets={"a": {"first_audio_p95": 700_000_000, "first_audio_p50": 700_000_000}}
    ).verdicts("a")

    assert (broken.kept, broken.phase, broken.phase_mean) == (False, "LLM", 600.0)
    assert (kept.kept, kept.value) == (True, 650.0)


def test_words_wrong_and_calls_wasted_are_counted_over_all_runs() -> None:
    import dataclasses

    turn = dataclasses.replace(answered(0, 500.0), said="what time it", withdrawn=2)
    summary = Comparison([RunResult("a", repeat, (turn,), 1, 1) for repeat in range(2)]).summary("a")

    assert (summary.word_errors, summary.words, summary.wasted) == (2, 8, 4)
    assert summary.word_error_rate == 0.25


# -- by ear -------------------------------------------------------------------------------------------------------------


class Heard(NamedTuple):
    speech_end_s: float
    first_sound_s: float


def test_by_ear_the_latency_is_the_recordings_and_what_the_engine_told_stands_beside() -> None:
    [run] = runs("a", [[500.0, 600.0]])
    found = run.by_ear({0: Heard(3.0, 3.51), 1: Heard(8.0, 8.58)})
    both = Comparison([found])
    summary = both.summary("a")

    assert [(turn.latency_ms, turn.told_ms) for turn in found.turns] == [
        (pytest.approx(510), 500), (pytest.approx(580), 600)
    ]  # fmt: skip
    assert (found.turns[0].speech_end_s, found.turns[0].audible_s) == (3.0, 3.51)
    assert both.by_ear
    assert summary.p50 == pytest.approx(545)
    assert (summary.told_p50, summary.apart) == (550, pytest.approx(20))
    assert not Comparison([run]).by_ear


def test_what_only_one_of_engine_and_recording_knows_counts_as_nothing_and_is_told() -> None:
    [run] = runs("a", [[500.0, None, None]])
    heard, nothing, cut = run.by_ear({1: Heard(8.0, 10.0)}).turns

    assert (heard.latency_ms, heard.told_ms, heard.verdict) == (None, 500, "the recording holds no answer")
    assert (nothing.latency_ms, nothing.told_ms) == (None, None)
    assert nothing.verdict == "the recording holds a sound after 2000 ms"
    assert cut.verdict == ""
