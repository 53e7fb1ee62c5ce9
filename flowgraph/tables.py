"""Turns as people read them: a line with where the milliseconds went, and the table at the end.

Milliseconds are rounded so that the parts that are shown add up to the total that is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from flowgraph.phases import SHORT, ordered, percentile
from flowgraph.units import MS, SECOND

if TYPE_CHECKING:
    from flowgraph.report import Report, TurnReport, Verdict

COLOURS = {
    "end of speech": "yellow",
    "network": "red",
    "STT": "cyan",
    "LLM": "magenta",
    "clause": "blue",
    "TTS": "green",
    "waiting": "bright_red",
    "holding": "bright_yellow",
    "playout": "bright_black",
}
OTHER = "bright_blue"
AXIS_NS = SECOND
"""A bar of full width."""
BAR = 20
TOTAL = 10
"""Columns of a turn's milliseconds."""
LEAST_TEXT = 8
"""Columns for what was said: where there are fewer, the table of the turns becomes a list."""
NARROW = 60
"""A terminal of fewer columns has no room for a bar."""


def in_ms(phases: Mapping[str, int]) -> dict[str, int]:
    """Phases in whole milliseconds, each less than one off, that add up to the rounded total."""
    floors = {name: ns // MS for name, ns in phases.items()}
    missing = round(sum(phases.values()) / MS) - sum(floors.values())
    for name in sorted(phases, key=lambda name: -(phases[name] % MS))[:missing]:
        floors[name] += 1
    return floors


def _shares(parts: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers that are to each other as the parts are, and add up to `total`: largest remainders round up."""
    everything = sum(parts.values())
    if everything <= 0:
        return dict.fromkeys(parts, 0)
    exact = {name: value * total / everything for name, value in parts.items()}
    floors = {name: math.floor(value) for name, value in exact.items()}
    missing = total - sum(floors.values())
    for name in sorted(parts, key=lambda name: floors[name] - exact[name])[:missing]:
        floors[name] += 1
    return floors


def bar(phases: Mapping[str, int], width: int = BAR) -> Text:
    """The phases side by side, each in its colour; the full width is a second, or all of a longer turn."""
    cells = min(width, max(1, round(sum(phases.values()) * width / AXIS_NS))) if any(phases.values()) else 0
    text = Text()
    for name, count in _shares(phases, cells).items():
        text.append("━" * count, style=colour(name))
    return text.append(" " * (width - cells))


def colour(phase: str) -> str:
    """A phase has the same colour everywhere."""
    return COLOURS.get(phase, OTHER)


def parts(milliseconds: Mapping[str, int], room: int = 0) -> Text:
    """`speech end 402 · LLM 9 · playout 10`: what is below half a millisecond is left out.

    `room`: columns; what doesn't fit goes on in the next line, whole. 0 = one line, however long.
    """
    text = Text()
    begun = 0
    for name, ms in milliseconds.items():
        if not ms:
            continue
        part = Text.assemble((SHORT.get(name, name), colour(name)), f" {ms}")
        if room and begun and begun + 3 + part.cell_len > room:
            text.append("\n")
            begun = 0
        elif begun:
            text.append(" · ", style="dim")
            begun += 3
        text.append_text(part)
        begun += part.cell_len
    return text


def total(turn: TurnReport) -> str:
    """`421 ms`; `~421 ms` where the end of speech is estimated; `` where there is no figure."""
    if turn.latency_ns is None:
        return ""
    return f"{'' if turn.annotated else '~'}{turn.latency_ns / MS:.0f} ms"


def one_line(turn: TurnReport) -> str:
    """A turn for a pipe: `3  "twelve times seven" → "Eighty four." 421 ms = speech end 402 · LLM 9 · playout 10`."""
    said = "greeting" if turn.greeting else f'"{turn.said or turn.truth}"'
    words = [f"{turn.number or '':>2} ", said]
    if turn.heard:
        words += ["→", f'"{turn.heard.strip()}"']
    if turn.latency_ns is not None:
        words.append(
            f"{total(turn)} = {parts(in_ms(turn.phases))}" if turn.phases else f"{total(turn)} ({turn.incomplete})"
        )
    if turn.verdict:
        words.append(f"[{turn.verdict}]")
    return " ".join(words)


def figures(turn: TurnReport, width: int, *, verdict: bool = True) -> Table | None:
    """Where the milliseconds of a turn went, with a bar where there is room, and its verdict if that is wanted.

    `width`: the terminal's columns. None if there is nothing to say.
    """
    verdict = verdict and bool(turn.verdict)
    if turn.latency_ns is None and not verdict:
        return None
    drawn = bool(turn.phases) and width >= NARROW
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=TOTAL, justify="right", no_wrap=True, style="bold")
    if drawn:
        grid.add_column(width=BAR, no_wrap=True)
    grid.add_column(ratio=1)
    beside = [Text()] if drawn else []
    if turn.phases:
        room = width - TOTAL - 2 - drawn * (BAR + 2)
        grid.add_row(total(turn), *([bar(turn.phases)] if drawn else []), parts(in_ms(turn.phases), room))
    elif turn.latency_ns is not None:
        grid.add_row(total(turn), Text(turn.incomplete, style="red"))
    if verdict:
        bad = turn.failed or turn.error or turn.cut_off
        grid.add_row("", *beside, Text(turn.verdict, style="red" if bad else "yellow"))
    return grid


def summary(report: Report, width: int) -> Iterator[Table | Text]:
    """The end of a run: a table of the turns by phases, p50 and p90, the budget's verdict, and the counts."""
    if not report.turns:
        yield Text("no turns: nobody spoke, or nothing was answered", style="dim")
        return
    if report.latencies:
        yield turn_table(report.turns, width)
        yield Text()
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row("voice to voice", _voice_to_voice(report))
    for verdict in report.verdicts():
        grid.add_row("budget", _verdict(verdict))
    grid.add_row(_many(len(report.asked), "turn"), _counts(report))
    if report.counts()["withdrawn"] or (report.ahead_percentile(50) or 0) > 0:
        grid.add_row("prepared", _prepared(report))
    yield grid


def turn_table(turns: Sequence[TurnReport], width: int) -> Table:
    """A line for each turn by phases, and p50 and p90, for a terminal `width` columns wide. At least one turn has a latency."""
    asked = [turn for turn in turns if not turn.greeting]
    rows = [(turn, in_ms(turn.phases)) for turn in asked]
    names = [name for name in ordered(n for _, row in rows for n in row) if any(row.get(name) for _, row in rows)]
    heads = [SHORT.get(name, name) for name in names]
    room = width - 5 - 9 - sum(len(head) + 2 for head in heads)
    latencies = [turn.latency_ns for turn in asked if turn.latency_ns is not None]
    shown = [row for _, row in rows if row]  # as the rows are rounded, or the p50 of one turn would not be that turn's
    means = {p: {n: round(percentile([row.get(n, 0) for row in shown], p)) for n in names} for p in (50, 90)}
    totals = {p: f"{percentile(latencies, p) / MS:.0f}" for p in (50, 90)}
    if room < LEAST_TEXT:
        return _turn_list(rows, means, totals, width)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("ms", width=room, no_wrap=True, overflow="ellipsis")
    table.add_column("total", justify="right", style="bold", no_wrap=True)
    for name, head in zip(names, heads, strict=True):
        table.add_column(head, justify="right", header_style=f"bold {colour(name)}", no_wrap=True)
    for turn, row in rows:
        cells = [str(row.get(name) or "·") if row else "" for name in names]
        table.add_row(str(turn.number), Text(turn.said or turn.truth), total(turn).removesuffix(" ms") or "–", *cells)
    table.add_section()
    for percent, mean in means.items():
        table.add_row("", f"p{percent}", totals[percent], *(str(mean[name]) for name in names), style="bold")
    return table


def _turn_list(
    rows: Sequence[tuple[TurnReport, dict[str, int]]],
    means: Mapping[int, dict[str, int]],
    totals: Mapping[int, str],
    width: int,
) -> Table:
    """The same where there is no room for columns: no figure is cut."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column(justify="right", style="bold", no_wrap=True)
    grid.add_column(ratio=1)
    room = width - 5 - 6
    for turn, row in rows:
        grid.add_row(str(turn.number), total(turn).removesuffix(" ms") or "–", parts(row, room))
    for percent, mean in means.items():
        grid.add_row(f"p{percent}", totals[percent], parts(mean, room))
    return grid


def _voice_to_voice(report: Report) -> Text:
    p50, p90 = report.percentile(50), report.percentile(90)
    if p50 is None or p90 is None:
        return Text("nothing to measure: no answer was heard")
    known = "annotated" if report.annotated else "estimated"
    text = Text(f"p50 {p50 / MS:.0f} ms · p90 {p90 / MS:.0f} ms", style="bold")
    return text.append(f" ({_many(len(report.latencies), 'turn')}, end of speech {known})", style="not bold dim")


def _verdict(verdict: Verdict) -> Text:
    text = Text(f"{verdict.name} ≤ {verdict.limit_ns / MS:.0f} ms: ")
    if verdict.value_ns is None:
        return text.append("nothing to measure", style="yellow")
    if verdict.kept:
        return text.append("kept", style="green").append(f", {verdict.value_ns / MS:.0f} ms")
    text.append("broken", style="red").append(f", {verdict.value_ns / MS:.0f} ms")
    if verdict.phase:
        name = SHORT.get(verdict.phase, verdict.phase)
        text.append(f"; mostly by {name}: {verdict.phase_ns / MS:.0f} ms")
    return text


def _counts(report: Report) -> Text:
    counts = report.counts()
    text = Text(f"{counts['answered']} answered")
    bad = {
        "unanswered": "unanswered",
        "errors": "with an error",
        "needless": "answered needlessly",
        "cut off": "cut off",
    }
    for name, words in bad.items():
        if counts[name]:
            text.append(" · ").append(f"{counts[name]} {words}", style="red")
    if counts["interrupted"]:
        text.append(f" · {counts['interrupted']} interrupted")
    if counts["frames lost"]:
        text.append(" · ").append(f"{_many(counts['frames lost'], 'frame')} lost", style="yellow")
    return text


def _prepared(report: Report) -> Text:
    """`9 attempts, 7 heard · 2 withdrawn: 14 tokens, 1.2 s of sound · first sound ready 180 ms before the commit (p50)`."""
    counts = report.counts()
    attempts, withdrawn = counts["attempts"], counts["withdrawn"]
    text = Text(f"{_many(attempts, 'attempt')}, {attempts - withdrawn} kept")
    if withdrawn:
        seconds = counts["ms of sound wasted"] / 1000
        text.append(f" · {withdrawn} withdrawn: {_many(counts['tokens wasted'], 'token')}, {seconds:.1f} s of sound")
    ahead = report.ahead_percentile(50)
    if ahead is not None:
        when = "before" if ahead >= 0 else "after"
        text.append(f" · first sound ready {abs(ahead) / MS:.0f} ms {when} the commit (p50)")
    return text


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
