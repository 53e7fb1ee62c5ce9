"""The runs behind a comparison: the same recorded caller for every graph, in real time, interleaved.

Repeats go A B, B A, A B, … (ABBA): what drifts (a warming machine, a busy neighbour) falls on both alike. One run to warm
up is thrown away. Each run has servers of its own, started for it, so that no run inherits a cache. Before all of them each
graph is started and stopped once: what this machine lacks is known at once, not after minutes.

By ear: the caller is a program of its own that speaks into the default microphone, and what the default output plays is recorded;
the latencies are that recording's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgraph.compare import LeftOut, RunResult
from flowgraph.errors import FlowError
from flowgraph.node import ports
from flowgraph.recording import recording
from flowgraph.report import Report, TurnReport, types_named
from flowgraph.session import Session

if TYPE_CHECKING:
    from flowgraph.graph import Graph
    from flowgraph.network import Conditions
    from flowgraph.services import Services

WARM_UP = -1
"""The repeat that doesn't count."""


class NothingAnswered(FlowError):
    """The run to warm up left the user without any answer."""


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
    aloud: str = ""
    """The caller (as in `caller:…`) who speaks aloud, to be judged by ear; "" = the graph's microphone is the caller's."""
    on_turn: Callable[[TurnReport], None] | None = None
    """Told of each turn when it is over."""
    say: Callable[[str], None] | None = None
    """Told each line for the user."""


def start_each(
    graphs: Sequence[tuple[str, Graph]],
    circumstances: Circumstances,
    *,
    needed: Collection[str],
    on_start: Callable[[str], None],
) -> Iterator[LeftOut]:
    """Start and stop every graph, with its servers; yields those that can't start here.

    Raises what keeps one that is `needed` from starting, what would leave fewer than two, and GraphError or another error of
    exit code 2: that graph is wrong, wherever it runs.
    """
    startable = len(graphs)
    for name, graph in graphs:
        on_start(name)
        try:
            with asyncio.Runner() as runner:
                runner.run(_start(Trial(name, graph, WARM_UP), circumstances))
        except FlowError as error:
            startable -= 1
            if error.exit_code != 1 or name in needed or startable < 2:
                raise
            yield LeftOut(name, error.message, error.hint)


async def _start(trial: Trial, circumstances: Circumstances) -> None:
    services = _services(trial, circumstances.conditions) if trial.graph.services else None
    async with Session(trial.graph, services=services, all_servers=True):
        pass


def schedule(graphs: Sequence[tuple[str, Graph]], runs: int, *, warm_up: bool = True) -> list[Trial]:
    """All runs in their order, the warm-up first."""
    trials = [Trial(*graphs[-1], WARM_UP)] if warm_up and graphs else []
    for repeat in range(runs):
        trials += [Trial(label, graph, repeat) for label, graph in (graphs if repeat % 2 == 0 else reversed(graphs))]
    return trials


def run_trials(
    trials: Iterable[Trial], circumstances: Circumstances, *, on_start: Callable[[Trial], None] | None = None
) -> Iterator[RunResult]:
    """Make all runs, one after the other, each in real time; yields what counts.

    Raises what ended a session, and NothingAnswered: minutes more of the same would tell nothing.
    """
    for trial in trials:
        if on_start is not None:
            on_start(trial)
        with asyncio.Runner() as runner:
            result = runner.run(run_trial(trial, circumstances))
        if not trial.counts and result.turns and all(turn.failed for turn in result.turns):
            why = next((turn.verdict for turn in result.turns if turn.verdict), "")
            raise NothingAnswered(
                f"nothing was answered ({why})", hint=f"try it first: flow run {trial.graph.path} --input CALLER"
            )
        if trial.counts:
            yield result


async def run_trial(trial: Trial, circumstances: Circumstances, *, services: Services | None = None) -> RunResult:
    """Make one run. `services`: instead of those that the graph declares (tests). Raises what ended the session."""
    graph = trial.graph
    if services is None and graph.services:
        services = _services(trial, circumstances.conditions)
    session = Session(graph, services=services, say=circumstances.say, all_servers=True)
    report = Report(session, circumstances.on_turn)
    path = _recording_of(trial, circumstances)
    began, cpu, children = time.monotonic(), time.process_time(), _children_s()
    async with contextlib.AsyncExitStack() as stack:
        outside = stereo = None
        if circumstances.aloud:
            outside = await stack.enter_async_context(_outside(circumstances.aloud, path))
        elif path is not None:
            stereo = stack.enter_context(recording(session, path))
        async with session:
            try:
                await (session.finished() if outside is None else _converse(session, report, outside))
            finally:
                report.finish()
    told = RunResult.of(
        trial.label,
        trial.repeat,
        report,
        graph,
        began_at=outside.begin_at if outside else stereo.begin_at if stereo else session.trace.started,
        cpu_s=time.process_time() - cpu,
        children_s=_children_s() - children - (outside.cpu_s if outside else 0.0),
        seconds=time.monotonic() - began,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        recording=str(path or ""),
    )
    if outside is None:
        return told
    if outside.lost_ms and circumstances.say is not None:
        circumstances.say(f"the sound server has lost {outside.lost_ms:.0f} ms of a recording: the machine is too busy")
    return told.by_ear(outside.exchanges())


def _children_s() -> float:
    """Processor time of the children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _outside(caller: str, path: Path | None) -> Any:
    # By name: the engine doesn't import nodes.
    return import_module("nodes.sound.outside").Outside(caller, path)


async def _converse(session: Session, report: Report, outside: Any) -> None:
    """Let the user outside talk with the session. Raises what ended either too early."""
    graph = session.graph
    sources = {name for name, spec in graph.nodes.items() if not ports(spec.cls).inputs}
    for kind in types_named(graph, "Audio"):
        session.watch(kind, lambda frame: outside.captured(frame) if frame.source in sources else None)

    async def talk() -> None:
        spoken = await outside.utterance(go=True)
        while spoken is not None:
            report.utterance(spoken)
            spoken = await outside.utterance()

    talking, running = asyncio.ensure_future(talk()), asyncio.ensure_future(session.finished())
    try:
        await asyncio.wait([talking, running], return_when=asyncio.FIRST_COMPLETED)
        await (talking if talking.done() else running)
        await talking  # a graph that ran out leaves the user alone, who gives up
    finally:
        for task in (talking, running):
            task.cancel()
        await asyncio.wait([talking, running])


def _services(trial: Trial, conditions: Conditions | None) -> Services:
    from flowgraph.services import Services

    if conditions is None:
        return Services(trial.graph.services.values())
    from flowgraph.network import Distant

    # The same jitter for every graph in the same repeat.
    return Services(trial.graph.services.values(), network=Distant(conditions, seed=trial.repeat + 1))


def _recording_of(trial: Trial, circumstances: Circumstances) -> Path | None:
    folder = circumstances.folder
    if folder is None or not (trial.counts or circumstances.aloud):
        return None
    name = "".join(char if char.isalnum() or char in "-_." else "_" for char in trial.label)
    return folder / f"{name}-{trial.repeat + 1}.wav"
