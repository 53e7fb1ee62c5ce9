"""Graph A against graph B, in numbers that a sceptic would believe.

1. Both answer the same recorded caller. Figures are paired by the caller's annotated utterance and the repeat, so that what
   an utterance costs by itself cancels out.
2. A difference is the median of the paired differences, with a 95 % bootstrap interval. Utterances are drawn first, then the
   repeats of each: two repeats of one utterance are not two independent witnesses (a cluster bootstrap: Field & Welsh 2007).
3. What B saves is told by phase, from the critical path of each turn. The phases of a turn add up to its latency, so the mean savings
   add up to the mean difference; medians would not.
4. A turn that was cut off, unanswered or answered with an error has no latency. It is counted, never left out in silence.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flowgraph.phases import ordered, percentile
from flowgraph.units import MS

if TYPE_CHECKING:
    from flowgraph.report import Report, TurnReport

DRAWS = 4000
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """How one utterance fared in one run. Durations in milliseconds."""

    utterance: int
    """Counts the caller's utterances from 0."""
    truth: str
    said: str
    heard: str
    latency_ms: float | None
    phases: dict[str, float]
    edges: dict[str, float]
    """`kind where` → milliseconds of the critical path: `waiting tts -> speaker`, `working llm`."""
    failed: bool
    cut_off: bool
    stopped_in_ms: float | None
    attempts: int
    withdrawn: int
    speech_end_s: float = 0.0
    """Seconds since the run began, as the recording counts them."""
    audible_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class RunResult:
    """One run of one graph."""

    graph: str
    repeat: int
    turns: tuple[Answered, ...]
    cpu_s: float
    """Processor time of this program during the run, without the servers."""
    seconds: float
    recording: str = ""
    """Path of the stereo recording; "" = none."""

    @classmethod
    def of(cls, graph: str, repeat: int, report: Report, *, began_at: int, **rest: Any) -> RunResult:
        """From a session's report; `began_at` is the session's time at which the recording begins."""
        annotated = [turn for turn in report.turns if turn.annotated]
        annotated.sort(key=lambda turn: turn.speech_end_at)
        return cls(graph, repeat, tuple(_answered(i, turn, began_at) for i, turn in enumerate(annotated)), **rest)


