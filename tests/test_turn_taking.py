"""Turn-taking over random conversations: what must hold whatever people say, and whenever."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.schedules import OPTIONS, SCHEDULE, Speaks, check, held

MANY = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=1000, derandomize=True, **MANY)
@given(schedule=SCHEDULE, options=OPTIONS, seed=st.integers(0, 1 << 16))
def test_whatever_is_said_and_when(schedule: list[Speaks], options: dict[str, object], seed: int) -> None:
    check(held(schedule, options, seed), schedule)
