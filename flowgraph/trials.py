"""The runs behind a comparison: the same recorded caller for every graph, in real time, interleaved.

Repeats go A B, B A, A B, … (ABBA): what drifts (a warming machine, a busy neighbour) falls on both alike. One run to warm
up is thrown away. Each run has servers of its own, started for it, so that no run inherits a cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowgraph.compare import RunResult
from flowgraph.recording import recording
from flowgraph.report import Report, TurnReport
from flowgraph.services import Services
from flowgraph.session import Session

if TYPE_CHECKING:
    from flowgraph.graph import Graph
    from flowgraph.network import Conditions

WARM_UP = -1
"""The repeat that doesn't count."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One run that is to be made."""

    label: str
    graph: Graph
    repeat: int


def schedule(graphs: Sequence[tuple[str, Graph]], runs: int, *, warm_up: bool = True) -> Iterator[Trial]:
    """All runs in their order, the warm-up first."""
    if warm_up and graphs:
        yield Trial(*graphs[-1], WARM_UP)
    for repeat in range(runs):
        for label, graph in graphs if repeat % 2 == 0 else reversed(graphs):
            yield Trial(label, graph, repeat)


async def run_trial(
    trial: Trial,
    *,
    conditions: Conditions | None = None,
    record: Path | None = None,
    on_turn: Callable[[TurnReport], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> RunResult:
    """Make one run. `record`: write its stereo recording there. Raises what ended the session."""
    network = None
    if conditions is not None:
        from flowgraph.network import Distant

        network = Distant(conditions, seed=trial.repeat + 1)
    services = Services(trial.graph.services.values(), network=network) if trial.graph.services else None
    session = Session(trial.graph, services=services, say=say)
    report = Report(session, on_turn)
    began, cpu = time.monotonic(), time.process_time()
    with recording(session, record) if record is not None else contextlib.nullcontext():
        async with session:
            try:
                await session.finished()
            finally:
                report.finish()
    return RunResult.of(
        trial.label,
        trial.repeat,
        report,
        began_at=session.recorded_from,
        cpu_s=time.process_time() - cpu,
        seconds=time.monotonic() - began,
        recording=str(record or ""),
    )


def run_trials(
    trials: Iterator[Trial],
    *,
    conditions: Conditions | None = None,
    folder: Path | None = None,
    on_start: Callable[[Trial], None] | None = None,
    on_turn: Callable[[TurnReport], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[RunResult]:
    """Make all runs, one after the other; the warm-up's result is dropped. `folder`: keep a recording of each run there."""
    results = []
    for trial in trials:
        if on_start is not None:
            on_start(trial)
        record = (
            folder / f"{_file_name(trial.label)}-{trial.repeat}.wav" if folder and trial.repeat != WARM_UP else None
        )
        with asyncio.Runner() as runner:
            result = runner.run(run_trial(trial, conditions=conditions, record=record, on_turn=on_turn, say=say))
        if trial.repeat != WARM_UP:
            results.append(result)
    return results


def _file_name(label: str) -> str:
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in label)
