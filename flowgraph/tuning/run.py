"""All settings of all policies, replayed: first over the voices to choose on, then those worth it over the voices to judge on.

Replays are independent and take no real time but the processor's: they are spread over processes. Each process is given what was heard once.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from flowgraph.errors import FlowError
from flowgraph.tuning.curve import (
    Curve,
    Point,
    Tried,
    Tuned,
    figures,
    front,
    oracle,
    percentile_of,
    scores_late,
    words_late,
)
from flowgraph.tuning.evidence import CantTune
from flowgraph.tuning.replay import Outcome, WrongSettings, owner_with, replay

if TYPE_CHECKING:
    from flowgraph.graph import Graph, NodeSpec
    from flowgraph.tuning.evidence import Evidence
    from flowgraph.tuning.replay import Delays
    from flowgraph.tuning.sweep import Options, Sweep


class WorkerDied(FlowError):
    """A process that replays is gone."""


Progress = Callable[[str, int, int], None]
"""`progress(what, done, of)`."""
ALONE_S = 2.0
"""Replays that take no longer start no process: each takes a second until it is of use."""


def sweeps_of(graph: Graph, wanted: Sequence[str] = ()) -> list[Sweep]:
    """The policies that the graph's owner names; those wanted, in that order. Raises CantTune."""
    assert graph.owner is not None
    spec = graph.nodes[graph.owner]
    known = {sweep.policy: sweep for sweep in spec.cls.sweeps()}
    if not known:
        raise CantTune(f"{spec.place}: '{spec.name}' ({spec.type}) names no policy to try", hint="a `dialogue` does")
    for policy in wanted:
        if policy not in known:
            raise CantTune(f"--policy {policy}: '{spec.name}' has no such policy", hint=f"it has: {', '.join(known)}")
    return [known[policy] for policy in wanted or known]


def tune(
    graph: Graph,
    fit: Sequence[Evidence],
    report: Sequence[Evidence],
    after: Delays,
    *,
    sweeps: Sequence[Sweep],
    processes: int = 1,
    progress: Progress = lambda _what, _done, _of: None,
) -> Tuned:
    """Sweep, choose, judge. `fit` and `report` may be the same. Raises NodeFailed if the owner fails, CantTune if nothing could be tried,
    WorkerDied if a process did.
    """
    same = fit is report
    with _Replayer(fit, report, after, processes) as replayer:
        curves = [_curve(graph, sweep, fit, replayer, progress, same=same) for sweep in sweeps]
    if not any(curve.points for curve in curves):
        why = "; ".join(f"{curve.policy}: {curve.unusable}" for curve in curves)
        raise CantTune(f"nothing could be tried: {why}")
    limit = oracle(report, after)
    words, scores = words_late(report), scores_late(report)
    return Tuned(
        curves=tuple(curves),
        oracle=figures(limit),
        oracle_outcomes=tuple(limit),
        voices=_voices(report),
        fitted_on=_voices(fit),
        estimated=any(one.estimated for one in report),
        words_p50=percentile_of(words, 50),
        words_p90=percentile_of(words, 90),
        scores_p50=percentile_of(scores, 50),
        scores_p90=percentile_of(scores, 90),
        lost=sum(one.lost for one in {id(one): one for one in (*fit, *report)}.values()),
    )


