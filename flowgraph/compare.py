"""Graph A against graph B, in numbers that a sceptic would believe.

1. Both answer the same recorded caller. Figures are paired by the caller's annotated utterance and the repeat, so that what
   an utterance costs by itself cancels out.
2. A difference is the median of the paired differences, with a 95 % bootstrap interval. Utterances are drawn first, then the
   repeats of each: two repeats of one utterance are not two independent witnesses (a cluster bootstrap: Field & Welsh 2007).
3. What B saves is told by phase, from the critical path of each turn. The phases of a turn add up to its latency, so the mean savings
   add up to the mean difference; medians would not.
4. A turn that was cut off, unanswered or answered with an error has no latency. It is counted, never left out in silence.
5. Of several graphs each is also held against the one before it, over the turns that all of them answered: so the gains of the steps
   add up to what the last has gained over the first.
6. Where a recording of the outputs tells the latency, the phases are still the engine's account: they add up to what it says itself, which
   stands beside (`told_ms`).
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowgraph.phases import ordered, percentile, phase
from flowgraph.units import MS, SECOND

if TYPE_CHECKING:
    from typing import Protocol

    from flowgraph.graph import Graph
    from flowgraph.report import Report, TurnReport

    class Exchange(Protocol):
        """What a recording tells of a turn. Seconds from its first sample."""

        @property
        def speech_end_s(self) -> float:
            """The end of the user's last audible window."""

        @property
        def first_sound_s(self) -> float:
            """The begin of the answer's first one."""


