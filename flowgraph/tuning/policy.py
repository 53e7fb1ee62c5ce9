"""Policies to try: an owner of the turn names them (`Node.policies`), each with the settings that it is swept over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from flowgraph.tuning.evidence import Evidence

Options: TypeAlias = Mapping[str, Any]
"""Options of the owner as YAML states them: they go over those of the graph."""


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """A way to end the user's turn, and the settings of it that are worth trying."""

    name: str
    settings: Callable[[Sequence[Evidence]], Iterable[Options]]
    """Told what was heard of the voices to fit on; a policy with a grid ignores it."""
    needs: tuple[str, ...] = ()
    """Names of the frames without which it is of no use (`EndOfTurn`): a graph whose ears yield none can't be tuned so."""
    description: str = ""


def grid(*settings: Options) -> Callable[[Sequence[Evidence]], Iterable[Options]]:
    """The same settings whatever was heard."""
    return lambda _heard: settings
