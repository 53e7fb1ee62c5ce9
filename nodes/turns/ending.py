"""How much silence ends the user's turn: the policies of `dialogue.end`.

1. A policy says, from what is known at this moment of a silence, how much of it is needed. It is asked again with every window
   of silence, every transcript and every score, so it may change its mind until the silence is long enough.
2. `fixed`: always the same.
3. `adaptive`: by the words so far (`nodes/text/finishing.py`): little where they sound finished, much where they can't be, and
   between the two as much as this user's own pauses ask for.
4. `model`: an acoustic model scores the silence every 100 ms. The turn is over at the first checkpoint whose score reaches that
   checkpoint's threshold; where none does, silence ends it as if the words were unfinished. One model asked at several
   checkpoints, with thresholds fitted to a budget of cut-offs, is worth more than a better model asked once (measured on AMI by
   OpenHRI's smart-turn-streaming: cut-offs on pauses from 42 to 5 % with the same encoder). The words move the score: what
   sounds finished raises it, what can't be the end lowers it, so much that the sound is left with what the words don't tell.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Protocol

from flowgraph.units import MS, parse_duration
from nodes.text.finishing import Finish, finish
from nodes.turns.pauses import Pauses


@dataclasses.dataclass(slots=True)
class Evidence:
    """What is known of a silence."""

    text: str = ""
    """All that the user said in this turn, as far as it was understood."""
    settled: bool = False
    """`text` covers the last thing that was said."""
    question: str = ""
    """What the assistant had said before."""
    pauses: Pauses = dataclasses.field(default_factory=Pauses)
    """How long this user pauses."""
    scores: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """Of this silence: milliseconds of it → the acoustic model's probability that the turn is over."""


class Policy(Protocol):
    """When is the user's turn over?"""

    @property
    def typical_ms(self) -> float:
        """So much silence typically ends a turn."""

    def needed_ms(self, evidence: Evidence) -> float:
        """So much silence ends the turn, by what is known now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    """The same silence always."""

    silence_ms: float

    @property
    def typical_ms(self) -> float:
        return self.silence_ms

    def needed_ms(self, evidence: Evidence) -> float:  # noqa: ARG002 - nothing that is known changes it
        return self.silence_ms


@dataclasses.dataclass(frozen=True, slots=True)
class Adaptive:
    """Silence by the words so far, and by the user's own pauses."""

    finished_ms: float
    unclear_ms: float
    unfinished_ms: float
    learns: bool = True

    @property
    def typical_ms(self) -> float:
        return self.unclear_ms

    def needed_ms(self, evidence: Evidence) -> float:
        unclear = evidence.pauses.bound_ms(self.unclear_ms) if self.learns else self.unclear_ms
        unclear = min(max(unclear, self.finished_ms), self.unfinished_ms)
        if not evidence.settled:
            return max(unclear, self.unclear_ms)  # words may be missing: what there is doesn't sound like what was said
        match finish(evidence.text, evidence.question):
            case "finished":
                return self.finished_ms
            case "unfinished":
                return self.unfinished_ms
            case _:
                return unclear


WORDS_LOGIT: Mapping[Finish, float] = {"finished": 12.0, "unclear": 0.0, "unfinished": -24.0}
"""What the words add to the log-odds of the acoustic score: so much that they decide where they tell, and the sound where they don't."""


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """The first checkpoint of silence at which an acoustic model is sure enough."""

    thresholds: Mapping[int, float]
    """Milliseconds of silence → probability that ends the turn there."""
    unfinished_ms: float
    words_weight: float = 1.0
    """How much the words count beside the sound; 0 = not at all."""

    @property
    def typical_ms(self) -> float:
        checkpoints = sorted(self.thresholds)
        return checkpoints[len(checkpoints) // 2] if checkpoints else self.unfinished_ms

    def needed_ms(self, evidence: Evidence) -> float:
        said: Finish = finish(evidence.text, evidence.question) if evidence.settled else "unclear"
        for silence, probability in sorted(evidence.scores.items()):
            threshold = self._threshold(silence)
            if threshold is not None and self.fused(probability, said) >= threshold:
                return silence
        return self.unfinished_ms

    def _threshold(self, silence_ms: float) -> float | None:
        """Of the last checkpoint that lies within so much silence."""
        passed = max((one for one in self.thresholds if one <= silence_ms), default=None)
        return None if passed is None else self.thresholds[passed]

    def fused(self, probability: float, said: Finish) -> float:
        """Sound and words in one probability."""
        if not self.words_weight:
            return probability
        bounded = min(max(probability, 1e-6), 1 - 1e-6)
        logit = math.log(bounded / (1 - bounded)) + self.words_weight * WORDS_LOGIT[said]
        return 1 / (1 + math.exp(-logit))


BUDGETS: Mapping[float, Mapping[int, float]] = {
    0.02: {
        100: 1.0, 200: 1.0, 300: 1.0, 400: 1.0, 500: 1.0, 600: 0.9888, 700: 0.98704, 800: 0.98704, 900: 0.98704, 1000: 0.96534,
    },
    0.05: {
        100: 1.0, 200: 1.0, 300: 0.99428, 400: 0.99428, 500: 0.9888, 600: 0.9888, 700: 0.98704, 800: 0.98704, 900: 0.98, 1000: 0.00269,
    },
    0.10: {
        100: 0.99997, 200: 0.99945, 300: 0.99428, 400: 0.98833, 500: 0.98457, 600: 0.98022, 700: 0.00242, 800: 0.00242, 900: 0.00242, 1000: 0.00242,
    },
}  # fmt: skip
"""Budget of cut-offs → thresholds, where to begin; `flow tune` fits one's own.

Fitted by `nodes/turns/fitting.py` for Smart Turn v3.2, with `unfinished_silence` 2 s and `words_weight` 1, to 808 pauses of four synthetic voices
(`turns/fit` of the recorded users) and one person (half of what `make_human.py --split` makes); fitted again with today's words' rules they come
out the same. To 790 pauses that they weren't fitted to, four other synthetic voices and the person's other half, 2 % comes out as 3.4 %,
5 % as 6.8 % and 10 % as 12.5 %.
"""


def thresholds_for(stated: Mapping[str, float], budget: float) -> Mapping[int, float]:
    """Milliseconds of silence → probability: as stated, else those for the largest budget within `budget`.

    Raises ValueError where a key is no duration, or a value no probability.
    """
    if not stated:
        return BUDGETS[max((one for one in BUDGETS if one <= budget), default=min(BUDGETS))]
    thresholds = {}
    for silence, probability in stated.items():
        if not 0 <= probability <= 1:
            raise ValueError(f"{silence}: {probability} is no probability: write a number from 0 to 1")
        thresholds[parse_duration(silence) // MS] = probability
    return thresholds
