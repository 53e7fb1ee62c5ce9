"""Thresholds for `end: model`, fitted to a budget of cut-offs on what an end-of-turn model said of recorded silences.

1. A gap is a silence: a pause within an utterance, or the one behind its end. At each checkpoint of it that the model scored it has a score,
   fused with the words as the dialogue fuses them (`nodes/turns/ending.py`), and a time from which the dialogue could act on it: when the
   score is there, and the transcript of what was said before.
2. With one threshold for each checkpoint the turn is over at the first that is reached, or at `unfinished_silence`. In a pause that is a cut-off, behind
   the end it is the answer.
3. The thresholds minimise the mean time of the answer with no more cut-offs than the budget allows. They begin so high that only silence ends a
   turn, or with the best that a single checkpoint can do; then that one is lowered which saves most time for each cut-off that it
   costs; then each is set anew to the best that the others leave, until nothing gets better. Not proven to be the optimum (the test
   measures how near it comes); what comes out is replayed before it is believed.
4. Thresholds never rise with the silence: the longer it lasts, the less it takes. Without that rule they follow the chances of the voices
   that they are fitted on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flowgraph.units import MS, parse_duration
from nodes.text.finishing import Finish, finish
from nodes.turns.ending import Model
from nodes.turns.said import COVERS_NS, Said
from nodes.vocabulary import Transcript

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowgraph.tuning.evidence import Evidence
    from flowgraph.tuning.evidence import Said as Utterance
    from flowgraph.tuning.sweep import Options

    Array = npt.NDArray[np.float64]

STEP_MS = 100
"""Checkpoints are told apart to this: a model is asked in the first window of 32 ms behind each."""
BUDGETS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)
TIMEOUTS_MS = (800, 1000, 1200, 1500, 2000, 2500)
WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0)
"""From the sound alone to the words where they tell, and the sound where they don't."""
FINAL_TIMEOUT_MS = 300.0
"""`dialogue.final_timeout`: without a final transcript the partial one counts so much later."""
LATE_MS = 96.0
"""A score may come so long after the pause: it was asked for within it, and the VAD hasn't heard the speech yet."""
WINDOW_MS = 32.0
MOST_CANDIDATES = 24
"""Of a threshold."""
LEAST_SCORED = 0.3
"""A checkpoint with scores for a smaller share of the ends tells too little to set a threshold by."""
NEVER = 2.0
"""A threshold that no probability reaches."""