DRAWS = 4000
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """One step of a turn's critical path. Milliseconds since the user's last voiced sample."""

    phase: str
    kind: str
    where: str
    start_ms: float
    end_ms: float

    @property
    def name(self) -> str:
        """`waiting tts -> speaker`, `working llm`."""
        return f"{self.kind} {self.where}"


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
    pieces: tuple[Piece, ...] = ()
    """They tile the time from the end of speech to the first sound."""
    failed: bool = False
    cut_off: bool = False
    needless: bool = False
    """It was answered, and nothing was asked."""
    stopped_in_ms: float | None = None
    attempts: int = 1
    withdrawn: int = 0
    verdict: str = ""
    """What there is to say about it beside its figures."""
    speech_end_s: float = 0.0
    """Seconds since the run's recording began."""
    audible_s: float = 0.0
    told_ms: float | None = None
    """Where `latency_ms` comes from a recording: what the engine says by itself."""

    def by_ear(self, exchange: Exchange | None) -> Answered:
        """The same turn with the figure of a recording. What the engine doesn't count stays uncounted, and is told of."""
        told = self.latency_ms
        if exchange is None:
            verdict = "" if told is None else "the recording holds no answer"
            return dataclasses.replace(self, latency_ms=None, told_ms=told, verdict=_joined(self.verdict, verdict))
        heard = (exchange.first_sound_s - exchange.speech_end_s) * SECOND / MS
        verdict = f"the recording holds a sound after {heard:.0f} ms" if self.failed and told is None else ""
        return dataclasses.replace(
            self,
            latency_ms=None if told is None else heard,
            told_ms=told,
            verdict=_joined(self.verdict, verdict),
            speech_end_s=exchange.speech_end_s,
            audible_s=exchange.first_sound_s,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class RunResult:
    """One run of one graph."""

    graph: str
    repeat: int
    turns: tuple[Answered, ...]
    cpu_s: float
    """Processor time of this program during the run: the graph, the relay of a network, the recorded caller unless it speaks aloud."""
    seconds: float
    children_s: float = 0.0
    """Processor time of the programs that the run has started: embedded servers, players. Theirs alone: what a URL names isn't ours."""
    load: float = 0.0
    """Of the machine when the run ended: programs that wanted to run in the minute before, on average."""
    recording: str = ""
    """Path of the stereo recording; "" = none."""

    @classmethod
    def of(cls, name: str, repeat: int, report: Report, graph: Graph, *, began_at: int, **rest: Any) -> RunResult:
        """From a session's report; `began_at` is the session's time at which the recording begins."""
        annotated = sorted((turn for turn in report.turns if turn.annotated), key=lambda turn: turn.utterance)
        return cls(name, repeat, tuple(_answered(turn, graph, began_at) for turn in annotated), **rest)

    def by_ear(self, exchanges: Mapping[int, Exchange]) -> RunResult:
        """The same run with the figures of its recording: utterance → what was heard."""
        turns = (turn.by_ear(exchanges.get(turn.utterance)) for turn in self.turns)
        return dataclasses.replace(self, turns=tuple(turns))


def _answered(turn: TurnReport, graph: Graph, began_at: int) -> Answered:
    usable = turn.latency_ns is not None and turn.expected and not turn.failed and not turn.cut_off
    end = turn.speech_end_at
    pieces = (
        Piece(phase(step, graph), step.kind, step.where, (step.start - end) / MS, (step.end - end) / MS)
        for step in turn.steps
    )
    return Answered(
        utterance=turn.utterance,
        truth=turn.truth,
        said=turn.said,
        heard=turn.heard,
        latency_ms=turn.latency_ns / MS if usable and turn.latency_ns is not None else None,
        phases={name: ns / MS for name, ns in turn.phases.items()} if usable else {},
        pieces=tuple(pieces) if usable else (),
        failed=turn.failed,
        cut_off=turn.cut_off,
        needless=bool(turn.audible_at) and not turn.expected,
        stopped_in_ms=None if turn.stopped_in_ns is None else turn.stopped_in_ns / MS,
        attempts=turn.attempts,
        withdrawn=turn.withdrawn,
        verdict=_joined(turn.verdict, turn.incomplete),
        speech_end_s=(end - began_at) / SECOND,
        audible_s=(turn.audible_at - began_at) / SECOND if turn.audible_at else 0.0,
    )


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """One graph over all its runs. Durations in milliseconds."""

    graph: str
    runs: int
    turns: int
    answered: int
    """Turns with a latency."""
    p50: float | None
    p90: float | None
    mean: float | None
    failed: int
    cut_off: int
    needless: int
    stopped_p50: float | None
    """From the onset of an interruption to silence."""
    word_errors: int
    words: int
    cpu_s: float
    """Per run: this program."""
    children_s: float
    """Per run: the programs that it has started."""
    load: float
    """The highest of its runs."""
    wasted: int
    """Attempts that were withdrawn: questions to the LLM that nobody heard an answer to."""
    told_p50: float | None = None
    """Of the engine's own figures, where `p50` comes from a recording."""
    apart: float | None = None
    """So far the two are apart in the turn in which they are furthest."""

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
    """Ends of the median's 95 % interval."""
    mean: float
    mean_low: float
    mean_high: float
    won: int
    """Paired turns in which B was faster."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class Gain:
    """One graph in a row of graphs, over the turns that all of them answered. Milliseconds."""

    graph: str
    mean: float
    """First sound, on average."""
    before: Difference | None
    """Against the graph before; None for the first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One line of a graph's budget, against all its runs. Milliseconds."""

    name: str
    """`first_audio_p95`."""
    limit: float
    value: float | None
    """None: there was nothing to measure."""
    phase: str
    """What the turns over the limit spent most of their time on; "" = none was over it."""
    phase_mean: float

    @property
    def kept(self) -> bool:
        """Was the budget kept?"""
        return self.value is not None and self.value <= self.limit


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A graph that was to be compared and can't start on this machine."""

    graph: str
    why: str
    remedy: str
    """What to do about it; "" = nothing is known."""


class Comparison:
    """All runs of all graphs, and what follows from them."""

    def __init__(
        self,
        runs: Iterable[RunResult],
        *,
        order: Sequence[str] = (),
        budgets: Mapping[str, Mapping[str, int]] | None = None,
        left_out: Iterable[LeftOut] = (),
    ) -> None:
        """`order` of the graphs: as they ran, without it. `budgets`: by graph, as the files state them (nanoseconds).

        `left_out`: those of the order that couldn't start.
        """
        self.runs = list(runs)
        self.left_out = list(left_out)
        ran = dict.fromkeys(run.graph for run in self.runs)
        self.named = list(dict.fromkeys((*order, *ran)))
        """All that were to be compared: the letters are theirs, whether they ran or not."""
        self.graphs = [graph for graph in self.named if graph in ran]
        self._budgets = budgets or {}

    @property
    def by_ear(self) -> bool:
        """Do the latencies come from recordings?"""
        return any(turn.told_ms is not None for run in self.runs for turn in run.turns)

    def of(self, graph: str) -> list[RunResult]:
        """The runs of one graph."""
        return [run for run in self.runs if run.graph == graph]

    def latencies(self, graph: str) -> list[float]:
        """First sound of every turn that has one, in milliseconds, shortest first."""
        return sorted(turn.latency_ms for run in self.of(graph) for turn in run.turns if turn.latency_ms is not None)

    def percentile(self, graph: str, percent: float) -> float | None:
        """Of the first sound, in milliseconds; None without a turn."""
        return _percentile(self.latencies(graph), percent)

    def summary(self, graph: str) -> Summary:
        """One graph's figures."""
        runs = self.of(graph)
        turns = [turn for run in runs for turn in run.turns]
        latencies = self.latencies(graph)
        stops = [turn.stopped_in_ms for turn in turns if turn.stopped_in_ms is not None]
        errors = [word_errors(turn.truth, turn.said) for turn in turns if turn.truth]
        both = [(t.told_ms, t.latency_ms) for t in turns if t.told_ms is not None and t.latency_ms is not None]
        return Summary(
            graph=graph,
            runs=len(runs),
            turns=len(turns),
            answered=len(latencies),
            p50=_percentile(latencies, 50),
            p90=_percentile(latencies, 90),
            mean=sum(latencies) / len(latencies) if latencies else None,
            failed=sum(turn.failed for turn in turns),
            cut_off=sum(turn.cut_off for turn in turns),
            needless=sum(turn.needless for turn in turns),
            stopped_p50=_percentile(stops, 50),
            word_errors=sum(wrong for wrong, _ in errors),
            words=sum(words for _, words in errors),
            cpu_s=sum(run.cpu_s for run in runs) / len(runs) if runs else 0.0,
            children_s=sum(run.children_s for run in runs) / len(runs) if runs else 0.0,
            load=max((run.load for run in runs), default=0.0),
            wasted=sum(turn.withdrawn for turn in turns),
            told_p50=_percentile(sorted(told for told, _ in both), 50),
            apart=max((abs(told - heard) for told, heard in both), default=None),
        )

    def verdicts(self, graph: str) -> list[Verdict]:
        """The graph's budget, against all its runs."""
        return [self._verdict(graph, name, limit / MS) for name, limit in self._budgets.get(graph, {}).items()]

    def _verdict(self, graph: str, name: str, limit: float) -> Verdict:
        over = [t for run in self.of(graph) for t in run.turns if t.latency_ms is not None and t.latency_ms > limit]
        sums: dict[str, float] = defaultdict(float)
        for turn in over:
            for part, ms in turn.phases.items():
                sums[part] += ms
        worst = max(sums, key=lambda part: sums[part], default="")
        value = self.percentile(graph, float(name.rpartition("_p")[2]))
        return Verdict(name, limit, value, worst, sums[worst] / len(over) if worst else 0.0)

    # -- one against another -------------------------------------------------------------------------------------------

    def pairs(self, a: str, b: str) -> list[tuple[Answered, Answered]]:
        """Turns of the same utterance in the same repeat that have a latency in both graphs."""
        return [(turns[0], turns[1]) for turns in self._answered_by_all([a, b]).values()]

    def difference(self, a: str, b: str, *, seed: int = 0) -> Difference | None:
        """What B saves against A; None where no turn was answered in both."""
        return _difference(self.pairs(a, b), seed=seed)

    def blame(self, a: str, b: str) -> list[Blame]:
        """Per phase. The `saved` of all add up to the difference's `mean`."""
        pairs = self.pairs(a, b)
        names = ordered(name for pair in pairs for turn in pair for name in turn.phases)
        return [_blame(name, [(one.phases, other.phases) for one, other in pairs]) for name in names]

    def blame_steps(self, a: str, b: str) -> list[Blame]:
        """Per step of the critical path (`waiting tts -> speaker`), the largest differences first."""
        pairs = [(_by_step(one), _by_step(other)) for one, other in self.pairs(a, b)]
        names = dict.fromkeys(name for pair in pairs for steps in pair for name in steps)
        return sorted((_blame(name, pairs) for name in names), key=lambda blame: -abs(blame.saved))

    def gains(self, *, seed: int = 0) -> list[Gain]:
        """What each graph has gained over the one before it; empty where no turn was answered by all."""
        rows = list(self._answered_by_all(self.graphs).values())
        if not rows:
            return []
        found = []
        for index, graph in enumerate(self.graphs):
            before = _difference([(row[index - 1], row[index]) for row in rows], seed=seed) if index else None
            mean = sum(row[index].latency_ms or 0.0 for row in rows) / len(rows)
            found.append(Gain(graph, mean, before))
        return found

    def _answered_by_all(self, graphs: Sequence[str]) -> dict[tuple[int, int], tuple[Answered, ...]]:
        """(utterance, repeat) → that turn in each graph, where all have a latency."""
        found = [
            {
                (turn.utterance, run.repeat): turn
                for run in self.of(graph)
                for turn in run.turns
                if turn.latency_ms is not None
            }
            for graph in graphs
        ]
        shared = [key for key in found[0] if all(key in one for one in found)] if found else []
        return {key: tuple(one[key] for one in found) for key in sorted(shared)}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; durations in milliseconds."""
        first = self.graphs[0] if self.graphs else ""
        against = {
            graph: {
                "difference": _as_dict(self.difference(first, graph)),
                "phases": [{**dataclasses.asdict(blame), "saved": blame.saved} for blame in self.blame(first, graph)],
                "steps": [
                    {**dataclasses.asdict(blame), "saved": blame.saved} for blame in self.blame_steps(first, graph)
                ],
            }
            for graph in self.graphs[1:]
        }
        return {
            "graphs": [
                {
                    **dataclasses.asdict(self.summary(graph)),
                    "word_error_rate": self.summary(graph).word_error_rate,
                    "budget": [{**dataclasses.asdict(one), "kept": one.kept} for one in self.verdicts(graph)],
                }
                for graph in self.graphs
            ],
            "left_out": [dataclasses.asdict(one) for one in self.left_out],
            "against": first,
            "differences": against,
            "gains": [
                {"graph": gain.graph, "mean": gain.mean, "before": _as_dict(gain.before)} for gain in self.gains()
            ],
            "runs": [dataclasses.asdict(run) for run in self.runs],
        }


def difference(groups: Sequence[Sequence[float]], *, seed: int = 0) -> Difference:
    """Median and mean of paired differences (one group per utterance) with their cluster-bootstrap intervals."""
    import numpy as np

    rng = np.random.default_rng(seed)
    values = np.array([value for group in groups for value in group], dtype=float)
    width = max(len(group) for group in groups)
    # One row an utterance; drawing a column draws one of its repeats.
    table = np.array([[group[i % len(group)] for i in range(width)] for group in groups])
    sizes = np.array([len(group) for group in groups])
    rows = rng.integers(len(groups), size=(DRAWS, len(groups)))[:, :, None]
    columns = (rng.random((DRAWS, len(groups), width)) * sizes[rows]).astype(int)
    drawn = table[rows, columns].reshape(DRAWS, -1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(np.median(drawn, axis=1), [tail, 100 - tail])
    mean_low, mean_high = np.percentile(drawn.mean(axis=1), [tail, 100 - tail])
    return Difference(
        pairs=len(values),
        median=float(np.median(values)),
        low=float(low),
        high=float(high),
        mean=float(values.mean()),
        mean_low=float(mean_low),
        mean_high=float(mean_high),
        won=int((values > 0).sum()),
    )


def _difference(pairs: Iterable[tuple[Answered, Answered]], *, seed: int) -> Difference | None:
    groups: dict[int, list[float]] = defaultdict(list)
    for one, other in pairs:
        groups[one.utterance].append((one.latency_ms or 0.0) - (other.latency_ms or 0.0))
    return difference(list(groups.values()), seed=seed) if groups else None


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


def _by_step(turn: Answered) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for piece in turn.pieces:
        sums[piece.name] += piece.end_ms - piece.start_ms
    return sums


def _as_dict(found: Difference | None) -> dict[str, Any] | None:
    return dataclasses.asdict(found) if found is not None else None


def _blame(name: str, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> Blame:
    count = len(pairs) or 1
    return Blame(name, sum(a.get(name, 0.0) for a, _ in pairs) / count, sum(b.get(name, 0.0) for _, b in pairs) / count)


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return percentile([round(value * MS) for value in values], percent) / MS if values else None
