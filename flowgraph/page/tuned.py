"""The report of a sweep: the curve, the operating points, every utterance. Its tables are those of the terminal (`flowgraph.tuning.tables`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgraph.findings import milliseconds
from flowgraph.page import fill, require, save
from flowgraph.page.charts import Spec, spec
from flowgraph.tuning import tables
from flowgraph.tuning.curve import UNANSWERED_MS

if TYPE_CHECKING:
    from flowgraph.tuning.curve import Point, Tuned

CURVE_HEIGHT = 380
KIND_HEIGHT = 16
"""Of a policy's row within a kind."""
KIND_PADDING = 12
RATE_AXIS = "false cut-offs, % of the pauses of 100 ms or more"
LATENCY_AXIS = "ms from the user's last voiced sample to the first sound"
TICKS = [0, 1, 2, 5, 10, 20, 50, 100]
MEASURES = ["mean", "p90"]


def write(
    path: Path, tuned: Tuned, budgets: Sequence[float], budget: float, *, title: str, about: Mapping[str, Any]
) -> None:
    """Write the page. `budget`: the one that utterances are shown at. Raises NoReport."""
    require(path)
    save(path, rendered(tuned, budgets, budget, title=title, about=about))


def rendered(tuned: Tuned, budgets: Sequence[float], budget: float, *, title: str, about: Mapping[str, Any]) -> str:
    """The page's text."""
    chosen = [point for curve in tuned.curves if (point := curve.at(budget)) is not None]
    plots = {"curve": curve_chart(tuned, budgets)}
    if chosen:
        plots["kinds"] = kinds_chart(tuned, chosen)
    return fill(
        "curve.html",
        title=title,
        who=tables.who(tuned),
        headline=tables.headline(tuned, budget),
        notes=list(tables.notes(tuned)),
        cards=[_card(tuned, one, best) for one in budgets if (best := tuned.best(one)) is not None],
        limit=(milliseconds(tuned.oracle.mean), milliseconds(tuned.oracle.p90)),
        colours=[(curve.policy, colour(tuned, curve.policy)) for curve in tuned.curves if curve.points],
        plots=plots,
        budget=tables.budget_text(budget),
        operating=[tables.operating(tuned, one) for one in budgets],
        explained=tables.LEGEND,
        settings=tables.settings(tuned, budgets),
        kinds=[tables.kinds(tuned, point) for point in chosen],
        points=[tables.points(tuned, curve) for curve in tuned.curves if curve.points],
        about=dict(about),
        phase_colour=lambda _name: "",
    )


def _card(tuned: Tuned, budget: float, best: Point) -> tuple[str, ...]:
    found = best.report
    return (
        tables.budget_text(budget),
        best.policy,
        colour(tuned, best.policy),
        milliseconds(found.mean),
        milliseconds(found.p90),
        tables.share(found.rate),
    )


def colour(tuned: Tuned, policy: str) -> str:
    """The CSS variable of a policy."""
    return f"var(--graph-{[curve.policy for curve in tuned.curves].index(policy) % 9})"


