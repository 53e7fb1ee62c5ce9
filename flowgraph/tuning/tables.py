"""A sweep as people read it: tables, a sentence, and a plot made of letters. The terminal and the page show the same figures.

Whatever is said of synthetic voices says so in the same line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from flowgraph.findings import NONE, Grid, milliseconds
from flowgraph.tuning.curve import by_kind, intervals

if TYPE_CHECKING:
    from flowgraph.tuning.curve import Curve, Figures, Point, Tuned
    from flowgraph.tuning.sweep import Options

SYNTHESISERS = ("flite", "espeak", "kokoro", "piper", "festival", "mbrola", "pico", "mimic", "svox")
"""A voice whose name begins so was never a person's."""
LIMIT = "the limit"
SLOW_SCORES_MS = 150.0
"""A model takes tens of milliseconds; checkpoints are 100 ms apart."""
WIDTH, HEIGHT = 60, 14
"""Of the plot, in characters."""
WORST = 0.5
"""Cut-offs at the plot's right edge."""
KNEE = 0.01
"""Above it the axis of cut-offs is logarithmic, roughly; below it, it goes on to 0."""


def who(tuned: Tuned) -> str:
    """`8 synthetic voices (espeak-ng, flite)`: what the figures are of."""
    names = sorted({voice.partition(",")[0].strip() for voice in tuned.voices})
    made_up = [voice for voice in tuned.voices if voice.casefold().startswith(SYNTHESISERS)]
    count = len(tuned.voices)
    kind = "synthetic " if len(made_up) == count else f"({len(made_up)} synthetic) " if made_up else ""
    text = f"{count} {kind}voice{'s' if count > 1 else ''} ({', '.join(names)})"
    if not tuned.separate:
        text += ", the same that the setting was chosen on"
    return text + (", ends of speech estimated from the level" if tuned.estimated else "")


def share(value: float) -> str:
    """`4.8 %`."""
    return f"{value * 100:.1f} %"


def budget_text(budget: float) -> str:
    """`5 %`."""
    return f"{budget * 100:g} %"


def setting_text(options: Options) -> str:
    """`end_silence 400ms`, without the policy's name."""
    parts = []
    for name, value in options.items():
        if name == "end":
            continue
        match value:
            case dict():
                text = " ".join(f"{at}:{one:.2f}" for at, one in value.items())
            case bool():
                text = str(value).lower()
            case _:
                text = str(value)
        parts.append(f"{name} {text}")
    return ", ".join(parts) or "as the graph has it"


def headline(tuned: Tuned, budget: float) -> str:
    """What came out, in a sentence."""
    best = tuned.best(budget)
    within = f"at ≤ {budget_text(budget)} false cut-offs"
    if best is None:
        least = min((curve.least for curve in tuned.curves if curve.least is not None), default=None)
        reached = f": the least is {share(least)}" if least is not None else ""
        return f"V2V {within}: no setting keeps that budget{reached} ({who(tuned)})."
    found, ends = best.report, intervals(best.outcomes)
    between = f" (95 % interval {ends.mean[0]:.0f} … {ends.mean[1]:.0f})" if ends is not None else ""
    kept = "" if found.rate <= budget else f"; on these voices it cuts off {share(found.rate)}"
    return (
        f"V2V {within}: {milliseconds(found.mean)} ms mean{between}, p90 {milliseconds(found.p90)} ms, by {best.policy}{kept}; "
        f"{who(tuned)}."
    )


HEADS = ("policy", "cut-offs", "cut off", "V2V mean", "p50", "p90", "decided", "missed", "dead air", "ended", "stopped")


def operating(tuned: Tuned, budget: float) -> Grid:
    """Each policy at a budget, beside the limit."""
    rows = [_row(curve.policy, curve.at(budget), curve) for curve in tuned.curves]
    limit = tuned.oracle
    cells = (milliseconds(one) for one in (limit.mean, limit.p50, limit.p90, limit.decided))
    rows.append((LIMIT, share(0.0), "0", *cells, str(limit.missed), str(limit.dead_air), NONE, NONE))
    return Grid(f"At most {budget_text(budget)} false cut-offs, {who(tuned)}", HEADS, tuple(rows))


LEGEND = (
    "cut-offs: of the pauses of 100 ms or more, those that were taken for the end, with the 95 % interval; cut off: so many utterances were. V2V: ms "
    "from the true end to the first sound, the mean with its 95 % interval; decided: mean ms to the commit alone. dead air: nothing for 2 s. "
    "ended: of what was spoken over an answer and wanted nothing, what ended it; stopped: median ms until an interrupted answer was silent. "
    "The limit knows the true ends."
)


def _row(policy: str, point: Point | None, curve: Curve) -> tuple[str, ...]:
    if point is None:
        reached = f"least {share(curve.least)}" if curve.least is not None else "unusable"
        return (policy, reached, *[NONE] * (len(HEADS) - 2))
    found, ends = point.report, intervals(point.outcomes)
    return (
        policy,
        share(found.rate) + (f" ({ends.rate[0] * 100:.1f}–{ends.rate[1] * 100:.1f})" if ends else ""),
        f"{found.cut_utterances} of {found.utterances}",
        milliseconds(found.mean) + (f" ({ends.mean[0]:.0f}–{ends.mean[1]:.0f})" if ends else ""),
        milliseconds(found.p50),
        milliseconds(found.p90),
        milliseconds(found.decided),
        str(found.missed),
        str(found.dead_air),
        f"{found.ended} of {found.over_answer}" if found.over_answer else NONE,
        f"{milliseconds(found.stopped_p50)}" if found.interruptions else NONE,
    )


