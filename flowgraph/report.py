"""What the turns of a session were: who said what, when the answer was heard, and where the time went.

1. A turn is an annotated utterance of a recorded caller with the answers to it; without annotation, all attempts up to an
   answer that was heard. A greeting is a turn that nobody asked for.
2. Voice to voice is one figure: from the user's last voiced sample to the first audible sample of the answer. The end of
   speech is the caller's annotation ("annotated") or the last voiced sample that the owner knew of ("estimated").
3. An answer belongs to the last utterance that began before the last voiced sample which it answers. One that was audible before the
   utterance had ended is a false cut-off, and gives no latency.
4. The phases come from the trace's critical path and add up to the total. Where they don't, the turn says so, and has no phases.

Frames of a vocabulary are told by their names: the engine knows none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flowgraph.attempts import Attempts, Prepared
from flowgraph.frame import Failure, Frame, Heard
from flowgraph.node import ports
from flowgraph.phases import ordered, percentile, phases
from flowgraph.trace import Incomplete, Step
from flowgraph.units import MS

if TYPE_CHECKING:
    from flowgraph.graph import Graph
    from flowgraph.session import Session

IN_MS = ("latency_ns", "stopped_in_ns", "sound_wasted_ns", "ahead_ns")
"""Fields of a turn that its JSON states in milliseconds, as `latency_ms`."""
IN_SHORT = 120
"""Characters of an error that a turn's line shows."""
EXACT_NS = 1_000
"""The phases of a turn add up to its total within this."""


@dataclasses.dataclass(frozen=True, slots=True)
class TurnReport:
    """One turn, as people count them. Times are nanoseconds on the session's clock."""

    number: int
    """From 1; 0 for a greeting."""
    said: str
    """What was understood of the user."""
    truth: str
    """What the user really said, if it is known."""
    heard: str
    """What of the answer was played."""
    greeting: bool
    expected: bool
    """Should there be an answer?"""
    annotated: bool
    """Is the end of speech known, not estimated?"""
    speech_end_at: int
    audible_at: int
    """First audible sample of the answer; 0 = there was none."""
    latency_ns: int | None
    """Voice to voice; None for a greeting, a false cut-off, and where nothing was heard."""
    steps: tuple[Step, ...]
    """They tile the time from `speech_end_at` to `audible_at`."""
    phases: dict[str, int]
    """Name → nanoseconds; their sum is `latency_ns`."""
    incomplete: str
    """Why there are no phases, if there should be."""
    attempts: int
    """How many answers were begun; all but the heard ones were withdrawn."""
    withdrawn: int
    cut_off: bool
    """An answer was audible before the user had finished."""
    interrupted: bool
    stopped_in_ns: int | None
    """From the first voiced sample of the interruption to the last sample that was played."""
    error: str
    utterance: int = -1
    """Which of a recorded caller's utterances it is, from 0; -1 = not annotated."""
    tokens_wasted: int = 0
    """Of the LLM, for the attempts that were withdrawn."""
    sound_wasted_ns: int = 0
    """Spoken for the attempts that were withdrawn."""
    ahead_ns: int | None = None
    """So long before its commit the answer's first sound was ready (negative: after it); None where either is missing."""

    @property
    def answered(self) -> bool:
        """Was there an answer, without an error?"""
        return bool(self.audible_at) and not self.error

    @property
    def failed(self) -> bool:
        """An answer was due, and there was none, or an error."""
        return self.expected and not self.answered

    @property
    def verdict(self) -> str:
        """What there is to say about it beside its figures; "" = nothing."""
        words = []
        if self.error:
            words.append(f"error: {_in_short(self.error)}")
        elif self.failed:
            words.append("unanswered")
        elif self.greeting:
            pass
        elif self.audible_at and not self.expected:
            words.append("answered, though nothing was asked")
        elif not self.audible_at:
            words.append("not answered, as it should be")
        if self.cut_off:
            words.append("answered before the user had finished")
        if self.interrupted:
            stopped = f": silent after {self.stopped_in_ns / MS:.0f} ms" if self.stopped_in_ns is not None else ""
            words.append(f"interrupted{stopped}")
        return "; ".join(words)

    def to_json(self) -> dict[str, Any]:
        """Plain data; durations in milliseconds, times in nanoseconds of the session's clock."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in IN_MS:
            value = data.pop(name)
            data[name.replace("_ns", "_ms")] = None if value is None else value / MS
        data["phases"] = {name: ns / MS for name, ns in self.phases.items()}
        data["steps"] = [{"kind": s.kind, "where": s.where, "start": s.start, "end": s.end} for s in self.steps]
        return data


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the graph's budget, against what was measured."""

    name: str
    """`first_audio_p95`."""
    limit_ns: int
    value_ns: int | None
    """None: there was nothing to measure."""
    phase: str
    """The phase that broke it most: the largest in the turns that were over the limit."""
    phase_ns: int
    """What that phase took there, on average."""

    @property
    def kept(self) -> bool:
        """Was the budget kept?"""
        return self.value_ns is not None and self.value_ns <= self.limit_ns


