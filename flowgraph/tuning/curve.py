"""Figures of a sweep, and the choice: how long users wait, against how often they are cut off.

1. A false cut-off is a pause of 100 ms or more within an utterance in which the turn was committed; the rate is over all such pauses of
   utterances that want an answer. It is told for each utterance too: a user who pauses three times has three chances.
2. The wait (voice to voice, V2V) runs from the annotated end of an utterance to the first audible sample of its answer, also where it had been cut off
   before. An utterance that was never answered has none; it is counted, and a setting is judged as if the user had waited all the silence.
3. Settings are chosen on one set of voices; every figure comes from others. Where there is one set only, that is said.
4. Intervals are bootstrapped over utterances, each with all of its pauses, drawn within each voice: they are about other utterances
   of these voices.
5. The limit is a policy that knows the true end and commits one VAD window behind it: what is left then is preparing the answer. (The way of
   plotting is Raux & Eskenazi's, 2008: mean latency against the cut-in rate.)
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flowgraph.phases import percentile
from flowgraph.tuning.evidence import SILENCE_NS
from flowgraph.units import MS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowgraph.tuning.evidence import Evidence
    from flowgraph.tuning.replay import Delays, Outcome
    from flowgraph.tuning.sweep import Options

    Array = npt.NDArray[np.float64]

DRAWS = 2000
CONFIDENCE = 0.95
WINDOW_MS = 32.0
"""The VAD's."""
UNANSWERED_MS = SILENCE_NS / MS
"""A user who gets no answer has waited so long, when settings are compared."""
EARLY_NS = 50 * MS
"""A transcript that comes so long before the annotated end may be the one of all words: the end is soft."""
BUDGETS = (0.05, 0.10)
AREA_BUDGETS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2)
"""Evenly spread on a logarithmic axis, roughly."""


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What a setting does to a set of utterances. Durations in milliseconds."""

    utterances: int
    """Those that want an answer."""
    pauses: int
    cuts: int
    cut_utterances: int
    cut_heard: int
    """Utterances into which an answer sounded."""
    mean: float | None
    """V2V."""
    p50: float | None
    p90: float | None
    decided: float | None
    """Mean from the true end to the commit: the policy alone, without what the services take."""
    missed: int
    dead_air: int
    """Utterances behind which nothing was heard for 2 s, the missed ones among them."""
    over_answer: int
    """Backchannels, coughs: spoken over an answer, wanting nothing."""
    ended: int
    """Those of them that ended the answer."""
    interruptions: int
    """Spoken over an answer, wanting the turn."""
    stopped: int
    stopped_p50: float | None
    needless: int
    """Answers to what wanted none."""
    prompts: int
    """Attempts that were begun."""

    @property
    def rate(self) -> float:
        """False cut-offs: of all pauses. Where nobody pauses, there are none."""
        return self.cuts / self.pauses if self.pauses else 0.0

    @property
    def utterance_rate(self) -> float:
        """Utterances that were cut off."""
        return self.cut_utterances / self.utterances if self.utterances else 0.0

    @property
    def cost(self) -> float:
        """The mean wait, with all of the silence for an utterance that got no answer."""
        waited = (self.mean or 0.0) * (self.utterances - self.missed) + self.missed * UNANSWERED_MS
        return waited / self.utterances if self.utterances else 0.0


def figures(outcomes: Iterable[Outcome]) -> Figures:
    """Of any set of utterances."""
    outcomes = list(outcomes)
    wanted = [one for one in outcomes if one.answered]
    latencies = [one.latency for one in wanted if one.latency is not None]
    decisions = [one.decided for one in wanted if one.decided is not None]
    over = [one for one in outcomes if one.over_answer and one.ended is not None]
    stops = [one.stopped for one in over if one.answered and one.stopped is not None]
    return Figures(
        utterances=len(wanted),
        pauses=sum(one.pauses for one in wanted),
        cuts=sum(min(len(one.cuts), one.pauses) for one in wanted),
        cut_utterances=sum(one.cut_off for one in wanted),
        cut_heard=sum(one.cut_heard for one in wanted),
        mean=sum(latencies) / len(latencies) if latencies else None,
        p50=percentile_of(latencies, 50),
        p90=percentile_of(latencies, 90),
        decided=sum(decisions) / len(decisions) if decisions else None,
        missed=sum(one.missed for one in wanted),
        dead_air=sum(one.dead_air for one in wanted),
        over_answer=sum(not one.answered for one in over),
        ended=sum(bool(one.ended) for one in over if not one.answered),
        interruptions=sum(one.answered for one in over),
        stopped=sum(bool(one.ended) for one in over if one.answered),
        stopped_p50=percentile_of(stops, 50),
        needless=sum(one.needless for one in outcomes),
        prompts=sum(one.prompts for one in outcomes),
    )


def by_kind(outcomes: Iterable[Outcome]) -> dict[str, Figures]:
    """The same for each kind of utterance, in the order in which they first come."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        groups[one.kind].append(one)
    return {kind: figures(group) for kind, group in groups.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Intervals:
    """Ends of 95 % intervals."""

    rate: tuple[float, float]
    mean: tuple[float, float]
    p50: tuple[float, float]
    p90: tuple[float, float]


def intervals(outcomes: Iterable[Outcome], *, seed: int = 0) -> Intervals | None:
    """By rule 4; None where nothing was answered."""
    import numpy as np

    wanted = [one for one in outcomes if one.answered]
    if not any(one.latency is not None for one in wanted):
        return None
    rng = np.random.default_rng(seed)
    voices: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(wanted):
        voices[one.voice].append(index)
    drawn = np.concatenate(
        [np.array(mine)[rng.integers(len(mine), size=(DRAWS, len(mine)))] for mine in voices.values()], axis=1
    )
    latencies = np.array([np.nan if one.latency is None else one.latency for one in wanted])[drawn]
    latencies.sort(axis=1)  # what was never answered goes to the end
    counts = np.count_nonzero(~np.isnan(latencies), axis=1)
    latencies, counts = latencies[counts > 0], counts[counts > 0]
    pauses = np.array([one.pauses for one in wanted])[drawn].sum(axis=1)
    cuts = np.array([min(len(one.cuts), one.pauses) for one in wanted])[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100

    def ends(values: Array) -> tuple[float, float]:
        low, high = np.percentile(values, [tail, 100 - tail])
        return float(low), float(high)

    def percentiles(percent: int) -> Array:
        """Of each row. (`np.nanpercentile` takes them one by one, which is a second for a table of figures.)"""
        at = (counts - 1) * (percent / 100)
        below, row = at.astype(int), np.arange(len(at))
        low, high = latencies[row, below], latencies[row, np.minimum(below + 1, counts - 1)]
        found: Array = low + (high - low) * (at - below)
        return found

    return Intervals(
        ends(cuts / np.maximum(pauses, 1)),
        ends(np.nanmean(latencies, axis=1)),
        ends(percentiles(50)),
        ends(percentiles(90)),
    )


# -- settings -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """A setting, and what it does."""

    policy: str
    options: Options
    fit: Figures
    """To the voices on which settings are chosen."""
    report: Figures
    """To the voices on which they are judged."""
    outcomes: tuple[Outcome, ...] = ()
    """Of the voices on which it is judged."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tried:
    """A setting, and what it does to the voices on which settings are chosen."""

    policy: str
    options: Options
    figures: Figures


def front(tried: Iterable[Tried]) -> list[Tried]:
    """Those that no other one beats in both, cut-offs and wait; fewest cut-offs first."""
    best: list[Tried] = []
    for one in sorted(tried, key=lambda one: (one.figures.rate, one.figures.cost)):
        if not best or one.figures.cost < best[-1].figures.cost - 1e-9:
            best.append(one)
    return best


def choose(points: Iterable[Point], budget: float) -> Point | None:
    """The one with the shortest wait that keeps the budget, both on the voices for choosing; None if none keeps it."""
    kept = [one for one in points if one.fit.rate <= budget + 1e-9]
    return min(kept, key=lambda one: (round(one.fit.cost, 3), one.fit.rate, one.fit.decided or 0.0), default=None)


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """A policy over its budgets."""

    policy: str
    points: tuple[Point, ...]
    """Fewest cut-offs first, on the voices for choosing."""
    tried: int = 0
    """Settings that were swept."""
    unusable: str = ""
    """Why there are no points, or why some settings were left out."""

    def at(self, budget: float) -> Point | None:
        """The setting for a budget."""
        return choose(self.points, budget)

    @property
    def least(self) -> float | None:
        """The fewest cut-offs that any setting makes, on the voices for choosing."""
        return min((one.fit.rate for one in self.points), default=None)

    @property
    def area(self) -> float | None:
        """Mean V2V over budgets from 1 to 20 %; None where one of them can't be kept."""
        means = [found.report.mean for budget in AREA_BUDGETS if (found := self.at(budget)) is not None]
        known = [mean for mean in means if mean is not None]
        return sum(known) / len(known) if len(known) == len(AREA_BUDGETS) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Tuned:
    """All that came out."""

    curves: tuple[Curve, ...]
    oracle: Figures
    """Of a policy that knows the true ends, on the voices for judging."""
    oracle_outcomes: tuple[Outcome, ...]
    voices: tuple[str, ...]
    """Of the voices for judging."""
    fitted_on: tuple[str, ...]
    """Of the voices for choosing; the same if there is one set only."""
    estimated: bool
    """Ends of speech are guesses from the level."""
    lost: int
    """Frames that were lost while listening."""
    words_p50: float | None = None
    """Milliseconds from the true end until the final transcript was there: what no policy can be faster than by much."""
    words_p90: float | None = None
    scores_p50: float | None = None
    """The same of an end-of-turn model's scores, from the silence that they judge."""
    scores_p90: float | None = None

    @property
    def separate(self) -> bool:
        """Were settings chosen on other voices than those that they are judged on?"""
        return not set(self.voices) & set(self.fitted_on)

    def best(self, budget: float) -> Point | None:
        """Of all policies, chosen on the voices for choosing."""
        return choose((point for curve in self.curves for point in curve.points), budget)


# -- the limit ----------------------------------------------------------------------------------------------------------


def oracle(heard: Iterable[Evidence], after: Delays) -> list[Outcome]:
    """What a policy would do that knows the true end and commits a VAD window later. The answer is begun once the words are there."""
    return [one for evidence in heard for one in _oracle(evidence, after)]


def _oracle(heard: Evidence, after: Delays) -> Iterable[Outcome]:
    from flowgraph.tuning.replay import Outcome

    finals = [arrival for arrival, fields in heard.of_type("Transcript") if fields["final"]]
    for index, said in enumerate(heard.said):
        if not said.answered or said.over_answer:
            continue
        words = _words_at(heard, index, finals)
        ready = None if words is None else max((words - said.end) / MS, 0.0) + after.prepared / MS
        latency = None if ready is None else max(WINDOW_MS, ready) + (after.after + after.playout) / MS
        yield Outcome(
            conversation=heard.name,
            voice=heard.voice,
            index=index,
            kind=said.kind,
            answered=True,
            over_answer=False,
            pauses=len(said.pauses),
            cuts=(),
            cut_heard=False,
            commits=(WINDOW_MS,),
            decided=WINDOW_MS,
            latency=latency,
            missed=latency is None,
        )


def percentile_of(values: Sequence[float], percent: float) -> float | None:
    """Of milliseconds; None of nothing."""
    return percentile([round(value * MS) for value in values], percent) / MS if values else None


def words_late(heard: Iterable[Evidence]) -> list[float]:
    """For each utterance that wants an answer: milliseconds from its true end until its final transcript was there."""
    found = []
    for one in heard:
        finals = [arrival for arrival, fields in one.of_type("Transcript") if fields["final"]]
        for index, said in enumerate(one.said):
            if said.answered and (at := _words_at(one, index, finals)) is not None:
                found.append((at - said.end) / MS)
    return found


def scores_late(heard: Iterable[Evidence]) -> list[float]:
    """For each score of an end-of-turn model: milliseconds from the sound that it judges until it was there."""
    return [(arrival - fields["at"]) / MS for one in heard for arrival, fields in one.of_type("EndOfTurn")]


def _words_at(heard: Evidence, index: int, finals: Sequence[int]) -> int | None:
    """When the first final transcript came behind the true end of an utterance."""
    end = heard.said[index].end
    return next((at for at in finals if end - EARLY_NS <= at < heard.until(index)), None)


# -- as plain data ------------------------------------------------------------------------------------------------------


def to_json(tuned: Tuned, budgets: Sequence[float]) -> dict[str, Any]:
    """Everything; durations in milliseconds."""
    return {
        "voices": list(tuned.voices),
        "fitted_on": list(tuned.fitted_on),
        "estimated": tuned.estimated,
        "oracle": _as_dict(tuned.oracle),
        "curves": [
            {
                "policy": curve.policy,
                "tried": curve.tried,
                "unusable": curve.unusable,
                "mean_over_budgets": curve.area,
                "points": [
                    {"options": dict(one.options), "fit": _as_dict(one.fit), "report": _as_dict(one.report)}
                    for one in curve.points
                ],
                "at": {f"{budget:g}": _picked(curve.at(budget)) for budget in budgets},
            }
            for curve in tuned.curves
        ],
    }


def _picked(point: Point | None) -> dict[str, Any] | None:
    if point is None:
        return None
    found = intervals(point.outcomes)
    return {
        "options": dict(point.options),
        "fit": _as_dict(point.fit),
        "report": _as_dict(point.report),
        "intervals": dataclasses.asdict(found) if found is not None else None,
        "kinds": {kind: _as_dict(one) for kind, one in by_kind(point.outcomes).items()},
        "utterances": [dataclasses.asdict(one) for one in point.outcomes],
    }


def _as_dict(found: Figures) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "rate": found.rate, "utterance_rate": found.utterance_rate}
