from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_applies(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert any((ROOT / test).exists() for test in mutant.tests)


def test_the_rules_that_are_about_running_all_have_mutants() -> None:
    assert {mutant.rule for mutant in MUTANTS} >= {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14}
