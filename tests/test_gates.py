from __future__ import annotations

import pytest

from flowgraph.compare import Comparison
from flowgraph.gates import Gate, WrongGate
from tests.results import runs

NAMES = ["old", "new"]
SLOW = [[500.0, 600.0, 700.0, 800.0]]
FAST = [[400.0, 500.0, 600.0, 700.0]]


def judged(text: str, old: list[list[float | None]], new: list[list[float | None]]) -> tuple[bool, str]:
    return Gate.parse(text, NAMES).judge(Comparison([*runs("old", old), *runs("new", new)], order=NAMES))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("p50 > 540ms", True),
        ("p50 > 560ms", False),
        ("new p50 >= 550ms", True),
        ("B p50<=550ms", True),
        ("A p50 > 640ms", True),
        ("old mean > 0.7s", False),
        ("p95 > 600ms", True),
        ("failed > 0", False),
        ("A failed<1", True),
        ("words_wrong > 5%", False),
        ("cut_off > 0%", False),
    ],
)
def test_a_figure_is_held_against_a_value(text: str, holds: bool) -> None:
    assert judged(text, SLOW, FAST)[0] is holds


def test_without_a_graph_the_last_is_meant_and_it_says_what_it_has() -> None:
    assert judged("p50 > 1s", SLOW, FAST) == (False, "p50 > 1s: new has 550 ms")


def test_what_is_unanswered_counts_as_failed() -> None:
    assert judged("failed > 20%", SLOW, [[400.0, None, 500.0, 600.0]]) == (True, "failed > 20%: new has 1 of 4 (25.0%)")


def test_slower_holds_only_beyond_the_whole_interval() -> None:
    slower: list[list[float | None]] = [[ms + 100 for ms in row] for row in FAST]

    assert judged("B slower than A by 50ms", FAST, slower)[0]
    assert not judged("B slower than A by 110ms", FAST, slower)[0]
    assert judged("new slower than old by 15%", FAST, slower)[0]  # 100 of 550
    assert not judged("new slower than old by 20%", FAST, slower)[0]
    assert not judged("A slower than B by 0ms", FAST, slower)[0]


def test_a_difference_that_could_be_noise_fails_nothing() -> None:
    noisy: list[list[float | None]] = [[410.0, 480.0, 640.0, 690.0]]

    holds, said = judged("B slower than A by 0ms", FAST, noisy)

    assert not holds
    assert "95 % interval" in said


def test_what_cannot_be_judged_fails() -> None:
    assert judged("p50 > 1s", SLOW, [[None]])[0]
    assert judged("B slower than A by 1%", SLOW, [[None]])[0]
    gate = Gate.parse("B slower than A by 1%", NAMES)
    assert gate.judge(Comparison(runs("old", SLOW), order=NAMES)) == (
        True, "B slower than A by 1%: can't be judged, a graph has no finished run",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no condition"),
        ("p95", "no condition"),
        ("p95 = 700ms", "no condition"),
        ("speed > 3", "no figure 'speed'"),
        ("p95 > 700", "'700' isn't a duration such as 700ms"),
        ("p95 > 5%", "isn't a duration"),
        ("failed > 700ms", "isn't a count such as 2 or a share such as 5%"),
        ("C p95 > 700ms", "no graph 'C'"),
        ("B slower than B by 5%", "slower than itself"),
        ("B slower than new by 5%", "slower than itself"),
        ("B slower than A by 5", "isn't a duration such as 700ms or a share such as 5%"),
        ("B slower than A", "no condition"),
    ],
)
def test_a_wrong_condition_is_one_clear_error(text: str, says: str) -> None:
    with pytest.raises(WrongGate, match=r"--fail-if '") as caught:
        Gate.parse(text, NAMES)

    assert says in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2
