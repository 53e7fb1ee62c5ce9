"""`--fail-if`: what may not come out of a comparison.

1. `[GRAPH] FIGURE > VALUE`: a graph is named or lettered (A is the first); without one, the last is meant: the candidate. Figures:
   `mean` and percentiles (`p50`) of the first sound, against a duration; `failed`, `cut_off` (turns) and `words_wrong`, against
   a count or a share (`5%`).
2. `B slower than A by 5%` holds when B is slower by more than that for certain: when even the favourable end of the 95 % interval of the
   median difference lies beyond it. Noise doesn't fail a build, and one run of two turns proves nothing. The share is
   of A's median over the turns that both answered.
3. What can't be judged, because nothing was measured, fails.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowgraph.errors import FlowError
from flowgraph.phases import percentile
from flowgraph.units import MS, parse_duration

if TYPE_CHECKING:
    from flowgraph.compare import Comparison

_COMPARED = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_FIGURE = re.compile(r"(?:(?P<graph>\S+)\s+)?(?P<figure>\w+)\s*(?P<sign>>=|<=|>|<)\s*(?P<value>\S+)")
_SLOWER = re.compile(r"(?P<graph>\S+)\s+slower\s+than\s+(?P<other>\S+)\s+by\s+(?P<value>\S+)")
_PERCENTILE = re.compile(r"p(\d{1,2})")
_COUNTS = ("failed", "cut_off", "words_wrong")
_HINT = "such as 'p95 > 700ms', 'B cut_off > 5%', 'failed > 0', or 'B slower than A by 5%'"


class WrongGate(FlowError):
    """A `--fail-if` that means nothing."""

    exit_code = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """What a figure is held against."""

    amount: float
    """Milliseconds, a count, or a share."""
    is_share: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """One condition under which a comparison fails."""

    text: str
    graph: str
    figure: str
    """`p95`, `mean`, `failed`, `cut_off`, `words_wrong`, or `slower`."""
    sign: str
    value: Value
    other: str = ""
    """For `slower`: than this graph."""

    @classmethod
    def parse(cls, text: str, graphs: Sequence[str]) -> Gate:
        """`graphs` are the names, in the order of their letters. Raises WrongGate."""
        if found := _SLOWER.fullmatch(text.strip()):
            graph, other = (_graph(found[name], graphs, text) for name in ("graph", "other"))
            if graph == other:
                raise WrongGate(f"--fail-if '{text}': a graph can't be slower than itself", hint=_HINT)
            return cls(text, graph, "slower", ">", _value(found["value"], text, share=True, duration=True), other)
        found = _FIGURE.fullmatch(text.strip())
        if found is None:
            raise WrongGate(f"--fail-if '{text}': this is no condition", hint=_HINT)
        figure = found["figure"]
        of_time = figure == "mean" or bool(_PERCENTILE.fullmatch(figure))
        if not of_time and figure not in _COUNTS:
            hint = f"one of p50, p90, p95 (any percentile), mean, {', '.join(_COUNTS)}"
            raise WrongGate(f"--fail-if '{text}': there is no figure '{figure}'", hint=hint)
        graph = _graph(found["graph"], graphs, text) if found["graph"] else graphs[-1]
        return cls(
            text, graph, figure, found["sign"], _value(found["value"], text, share=not of_time, duration=of_time)
        )

    def judge(self, comparison: Comparison) -> tuple[bool, str]:
        """Does it hold (so that the comparison fails)? And what there is to say about it."""
        if self.graph not in comparison.graphs or (self.other and self.other not in comparison.graphs):
            return True, f"{self.text}: can't be judged, a graph has no finished run"
        found = self._slowdown(comparison) if self.figure == "slower" else self._figure(comparison)
        if found is None:
            return True, f"{self.text}: can't be judged, there is nothing to measure"
        amount, said = found
        holds = bool(_COMPARED[self.sign](amount, self.value.amount))
        return holds, f"{self.text}: {said}"

    def _figure(self, comparison: Comparison) -> tuple[float, str] | None:
        summary = comparison.summary(self.graph)
        if self.figure in _COUNTS:
            count, of = {
                "failed": (summary.failed, summary.turns),
                "cut_off": (summary.cut_off, summary.turns),
                "words_wrong": (summary.word_errors, summary.words),
            }[self.figure]
            if not of:
                return None
            said = f"{self.graph} has {count} of {of} ({count / of:.1%})"
            return (count / of if self.value.is_share else count), said
        percent = _PERCENTILE.fullmatch(self.figure)
        found = comparison.percentile(self.graph, float(percent[1])) if percent else summary.mean
        return None if found is None else (found, f"{self.graph} has {found:.0f} ms")

    def _slowdown(self, comparison: Comparison) -> tuple[float, str] | None:
        difference = comparison.difference(self.other, self.graph)
        if difference is None:
            return None
        base = [one.latency_ms or 0.0 for one, _ in comparison.pairs(self.other, self.graph)]
        scale = percentile([round(ms * MS) for ms in base], 50) / MS / 100 if self.value.is_share else 1.0
        unit = " %" if self.value.is_share else " ms"
        slower, least, most = (-figure / scale for figure in (difference.median, difference.high, difference.low))
        said = f"{self.graph} is slower by {slower:.1f}{unit} (95 % interval {least:.1f} … {most:.1f})"
        return (least / 100 if self.value.is_share else least), said


def _graph(name: str, graphs: Sequence[str], text: str) -> str:
    if name in graphs:
        return name
    letters = [chr(ord("A") + index) for index in range(len(graphs))]
    if name in letters:
        return graphs[letters.index(name)]
    known = ", ".join(f"{letter} = {graph}" for letter, graph in zip(letters, graphs, strict=True))
    raise WrongGate(f"--fail-if '{text}': there is no graph '{name}'", hint=known)


def _value(value: str, text: str, *, share: bool, duration: bool) -> Value:
    """`5%`, `700ms`, or a count. Raises WrongGate."""
    try:
        if share and value.endswith("%"):
            return Value(float(value[:-1]) / 100, is_share=True)
        return Value(parse_duration(value) / MS if duration else float(value))
    except ValueError:
        kinds = ["a duration such as 700ms"] if duration else ["a count such as 2"]
        kinds += ["a share such as 5%"] if share else []
        raise WrongGate(f"--fail-if '{text}': '{value}' isn't {' or '.join(kinds)}", hint=_HINT) from None
