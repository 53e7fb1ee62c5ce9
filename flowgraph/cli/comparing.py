"""`flow compare`: the runs with their progress, the tables, the report, and what may not come out."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from flowgraph import findings
from flowgraph.cli.console import progress, stderr, stdout, tell_error
from flowgraph.cli.inputs import address_of, settings_by_ear, with_input
from flowgraph.compare import Comparison, LeftOut, RunResult
from flowgraph.display import json_line
from flowgraph.errors import FlowError
from flowgraph.files import require_apart
from flowgraph.gates import Gate
from flowgraph.graph import Graph
from flowgraph.interrupts import begin_work
from flowgraph.interrupts import exit_code as interrupted
from flowgraph.machine import cores, machine, versions
from flowgraph.network import Conditions
from flowgraph.node import ports
from flowgraph.specs import ServiceSpec
from flowgraph.tables import colour, total
from flowgraph.trials import Circumstances, Trial, run_trials, schedule, start_each

if TYPE_CHECKING:
    from rich.console import Console

    from flowgraph.report import TurnReport

WIDE = 110
"""Characters of a terminal from which on tables are spaced out."""
WIDE_BAR, NARROW_BAR = 30, 18
LONG_NAME = 16
BUSY_LOAD = 1.5
"""So many programs that want to run for each core, embedded servers among them, make figures worse than they are elsewhere."""
BUSY = "The machine was busy with other things: all figures are worse than they would be without."


class WrongArgument(FlowError):
    """An argument of the command line that can't be meant."""

    exit_code = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """The command's arguments."""

    graphs: Sequence[str]
    settings: Sequence[str] = ()
    conversation: str = "demo"
    runs: int = 3
    network: str = ""
    gates: Sequence[str] = ()
    html: Path | None = None
    json: bool = False
    record: bool = False
    picture: Path | None = None


def compare_graphs(wishes: Wishes) -> int:
    """Make the runs and tell what came out. Returns the exit code; raises GraphError, WrongArgument before anything runs."""
    graphs = _graphs(wishes)
    gates = [Gate.parse(text, list(graphs)) for text in wishes.gates]
    conditions = Conditions.parse(wishes.network) if wishes.network else None
    if wishes.html is not None:
        from flowgraph import page

        page.require(wishes.html)
    if wishes.picture is not None:
        from flowgraph import page

        page.require(wishes.picture, option="--picture")
    require_apart({"--html": wishes.html, "--picture": wishes.picture})
    if wishes.record:
        _take_the_stage(graphs)
    begin_work()
    with contextlib.ExitStack() as stack:
        kept = wishes.html or wishes.record
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowgraph-"))) if kept else None
        aloud = address_of(wishes.conversation).removeprefix("caller:") if wishes.record else ""
        left_out: list[LeftOut] = []
        needed = {next(iter(graphs)), *(name for gate in gates for name in (gate.graph, gate.other))}
        with contextlib.redirect_stdout(sys.stderr):  # what a node prints is no result
            results, code = _run(graphs, wishes.runs, Circumstances(conditions, folder, aloud), needed, left_out)
        if not results:
            return code
        budgets = {name: graph.budget for name, graph in graphs.items()}
        comparison = Comparison(results, order=list(graphs), budgets=budgets, left_out=left_out)
        about = _about(wishes, graphs, conditions, comparison)
        judged = [gate.judge(comparison) for gate in gates]
        failed = [said for holds, said in judged if holds]
        if wishes.json:
            found = {"about": about, **comparison.to_json(), "fail_if": {said: holds for holds, said in judged}}
            print(json_line(found, sys.stdout))
        else:
            _show(stdout(), comparison, about)
        if wishes.html is not None:
            from flowgraph import page

            page.write(wishes.html, comparison, graphs, about)
            stderr().print(Text(f"report: {wishes.html}"), soft_wrap=True)
        if wishes.picture is not None:
            from flowgraph.page import still

            drawn = any(turn.phases for run in comparison.runs for turn in run.turns)
            if drawn:
                still.write(wishes.picture, still.of_comparison(comparison))
            said = f"picture: {wishes.picture}" if drawn else "no picture: there is no answer to draw"
            stderr().print(Text(said), soft_wrap=True)
    for one in left_out:
        stderr().print(
            Text.assemble(("left out: ", "bold red"), findings.titled(comparison, one.graph)), soft_wrap=True
        )
    for said in failed:
        stderr().print(Text.assemble(("failed: ", "bold red"), said), soft_wrap=True)
    return code or int(bool(failed or left_out))


