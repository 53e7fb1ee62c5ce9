"""`flow trace FILE`: the turns of a run, one of them on a time axis, and the same for other programs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from flowgraph.cli.console import stderr, stdout
from flowgraph.errors import FlowError
from flowgraph.files import require_apart, require_writable
from flowgraph.moments import moments
from flowgraph.tables import colour, total, turn_table
from flowgraph.timeline import Timeline
from flowgraph.units import MS

if TYPE_CHECKING:
    from rich.console import Console

    from flowgraph.report import TurnReport
    from flowgraph.timeline import Job
    from flowgraph.trace import Step

NUMBER = 8
"""Columns of a figure."""
MARKS = {
    "working": "━",
    "network": "═",
    "waiting": "┄",
    "holding": "┄",
    "speech end": "─",
    "capture": "─",
    "playout": "━",
}
POINT = "·"
"""What is shorter than a column."""
ROUND_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Between two ticks."""
TICK = 7
"""Columns that a tick needs at least."""


class WrongArgument(FlowError):
    """Arguments of the command line that can't be meant together."""

    exit_code = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """The command's arguments."""

    file: Path
    turn: int | None = None
    slowest: bool = False
    perfetto: Path | None = None
    otel: bool = False


def show_trace(wishes: Wishes) -> None:
    """Raises UnusableTrace, WrongArgument, and what writing or sending meets."""
    if wishes.turn is not None and wishes.slowest:
        raise WrongArgument("--turn and --slowest exclude each other", hint="give one of them")
    require_writable(wishes.perfetto, "--perfetto")
    require_apart({"FILE": wishes.file, "--perfetto": wishes.perfetto})
    timeline = Timeline.read(wishes.file)
    if timeline.cut_at:
        warning = f"{timeline.path}:{timeline.cut_at}: only a part of the last line is there: the run was killed, or still goes on"
        stderr().print(Text(warning, style="yellow"), soft_wrap=True)
    console = stdout()
    if wishes.perfetto is not None:
        from flowgraph.perfetto import write

        write(timeline, wishes.perfetto)
        stderr().print(
            Text(f"{wishes.perfetto}: open it in https://ui.perfetto.dev or chrome://tracing"), soft_wrap=True
        )
    if wishes.otel:
        from flowgraph.telemetry import send

        count, where = send(timeline)
        stderr().print(Text(f"{count} turns sent to {where}"), soft_wrap=True)
    if wishes.turn is not None:
        _show_turn(console, timeline, timeline.turn(wishes.turn))
    elif wishes.slowest:
        _show_turn(console, timeline, timeline.slowest())
    elif wishes.perfetto is None and not wishes.otel:
        _show_turns(console, timeline)


def _show_turns(console: Console, timeline: Timeline) -> None:
    timeline.require_turns()
    if any(turn.latency_ns is not None for turn in timeline.turns):
        console.print(turn_table(timeline.turns, console.width))
    else:
        console.print(Text("no answer was heard", style="dim"))
    for turn in timeline.turns:
        if turn.verdict or turn.incomplete:
            said = "; ".join(word for word in (turn.verdict, turn.incomplete) if word)
            console.print(Text.assemble((f"{_name(turn)}: ", "bold"), said), soft_wrap=True)
    console.print(Text(f"one of them: flow trace {timeline.path} --turn N, or --slowest", style="dim"), soft_wrap=True)


def _name(turn: TurnReport) -> str:
    return f"turn {turn.number}" if turn.number else "greeting"


# -- one turn -----------------------------------------------------------------------------------------------------------


def _show_turn(console: Console, timeline: Timeline, turn: TurnReport) -> None:
    for line in _head(turn):
        console.print(line, soft_wrap=True)
    if turn.latency_ns is not None:
        axis = _Axis.of(turn, console.width)
        console.print()
        for line in axis.lines(timeline):
            console.print(line, soft_wrap=True, no_wrap=True, overflow="ignore", crop=False)
    console.print()
    console.print(_moments_table(timeline, turn))


def _head(turn: TurnReport) -> Iterator[Text]:
    said = "" if turn.greeting else f' "{turn.said or turn.truth}"'
    heard = f' → "{turn.heard.strip()}"' if turn.heard.strip() else ""
    yield Text.assemble((_name(turn), "bold"), said, heard)
    if turn.truth and turn.said and turn.truth != turn.said:
        yield Text(f'really said: "{turn.truth}"', style="dim")
    if turn.latency_ns is not None:
        known = "annotated" if turn.annotated else "estimated"
        yield Text.assemble((total(turn), "bold"), f" from the last voiced sample ({known}) to the first audible one")
    if turn.verdict:
        yield Text(turn.verdict, style="yellow")
    if turn.incomplete:
        yield Text(f"no critical path: {turn.incomplete}", style="red")


