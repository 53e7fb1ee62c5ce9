from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgraph.tuning.curve import figures
from flowgraph.tuning.run import sweeps_of, tune
from nodes.turns import fitting
from nodes.turns.fitting import NEVER, Fit, Gap, Score, fitted_settings, gaps_of
from tests.tuning.heard import FAST, Says, heard, optimized, replayed


def gap(*scores: float, length: float = math.inf) -> Gap:
    return Gap({100 * (i + 1): Score(score, 100.0 * (i + 1), "unclear") for i, score in enumerate(scores)}, length)


def fit(gaps: list[Gap], timeout_ms: float = 1000) -> Fit:
    return Fit(gaps, words_weight=0.0, timeout_ms=timeout_ms)


def test_scores_that_tell_ends_from_pauses_end_every_turn_at_the_first_checkpoint() -> None:
    gaps = [gap(0.9, 0.9) for _ in range(5)] + [gap(0.2, 0.2, length=300) for _ in range(10)]

    thresholds, mean, cuts = fit(gaps).thresholds(0.0) or ({}, 0, 0)

    assert (mean, cuts) == (100.0, 0)
    assert 0.2 < thresholds[100] < 0.9


def test_scores_that_tell_nothing_leave_it_to_silence() -> None:
    gaps = [gap(0.5) for _ in range(5)] + [gap(0.5, length=300) for _ in range(10)]

    thresholds, mean, cuts = fit(gaps).thresholds(0.05) or ({100: 0.0}, 0, 0)

    assert thresholds == {100: 1.0}
    assert mean == pytest.approx(1032)
    assert cuts == 0


def test_the_budget_is_spent_where_it_saves_most() -> None:
    gaps = [gap(0.6, 0.6) for _ in range(9)] + [gap(0.3, 0.3)]
    gaps += [
        gap(0.65, 0.2, length=400),
        gap(0.1, 0.1, length=400),
        gap(0.1, 0.1, length=400),
        gap(0.4, 0.1, length=400),
    ]
    at_first = fit(gaps).thresholds(0.25)

    assert at_first is not None
    assert at_first[1] < (fit(gaps).thresholds(0.0) or ({}, 0.0, 0))[1]
    assert at_first[2] <= 1


def test_no_thresholds_help_where_silence_alone_breaks_the_budget() -> None:
    gaps = [gap(0.9)] + [gap(0.1, length=1500) for _ in range(10)]

    assert fit(gaps).thresholds(0.5) is None
    assert fit(gaps, timeout_ms=2000).thresholds(0.0) is not None


probabilities = st.floats(0, 1).map(lambda value: round(value, 2))


@given(
    ends=st.lists(st.tuples(probabilities, probabilities), min_size=1, max_size=8),
    pauses=st.lists(st.tuples(probabilities, probabilities, st.sampled_from([150, 250, 900])), min_size=1, max_size=8),
    budget=st.sampled_from([0.0, 0.1, 0.25, 0.5]),
)
def test_the_budget_is_kept_and_nothing_is_lost_against_silence(
    ends: list[tuple[float, float]], pauses: list[tuple[float, float, int]], budget: float
) -> None:
    gaps = [gap(*one) for one in ends] + [gap(*scores, length=length) for *scores, length in pauses]
    fitted = fit(gaps)

    found = fitted.thresholds(budget)

    assert found is not None
    thresholds, mean, cuts = found
    assert cuts <= budget * len(pauses)
    assert mean <= fitted.judge([NEVER, NEVER])[0]
    row = [NEVER if thresholds[checkpoint] == 1.0 else thresholds[checkpoint] for checkpoint in fitted.checkpoints]
    assert fitted.judge(row) == (pytest.approx(mean), cuts)
    assert row == sorted(row, reverse=True), "the longer the silence, the less it takes"


def test_it_comes_near_the_best_of_all_thresholds() -> None:
    rng = random.Random(7)
    worse = []
    for _ in range(30):
        gaps = [gap(rng.betavariate(4, 2), rng.betavariate(4, 2)) for _ in range(12)]
        gaps += [
            gap(rng.betavariate(2, 4), rng.betavariate(2, 4), length=rng.choice([150, 250, 500])) for _ in range(20)
        ]
        fitted = fit(gaps)
        every = [[NEVER, *fitted._candidates(column)] for column in range(2)]
        falling = [row for row in itertools.product(*every) if row[0] >= row[1]]
        best = min(mean for mean, cuts in map(fitted.judge, falling) if cuts <= 2)
        worse.append((fitted.thresholds(0.1) or ({}, 1e9, 0))[1] / best)

    assert sum(worse) / len(worse) < 1.05
    assert max(worse) < 1.25


SCORED = [
    Says((500, 300, 500), "sunny weather", scores=((0.1, 0.2, 0.2), (0.9, 0.95, 0.97, 0.97))),
    Says((700, 600, 500), "sunny weather", scores=((0.3, 0.2, 0.1), (0.7, 0.9, 0.97, 0.97))),
]


def test_gaps_are_read_from_what_was_heard() -> None:
    pause, end, *_ = gaps_of(heard(*SCORED, stt_ms=40))

    assert (pause.length, end.length) == (300, math.inf)
    assert [score.probability for score in pause.scores.values()] == [0.1, 0.2, 0.2]
    assert pause.scores[100].at == pytest.approx(128 + 40, abs=32), "the words come later than the score"
    assert pause.scores[300].at == 300
    assert end.scores[400].probability == 0.97


def test_what_is_fitted_does_in_the_dialogue_what_the_fit_says() -> None:
    evidence = heard(*SCORED * 4, stt_ms=10)
    settings = list(fitted_settings([evidence], {}))

    assert settings
    for options in settings:
        found = figures(replayed(evidence, **options))
        assert found.rate == 0.0
        assert found.decided is not None
        assert found.decided <= 300


def test_fitted_thresholds_keep_their_budget_in_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "WEIGHTS", (0.0, 1.0))  # all take half a minute
    monkeypatch.setattr(fitting, "TIMEOUTS_MS", (800, 1500))
    rng = random.Random(3)
    says = [
        Says(
            (500, rng.choice((200, 350, 700)), 600),
            "sunny weather",
            scores=(
                tuple(rng.betavariate(2, 3) for _ in range(7)),
                tuple(rng.betavariate(3, 2) for _ in range(10)),
            ),
        )
        for _ in range(16)
    ]
    evidence = [heard(*says, stt_ms=20)]
    graph = optimized()

    tuned = tune(graph, evidence, evidence, FAST, sweeps=sweeps_of(graph, ["model", "fixed"]))

    model, fixed = tuned.curves
    for budget in (0.05, 0.1, 0.2):
        chosen, plain = model.at(budget), fixed.at(budget)
        assert chosen is not None
        assert chosen.fit.rate <= budget
        assert plain is None or chosen.fit.cost <= plain.fit.cost
