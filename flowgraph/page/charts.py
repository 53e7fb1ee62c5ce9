"""The plots, as Vega-Lite says them. Colours are the page's CSS variables, so that light and dark need no second drawing.

https://vega.github.io/vega-lite/docs/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowgraph.findings import letter, titled, whole
from flowgraph.phases import FIRST, LAST, ordered

if TYPE_CHECKING:
    from flowgraph.compare import Answered, Comparison

Spec = dict[str, Any]

BAR_HEIGHT = 15
ROW_PADDING = 13
LEAST_MS = 0.5
"""What is shorter isn't drawn."""
AXIS = "ms after the user's last voiced sample"
_OTHER = "other"
_SURE = {"end of speech": "end-of-speech"}


def phase_colour(phase: str) -> str:
    """The CSS variable of a phase."""
    name = _SURE.get(phase, phase) if phase in (*FIRST, *LAST) else _OTHER
    return f"var(--phase-{name.lower()})"


def graph_colour(comparison: Comparison, graph: str) -> str:
    """The CSS variable of a graph."""
    return f"var(--graph-{comparison.graphs.index(graph) % 9})"


def waterfall(comparison: Comparison) -> Spec:
    """Each utterance's mean turn in every graph, phase by phase, on one time axis."""
    rows = []
    texts: dict[int, str] = {}
    for graph in comparison.graphs:
        by_utterance: dict[int, list[Answered]] = {}
        for run in comparison.of(graph):
            for turn in run.turns:
                texts.setdefault(turn.utterance, turn.truth or turn.said)
                by_utterance.setdefault(turn.utterance, []).append(turn)
        for utterance, turns in by_utterance.items():
            rows += _bars(comparison, graph, utterance, [turn for turn in turns if turn.latency_ms is not None])
    names = phases(comparison)
    labels = [_turn_label(utterance, texts[utterance]) for utterance in sorted(texts)]
    for row in rows:
        utterance = row.pop("utterance")
        row["turn"] = _turn_label(utterance, texts[utterance])
    return spec(
        height=len(labels) * (len(comparison.graphs) * BAR_HEIGHT + ROW_PADDING),
        data=rows,
        mark={"type": "bar", "cornerRadius": 1.5},
        encoding={
            "y": {
                "field": "turn", "type": "nominal", "sort": labels, "title": None, "scale": {"domain": labels, "paddingInner": ROW_PADDING / (len(comparison.graphs) * BAR_HEIGHT + ROW_PADDING)},
                "axis": {"labelLimit": 260, "domain": False, "ticks": False, "labelPadding": 26},
            },
            "yOffset": {"field": "graph", "type": "nominal", "sort": None, "scale": {"domain": _names(comparison), "paddingInner": 0.12}},
            "x": {"field": "start", "type": "quantitative", "title": AXIS, "scale": {"domainMin": 0}},
            "x2": {"field": "end"},
            "color": _phase_scale(names),
            "tooltip": [
                {"field": "graph"}, {"field": "phase"},
                {"field": "ms", "type": "quantitative", "format": ".0f", "title": "ms"},
                {"field": "total", "type": "quantitative", "format": ".0f", "title": "first sound"},
                {"field": "runs", "title": "mean of"},
            ],
        },
        above=[_letters(comparison, labels), *_gaps(comparison, rows, labels)],
    )  # fmt: skip


def show_still(spec: Spec) -> None:
    """Give a plot what a picture needs that stands alone: few ticks, and a legend of the phases or the policies (the page has its own)."""
    encoding = spec["layer"][0]["encoding"]
    encoding["x"].setdefault("axis", {"tickCount": 6})
    explained = [encoding[channel] for channel in ("color", "strokeDash") if channel in encoding]
    explained = [one for one in explained if one["field"] in ("phase", "policy", "measure")]
    for one in explained:
        symbol = "stroke" if one["field"] == "measure" else "square"
        one["legend"] = {
            "orient": "top", "title": None, "symbolType": symbol, "symbolStrokeColor": "var(--ink-soft)", "labelFontSize": 12,
            "labelColor": "var(--ink)", "labelLimit": 0, "columnPadding": 20, "offset": 6,
        }  # fmt: skip
    if explained:
        del spec["config"]["legend"]


def phases(comparison: Comparison) -> list[str]:
    """Those that any turn has a part in, in the order of a turn."""
    turns = (turn for run in comparison.runs for turn in run.turns)
    return ordered(name for turn in turns for name, ms in turn.phases.items() if ms >= LEAST_MS)