@dataclasses.dataclass(frozen=True, slots=True)
class _Axis:
    """The time of a turn in columns: what stands left of the bars, the bars, two figures."""

    turn: TurnReport
    label: int
    """Columns left of the bars."""
    bar: int

    @classmethod
    def of(cls, turn: TurnReport, width: int) -> _Axis:
        longest = max((len(step.where) for step in turn.steps), default=0)
        label = min(12 + max(longest, 16), width * 2 // 5)
        return cls(turn, label, max(width - label - 2 * NUMBER - 4, 10))

    def lines(self, timeline: Timeline) -> Iterator[Text]:
        yield self._line(Text("the critical path", style="bold"), self._ticks(), "from", "ms", "dim")
        for step in self.turn.steps:
            style = colour(timeline.phase(step))
            label = Text.assemble((f"{step.kind:<10}", style), "  ", step.where)
            since = (step.start - self.turn.speech_end_at) / MS
            yield self._line(label, self._bar(step), f"{since:.1f}", f"{step.ms:.1f}")
        if self.turn.steps:
            yield self._line(Text(), Text(" " * self.bar), "", f"{(self.turn.latency_ns or 0) / MS:.1f}", "bold")
        yield Text()
        yield self._line(Text("meanwhile", style="bold"), Text(" " * self.bar), "first", "last", "dim")
        for name in timeline.nodes:
            if (line := self._node(timeline, name)) is not None:
                yield line
        for edge in timeline.edges:
            if edge in timeline.held and (line := self._held(timeline, edge)) is not None:
                yield line
        yield Text()
        yield Text(
            "━ working  ═ connecting  ┄ waiting or held  ─ listening; thin: goes on  · less than a column", style="dim"
        )

    def _line(self, label: Text, bar: Text, one: str, other: str, style: str = "") -> Text:
        label = label.copy()
        label.truncate(self.label, overflow="ellipsis", pad=True)
        figures = Text(f"  {one:>{NUMBER}}{other:>{NUMBER}}", style=style)
        return Text.assemble(label, "  ", bar, figures)

    def _column(self, at: int) -> int:
        share = (at - self.turn.speech_end_at) / max(self.turn.audible_at - self.turn.speech_end_at, 1)
        return round(min(max(share, 0.0), 1.0) * self.bar)

    def _ticks(self) -> Text:
        ms = (self.turn.latency_ns or 0) / MS
        most = max(self.bar // TICK, 1)
        step = next((one for one in ROUND_MS if ms / one <= most), ROUND_MS[-1])
        cells = [" "] * self.bar
        for count in range(int(ms // step) + 1):
            begin = round(count * step / ms * self.bar) if ms else 0
            text = f"╷{count * step}"
            if begin + len(text) <= self.bar:
                cells[begin : begin + len(text)] = text
        return Text("".join(cells), style="dim")

    def _bar(self, step: Step) -> Text:
        cells: list[tuple[str, str]] = [(" ", "")] * self.bar
        begin, end = self._column(step.start), self._column(step.end)
        style = "" if step.kind in ("waiting", "holding") else "bold"
        if end > begin:
            cells[begin:end] = [(MARKS[step.kind], style)] * (end - begin)
        else:
            cells[min(begin, self.bar - 1)] = (POINT, style)
        return Text.assemble(*cells)

    def _node(self, timeline: Timeline, name: str) -> Text | None:
        """What a node made in the turn, and when it worked between the last voiced sample and the first audible one."""
        made = timeline.made(name, self.turn)
        if not made:
            return None
        made.sort(key=lambda frame: frame.made_at)
        counts = Counter(frame.type for frame in made)
        what = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        label = Text.assemble(f"{name:<10}", "  ", (what, "dim"))
        first, last = (f"{(frame.made_at - self.turn.speech_end_at) / MS:.0f}" for frame in (made[0], made[-1]))
        return self._line(label, self._lane([job for job in timeline.jobs if job.node == name]), first, last)

    def _held(self, timeline: Timeline, edge: str) -> Text | None:
        """How long a held edge kept the answer back; None where nothing waited."""
        answer = timeline.answer(self.turn)
        commit = timeline.commits.get(answer.attempt) if answer is not None else None
        if answer is None or commit is None:
            return None
        puts = [
            frame.puts[edge]
            for frame in timeline.frames.values()
            if frame.turn == answer.attempt and edge in frame.puts
        ]
        since = min(puts, default=commit.at)
        if since >= commit.at:
            return None
        begin, end = self._column(since), self._column(commit.at)
        bar = Text((" " * begin + MARKS["holding"] * (end - begin)).ljust(self.bar))
        label = Text.assemble(f"{'held':<10}", "  ", (edge, "dim"))
        first, last = (f"{(at - self.turn.speech_end_at) / MS:.0f}" for at in (since, commit.at))
        return self._line(label, bar, first, last)

    def _lane(self, jobs: Sequence[Job]) -> Text:
        cells = [" "] * self.bar
        for job in jobs:
            if job.end < self.turn.speech_end_at or job.start > self.turn.audible_at:
                continue
            begin, first, end = self._column(job.start), self._column(job.first), self._column(job.end)
            for column in range(begin, max(end, begin)):
                mark = "━" if column < first else "─"
                if cells[column] in (" ", POINT) or mark == "━":
                    cells[column] = mark
            if begin == end and cells[min(begin, self.bar - 1)] == " ":
                cells[min(begin, self.bar - 1)] = POINT
        return Text("".join(cells))


def _moments_table(timeline: Timeline, turn: TurnReport) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True, style="dim")
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(ratio=1)
    for one in moments(timeline, turn):
        at = f"{(one.at - turn.speech_end_at) / MS:+.0f}"
        grid.add_row(at, Text(one.who), Text(one.what, style="bold" if one.matters else ""))
    return grid