def _graphs(wishes: Wishes) -> dict[str, Graph]:
    """Name → graph, with the caller in the place of the microphone. Raises GraphError, WrongArgument."""
    if len(wishes.graphs) < 2:
        raise WrongArgument("compare: one graph has nothing to be compared with", hint="name two graphs, or more")
    if len(wishes.graphs) > 26:
        raise WrongArgument("compare: there are more graphs than letters", hint="compare 26 at a time")
    if wishes.runs < 1:
        raise WrongArgument(f"--runs {wishes.runs}: nothing would run", hint="1 or more; 3 if none is given")
    _caller(wishes.conversation)
    found: dict[str, Graph] = {}
    for path in wishes.graphs:
        if wishes.record:
            graph = Graph.load(path, settings=wishes.settings, derived=settings_by_ear, derived_from="--record")
        else:
            graph = with_input(path, wishes.conversation, settings=wishes.settings, option="--conversation")
        for warning in graph.warnings:
            stderr().print(Text(warning), soft_wrap=True)
        found[_unlike(graph.name, found)] = graph
    return found


def _caller(conversation: str) -> Any:
    """The caller, read. Raises GraphError, WrongArgument, NoInput."""
    address = address_of(conversation, option="--conversation") if conversation else ""
    if not address.startswith("caller:"):
        hint = "a bundled caller (demo), a conversation's YAML file, or a folder of WAV files"
        raise WrongArgument(f"--conversation {conversation}: this is nobody who speaks", hint=hint)
    # By name: the engine doesn't import nodes.
    return import_module("nodes.sound.conversation").load_conversation(address.removeprefix("caller:"))


def _take_the_stage(graphs: dict[str, Graph]) -> None:
    """Is there what it takes to judge by ear? Raises DeviceError, WrongArgument."""
    # By name: the engine doesn't import nodes.
    where = import_module("nodes.sound.pulse").stage()
    lacking = import_module("nodes.sound.hardware").no_hardware
    users = [spec for graph in graphs.values() for spec in graph.nodes.values() if "device" in spec.cls.model_fields]
    for direction in dict.fromkeys("output" if ports(spec.cls).inputs else "input" for spec in users):
        if lack := lacking(direction):
            hint = "PortAudio has to find the sound server (`flow devices`; Debian: apt-get install pipewire-alsa)"
            raise WrongArgument(f"--record: {lack}", hint=hint)
    said = f"the user speaks into '{where.room}', answers are heard from '{where.output}'"
    stderr().print(Text(said), soft_wrap=True)


