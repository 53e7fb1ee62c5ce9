"""A comparison as people read it: tables of text. The terminal and the page show the same ones, so their numbers are the same.

Durations are milliseconds. Columns that are to add up are rounded so that what is shown adds up.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowgraph.compare import Comparison, Difference, Verdict

NONE = "–"
MOST_STEPS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A table. The cells of its first `texts` columns are words, those of the others figures."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[str, ...] = ()
    """The line under the sum."""
    note: str = ""
    texts: int = 1
    phases: bool = False
    """The first column names phases: each has its colour."""
    bars: tuple[tuple[int, int], ...] = ()
    """For each row, where they are to be drawn: its value, and the one of the row before."""


def letter(comparison: Comparison, graph: str) -> str:
    """A for the first, B for the second, …"""
    return chr(ord("A") + comparison.named.index(graph))


def titled(comparison: Comparison, graph: str) -> str:
    """`B optimized`."""
    return f"{letter(comparison, graph)} {graph}"


def headline(comparison: Comparison) -> str:
    """What came out, in a sentence: the last graph against the first."""
    first, last = comparison.graphs[0], comparison.graphs[-1]
    one, other = titled(comparison, first), titled(comparison, last)
    found = comparison.difference(first, last)
    if first == last:
        return f"Only {one} has a finished run."
    if found is None:
        return f"{one} and {other}: no turn was answered by both."
    if found.contains_zero:
        return (
            f"{one} and {other} can't be told apart: the difference is {signed(found.median)} ms "
            f"(95 % interval {signed(found.low)} … {signed(found.high)})."
        )
    which = "sooner" if found.median > 0 else "later"
    median, low, high = (abs(found.median), *sorted((abs(found.low), abs(found.high))))
    return (
        f"{other} is heard {median:.0f} ms {which} than {one} (95 % interval {low:.0f} … {high:.0f}), "
        f"sooner in {found.won} of {found.pairs} turns."
    )


def overview(comparison: Comparison) -> Grid:
    """Each graph's figures."""
    by_ear = comparison.by_ear
    heads = (
        "", "graph", "p50", "p90", *(("as told", "apart") if by_ear else ()), "turns", "failed", "cut off", "silent after",
        "words wrong", "CPU s", "servers", "wasted",
    )  # fmt: skip
    rows = []
    for graph in comparison.graphs:
        found = comparison.summary(graph)
        rows.append(
            (
                letter(comparison, graph),
                graph,
                milliseconds(found.p50),
                milliseconds(found.p90),
                *((milliseconds(found.told_p50), milliseconds(found.apart)) if by_ear else ()),
                str(found.turns),
                str(found.failed),
                str(found.cut_off),
                milliseconds(found.stopped_p50),
                f"{found.word_error_rate:.1%}" if found.words else NONE,
                f"{found.cpu_s:.1f}",
                f"{found.children_s:.1f}",
                str(found.wasted),
            )
        )
    included = "a network's relay" if by_ear else "the recorded user and a network's relay"
    note = (
        "ms from the user's last voiced sample to the first audible one of the answer. failed: unanswered, or an error; cut off: answered "
        "before the user had finished; silent after: ms from the onset of an interruption; CPU s: of this program in a run, "
        f"{included} included; servers: CPU s of the embedded servers and players that a run starts, nothing of what a URL names; "
        "wasted: LLM calls whose answer nobody heard."
    )
    if by_ear:
        note += (
            " p50 and p90 come from the recording of what was played alone; as told: the p50 that the engine tells by itself; "
            "apart: ms between the two in the turn in which they differ most."
        )
    return Grid("First sound heard", heads, tuple(rows), note=note, texts=2)


def left_out(comparison: Comparison) -> Grid | None:
    """The graphs that couldn't start; None where all could."""
    rows = tuple((titled(comparison, one.graph), one.why, one.remedy or NONE) for one in comparison.left_out)
    return Grid("Left out: can't start here", ("graph", "why", "what to do"), rows, texts=3) if rows else None


def differences(comparison: Comparison) -> Grid:
    """Each graph against the first."""
    first = comparison.graphs[0]
    rows = []
    for graph in comparison.graphs[1:]:
        found = comparison.difference(first, graph)
        cells = (NONE, NONE, NONE) if found is None else _difference_cells(found, found.median, found.low, found.high)
        rows.append((titled(comparison, graph), *cells))
    title = f"Saved against {titled(comparison, first)}"
    note = "Median over the turns that both answered, paired by what the user says and by repeat; bootstrap over utterances."
    return Grid(title, ("graph", "ms", "95 % interval", "sooner in"), tuple(rows), note=note)


