"""What to try: an owner of the turn names its policies (`Node.sweeps`), each with the settings that it is swept over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from flowgraph.tuning.evidence import Evidence

Options: TypeAlias = Mapping[str, Any]
"""Options of the owner as YAML states them: they go over those of the graph."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """A policy that ends the user's turn, and the settings of it that are worth trying."""

    policy: str
    settings: Callable[[Sequence[Evidence], Options], Iterable[Options]]
    """Told what was heard of the voices to fit on, and the options that the graph gives the owner. A grid ignores both."""
    needs: tuple[str, ...] = ()
    """Names of the frames without which it is of no use (`EndOfTurn`): a graph whose ears yield none can't be tuned so."""
    whole: bool = False
    """Every setting is plotted, not only those that no other one beats: a policy with a single knob is a line."""


def grid(settings: Iterable[Options]) -> Callable[[Sequence[Evidence], Options], Iterable[Options]]:
    """The same settings whatever was heard."""
    found = tuple(settings)
    return lambda _heard, _options: found
