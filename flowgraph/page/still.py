"""What came out as one still picture, an SVG that is light or dark as its reader's system is: for a README.

Of two graphs every turn, phase by phase; of more, what each has gained over the one before. Of a sweep its curve.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from flowgraph import findings
from flowgraph.page import NoReport, charts, require, resource, tuned
from flowgraph.tuning import tables

if TYPE_CHECKING:
    from flowgraph.compare import Comparison
    from flowgraph.tuning.curve import Tuned

PLOT = 620
"""Width of the plot itself, in pixels; the labels come to that."""
MARGIN = 18
SPARE = 34
"""On each side of the plot: a reader's font may be wider than the one that the plot was measured with."""
TITLE = 16
"""Height of the title, to which its lines come …"""
LINE = 18
LINE_LENGTH = 100
"""… of so many characters."""
LEAST = 880
"""Width of the picture: such a line has to fit."""
_ROOT = re.compile(r":root(?P<theme>\[[^]]*\])? \{(?P<rules>[^}]*)\}")
_SPOKEN = re.compile(r' (?:aria-[a-z]+|role|pointer-events)="[^"]*"')
_PATH = re.compile(r'(?<= d=")[^"]*')
_DIGITS = re.compile(r"\d+\.\d{3,}")
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)" viewBox="[^"]*"')


def write(path: Path, picture: str) -> None:
    """Write a picture. Raises NoReport."""
    require(path, option="--picture")
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise NoReport(f"can't write {path}: {error.strerror}", hint="choose another --picture") from None


def of_comparison(comparison: Comparison) -> str:
    """The SVG's text. What it needs is there if `require` says so."""
    gained = len(comparison.graphs) > 2 and bool(comparison.gains())
    spec = charts.gained(comparison) if gained else charts.waterfall(comparison)
    return _drawn(spec, findings.headline(comparison))


def of_sweep(sweep: Tuned, budgets: Sequence[float], budget: float) -> str:
    """The same of a sweep. `budget`: the one that its headline is about."""
    return _drawn(tuned.curve_chart(sweep, budgets), tables.headline(sweep, budget))


def _drawn(spec: charts.Spec, headline: str) -> str:
    import vl_convert

    spec |= {"width": PLOT, "autosize": "pad"}
    charts.show_still(spec)
    plot = _lean(vl_convert.vegalite_to_svg(spec))
    size = _SIZE.search(plot)
    assert size is not None, "vl-convert states the size"
    lines = textwrap.wrap(headline, LINE_LENGTH)
    top = MARGIN + TITLE + LINE * len(lines)
    width, height = max(float(size[1]) + 2 * SPARE, LEAST), float(size[2]) + top + MARGIN
    plot = plot.replace("<svg ", f'<svg x="{SPARE}" y="{top}" overflow="visible" ', 1)
    title = "".join(
        f'<text x="{MARGIN}" y="{MARGIN + 12 + LINE * index}" fill="var(--ink)" font-family="system-ui, sans-serif" font-size="14" '
        f'font-weight="600">{escape(line)}</text>'
        for index, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{escape(headline)}"><style>{_colours()}</style>'
        f'<rect width="{width:g}" height="{height:g}" rx="10" fill="var(--card)"/>{title}{plot}</svg>\n'
    )


def _lean(plot: str) -> str:
    """The same drawing in a third of the text: a picture's parts need no names, and no millionths of a pixel."""
    plot = _SPOKEN.sub("", plot)
    return _PATH.sub(lambda path: _DIGITS.sub(lambda number: f"{float(number[0]):.2f}", path[0]), plot)


def _colours() -> str:
    """The page's, dark ones where the system is dark."""
    rules = {found["theme"] or "": found["rules"] for found in _ROOT.finditer(resource("page.css"))}
    light, dark = (" ".join(text.split()) for text in rules.values())
    return f"svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}"
