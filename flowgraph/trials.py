"""The runs behind a comparison: the same recorded caller for every graph, in real time, interleaved.

Repeats go A B, B A, A B, … (ABBA): what drifts (a warming machine, a busy neighbour) falls on both alike. One run to warm
up is thrown away. Each run has servers of its own, started for it, so that no run inherits a cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowgraph.compare import RunResult
from flowgraph.recording import recording
from flowgraph.report import Report, TurnReport
from flowgraph.session import Session

if TYPE_CHECKING:
    from flowgraph.graph import Graph
    from flowgraph.network import Conditions
    from flowgraph.services import Services

WARM_UP = -1
"""The repeat that doesn't count."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One run that is to be made."""

    label: str
    graph: Graph
    repeat: int

    @property
    def counts(self) -> bool:
        """False for the warm-up."""
        return self.repeat != WARM_UP


@dataclasses.dataclass(frozen=True, slots=True)
class Circumstances:
    """What all runs of a comparison share."""

    conditions: Conditions | None = None
    """What lies between the client and its services; None = nothing."""
    folder: Path | None = None
    """Keep a stereo recording of each run there."""
    on_turn: Callable[[TurnReport], None] | None = None
    """Told of each turn when it is over."""
    say: Callable[[str], None] | None = None
    """Told each line for the user."""


def schedule(graphs: Sequence[tuple[str, Graph]], runs: int, *, warm_up: bool = True) -> list[Trial]:
    """All runs in their order, the warm-up first."""
    trials = [Trial(*graphs[-1], WARM_UP)] if warm_up and graphs else []
    for repeat in range(runs):
        trials += [Trial(label, graph, repeat) for label, graph in (graphs if repeat % 2 == 0 else reversed(graphs))]
    return trials


def run_trials(
    trials: Iterable[Trial], circumstances: Circumstances, *, on_start: Callable[[Trial], None] | None = None
) -> Iterator[RunResult]:
    """Make all runs, one after the other, each in real time; yields what counts. Raises what ended a session."""
    for trial in trials:
        if on_start is not None:
            on_start(trial)
        with asyncio.Runner() as runner:
            result = runner.run(run_trial(trial, circumstances))
        if trial.counts:
            yield result


async def run_trial(trial: Trial, circumstances: Circumstances, *, services: Services | None = None) -> RunResult:
    """Make one run. `services`: instead of those that the graph declares (tests). Raises what ended the session."""
    graph = trial.graph
    if services is None and graph.services:
        services = _services(trial, circumstances.conditions)
    session = Session(graph, services=services, say=circumstances.say)
    report = Report(session, circumstances.on_turn)
    path = _recording_of(trial, circumstances.folder)
    began, cpu = time.monotonic(), time.process_time()
    with recording(session, path) if path is not None else contextlib.nullcontext() as stereo:
        async with session:
            try:
                await session.finished()
            finally:
                report.finish()
    return RunResult.of(
        trial.label,
        trial.repeat,
        report,
        graph,
        began_at=stereo.begin_at if stereo is not None else session.trace.started,
        cpu_s=time.process_time() - cpu,
        seconds=time.monotonic() - began,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        recording=str(path or ""),
    )


def _services(trial: Trial, conditions: Conditions | None) -> Services:
    from flowgraph.services import Services

    if conditions is None:
        return Services(trial.graph.services.values())
    from flowgraph.network import Distant

    # The same jitter for every graph in the same repeat.
    return Services(trial.graph.services.values(), network=Distant(conditions, seed=trial.repeat + 1))


def _recording_of(trial: Trial, folder: Path | None) -> Path | None:
    if folder is None or not trial.counts:
        return None
    name = "".join(char if char.isalnum() or char in "-_." else "_" for char in trial.label)
    return folder / f"{name}-{trial.repeat + 1}.wav"