def _answered(index: int, turn: TurnReport, began_at: int) -> Answered:
    edges: dict[str, float] = defaultdict(float)
    for step in turn.steps:
        edges[f"{step.kind} {step.where}"] += step.ms
    usable = turn.latency_ns is not None and not turn.failed and not turn.cut_off
    return Answered(
        utterance=index,
        truth=turn.truth,
        said=turn.said,
        heard=turn.heard,
        latency_ms=turn.latency_ns / MS if usable and turn.latency_ns is not None else None,
        phases={name: ns / MS for name, ns in turn.phases.items()} if usable else {},
        edges=dict(edges) if usable else {},
        failed=turn.failed,
        cut_off=turn.cut_off,
        stopped_in_ms=None if turn.stopped_in_ns is None else turn.stopped_in_ns / MS,
        attempts=turn.attempts,
        withdrawn=turn.withdrawn,
        speech_end_s=(turn.speech_end_at - began_at) / 1e9,
        audible_s=(turn.audible_at - began_at) / 1e9 if turn.audible_at else 0.0,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """One graph over all its runs. Durations in milliseconds."""

    graph: str
    runs: int
    turns: int
    p50: float | None
    p90: float | None
    failed: int
    cut_off: int
    stopped_p50: float | None
    """From the onset of an interruption to silence."""
    word_errors: int
    words: int
    cpu_s: float
    """Per run."""
    wasted: int
    """Attempts that were withdrawn: questions to the LLM that nobody heard an answer to."""

    @property
    def word_error_rate(self) -> float:
        """Of the words that the caller said."""
        return self.word_errors / self.words if self.words else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A against B over the paired turns: positive = B is faster. Milliseconds."""

    pairs: int
    median: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    mean: float
    won: float
    """Share of the paired turns in which B was faster."""

    @property
    def contains_zero(self) -> bool:
        """Could it be nothing?"""
        return self.low <= 0 <= self.high


@dataclasses.dataclass(frozen=True, slots=True)
class Blame:
    """What one phase (or step) costs on average per paired turn, in milliseconds."""

    name: str
    a: float
    b: float

    @property
    def saved(self) -> float:
        """What B saves here; negative = it loses."""
        return self.a - self.b


class Comparison:
    """All runs of all graphs, and what follows from them."""

    def __init__(self, runs: Iterable[RunResult]) -> None:
        self.runs = list(runs)
        self.graphs = list(dict.fromkeys(run.graph for run in self.runs))

    def of(self, graph: str) -> list[RunResult]:
        """The runs of one graph."""
        return [run for run in self.runs if run.graph == graph]

    def summary(self, graph: str) -> Summary:
        """One graph's figures."""
        runs = self.of(graph)
        turns = [turn for run in runs for turn in run.turns]
        latencies = [turn.latency_ms for turn in turns if turn.latency_ms is not None]
        stops = [turn.stopped_in_ms for turn in turns if turn.stopped_in_ms is not None]
        errors = [word_errors(turn.truth, turn.said) for turn in turns if turn.truth]
        return Summary(
            graph=graph,
            runs=len(runs),
            turns=len(turns),
            p50=_percentile(latencies, 50),
            p90=_percentile(latencies, 90),
            failed=sum(turn.failed for turn in turns),
            cut_off=sum(turn.cut_off for turn in turns),
            stopped_p50=_percentile(stops, 50),
            word_errors=sum(wrong for wrong, _ in errors),
            words=sum(words for _, words in errors),
            cpu_s=sum(run.cpu_s for run in runs) / len(runs) if runs else 0.0,
            wasted=sum(turn.withdrawn for turn in turns),
        )

    def pairs(self, a: str, b: str) -> list[tuple[Answered, Answered]]:
        """Turns of the same utterance in the same repeat that have a latency in both graphs."""
        found: dict[tuple[int, int], Answered] = {
            (run.repeat, turn.utterance): turn for run in self.of(b) for turn in run.turns if turn.latency_ms is not None
        }
        return [
            (turn, found[run.repeat, turn.utterance])
            for run in self.of(a)
            for turn in run.turns
            if turn.latency_ms is not None and (run.repeat, turn.utterance) in found
        ]

    def difference(self, a: str, b: str, *, seed: int = 0) -> Difference | None:
        """What B saves against A; None where no turn was answered in both."""
        groups: dict[int, list[float]] = defaultdict(list)
        for one, other in self.pairs(a, b):
            groups[one.utterance].append((one.latency_ms or 0.0) - (other.latency_ms or 0.0))
        return difference(list(groups.values()), seed=seed) if groups else None

    def blame(self, a: str, b: str) -> list[Blame]:
        """Per phase. The `saved` of all add up to the difference's `mean`."""
        pairs = self.pairs(a, b)
        names = ordered(name for pair in pairs for turn in pair for name in turn.phases)
        return [_blame(name, [(one.phases, other.phases) for one, other in pairs]) for name in names]

    def blame_steps(self, a: str, b: str) -> list[Blame]:
        """Per step of the critical path (`waiting tts -> speaker`), the largest differences first."""
        pairs = self.pairs(a, b)
        names = dict.fromkeys(name for pair in pairs for turn in pair for name in turn.edges)
        blames = [_blame(name, [(one.edges, other.edges) for one, other in pairs]) for name in names]
        return sorted(blames, key=lambda blame: -abs(blame.saved))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; durations in milliseconds."""
        first = self.graphs[0] if self.graphs else ""
        against = {
            graph: {
                "difference": dataclasses.asdict(found) if (found := self.difference(first, graph)) is not None else None,
                "blame": [{**dataclasses.asdict(blame), "saved": blame.saved} for blame in self.blame(first, graph)],
            }
            for graph in self.graphs[1:]
        }
        return {
            "graphs": [dataclasses.asdict(self.summary(graph)) for graph in self.graphs],
            "against": first,
            "differences": against,
            "runs": [dataclasses.asdict(run) for run in self.runs],
        }


def difference(groups: Sequence[Sequence[float]], *, seed: int = 0) -> Difference:
    """Median of paired differences (one group per utterance) with its cluster-bootstrap interval."""
    import numpy as np

    rng = np.random.default_rng(seed)
    values = np.array([value for group in groups for value in group], dtype=float)
    width = max(len(group) for group in groups)
    # One row an utterance; drawing a column draws one of its repeats.
    table = np.array([[group[i % len(group)] for i in range(width)] for group in groups])
    sizes = np.array([len(group) for group in groups])
    rows = rng.integers(len(groups), size=(DRAWS, len(groups)))[:, :, None]
    columns = (rng.random((DRAWS, len(groups), width)) * sizes[rows]).astype(int)
    medians = np.median(table[rows, columns].reshape(DRAWS, -1), axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(medians, [tail, 100 - tail])
    won = (values > 0).mean()
    return Difference(len(values), float(np.median(values)), float(low), float(high), float(values.mean()), float(won))


def word_errors(truth: str, said: str) -> tuple[int, int]:
    """(wrong words, words said): the edit distance in words, case and punctuation aside."""
    wanted, got = _words(truth), _words(said)
    row = list(range(len(got) + 1))
    for i, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1], len(wanted)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def _blame(name: str, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> Blame:
    count = len(pairs) or 1
    return Blame(name, sum(a.get(name, 0.0) for a, _ in pairs) / count, sum(b.get(name, 0.0) for _, b in pairs) / count)


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return percentile([round(value * MS) for value in values], percent) / MS if values else None