def settings(tuned: Tuned, budgets: Sequence[float]) -> Grid:
    """What the operating points are, in YAML's words."""
    rows = [
        (curve.policy, budget_text(budget), setting_text(point.options))
        for curve in tuned.curves
        for budget in budgets
        if (point := curve.at(budget)) is not None
    ]
    return Grid("Settings", ("policy", "budget", "setting"), tuple(rows), texts=3)


def kinds(tuned: Tuned, point: Point) -> Grid:
    """One setting, by kind of utterance."""
    rows = [_kind_row(kind, found) for kind, found in by_kind(point.outcomes).items()]
    heads = ("kind", "utterances", "pauses", "cut-offs", "V2V mean", "p90", "missed", "ended", "stopped", "needless")
    note = f"{point.policy}: {setting_text(point.options)}."
    return Grid(f"{point.policy} by kind of utterance, {who(tuned)}", heads, tuple(rows), note=note)


def _kind_row(kind: str, found: Figures) -> tuple[str, ...]:
    over = f"{found.ended} of {found.over_answer}" if found.over_answer else NONE
    stopped = f"{found.stopped} of {found.interruptions}" if found.interruptions else NONE
    return (
        kind,
        str(found.utterances or found.over_answer or NONE),
        str(found.pauses),
        share(found.rate) if found.pauses else NONE,
        milliseconds(found.mean),
        milliseconds(found.p90),
        str(found.missed),
        over,
        stopped,
        str(found.needless),
    )


def points(tuned: Tuned, curve: Curve) -> Grid:
    """All of a policy's settings that were judged."""
    rows = [
        (
            setting_text(one.options),
            share(one.fit.rate),
            share(one.report.rate),
            share(one.report.utterance_rate),
            milliseconds(one.report.mean),
            milliseconds(one.report.p90),
            milliseconds(one.report.decided),
            str(one.report.missed),
        )
        for one in curve.points
    ]
    heads = ("setting", "cut-offs, fit", "cut-offs", "utterances", "V2V mean", "p90", "decided", "missed")
    note = f"{curve.tried} settings were tried; these were judged."
    return Grid(f"{curve.policy}, {who(tuned)}", heads, tuple(rows), note=note)


def notes(tuned: Tuned) -> Iterator[str]:
    """What a reader must know before believing the figures."""
    if tuned.words_p50 is not None:
        yield (
            f"the final words were there {milliseconds(tuned.words_p50)} ms (p90 {milliseconds(tuned.words_p90)}) behind the true end "
            f"of an utterance: no policy answers sooner than that and the services take ({who(tuned)})"
        )
    if tuned.scores_p50 is not None:
        slow = tuned.scores_p50 > SLOW_SCORES_MS
        again = (
            ", too late to judge it by: the machine was too slow for so many at a time; again with --fresh --callers 1"
        )
        yield (
            f"an end-of-turn model's score was there {milliseconds(tuned.scores_p50)} ms (p90 {milliseconds(tuned.scores_p90)}) behind the "
            f"silence that it judges{again if slow else ''}"
        )
    for curve in tuned.curves:
        if curve.unusable:
            yield f"{curve.policy}: {curve.unusable}"
    if not tuned.separate:
        yield "settings were chosen and judged on the same voices: on others they do worse (--fit DIR --report DIR)"
    if tuned.lost:
        yield f"{tuned.lost} frames were lost while listening: the machine was too busy; again with --fresh --callers 1"
    if tuned.estimated:
        yield "ends of speech are estimated from the level: V2V and pauses are no better than that guess"


# -- a plot for the terminal --------------------------------------------------------------------------------------------


def plot(tuned: Tuned) -> list[str]:
    """Mean V2V (up) against false cut-offs (to the right), a letter for each setting; empty where there is nothing to draw."""
    drawn: list[tuple[str, float, float]] = []
    letters = _letters(curve.policy for curve in tuned.curves if curve.points)
    for curve in tuned.curves:
        drawn += [
            (letters[curve.policy], one.report.rate, one.report.mean)
            for one in curve.points
            if one.report.mean is not None
        ]
    limit = tuned.oracle.mean
    if not drawn:
        return []
    highest = max(mean for _, _, mean in drawn)
    top = max(math.ceil(highest / 100) * 100, 100)
    cells = [[" "] * WIDTH for _ in range(HEIGHT)]

    def row(mean: float) -> int:
        return min(max(round((1 - mean / top) * (HEIGHT - 1)), 0), HEIGHT - 1)

    if limit is not None:
        cells[row(limit)] = ["·"] * WIDTH
    for budget in (0.05, 0.1):
        for line in cells:
            line[_column(budget)] = "┊"
    for letter, rate, mean in drawn:
        cells[row(mean)][_column(rate)] = letter
    lines = [
        f"{top * (HEIGHT - 1 - index) / (HEIGHT - 1):6.0f} │{''.join(line)}"
        if index % 3 == 0
        else f"       │{''.join(line)}"
        for index, line in enumerate(cells)
    ]
    axis = [" "] * (WIDTH + 6)
    for rate in (0.0, 0.01, 0.05, 0.1, 0.2, 0.5):
        for offset, char in enumerate(budget_text(rate)):
            axis[_column(rate) + offset] = char
    names = ", ".join(f"{letter} {policy}" for policy, letter in letters.items())
    return [
        "ms mean V2V",
        *lines,
        f"       └{'─' * WIDTH}",
        f"        {''.join(axis).rstrip()}  false cut-offs",
        f"        {names}, · the limit; {who(tuned)}",
    ]


def _letters(policies: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for policy in policies:
        free = (char for char in (*policy, *"xyz") if char.isalpha() and char not in found.values())
        found[policy] = next(free, "?")
    return found


def _column(rate: float) -> int:
    scaled = math.log1p(min(rate, WORST) / KNEE) / math.log1p(WORST / KNEE)
    return round(scaled * (WIDTH - 1))
