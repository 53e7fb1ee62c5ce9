"""The report of a comparison: one page with everything in it, which needs no network.

Its tables are those of the terminal (`flowgraph.findings`). The template escapes everything but its own style and scripts, and the drawings,
which escape what they hold; the page's content security policy allows no request.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgraph import findings
from flowgraph.errors import FlowError
from flowgraph.files import unwritable

if TYPE_CHECKING:
    from flowgraph.compare import Comparison
    from flowgraph.graph import Graph

__all__ = ["NoReport", "require", "resource", "write"]

_NEEDED = {"jinja2": "jinja2", "vl_convert": "vl-convert-python"}


class NoReport(FlowError):
    """The page can't be written."""

    exit_code = 2


def require(path: Path, *, option: str = "--html") -> None:
    """Before a comparison runs for minutes: will its page or picture be written? Raises NoReport."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise NoReport(f"{option} needs {' and '.join(missing)}", hint="pip install 'flowgraph[report]'")
    if why := unwritable(path):
        raise NoReport(f"can't write {path}: {why}", hint=f"choose another {option}")


def write(path: Path, comparison: Comparison, graphs: Mapping[str, Graph], about: Mapping[str, Any]) -> None:
    """Write the page. Raises NoReport."""
    require(path)
    save(path, rendered(comparison, graphs, about))


def save(path: Path, text: str) -> None:
    """Write a page's text. Raises NoReport."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NoReport(f"can't write {path}: {error.strerror}", hint="choose another --html") from None


def rendered(comparison: Comparison, graphs: Mapping[str, Graph], about: Mapping[str, Any]) -> str:
    """The page's text."""
    from flowgraph.page import charts, clips, picture

    first, last = comparison.graphs[0], comparison.graphs[-1]
    blame = findings.blame(comparison, first, last) if first != last else None
    plots: dict[str, charts.Spec] = {
        "turns": charts.waterfall(comparison),
        "distribution": charts.distribution(comparison),
    }
    if blame is not None:
        plots["phases"] = charts.saved_by_phase(comparison, first, last)
    gains = findings.gains(comparison)
    if gains is not None:
        plots["gains"] = charts.gained(comparison)
    return fill(
        "page.html",
        colour=lambda graph: charts.graph_colour(comparison, graph),
        phase_colour=charts.phase_colour,
        titled=lambda graph: findings.titled(comparison, graph),
        letter=lambda graph: findings.letter(comparison, graph),
        ms=findings.milliseconds,
        half=clips.HALF,
        title=" · ".join(findings.titled(comparison, graph) for graph in comparison.graphs),
        plots=plots,
        phases=charts.phases(comparison),
        headline=findings.headline(comparison),
        ends=(first, last),
        summaries=[comparison.summary(graph) for graph in comparison.graphs],
        difference=comparison.difference(first, last) if first != last else None,
        signed=findings.signed,
        overview=findings.overview(comparison),
        left_out=findings.left_out(comparison),
        differences=findings.differences(comparison),
        gains=gains,
        blame=blame,
        steps=findings.steps(comparison, first, last) if first != last else None,
        budgets=[(name, one, findings.verdict_text(one)) for name, one in findings.budgets(comparison)],
        scenes=clips.scenes(comparison),
        drawings=[
            (name, graphs[name], picture.svg(graphs[name], name=str(index)))
            for index, name in enumerate(comparison.graphs)
            if name in graphs
        ],
        about=dict(about),
    )


def fill(template: str, **values: Any) -> str:
    """A page from a template of this folder, with its style, its scripts and the plot library in it."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(resource),
    )
    shared = {"style": resource("page.css"), "script": _script(resource("page.js")), "vega": _vega()}
    return environment.get_template(template).render(**shared, **values)


@functools.cache
def _vega() -> str:
    """The plot library. Putting it together takes seconds."""
    import vl_convert

    return _script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def resource(name: str) -> str:
    """The text of a file of this folder."""
    return (resources.files(__name__) / name).read_text(encoding="utf-8")


def _script(text: str) -> str:
    """JavaScript that ends no script element."""
    return text.replace("</script", r"<\/script").replace("<!--", r"<\!--")
