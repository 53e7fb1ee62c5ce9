"""A measured figure beside its reference and its target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. It is judged by its ratio to the reference, or by a limit, or by both."""

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
    """The target for `measured`."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured / reference."""
        return self.measured / self.reference if self.reference else None

    @property
    def target(self) -> str:
        targets = []
        if self.most is not None:
            targets.append(f"≤ {self.most:g} {self.unit}")
        if self.most_ratio is not None:
            targets.append(f"≤ {self.most_ratio:g}×")
        return " and ".join(targets)

    def within(self, slack: float = 1.0) -> bool:
        """Is the target met, `slack` times over?"""
        ratio = self.ratio
        in_ratio = self.most_ratio is None or (ratio is not None and ratio <= self.most_ratio * slack)
        return in_ratio and (self.most is None or self.measured <= self.most * slack)


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