def _unlike(name: str, taken: dict[str, Graph]) -> str:
    """A name that no other graph has: a graph may be compared with itself."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    return found


# -- the runs -----------------------------------------------------------------------------------------------------------


def _run(
    graphs: dict[str, Graph], runs: int, shared: Circumstances, needed: set[str], left_out: list[LeftOut]
) -> tuple[list[RunResult], int]:
    """The results there are, and the exit code: 1 if a run failed, 130 after Ctrl-C. The runs that were made count.

    Those that can't start and aren't `needed` are added to `left_out`.
    """
    results: list[RunResult] = []
    with _Watching(stderr(), list(graphs)) as watching:
        circumstances = dataclasses.replace(shared, on_turn=watching.turn, say=watching.say)
        trials: list[Trial] = []
        try:
            for lacking in start_each(list(graphs.items()), shared, needed=needed, on_start=watching.try_to_start):
                left_out.append(lacking)
                watching.left_out(lacking)
            names = {one.graph for one in left_out}
            trials = schedule([(name, graph) for name, graph in graphs.items() if name not in names], runs)
            watching.expect(len(trials))
            for result in run_trials(trials, circumstances, on_start=watching.start):
                results.append(result)
                watching.finished(result)
        except KeyboardInterrupt:
            watching.say(f"stopped: {len(results)} of {sum(trial.counts for trial in trials)} runs were made")
            return results, interrupted()
        except Exception as error:
            watching.stop()
            watching.say(f"{watching.what} failed:")
            return results, tell_error(error) or 1
    return results, 0


class _Watching:
    """Which run it is, which turn, and how long it will take. On a terminal with a bar; a line for each run anywhere."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self.what = "the first run"
        self._console = console
        self._runs = 0
        self._letters = {name: chr(ord("A") + index) for index, name in enumerate(names)}
        self._number = 0
        self._turns = 0
        self._expected = 0
        self._began = 0.0
        self._task = TaskID(0)
        self._said: set[str] = set()
        self._progress = progress(console)

    def __enter__(self) -> _Watching:
        self._progress.start()
        self._task = self._progress.add_task("starting …", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No bar any more."""
        self._progress.stop()

    def try_to_start(self, name: str) -> None:
        """A graph is started and stopped."""
        self.what = f"starting {self._letters[name]} {name}"
        self._show("can it start here?")

    def left_out(self, lacking: LeftOut) -> None:
        """A graph can't start, and the others are compared without it."""
        self._line(
            f"left out: {self._letters[lacking.graph]} {lacking.graph} can't start: {lacking.why}", "bold yellow"
        )
        if lacking.remedy:
            self._line(f"  = {lacking.remedy}", "yellow")

    def expect(self, runs: int) -> None:
        """So many runs follow, the one to warm up included."""
        self._runs = runs
        self._began = time.monotonic()

    def start(self, trial: Trial) -> None:
        """A run begins."""
        if self._number == 1:
            self._expected = self._turns  # so many turns the warm-up had
        self._number += 1
        self._turns = 0
        which = f"repeat {trial.repeat + 1}" if trial.counts else "warm-up"
        self.what = f"run {self._number} of {self._runs}, {self._letters[trial.label]} {trial.label} ({which})"
        self._show("starting …")

    def turn(self, turn: TurnReport) -> None:
        """A turn is over."""
        self._turns += 1
        self._show(f"turn {self._turns} {total(turn)}")

    def finished(self, result: RunResult) -> None:
        """A run is over, and counts."""
        latencies = Comparison([result]).percentile(result.graph, 50)
        answered = sum(turn.latency_ms is not None for turn in result.turns)
        p50 = findings.milliseconds(latencies)
        rest_s = (time.monotonic() - self._began) / self._number * (self._runs - self._number)
        left = f"; about {_lasting(rest_s)} left" if rest_s else ""
        self._line(f"{self.what}: p50 {p50} ms, {answered} of {len(result.turns)} turns, {result.seconds:.0f} s{left}")

    def say(self, text: str) -> None:
        """A line for the user, once."""
        if text not in self._said:
            self._said.add(text)
            self._line(text, "dim")

    def _line(self, text: str, style: str = "") -> None:
        self._progress.console.print(Text(text, style=style), soft_wrap=True)

    def _show(self, text: str) -> None:
        whole = self._expected * self._runs or None
        done = self._expected * (self._number - 1) + min(self._turns, self._expected)
        self._progress.update(self._task, description=f"{self.what} · {text}", total=whole, completed=done)


def _lasting(seconds: float) -> str:
    """`4 min`, `50 s`."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


# -- what came out ------------------------------------------------------------------------------------------------------


def _about(
    wishes: Wishes, graphs: dict[str, Graph], conditions: Conditions | None, comparison: Comparison
) -> dict[str, Any]:
    """What a reader needs to know beside the figures."""
    services = {name: spec for graph in graphs.values() for name, spec in graph.services.items()}
    loads = [run.load for run in comparison.runs]
    return {
        "command": shlex.join(["flow", *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%d %H:%M %z"),
        "conversation": _who_speaks(wishes.conversation, by_ear=wishes.record),
        "runs": f"{max(run.repeat for run in comparison.runs) + 1} of each graph, interleaved (ABBA), one to warm up",
        "network": f"{wishes.network}: {conditions}" if conditions is not None else "none beside the real one",
        "services": ", ".join(f"{name} {_where(spec)}" for name, spec in services.items()) or "none",
        **machine(),
        "load": f"{min(loads):.1f} … {max(loads):.1f} programs at the ends of the runs",
        **({"warning": BUSY} if max(loads) > BUSY_LOAD * cores() else {}),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def _who_speaks(conversation: str, *, by_ear: bool) -> str:
    """The caller, and how sure the ends of speech are."""
    caller = _caller(conversation)
    count = len(caller.utterances)
    parts = [f"{caller.name or conversation}, {count} utterance{'s' if count > 1 else ''}"]
    parts += [f"voice {caller.voice}"] if caller.voice else []
    how = "estimated from the level" if caller.estimated else "annotated to the sample"
    parts += [
        "spoken aloud; end of speech and first sound from the recording of what was played"
        if by_ear
        else f"end of speech {how}"
    ]
    return ", ".join(parts)


def _where(spec: ServiceSpec) -> str:
    """A service's host: the rest of its address may be secret."""
    return "embedded" if spec.embedded else f"at {urlsplit(spec.url).hostname}"


def _show(console: Console, comparison: Comparison, about: dict[str, Any]) -> None:
    for grid in _grids(comparison):
        console.print()
        console.print(Text(grid.title, style="bold"))
        console.print(_table(grid, console.width))
        if grid.note:
            console.print(Text(grid.note, style="dim"))
    console.print()
    for name, verdict in findings.budgets(comparison):
        style = "green" if verdict.kept else "red"
        console.print(Text.assemble(f"budget of {name}: ", (findings.verdict_text(verdict), style)), soft_wrap=True)
    console.print(Text(findings.headline(comparison), style="bold"))
    if "warning" in about:
        console.print(Text(about["warning"], style="yellow"))
    facts = [about[name] for name in ("processor", "load", "network", "services", "runs")]
    console.print(Text(" · ".join(facts), style="dim"))


def _grids(comparison: Comparison) -> Iterator[findings.Grid]:
    yield findings.overview(comparison)
    if (left_out := findings.left_out(comparison)) is not None:
        yield left_out
    if len(comparison.graphs) > 1:
        yield findings.differences(comparison)
    if (steps := findings.gains(comparison)) is not None:
        yield steps
    first, last = comparison.graphs[0], comparison.graphs[-1]
    if first != last:
        for grid in (findings.blame(comparison, first, last), findings.steps(comparison, first, last)):
            if grid is not None:
                yield grid


def _table(grid: findings.Grid, width: int) -> Table:
    """For a terminal of that many characters."""
    narrow = width < WIDE
    gap = 1 if narrow else 2
    table = Table(box=None, padding=(0, gap, 0, 0), header_style="bold", pad_edge=False, show_footer=bool(grid.foot))
    feet = grid.foot or ("",) * len(grid.heads)
    for index, (head, foot) in enumerate(zip(grid.heads, feet, strict=True)):
        cells = [foot, *(row[index] for row in grid.rows)]
        text = index < grid.texts
        # A head may take two lines, a figure may not; a name only where it is long.
        least = min(max(map(len, cells)), LONG_NAME) if text else max(map(len, (*head.split(), *cells)))
        table.add_column(head, Text(foot, style="bold"), justify="left" if text else "right", min_width=least)
    if grid.bars:
        table.add_column("", no_wrap=True)
    longest = max((max(bar) for bar in grid.bars), default=0)
    for index, row in enumerate(grid.rows):
        style = colour(row[0]) if grid.phases else ""
        drawn = [_bar(*grid.bars[index], longest, NARROW_BAR if narrow else WIDE_BAR)] if grid.bars else []
        table.add_row(Text(row[0], style=style), *(Text(cell) for cell in row[1:]), *drawn)
    return table


def _bar(value: int, before: int, longest: int, characters: int) -> Text:
    """What is left, and what it has gained or lost, where `longest` is so many characters long."""
    ends = [round(end * characters / max(longest, 1)) for end in sorted((value, before))]
    style = "green" if value <= before else "red"
    return Text.assemble("█" * ends[0], ("░" * (ends[1] - ends[0]), style))
