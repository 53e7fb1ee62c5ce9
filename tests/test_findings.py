from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from flowgraph import findings
from flowgraph.compare import Comparison, RunResult
from tests.results import answered, runs


def two(a: list[list[float | None]], b: list[list[float | None]]) -> Comparison:
    return Comparison([*runs("old", a), *runs("new", b)], order=["old", "new"])


def test_the_headline_says_how_much_sooner_and_how_sure_that_is() -> None:
    assert findings.headline(two([[900.0, 700.0]], [[400.0, 200.0]])) == (
        "B new is heard 500 ms sooner than A old (95 % interval 500 … 500), sooner in 2 of 2 turns."
    )
    assert "100 ms later than A old" in findings.headline(two([[400.0, 200.0]], [[500.0, 300.0]]))
    assert "can't be told apart: the difference is −5 ms" in findings.headline(two([[400.0, 200.0]], [[390.0, 220.0]]))
    assert "no turn was answered by both" in findings.headline(two([[None]], [[390.0]]))


def test_the_columns_of_the_blame_add_up_as_they_are_shown() -> None:
    a = [RunResult("a", 0, (answered(0, 101.5, LLM=33.5, STT=33.5, TTS=34.5),), 1, 1)]
    b = [RunResult("b", 0, (answered(0, 50.8, LLM=0.4, STT=0.4, TTS=50.0),), 1, 1)]

    grid = findings.blame(Comparison([*a, *b]), "a", "b")

    assert grid is not None
    assert grid.heads == ("phase", "A", "B", "saved")
    for column in (1, 2, 3):
        shown = [int(row[column].replace("−", "-")) for row in grid.rows]
        assert sum(shown) == int(grid.foot[column].replace("−", "-"))
    assert grid.foot == ("sum = first sound", "102", "51", "51")


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e4, 1e4), min_size=1, max_size=8))
def test_whole_numbers_add_up_to_the_rounded_sum_and_none_is_off_by_one(parts: dict[str, float]) -> None:
    found = findings.whole(parts)

    assert sum(found.values()) == round(sum(parts.values()))
    assert all(abs(found[name] - parts[name]) <= 1 for name in parts)


def test_two_graphs_have_no_row_of_gains_and_three_have() -> None:
    assert findings.gains(two([[1.0]], [[2.0]])) is None
    three = Comparison([*runs("a", [[900.0]]), *runs("b", [[950.0]]), *runs("c", [[300.0]])], order=["a", "b", "c"])

    grid = findings.gains(three)

    assert grid is not None
    assert [row[:3] for row in grid.rows] == [("A a", "900", ""), ("B b", "950", "−50"), ("C c", "300", "650")]
    assert grid.foot[2] == "600"


def test_a_budget_that_is_broken_names_what_broke_it() -> None:
    run = RunResult("a", 0, (answered(0, 900.0, LLM=600, TTS=300),), 1, 1)
    [(name, verdict)] = findings.budgets(Comparison([run], budgets={"a": {"first_audio_p95": 700_000_000}}))

    assert name == "A a"
    assert findings.verdict_text(verdict) == "first_audio_p95 ≤ 700 ms: broken, 900 ms; mostly by LLM: 600 ms"


class Heard(NamedTuple):
    speech_end_s: float
    first_sound_s: float


def test_by_ear_the_engines_own_figures_stand_beside_those_of_the_recording() -> None:
    a = RunResult("a", 0, (answered(0, 500.0, LLM=300, TTS=200),), 1, 1).by_ear({0: Heard(3.0, 3.52)})
    b = RunResult("b", 0, (answered(0, 200.0, LLM=100, TTS=100),), 1, 1).by_ear({0: Heard(3.0, 3.19)})
    comparison = Comparison([a, b])

    overview, blame = findings.overview(comparison), findings.blame(comparison, "a", "b")

    assert overview.heads[:6] == ("", "graph", "p50", "p90", "as told", "apart")
    assert [row[2:6] for row in overview.rows] == [("520", "520", "500", "20"), ("190", "190", "200", "10")]
    assert {len(row) for row in overview.rows} == {len(overview.heads)}
    assert blame is not None
    assert blame.foot == ("sum, as told", "500", "200", "300")
    assert "B b is heard 330 ms sooner than A a" in findings.headline(comparison)