Step = tuple[list[float], float, int]
"""A threshold for each checkpoint, mean milliseconds, cut-offs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """What the model said at a checkpoint of a gap. Milliseconds since the gap's beginning."""

    probability: float
    at: float
    """From when on the dialogue could act on it."""
    said: Finish
    """How finished the words sounded then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """A silence."""

    scores: dict[int, Score]
    """Checkpoint in milliseconds → score."""
    length: float
    """Milliseconds; infinite behind the end of an utterance."""


def gaps_of(heard: Evidence) -> Iterator[Gap]:
    """Every silence of 100 ms or more within or behind an utterance that wants an answer."""
    scores = list(heard.of_type("EndOfTurn"))
    transcripts = [(arrival, Transcript(**fields)) for arrival, fields in heard.of_type("Transcript")]
    for index, one in enumerate(heard.said):
        if one.answered and not one.over_answer:
            mine = [
                (at, it) for at, it in transcripts if one.start <= at < heard.until(index) and it.end_at > one.start
            ]
            for start, end in one.pauses:
                yield _gap(one, (start, end), scores, mine, (end - start) / MS)
            yield _gap(one, (one.end, heard.until(index)), scores, mine, math.inf)


def _gap(
    one: Utterance,
    span: tuple[int, int],
    scores: Sequence[tuple[int, dict[str, Any]]],
    transcripts: Sequence[tuple[int, Transcript]],
    length: float,
) -> Gap:
    start, end = span
    found: dict[int, Score] = {}
    for arrival, fields in scores:
        asked_at = fields["at"]
        if start < asked_at <= end + LATE_MS * MS and fields["silence_ms"] >= STEP_MS:
            checkpoint = fields["silence_ms"] // STEP_MS * STEP_MS
            settled, said = _words(one, start, end, transcripts)
            ready = settled if settled is not None else start + (checkpoint + FINAL_TIMEOUT_MS) * MS
            found.setdefault(checkpoint, Score(fields["probability"], (max(arrival, ready) - start) / MS, said))
    return Gap(found, length)


def _words(
    one: Utterance, start: int, end: int, transcripts: Sequence[tuple[int, Transcript]]
) -> tuple[float | None, Finish]:
    """When a final transcript of all that was said before the gap was there (None: not within it), and how it sounds."""
    so_far = Said()
    for arrival, transcript in transcripts:
        if arrival > end:
            break
        so_far.add(transcript)
        if arrival >= start - COVERS_NS and so_far.covers(start):
            return float(max(arrival, start)), finish(so_far.text, one.asked)
    return None, "unclear"


class Fit:
    """All gaps as arrays, for one weight of the words and one timeout."""

    def __init__(self, gaps: Sequence[Gap], *, words_weight: float, timeout_ms: float) -> None:
        import numpy as np

        self._scored = sorted({at for gap in gaps for at in gap.scores})
        self.checkpoints = _worth_it(gaps, self._scored, timeout_ms)
        fuse = Model({}, timeout_ms, words_weight).fused
        shape = len(gaps), len(self.checkpoints)
        self._scores, self._times = np.full(shape, -1.0), np.full(shape, np.inf)
        for row, gap in enumerate(gaps):
            for column, checkpoint in enumerate(self.checkpoints):
                if score := gap.scores.get(checkpoint):
                    self._scores[row, column] = fuse(score.probability, score.said)
                    self._times[row, column] = score.at
        lengths = np.array([gap.length for gap in gaps], dtype=float)
        self._ends = np.isinf(lengths)
        self._lengths = lengths
        self._timeout = timeout_ms + WINDOW_MS
        self.pauses = int((~self._ends).sum())

    def judge(self, thresholds: Sequence[float]) -> tuple[float, int]:
        """(mean milliseconds from the end until the turn is over, pauses that are cut off)."""
        import numpy as np

        reached = self._scores >= np.asarray(thresholds)
        means, cuts = self._judged(self._first(reached, self._timeout)[None, :])
        return float(means[0]), int(cuts[0])

    def _first(self, reached: npt.NDArray[np.bool_], otherwise: float) -> Array:
        """For each gap the time of the first checkpoint that is reached, of those in these columns."""
        import numpy as np

        if not reached.shape[1]:
            return np.broadcast_to(np.asarray(otherwise, float), len(reached))
        first = reached.argmax(axis=1)
        rows = np.arange(len(first))
        return np.where(reached[rows, first], self._times[rows, first], otherwise)

    def _judged(self, times: Array) -> tuple[Array, npt.NDArray[np.int_]]:
        """Of rows of times, one for each gap: means and cut-offs."""
        import numpy as np

        cuts = (~self._ends & (times <= self._lengths + LATE_MS)).sum(axis=1)
        ends = np.minimum(times[:, self._ends], self._timeout)
        return (ends.mean(axis=1) if ends.shape[1] else np.zeros(len(times))), cuts

    def _scan(
        self, chosen: Sequence[float], column: int, values: Sequence[float]
    ) -> Iterator[tuple[list[float], float, int]]:
        """`judge` with each of these values at a column, and at most that at the later ones (rule 4): (thresholds, mean, cut-offs)."""
        import numpy as np

        values = [value for value in values if not column or value <= chosen[column - 1]]
        if not values:
            return
        here = np.asarray(values)[:, None]
        times = np.full((len(values), len(self._scores)), self._timeout)
        for later in reversed(range(column, len(chosen))):
            limits = here if later == column else np.minimum(here, chosen[later])
            times = np.where(self._scores[:, later] >= limits, self._times[:, later], times)
        earlier = self._scores[:, :column] >= np.asarray(chosen[:column])
        times = np.where(earlier.any(axis=1), self._first(earlier, 0.0), times)
        means, cuts = self._judged(times)
        for value, mean, cut in zip(values, means.tolist(), cuts.tolist(), strict=True):
            yield [*chosen[:column], value, *(min(value, one) for one in chosen[column + 1 :])], mean, cut

    def thresholds(self, budget: float) -> tuple[dict[int, float], float, int] | None:
        """(checkpoint → threshold, 1 = never; mean milliseconds; cut-offs); None where even silence alone cuts off too many."""
        most = int(budget * self.pauses + 1e-9)
        nothing = [NEVER] * len(self.checkpoints)
        best, cuts = self.judge(nothing)
        if cuts > most:
            return None
        candidates = [self._candidates(column) for column in range(len(self.checkpoints))]
        found = [self._improved((nothing, best, cuts), candidates, most)]
        for column, values in enumerate(candidates):
            usable = [step for step in self._scan(nothing, column, values) if step[2] <= most]
            if usable:
                found.append(self._improved(min(usable, key=lambda one: one[1:]), candidates, most))
        chosen, best, cuts = min(found, key=lambda one: one[1:])
        # All are named: a score at a checkpoint without a threshold would be held against the one before.
        by_checkpoint = dict.fromkeys(self._scored, 1.0)
        by_checkpoint |= {at: min(value, 1.0) for at, value in zip(self.checkpoints, chosen, strict=True)}
        return by_checkpoint, best, cuts

    def _improved(self, step: Step, candidates: list[list[float]], most: int) -> Step:
        """From there, as long as anything gets better."""
        while better := self._cheapest(*step, candidates, most):
            step = better
        return self._polished(*step, candidates, most)

    def _cheapest(
        self, chosen: list[float], best: float, cuts: int, candidates: list[list[float]], most: int
    ) -> Step | None:
        """The one change that saves most for each cut-off."""
        found: tuple[float, Step] | None = None
        for column, values in enumerate(candidates):
            lower = [value for value in values if value < chosen[column]]
            for step in self._scan(chosen, column, lower):
                _, mean, cost = step
                worth = (best - mean) / (max(cost - cuts, 0) + 0.1)
                if cost <= most and mean < best - 1e-9 and (found is None or worth > found[0]):
                    found = worth, step
        return None if found is None else found[1]

    def _polished(self, chosen: list[float], best: float, cuts: int, candidates: list[list[float]], most: int) -> Step:
        better = True
        while better:
            better = False
            for column, values in enumerate(candidates):
                for changed, mean, cost in self._scan(chosen, column, (NEVER, *values)):
                    if cost <= most and (mean < best - 1e-9 or (mean <= best + 1e-9 and cost < cuts)):
                        chosen, best, cuts, better = changed, mean, cost, True
        return chosen, best, cuts

    def _candidates(self, column: int) -> list[float]:
        """Thresholds worth trying: just above the scores of pauses, where one cut-off less is bought, and below all."""
        import numpy as np

        scores = self._scores[~self._ends, column]
        scores = np.unique(scores[scores >= 0])
        ends = self._scores[self._ends, column]
        ends = np.unique(ends[ends >= 0])
        if not len(ends):
            return []
        # The highest threshold with the same cut-offs is halfway to the next score: it has most room on both sides.
        edges = np.concatenate([[0.0], scores])
        values = []
        for low, high in zip(edges, [*edges[1:], 1.0], strict=True):
            between = ends[(ends > low) & (ends <= high)]
            if len(between):
                values.append((low + float(between[0])) / 2)
        if len(values) > MOST_CANDIDATES:
            values = list(np.quantile(values, np.linspace(0, 1, MOST_CANDIDATES)))
        return [round(float(value), 6) for value in values]


def _worth_it(gaps: Sequence[Gap], scored: Sequence[int], timeout_ms: float) -> list[int]:
    """The checkpoints that enough ends have a score at: on a machine that is too slow for the model, some are left out by chance."""
    ends = [gap for gap in gaps if math.isinf(gap.length)]
    enough = LEAST_SCORED * len(ends)
    return [at for at in scored if at < timeout_ms and sum(at in gap.scores for gap in ends) >= enough]


def fitted_settings(heard: Sequence[Evidence], options: Options) -> Iterator[dict[str, Any]]:
    """For each budget and weight of the words the fitted thresholds, with the timeout that serves it best; and those that the graph has."""
    gaps = [gap for one in heard for gap in gaps_of(one)]
    kept = {
        name: options[name]
        for name in ("cutoff_budget", "thresholds", "words_weight", "unfinished_silence")
        if name in options
    }
    if options.get("end") == "model":
        yield {"end": "model", **kept}
    told: set[str] = set()
    for weight in WEIGHTS:
        fits = {timeout: Fit(gaps, words_weight=weight, timeout_ms=timeout) for timeout in _timeouts(options)}
        for budget in BUDGETS:
            found = [(fit.thresholds(budget), timeout) for timeout, fit in fits.items()]
            usable = [
                (result[1], timeout, result[0])
                for result, timeout in found
                if result and min(result[0].values(), default=1.0) < 1.0
            ]
            if not usable:
                continue
            _, timeout, thresholds = min(usable, key=lambda one: one[:2])
            setting = {
                "end": "model",
                "unfinished_silence": f"{timeout}ms",
                "words_weight": weight,
                "thresholds": {f"{at}ms": value for at, value in thresholds.items()},
            }
            if repr(setting) not in told:
                told.add(repr(setting))
                yield setting


def _timeouts(options: Options) -> list[int]:
    """The silence after which the graph prepares an answer comes first."""
    ahead = options.get("speculate_after", "off")
    least = 0 if ahead == "off" else (parse_duration(ahead) if isinstance(ahead, str) else int(ahead)) // MS
    return [ms for ms in TIMEOUTS_MS if ms >= least]


__all__ = ["Fit", "Gap", "Score", "fitted_settings", "gaps_of"]