def _difference_cells(found: Difference, middle: float, low: float, high: float) -> tuple[str, str, str]:
    return signed(middle), f"{signed(low)} … {signed(high)}", f"{found.won} of {found.pairs}"


def gains(comparison: Comparison) -> Grid | None:
    """Each graph against the one before; None for two graphs, or where no turn was answered by all."""
    found = comparison.gains()
    if len(comparison.graphs) < 3 or not found:
        return None
    shown = {gain.graph: round(gain.mean) for gain in found}
    rows = []
    bars = []
    before = 0
    for gain in found:
        mean = shown[gain.graph]
        bars.append((mean, before if gain.before is not None else mean))
        name = titled(comparison, gain.graph)
        if gain.before is None:
            rows.append((name, str(mean), "", "", ""))
        else:
            _, interval, won = _difference_cells(
                gain.before, gain.before.mean, gain.before.mean_low, gain.before.mean_high
            )
            rows.append((name, str(mean), minus(before - mean), interval, won))
        before = mean
    foot = ("all steps", "", minus(shown[found[0].graph] - before), "", "")
    pairs = found[-1].before.pairs if found[-1].before is not None else 0
    note = f"Means over the {pairs} turns that every graph answered: the gains add up."
    heads = ("graph", "mean ms", "saves ms", "95 % interval", "sooner in")
    return Grid("Gained over the graph before", heads, tuple(rows), foot, note, bars=tuple(bars))


def blame(comparison: Comparison, a: str, b: str) -> Grid | None:
    """Where the time went, by phase; None where no turn was answered by both."""
    found = comparison.blame(a, b)
    if not found:
        return None
    ones = whole({one.name: one.a for one in found})
    others = whole({one.name: one.b for one in found})
    rows = [
        (one.name, str(ones[one.name]), str(others[one.name]), minus(ones[one.name] - others[one.name]))
        for one in found
        if ones[one.name] or others[one.name]
    ]
    sums = sum(ones.values()), sum(others.values())
    foot = (
        "sum, as told" if comparison.by_ear else "sum = first sound",
        str(sums[0]),
        str(sums[1]),
        minus(sums[0] - sums[1]),
    )
    letters = letter(comparison, a), letter(comparison, b)
    pairs = len(comparison.pairs(a, b))
    title = f"Where {titled(comparison, b)} saves, and where it loses, against {titled(comparison, a)}"
    note = f"Mean ms over the {pairs} turns that both answered, along the critical path. network: making connections."
    return Grid(title, ("phase", *letters, "saved"), tuple(rows), foot, note, phases=True)


def steps(comparison: Comparison, a: str, b: str, *, most: int = MOST_STEPS) -> Grid | None:
    """The nodes and edges that differ most; None where no turn was answered by both."""
    found = [one for one in comparison.blame_steps(a, b) if round(one.a) or round(one.b)][:most]
    if not found:
        return None
    rows = tuple((one.name, f"{one.a:.0f}", f"{one.b:.0f}", signed(one.saved)) for one in found)
    letters = letter(comparison, a), letter(comparison, b)
    return Grid("The nodes and edges that differ most", ("step", *letters, "saved"), rows, note="Mean ms, as above.")


def budgets(comparison: Comparison) -> Iterator[tuple[str, Verdict]]:
    """Every line of every graph's budget: graph and verdict."""
    for graph in comparison.graphs:
        for verdict in comparison.verdicts(graph):
            yield titled(comparison, graph), verdict


def verdict_text(verdict: Verdict) -> str:
    """`first_audio_p95 ≤ 700 ms: broken, 812 ms; mostly by end of speech: 640 ms`."""
    text = f"{verdict.name} ≤ {verdict.limit:.0f} ms: "
    if verdict.value is None:
        return text + "nothing to measure"
    text += f"{'kept' if verdict.kept else 'broken'}, {verdict.value:.0f} ms"
    if not verdict.kept and verdict.phase:
        text += f"; mostly by {verdict.phase}: {verdict.phase_mean:.0f} ms"
    return text


# -- numbers ------------------------------------------------------------------------------------------------------------


def milliseconds(value: float | None) -> str:
    """Whole milliseconds, or a dash."""
    return NONE if value is None else f"{value:.0f}"


def signed(value: float) -> str:
    """Whole, with a minus sign that is one."""
    return minus(round(value))


def minus(value: int) -> str:
    """A whole number, with a minus sign that is one."""
    return f"−{-value}" if value < 0 else str(value)


def whole(parts: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that add up to the rounded sum of the parts: the largest remainders round up."""
    floors = {name: math.floor(value) for name, value in parts.items()}
    missing = round(sum(parts.values())) - sum(floors.values())
    for name in sorted(parts, key=lambda name: floors[name] - parts[name])[:missing]:
        floors[name] += 1
    return floors
