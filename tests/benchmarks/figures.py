"""A measured figure beside its reference and its target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
SLACK = 1.5
"""A busy machine may make a figure this much worse than its target before a test fails."""


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. Its ratio to the reference decides, where there is one: a limit alone would judge the machine."""

    name: str
    measured: float
    unit: str
    reference: float | None = None
    """What the same work costs without us, measured in the same run."""
    against: str = ""
    """What the reference is."""
    most_ratio: float | None = None
    """The target for `ratio`."""
    most: float | None = None
    """The target for `measured`; beside a ratio it only tells what kind of machine this is."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured / reference."""
        return self.measured / self.reference if self.reference else None

    @property
    def target(self) -> str:
        limit = "" if self.most is None else f"≤ {self.most:g} {self.unit}"
        if self.most_ratio is None:
            return limit
        return f"≤ {self.most_ratio:g}×" + (f" ({limit})" if limit else "")

    def within(self, slack: float = 1.0) -> bool:
        """Is the target met, `slack` times over?"""
        if self.most_ratio is not None:
            return self.ratio is not None and self.ratio <= self.most_ratio * slack
        return self.most is None or self.measured <= self.most * slack

    @property
    def verdict(self) -> str:
        if not self.target:
            return ""
        if not self.within():
            return "missed"
        return "met" if self.most is None or self.measured <= self.most else "met by ratio"


share = 1.0
"""Of the rounds that are asked for."""


def best_of(rounds: int, *measures: Callable[[], T]) -> list[list[T]]:
    """The results of each measure, taken in turns, so that a busy moment of the machine meets them all."""
    results: list[list[T]] = [[] for _ in measures]
    for _ in range(max(2, round(rounds * share))):
        for measure, taken in zip(measures, results, strict=True):
            taken.append(measure())
    return results


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