def _bars(comparison: Comparison, graph: str, utterance: int, turns: list[Answered]) -> list[dict[str, Any]]:
    if not turns:
        return []
    names = ordered(name for turn in turns for name in turn.phases)
    sums = {name: sum(turn.phases.get(name, 0.0) for turn in turns) / len(turns) for name in names}
    bars: list[dict[str, Any]] = []
    at, total = 0.0, sum(sums.values())
    for name, ms in sums.items():
        if ms >= LEAST_MS:
            bars.append(
                {
                    "utterance": utterance, "graph": titled(comparison, graph), "phase": name, "start": at,
                    "end": at + ms, "ms": ms, "total": total, "runs": f"{len(turns)} run{'s' if len(turns) > 1 else ''}",
                }
            )  # fmt: skip
        at += ms
    return bars


def _letters(comparison: Comparison, labels: list[str]) -> Spec:
    """A, B, … before the bars."""
    names = _names(comparison)
    return {
        "data": {"values": [{"turn": label, "graph": name} for label in labels for name in names]},
        "transform": [{"calculate": "split(datum.graph, ' ')[0]", "as": "letter"}],
        "mark": {
            "type": "text",
            "align": "right",
            "dx": -8,
            "fontSize": 10,
            "fill": "var(--ink-soft)",
            "tooltip": None,
        },
        "encoding": {
            "y": {"field": "turn", "type": "nominal"},
            "yOffset": {"field": "graph", "type": "nominal"},
            "x": {"value": 0},
            "text": {"field": "letter"},
        },
    }


def _gaps(comparison: Comparison, rows: list[dict[str, Any]], labels: list[str]) -> list[Spec]:
    """Words where a graph has no bar for a turn."""
    drawn = {(row["turn"], row["graph"]) for row in rows}
    empty = [(label, name) for label in labels for name in _names(comparison) if (label, name) not in drawn]
    if not empty:
        return []
    return [
        {
            "data": {"values": [{"turn": label, "graph": name} for label, name in empty]},
            "mark": {
                "type": "text", "align": "left", "dx": 6, "fontSize": 11, "fontStyle": "italic", "fill": "var(--ink-soft)", "tooltip": None,
            },
            "encoding": {
                "y": {"field": "turn", "type": "nominal"},
                "yOffset": {"field": "graph", "type": "nominal"},
                "x": {"value": 0},
                "text": {"value": "no answer that counts"},
            },
        }
    ]  # fmt: skip


def distribution(comparison: Comparison) -> Spec:
    """The share of the turns that were answered within a time: of all turns, so that a graph which leaves some unanswered ends below."""
    rows: list[dict[str, Any]] = []
    for graph in comparison.graphs:
        latencies = comparison.latencies(graph)
        count = max(comparison.summary(graph).turns, 1)
        name = titled(comparison, graph)
        rows.append({"graph": name, "ms": 0.0, "share": 0.0})
        rows += [{"graph": name, "ms": ms, "share": (index + 1) / count} for index, ms in enumerate(latencies)]
    widest = max((row["ms"] for row in rows), default=0.0) * 1.05
    rows += [
        {
            "graph": titled(comparison, graph),
            "ms": widest,
            "share": len(found) / max(comparison.summary(graph).turns, 1),
        }
        for graph in comparison.graphs
        if (found := comparison.latencies(graph))
    ]
    return spec(
        height=260,
        data=rows,
        mark={"type": "line", "interpolate": "step-after", "strokeWidth": 2.5, "strokeCap": "round"},
        encoding={
            "x": {"field": "ms", "type": "quantitative", "title": AXIS, "scale": {"nice": False}},
            "y": {
                "field": "share", "type": "quantitative", "title": "share of all turns", "axis": {"format": ".0%", "tickCount": 5},
                "scale": {"domain": [0, 1]},
            },
            "color": _graph_scale(comparison),
            "tooltip": [
                {"field": "graph"}, {"field": "ms", "type": "quantitative", "format": ".0f"},
                {"field": "share", "type": "quantitative", "format": ".0%"},
            ],
        },
    )  # fmt: skip


def saved_by_phase(comparison: Comparison, a: str, b: str) -> Spec:
    """From A's mean to B's, a step for each phase. The same whole numbers as the table of blame."""
    found = comparison.blame(a, b)
    ones = whole({one.name: one.a for one in found})
    others = whole({one.name: one.b for one in found})
    rows: list[dict[str, Any]] = []
    level = sum(ones.values())
    rows.append(_step(titled(comparison, a), 0, level, str(level), graph_colour(comparison, a)))
    for one in found:
        saved = ones[one.name] - others[one.name]
        if saved:
            text = f"−{saved}" if saved > 0 else f"+{-saved}"
            rows.append(_step(one.name, level - saved, level, text, phase_colour(one.name)))
            level -= saved
    rows.append(_step(titled(comparison, b), 0, level, str(level), graph_colour(comparison, b)))
    return _steps(rows, "mean ms to the first sound")