def curve_chart(tuned: Tuned, budgets: Sequence[float]) -> Spec:
    """Mean and p90 against false cut-offs, a line for each policy."""
    rows = []
    for curve in tuned.curves:
        picked = {id(point) for budget in budgets if (point := curve.at(budget)) is not None}
        # By what was measured: a line that turns back would be no line.
        for order, point in enumerate(
            sorted(curve.points, key=lambda one: (one.report.rate, -(one.report.mean or 0.0)))
        ):
            for measure in MEASURES:
                value = getattr(point.report, measure)
                if value is not None:
                    rows.append(
                        {
                            "policy": curve.policy, "measure": measure, "order": order, "ms": round(value),
                            "rate": round(point.report.rate * 100, 2), "fit": round(point.fit.rate * 100, 2),
                            "setting": tables.setting_text(point.options), "missed": point.report.missed, "picked": id(point) in picked,
                        }
                    )  # fmt: skip
    names = [curve.policy for curve in tuned.curves if curve.points]
    highest = max((row["rate"] for row in rows), default=0)
    x = {
        "field": "rate", "type": "quantitative", "title": RATE_AXIS,
        "scale": {"type": "symlog", "constant": 1, "domain": [0, next(tick for tick in TICKS[4:] if tick >= highest)], "nice": False},
        "axis": {"values": TICKS},
    }  # fmt: skip
    y = {"field": "ms", "type": "quantitative", "title": "ms, voice to voice", "scale": {"domainMin": 0}}
    colours = {
        "field": "policy", "type": "nominal", "legend": None,
        "scale": {"domain": names, "range": [colour(tuned, name) for name in names]},
    }  # fmt: skip
    dash = {
        "field": "measure",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": MEASURES, "range": [[1, 0], [5, 4]]},
    }
    limits = [
        {"measure": measure, "ms": round(value), "text": f"limit, {measure}", "above": measure == "p90"}
        for measure in MEASURES
        if (value := getattr(tuned.oracle, measure)) is not None
    ]
    tooltip = [
        {"field": "policy"}, {"field": "setting"}, {"field": "measure", "title": "V2V"}, {"field": "ms", "title": "ms"},
        {"field": "rate", "title": "cut-offs, %"}, {"field": "fit", "title": "… where it was chosen, %"}, {"field": "missed"},
    ]  # fmt: skip
    marks = {"x": x, "y": y, "color": colours, "detail": {"field": "measure"}, "tooltip": tooltip}
    return spec(
        height=CURVE_HEIGHT,
        data=rows,
        mark={"type": "line", "strokeWidth": 1.8, "interpolate": "linear"},
        encoding={"x": x, "y": y, "color": colours, "strokeDash": dash, "order": {"field": "order"}},
        above=[
            {"mark": {"type": "point", "filled": True, "size": 26, "opacity": 0.9}, "encoding": marks},
            {
                "transform": [{"filter": "datum.picked"}],
                "mark": {"type": "point", "size": 170, "strokeWidth": 2.2, "fill": "var(--card)"},
                "encoding": marks,
            },
            {
                "data": {"values": [{"rate": budget * 100} for budget in budgets]},
                "mark": {"type": "rule", "stroke": "var(--ink-soft)", "strokeWidth": 1.2, "opacity": 0.6},
                "encoding": {"x": x},
            },
            {
                "data": {"values": limits},
                "mark": {"type": "rule", "stroke": "var(--ink-soft)", "strokeWidth": 1.2},
                "encoding": {"y": y, "strokeDash": dash},
            },
            *(
                {
                    "data": {"values": [limit for limit in limits if limit["above"] is above]},
                    "mark": {"type": "text", "align": "right", "dy": dy, "fontSize": 11, "fill": "var(--ink-soft)"},
                    "encoding": {"y": y, "x": {"value": "width"}, "text": {"field": "text"}},
                }
                for above, dy in ((True, -6), (False, 11))
            ),
        ],
    )


def kinds_chart(tuned: Tuned, chosen: Sequence[Point]) -> Spec:
    """Each utterance's wait, by its kind and the policy."""
    rows = [
        {
            "policy": point.policy, "kind": one.kind, "ms": round(UNANSWERED_MS if one.latency is None else one.latency),
            "cut": one.cut_off, "missed": one.missed, "who": f"{one.conversation}, utterance {one.index + 1}",
        }
        for point in chosen
        for one in point.outcomes
        if one.answered and (one.latency is not None or one.missed)
    ]  # fmt: skip
    names = [point.policy for point in chosen]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    padding = KIND_PADDING / (KIND_HEIGHT * len(names) + KIND_PADDING)
    encoding = {
        "y": {
            "field": "kind", "type": "nominal", "sort": kinds, "title": None,
            "scale": {"domain": kinds, "paddingInner": padding}, "axis": {"domain": False, "ticks": False, "labelLimit": 200},
        },
        "yOffset": {"field": "policy", "type": "nominal", "sort": None, "scale": {"domain": names, "paddingInner": 0.15}},
        "x": {"field": "ms", "type": "quantitative", "title": LATENCY_AXIS, "scale": {"domainMin": 0}},
        "color": {
            "field": "policy", "type": "nominal", "legend": None,
            "scale": {"domain": names, "range": [colour(tuned, name) for name in names]},
        },
        "tooltip": [{"field": "policy"}, {"field": "who", "title": "in"}, {"field": "ms"}, {"field": "cut", "title": "cut off"}, {"field": "missed"}],
    }  # fmt: skip
    return spec(
        height=len(kinds) * (KIND_HEIGHT * len(names) + KIND_PADDING),
        data=rows,
        mark={"type": "tick", "thickness": 1.6, "opacity": 0.75},
        encoding=encoding,
        above=[
            {
                "transform": [{"filter": "datum.cut"}],
                "mark": {"type": "point", "shape": "cross", "angle": 45, "filled": True, "size": 60},
                "encoding": encoding,
            }
        ],
    )