@dataclasses.dataclass(slots=True)
class _Answer:
    """An answer that is, or may yet be, heard."""

    attempt: int
    asked_at: int
    said: str
    greeting: bool
    attempts: int
    wasted: Prepared = dataclasses.field(default_factory=Prepared)
    """For the attempts that were withdrawn before it."""
    sound: int = 0
    by: str = ""
    audible_at: int = 0
    until: int = 0
    text: str = ""
    final: bool = False
    cut: bool = False
    error: str = ""
    path: tuple[int, list[Step], str] | None = None
    """(since, steps, why there are none)."""


@dataclasses.dataclass(slots=True)
class _Exchange:
    """A turn that is still being put together."""

    utterance: Any = None
    answers: list[_Answer] = dataclasses.field(default_factory=list)

    @property
    def idle(self) -> bool:
        """Is no answer to it on?"""
        return all(answer.final for answer in self.answers)


class Report:
    """Watches a session that hasn't been entered yet. `finish` before leaving it: its trace must still be there."""

    def __init__(self, session: Session, on_turn: Callable[[TurnReport], None] | None = None) -> None:
        """`on_turn` is told of each turn when it is over."""
        self.turns: list[TurnReport] = []
        self.failures: list[str] = []
        """What nodes under `on_error: skip | restart` met."""
        self.lost = 0
        """Frames dropped by a declared overflow."""
        self._ended_by = ""
        self._session = session
        self._graph = session.graph
        self._on_turn = on_turn
        self._open: list[_Exchange] = []
        self._said: dict[int, _Answer] = {}
        self._answers: dict[int, _Answer] = {}
        self._waiting: list[int] = []
        self._utterances: list[Any] = []
        self._onsets: list[int] = []
        watched: list[tuple[type[Frame], Callable[[Any], None]]] = [
            (Heard, self._on_heard),
            (Failure, self._on_failure),
        ]
        watched += [(kind, self.utterance) for kind in types_named(self._graph, "Utterance")]
        watched += [(kind, self._on_onset) for kind in types_named(self._graph, "SpeechStarted")]
        if self._graph.owner is not None:
            plans = (kind for kind in ports(self._graph.nodes[self._graph.owner].cls).outputs if kind.is_plan)
            watched += [(kind, self._on_prompt) for kind in plans]
        for kind, callback in watched:
            session.watch(kind, callback)
        self._attempts = Attempts(
            session, tokens=types_named(self._graph, "Token"), sound=types_named(self._graph, "Speech")
        )

    def finish(self, failure: str = "") -> None:
        """The session is over: report what is left. `failure`: what ended it, which is why that wasn't answered."""
        self._ended_by = failure
        while self._open:
            self._close(self._open.pop(0))
        self.lost = self._session.lost

    # -- frames --------------------------------------------------------------------------------------------------------

    def utterance(self, frame: Any) -> None:
        """What a recorded user has said (an `Utterance`): from a node, or from outside, where the user is no part of the graph.

        It is told of when it is over: answers that came too early have to be moved to it.
        """
        self._utterances.append(frame)
        exchange = _Exchange(frame)
        for other in self._open:
            exchange.answers += [answer for answer in other.answers if self._answers_it(answer, frame)]
            other.answers = [answer for answer in other.answers if answer not in exchange.answers]
        self._open = [other for other in self._open if other.utterance is not None or other.answers]
        self._open.append(exchange)
        self._settle()

    def _on_onset(self, frame: Frame) -> None:
        self._onsets.append(frame.at)

    def _on_prompt(self, frame: Any) -> None:
        messages = getattr(frame, "messages", ())
        said = messages[-1][1] if messages and messages[-1][0] == "user" else ""
        self._waiting.append(frame.turn)
        self._said[frame.turn] = _Answer(frame.turn, frame.at, said, bool(getattr(frame, "say", "")), 0)
        self._settle()

    def _on_heard(self, frame: Heard) -> None:
        answer = self._answers.get(frame.turn)
        if answer is None:
            failed = frame.final and not frame.cut
            if frame.turn not in self._said or not (frame.first_audible_at or failed):
                return
            answer = self._begin(frame)
        if frame.first_audible_at and not answer.audible_at:
            answer.audible_at, answer.sound, answer.by = frame.first_audible_at, frame.cause_id, frame.source
            utterance = self._exchange_of(answer).utterance
            since = answer.asked_at if utterance is None else utterance.end_at
            if since < answer.audible_at:
                answer.path = self._path(answer, since)
        answer.text, answer.until, answer.final = frame.text, frame.played_until, frame.final
        if frame.final:
            answer.cut = frame.cut
            if frame.reason == "error":
                answer.error = frame.detail or "the answer ended with an error"
            self._settle()

    def _on_failure(self, frame: Failure) -> None:
        self.failures.append(frame.message)

    # -- turns ---------------------------------------------------------------------------------------------------------

    def _begin(self, heard: Heard) -> _Answer:
        """The first that is heard of an attempt: put it into its turn."""
        answer = self._answers[heard.turn] = self._said[heard.turn]
        answer.attempts = sum(attempt <= heard.turn for attempt in self._waiting)
        answer.wasted = self._attempts.wasted(attempt for attempt in self._waiting if attempt < heard.turn)
        self._waiting = [attempt for attempt in self._waiting if attempt > heard.turn]
        self._said = {attempt: said for attempt, said in self._said.items() if attempt >= heard.turn}
        exchange = next((one for one in self._open if self._answers_it(answer, one.utterance)), None)
        if exchange is None:
            exchange = _Exchange()
            self._open.append(exchange)
        exchange.answers.append(answer)
        self._settle()
        return answer

    def _answers_it(self, answer: _Answer, utterance: Any) -> bool:
        """Is it the last utterance that began before the end of speech which is answered?"""
        if utterance is None or answer.greeting or utterance.start_at > answer.asked_at:
            return False
        return all(
            other.start_at <= utterance.start_at or other.start_at > answer.asked_at for other in self._utterances
        )

    def _exchange_of(self, answer: _Answer) -> _Exchange:
        return next(exchange for exchange in self._open if answer in exchange.answers)

    def _settle(self) -> None:
        """Report the turns that are over, in their order."""
        while self._open:
            first, later = self._open[0], self._open[1:]
            passed = first.idle and any(exchange.answers for exchange in later)
            if not (passed or self._given_up(first, later) or self._over(first, followed=bool(later))):
                return
            self._close(self._open.pop(0))

    def _given_up(self, exchange: _Exchange, later: list[_Exchange]) -> bool:
        """Does the attempt that is being made answer something later, so that nothing can be heard in answer to this any more?"""
        since = min((one.utterance.start_at for one in later if one.utterance is not None), default=None)
        latest = self._said.get(max(self._said, default=0))
        return not exchange.answers and since is not None and latest is not None and latest.asked_at >= since

    def _over(self, exchange: _Exchange, *, followed: bool) -> bool:
        """Has it been answered to the end, and is nothing more to be learned of it?"""
        if not exchange.answers or not exchange.idle:
            return False
        last = exchange.answers[-1]
        if last.cut:
            return followed  # whoever interrupted is known when the utterance is over
        if exchange.utterance is not None:
            return last.until >= exchange.utterance.end_at and not last.error  # after an error there may be another try
        return last.greeting or not any(at > last.asked_at for at in self._onsets)

    def _close(self, exchange: _Exchange) -> None:
        turn = self._reported(exchange)
        self.turns.append(turn)
        self._session.trace.write({"event": "turn", **turn.to_json()})
        if self._on_turn is not None:
            self._on_turn(turn)

    def _reported(self, exchange: _Exchange) -> TurnReport:
        utterance, answers = exchange.utterance, exchange.answers
        end_at = utterance.end_at if utterance is not None else 0
        audible = [answer for answer in answers if answer.audible_at]
        behind = (a for a in audible if a.audible_at >= end_at and not a.error)
        answer = next(behind, None) or (answers[-1] if answers else None)
        greeting = answer is not None and answer.greeting
        since = end_at if utterance is not None else answer.asked_at if answer is not None else 0
        latency = None
        steps: list[Step] = []
        why = ""
        parts: dict[str, int] = {}
        if answer is not None and answer.audible_at and answer.audible_at >= since and not greeting:
            latency = answer.audible_at - since
            if answer.path is None or answer.path[0] != since:
                answer.path = self._path(answer, since)
            _, steps, why = answer.path
            parts = phases(steps, self._graph)
            if not why and abs(sum(parts.values()) - latency) > EXACT_NS:
                why = f"the phases add up to {sum(parts.values()) / MS:.3f} ms, not to {latency / MS:.3f} ms"
                steps, parts = [], {}
        cut = next((a for a in answers if a.cut and a.audible_at), None)
        onset = self._onset_of(cut) if cut is not None else 0
        attempts = sum(a.attempts for a in answers)
        expected = not greeting and (utterance is None or utterance.expects == "answer")
        return TurnReport(
            number=0 if greeting else len(self.asked) + 1,
            said=answer.said if answer is not None else "",
            truth=utterance.text if utterance is not None else "",
            heard=answer.text if answer is not None else "",
            greeting=greeting,
            expected=expected,
            annotated=utterance is not None,
            speech_end_at=since,
            audible_at=answer.audible_at if answer is not None else 0,
            latency_ns=latency,
            steps=tuple(steps),
            phases=parts,
            incomplete=why,
            attempts=attempts,
            withdrawn=attempts - len(answers),
            tokens_wasted=sum(a.wasted.tokens for a in answers),
            sound_wasted_ns=sum(a.wasted.sound_ns for a in answers),
            ahead_ns=self._attempts.ahead_ns(answer.attempt) if answer is not None and not greeting else None,
            cut_off=utterance is not None and any(self._too_early(a, utterance) for a in self._answers.values()),
            interrupted=cut is not None,
            stopped_in_ns=cut.until - onset if cut is not None and onset else None,
            error=answer.error if answer is not None and (answer.error or answer.final) else self._ended_by * expected,
            utterance=utterance.index if utterance is not None else -1,
        )

    def _too_early(self, answer: _Answer, utterance: Any) -> bool:
        return self._answers_it(answer, utterance) and 0 < answer.audible_at < utterance.end_at

    def _onset_of(self, answer: _Answer) -> int:
        """When the user began to speak over an answer: annotated if possible; 0 = nobody did."""
        annotated = [one.start_at for one in self._utterances if answer.audible_at <= one.start_at <= answer.until]
        estimated = [at for at in self._onsets if answer.audible_at <= at <= answer.until]
        return (annotated or estimated or [0])[-1]

    def _path(self, answer: _Answer, since: int) -> tuple[int, list[Step], str]:
        try:
            steps = self._session.trace.path(answer.sound, by=answer.by, audible_at=answer.audible_at, since=since)
        except Incomplete as error:
            return since, [], error.message
        return since, steps, ""

    # -- the summary ---------------------------------------------------------------------------------------------------

    @property
    def latencies(self) -> list[int]:
        """Voice to voice of every turn that has one, in nanoseconds."""
        return [turn.latency_ns for turn in self.turns if turn.latency_ns is not None]

    @property
    def asked(self) -> list[TurnReport]:
        """The turns without the greetings."""
        return [turn for turn in self.turns if not turn.greeting]

    @property
    def annotated(self) -> bool:
        """Is every end of speech known, none estimated?"""
        return all(turn.annotated for turn in self.asked)

    @property
    def exit_code(self) -> int:
        """1 if an utterance stayed unanswered, or was answered with an error; else 0."""
        return int(any(turn.failed for turn in self.turns))

    def percentile(self, percent: float) -> int | None:
        """Voice to voice in nanoseconds; None without a turn."""
        return percentile(self.latencies, percent) if self.latencies else None

    def ahead_percentile(self, percent: float) -> int | None:
        """How long before its commit the first sound was ready, in nanoseconds; None if it never was."""
        known = [turn.ahead_ns for turn in self.turns if turn.ahead_ns is not None]
        return percentile(known, percent) if known else None

    def phase_percentiles(self, *percents: float) -> dict[str, tuple[int, ...]]:
        """For each phase its percentiles over the turns that have phases, in nanoseconds."""
        rows = [turn.phases for turn in self.turns if turn.phases]
        names = ordered(name for row in rows for name in row)
        return {name: tuple(percentile([row.get(name, 0) for row in rows], p) for p in percents) for name in names}

    def verdicts(self) -> list[Verdict]:
        """The graph's budget, against what was measured."""
        return list(self._verdicts())

    def _verdicts(self) -> Iterator[Verdict]:
        for name, limit in self._graph.budget.items():
            over = [t for t in self.turns if t.latency_ns is not None and t.latency_ns > limit and t.phases]
            sums: dict[str, int] = {}
            for turn in over:
                for part, ns in turn.phases.items():
                    sums[part] = sums.get(part, 0) + ns
            worst = max(sums, key=lambda part: sums[part], default="")
            yield Verdict(
                name=name,
                limit_ns=limit,
                value_ns=self.percentile(float(name.rpartition("_p")[2])),
                phase=worst,
                phase_ns=sums[worst] // len(over) if worst else 0,
            )

    def counts(self) -> dict[str, int]:
        """How many turns were answered, unanswered, …, and how many frames were lost."""
        asked = self.asked
        return {
            "turns": len(asked),
            "answered": _count(turn.answered and turn.expected for turn in asked),
            "unanswered": _count(turn.failed and not turn.error for turn in asked),
            "errors": _count(bool(turn.error) for turn in self.turns),
            "needless": _count(bool(turn.audible_at) and not turn.expected for turn in asked),
            "cut off": _count(turn.cut_off for turn in asked),
            "interrupted": _count(turn.interrupted for turn in self.turns),
            "attempts": sum(turn.attempts for turn in asked),
            "withdrawn": sum(turn.withdrawn for turn in self.turns),
            "tokens wasted": sum(turn.tokens_wasted for turn in self.turns),
            "ms of sound wasted": sum(turn.sound_wasted_ns for turn in self.turns) // MS,
            "frames lost": self.lost,
        }

    def to_json(self) -> dict[str, Any]:
        """The summary and every turn as plain data; durations in milliseconds."""

        def ms(ns: int | None) -> float | None:
            return None if ns is None else ns / MS

        return {
            "graph": self._graph.name,
            "end_of_speech": "annotated" if self.annotated else "estimated",
            "p50": ms(self.percentile(50)),
            "p90": ms(self.percentile(90)),
            "phases": {name: {"p50": p50 / MS, "p90": p90 / MS} for name, (p50, p90) in self.phase_percentiles(50, 90).items()},
            "budget": [
                {
                    "name": verdict.name, "limit": ms(verdict.limit_ns), "value": ms(verdict.value_ns),
                    "kept": verdict.kept, "phase": verdict.phase,
                }
                for verdict in self.verdicts()
            ],
            "ahead": {"p50": ms(self.ahead_percentile(50)), "p90": ms(self.ahead_percentile(90))},
            "counts": {name.replace(" ", "_"): count for name, count in self.counts().items()},
            "failures": self.failures,
            "turns": [turn.to_json() for turn in self.turns],
        }  # fmt: skip


def types_named(graph: Graph, name: str) -> list[type[Frame]]:
    """The frame types of that name that the graph's nodes yield."""
    found = (kind for spec in graph.nodes.values() for kind in ports(spec.cls).outputs)
    return list(dict.fromkeys(kind for kind in found if kind.__name__ == name))


def _in_short(error: str) -> str:
    line = error.partition("\n")[0]
    return line if len(line) <= IN_SHORT else line[: IN_SHORT - 1] + "…"


def _count(flags: Iterable[bool]) -> int:
    return sum(flags)