def gained(comparison: Comparison) -> Spec:
    """Each graph's mean, and what it has gained over the one before."""
    rows = []
    before = 0
    for gain in comparison.gains():
        mean = round(gain.mean)
        colour = graph_colour(comparison, gain.graph)
        text = str(mean)
        if gain.before is not None:
            saved = before - mean
            text += f"  ({'−' if saved >= 0 else '+'}{abs(saved)})"
            rows.append(
                {
                    **_step(
                        titled(comparison, gain.graph),
                        mean,
                        before,
                        "",
                        "var(--saved)" if saved >= 0 else "var(--lost)",
                    ),
                    "ghost": True,
                }
            )
        rows.append({**_step(titled(comparison, gain.graph), 0, mean, text, colour), "beside": max(mean, before)})
        before = mean
    return _steps(rows, "mean ms to the first sound")


def _step(name: str, start: float, end: float, text: str, colour: str) -> dict[str, Any]:
    low, high = sorted((start, end))
    return {"name": name, "start": low, "end": high, "text": text, "colour": colour, "ghost": False, "beside": high}


def _steps(rows: list[dict[str, Any]], title: str) -> Spec:
    names = list(dict.fromkeys(row["name"] for row in rows))
    y = {
        "field": "name", "type": "nominal", "sort": names, "title": None, "scale": {"paddingInner": 0.3},
        "axis": {"domain": False, "ticks": False, "labelLimit": 200},
    }  # fmt: skip
    return spec(
        height=len(names) * 30,
        data=rows,
        mark={"type": "bar", "cornerRadius": 1.5},
        encoding={
            "y": y,
            "x": {"field": "start", "type": "quantitative", "title": title, "scale": {"domainMin": 0}},
            "x2": {"field": "end"},
            "color": {"field": "colour", "type": "nominal", "scale": None},
            "opacity": {"field": "ghost", "type": "nominal", "scale": {"domain": [False, True], "range": [1, 0.35]}, "legend": None},
            "tooltip": [{"field": "name", "title": "what"}, {"field": "text", "title": "ms"}],
        },
        above=[
            {
                "transform": [{"filter": "datum.text"}],
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 12, "fill": "var(--ink)"},
                "encoding": {"y": y, "x": {"field": "beside", "type": "quantitative"}, "text": {"field": "text"}},
            }
        ],
    )  # fmt: skip


# -- what they share ----------------------------------------------------------------------------------------------------


def _names(comparison: Comparison) -> list[str]:
    return [titled(comparison, graph) for graph in comparison.graphs]


def _phase_scale(names: list[str]) -> Spec:
    colours = [phase_colour(name) for name in names]
    return {
        "field": "phase", "type": "nominal", "scale": {"domain": names, "range": colours},
        "legend": None,
    }  # fmt: skip


def _graph_scale(comparison: Comparison) -> Spec:
    colours = [graph_colour(comparison, graph) for graph in comparison.graphs]
    return {
        "field": "graph", "type": "nominal", "sort": None, "scale": {"domain": _names(comparison), "range": colours},
        "legend": None,
    }  # fmt: skip


def spec(
    *, height: int, data: list[dict[str, Any]], mark: Spec, encoding: Spec, above: list[Spec] | None = None
) -> Spec:
    """A plot as wide as the page, in the page's colours. `above`: layers on top."""
    body: Spec = {"mark": mark, "encoding": encoding}
    layers = {"layer": [body, *above]} if above else body
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": "transparent",
        "data": {"values": data},
        **layers,
        "config": {
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            "axis": {
                "labelColor": "var(--ink-soft)", "titleColor": "var(--ink-soft)", "gridColor": "var(--line)", "domainColor": "var(--line)",
                "tickColor": "var(--line)", "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 10,
            },
            "axisY": {"labelColor": "var(--ink)"},
            "legend": None,
            "text": {"font": "system-ui, sans-serif"},
        },
    }  # fmt: skip


def _turn_label(utterance: int, text: str) -> str:
    return f"{utterance + 1}  {text}"


__all__ = [
    "Spec",
    "distribution",
    "gained",
    "graph_colour",
    "letter",
    "phase_colour",
    "saved_by_phase",
    "show_still",
    "spec",
    "waterfall",
]
