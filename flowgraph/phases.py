"""A turn's steps, added up under the names that people use, and the percentiles of a few figures.

A step belongs to one phase, by what it is and by what its node yields; no phase is computed as a rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flowgraph.node import ports

if TYPE_CHECKING:
    from flowgraph.graph import Graph
    from flowgraph.trace import Step

END_OF_SPEECH = "end of speech"
FIRST = (END_OF_SPEECH, "network", "STT", "LLM", "clause", "TTS")
LAST = ("waiting", "holding", "playout")
"""Between the two come the nodes that belong to none of them, under their own names."""

SHORT = {END_OF_SPEECH: "speech end"}

# Frames are told by their names: the engine knows no vocabulary.
_MAKERS = {
    "Voice": END_OF_SPEECH,
    "SpeechStarted": END_OF_SPEECH,
    "Transcript": "STT",
    "Token": "LLM",
    "Sentence": "clause",
    "Speech": "TTS",
}


def phases(steps: Iterable[Step], graph: Graph) -> dict[str, int]:
    """Nanoseconds of each phase that the steps have a part in, in the order of a turn."""
    sums: dict[str, int] = {}
    for step in steps:
        name = phase(step, graph)
        sums[name] = sums.get(name, 0) + step.end - step.start
    return {name: sums[name] for name in ordered(sums)}


def phase(step: Step, graph: Graph) -> str:
    """The phase of a step. Deciding that the user has finished is part of the end of speech."""
    spec = graph.nodes.get(step.where)
    yields = [kind.__name__ for kind in ports(spec.cls).outputs] if spec is not None else []
    return phase_of(step, owner=graph.owner, yields=yields)


def phase_of(step: Step, *, owner: str | None, yields: Iterable[str]) -> str:
    """The same from what is left of a graph in a file. `yields`: names of the frame types that the step's node yields."""
    match step.kind:
        case "speech end" | "capture":
            return END_OF_SPEECH
        case "working":
            if step.where == owner:
                return END_OF_SPEECH
            return next((_MAKERS[kind] for kind in yields if kind in _MAKERS), step.where)
        case kind:
            return kind


def ordered(names: Iterable[str]) -> list[str]:
    """Names of phases in the order of a turn."""
    names = list(dict.fromkeys(names))
    others = [name for name in names if name not in FIRST and name not in LAST]
    return [name for name in (*FIRST, *others, *LAST) if name in names]


def percentile(values: Sequence[int], percent: float) -> int:
    """Linear between the two nearest values. Raises ValueError if there are none."""
    if not values:
        raise ValueError("a percentile of nothing")
    line = sorted(values)
    place = (len(line) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(line) - 1)
    return round(line[below] + (line[above] - line[below]) * (place - below))