def _curve(
    graph: Graph, sweep: Sweep, fit: Sequence[Evidence], replayer: _Replayer, progress: Progress, *, same: bool
) -> Curve:
    assert graph.owner is not None
    there = {kind.name for one in fit for kind in one.kinds}
    missing = [name for name in sweep.needs if name not in there]
    if missing:
        return Curve(sweep.policy, (), unusable=f"nothing in this graph yields {', '.join(missing)}")
    owners: list[tuple[Options, NodeSpec]] = []
    wrong = ""
    for options in sweep.settings(fit, graph.nodes[graph.owner].options):
        try:
            owners.append((options, owner_with(graph, options)))
        except WrongSettings as error:
            wrong = wrong or error.message
    if not owners:
        return Curve(sweep.policy, (), unusable=wrong or "it gives no settings for what was heard")
    tried = [
        (Tried(sweep.policy, options, figures(outcomes)), owner, outcomes)
        for (options, owner), outcomes in zip(
            owners, replayer.all("fit", [owner for _, owner in owners], _of(progress, sweep.policy)), strict=True
        )
    ]
    best = {id(one) for one, _, _ in tried} if sweep.whole else {id(one) for one in front(one for one, _, _ in tried)}
    chosen = sorted(
        (each for each in tried if id(each[0]) in best), key=lambda each: (each[0].figures.rate, -each[0].figures.cost)
    )
    judged: Iterable[list[Outcome]]
    if same:
        judged = [outcomes for _, _, outcomes in chosen]
    else:
        judged = replayer.all("report", [owner for _, owner, _ in chosen], _of(progress, f"{sweep.policy}, judged"))
    points = tuple(
        Point(sweep.policy, one.options, one.figures, figures(outcomes), tuple(outcomes))
        for (one, _, _), outcomes in zip(chosen, judged, strict=True)
    )
    return Curve(sweep.policy, points, tried=len(owners), unusable=f"left out: {wrong}" if wrong else "")


def _of(progress: Progress, what: str) -> Callable[[int, int], None]:
    return functools.partial(progress, what)


def _voices(heard: Iterable[Evidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.voice or one.name or "unknown" for one in heard))


# -- processes ----------------------------------------------------------------------------------------------------------


class _Replayer:
    """Replays whole sets, in processes where that is worth it."""

    def __init__(self, fit: Sequence[Evidence], report: Sequence[Evidence], after: Delays, processes: int) -> None:
        self._sets = {"fit": tuple(fit), "report": tuple(report)}
        self._after = after
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> _Replayer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def all(
        self, which: str, owners: Sequence[NodeSpec], progress: Callable[[int, int], None]
    ) -> Iterator[list[Outcome]]:
        """The outcomes of a whole set for each owner, in order."""
        progress(0, len(owners))
        for done, outcomes in enumerate(self._each(which, owners), 1):
            progress(done, len(owners))
            yield outcomes

    def _each(self, which: str, owners: Sequence[NodeSpec]) -> Iterator[list[Outcome]]:
        left = iter(owners)
        if self._pool is None:
            until = time.monotonic() + ALONE_S
            for owner in left:
                yield _replay_all(self._sets[which], owner, self._after)
                if self._processes > 1 and time.monotonic() >= until:
                    break
            else:
                return
            # Not forked: this process may have threads and sockets of its own.
            self._pool = ProcessPoolExecutor(self._processes, get_context("spawn"), _given, (self._sets, self._after))
        try:
            yield from self._pool.map(_in_process, [(which, owner) for owner in left])
        except BrokenProcessPool:
            raise WorkerDied(
                f"one of the {self._processes} processes that replay was killed, or died; mostly it is memory that ran out",
                hint="free some memory, or let it start fewer: one for each core that it may use (Linux: taskset -c 0 flow tune …); "
                "what was heard is kept",
            ) from None


_GIVEN: dict[str, Any] = {}


def _given(sets: dict[str, tuple[Evidence, ...]], after: Delays) -> None:
    _GIVEN.update(sets=sets, after=after)


def _in_process(task: tuple[str, NodeSpec]) -> list[Outcome]:
    which, owner = task
    return _replay_all(_GIVEN["sets"][which], owner, _GIVEN["after"])


def _replay_all(heard: Sequence[Evidence], owner: NodeSpec, after: Delays) -> list[Outcome]:
    return [outcome for one in heard for outcome in replay(owner, one, after)]


__all__ = ["Progress", "sweeps_of", "tune"]
