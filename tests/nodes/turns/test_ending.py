from __future__ import annotations

import itertools

import pytest

from nodes.turns.ending import BUDGETS, Adaptive, Evidence, Fixed, Model, thresholds_for
from nodes.turns.pauses import Pauses

ADAPTIVE = Adaptive(finished_ms=240, unclear_ms=400, unfinished_ms=1200)


def hesitant(*pauses_ms: float) -> Pauses:
    pauses = Pauses()
    for ms in pauses_ms:
        pauses.add(ms)
    return pauses


def test_fixed_silence_is_the_same_whatever_is_known() -> None:
    assert Fixed(400).needed_ms(Evidence("tell me the", settled=True)) == 400


@pytest.mark.parametrize(
    ("text", "needed"), [("what time is it", 240), ("I paid on Monday", 400), ("could you please tell me", 1200)]
)
def test_the_words_decide_how_much_silence_is_needed(text: str, needed: float) -> None:
    assert ADAPTIVE.needed_ms(Evidence(text, settled=True)) == needed


def test_while_words_may_be_missing_none_of_them_shortens_the_silence() -> None:
    assert ADAPTIVE.needed_ms(Evidence("what time is it", settled=False)) == 400


def test_a_user_who_pauses_long_is_waited_for_and_one_who_does_not_isnt() -> None:
    slow, quick = hesitant(*[700] * 12), hesitant(*[150] * 12)
    unclear = "I paid on Monday"

    assert 600 < ADAPTIVE.needed_ms(Evidence(unclear, settled=True, pauses=slow)) <= 1200
    assert 240 <= ADAPTIVE.needed_ms(Evidence(unclear, settled=True, pauses=quick)) < 300
    assert ADAPTIVE.needed_ms(Evidence("what time is it", settled=True, pauses=slow)) == 240


def test_a_single_pause_moves_the_bound_only_a_little() -> None:
    assert hesitant().bound_ms(400) == 400
    assert 400 < hesitant(900).bound_ms(400) < 800


def test_the_model_ends_the_turn_at_the_first_checkpoint_that_is_sure_enough() -> None:
    model = Model({100: 0.9, 200: 0.8, 400: 0.5}, unfinished_ms=1200, words_weight=0)

    assert model.needed_ms(Evidence(scores={104: 0.85})) == 1200
    assert model.needed_ms(Evidence(scores={104: 0.85, 208: 0.85})) == 208
    assert model.needed_ms(Evidence(scores={104: 0.2, 208: 0.2, 304: 0.79, 400: 0.6})) == 400
    assert model.needed_ms(Evidence()) == 1200


def test_the_words_raise_or_lower_what_the_sound_says() -> None:
    model = Model({200: 0.8}, unfinished_ms=1200)
    scores = {200: 0.75}

    assert model.needed_ms(Evidence("what time is it", settled=True, scores=scores)) == 200
    assert model.needed_ms(Evidence("I paid on Monday", settled=True, scores=scores)) == 1200
    assert model.needed_ms(Evidence("could you please tell me", settled=True, scores={200: 0.97})) == 1200
    assert model.needed_ms(Evidence("could you please tell me", settled=False, scores={200: 0.97})) == 200


def test_a_budget_picks_thresholds_that_keep_it() -> None:
    assert thresholds_for({}, 0.05) == BUDGETS[0.05]
    assert thresholds_for({}, 0.07) == BUDGETS[0.05]
    assert thresholds_for({}, 0.001) == BUDGETS[min(BUDGETS)]
    assert thresholds_for({"200ms": 0.9, "0.5s": 0.4}, 0.05) == {200: 0.9, 500: 0.4}


def test_a_smaller_budget_is_never_surer_sooner() -> None:
    budgets = sorted(BUDGETS)
    for strict, loose in itertools.pairwise(budgets):
        for checkpoint in BUDGETS[strict].keys() & BUDGETS[loose].keys():
            assert BUDGETS[strict][checkpoint] >= BUDGETS[loose][checkpoint]


def test_thresholds_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="2 is no probability"):
        thresholds_for({"200ms": 2}, 0.05)
    with pytest.raises(ValueError, match="expected a duration"):
        thresholds_for({"200": 0.5}, 0.05)
