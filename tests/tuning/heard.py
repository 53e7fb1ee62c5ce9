"""Evidence made up: a detector that is right to the window and a recogniser that is never wrong, so that what a policy does can be worked out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from flowgraph.graph import Graph
from flowgraph.tuning.evidence import ORIGIN_NS, SILENCE_NS, Evidence, Kind, Said
from flowgraph.tuning.replay import Delays, Outcome, owner_with, replay
from flowgraph.units import MS
from nodes.vocabulary import EndOfTurn, SpeechStarted, Transcript, Voice

WINDOW_NS = 32 * MS
CONFIRMED_NS = 64 * MS
FINALISED_NS = 96 * MS
KINDS = tuple(Kind.of(kind) for kind in (SpeechStarted, Voice, Transcript, EndOfTurn))
FAST = Delays(prepared=0, after=0, playout=20 * MS, held=True)
"""Nothing but the policy takes time."""


@dataclasses.dataclass(frozen=True)
class Says:
    """Speech and pauses in turn, milliseconds: `(500, 300, 500)` pauses once."""

    spans: tuple[int, ...]
    text: str = "tell me the time"
    answered: bool = True
    over_answer: bool = False
    kind: str = "plain"
    asked: str = ""
    scores: tuple[tuple[float, ...], ...] = ()
    """For each gap, the last one behind the end: an end-of-turn model's score at each 100 ms of silence."""


def heard(
    *utterances: Says, stt_ms: int = 0, name: str = "made up", voice: str = "flite, nobody", gap_ns: int = SILENCE_NS
) -> Evidence:
    """What a perfect ear makes of it. `stt_ms`: from the request at 96 ms of silence until the final transcript is there."""
    at = ORIGIN_NS + 1000 * MS
    said: list[Said] = []
    voiced: list[tuple[int, int, str]] = []
    facts: list[tuple[int, int, tuple[Any, ...]]] = []
    for one in utterances:
        begin, pauses, words = at, [], one.text.split()
        parts = (len(one.spans) + 1) // 2
        for index, ms in enumerate(one.spans):
            end = at + ms * MS
            if index % 2:
                pauses.append((at, end))
            else:
                share = words[len(words) * (index // 2) // parts : len(words) * (index // 2 + 1) // parts]
                voiced.append((at, end, " ".join(share)))
            at = end
        said.append(Said(one.text, one.kind, one.asked, begin, at, tuple(pauses), one.answered, one.over_answer))
        for scores, start in zip(one.scores, (*(start for start, _ in pauses), at), strict=False):
            facts += [
                (start + 100 * MS * (step + 1), 3, (score, 100 * (step + 1), start + 100 * MS * (step + 1)))
                for step, score in enumerate(scores)
            ]
        at += gap_ns
    facts += _facts(voiced, at, stt_ms)
    return Evidence(name, voice, False, tuple(said), KINDS, tuple(sorted(facts, key=lambda one: one[0])), at)


def _facts(voiced: Sequence[tuple[int, int, str]], end: int, stt_ms: int) -> list[tuple[int, int, tuple[Any, ...]]]:
    """In the order of Kind: the onset before the window that confirms it."""
    facts: list[tuple[int, int, tuple[Any, ...]]] = []
    speaking, last, asked = False, ORIGIN_NS, True
    for window in range(ORIGIN_NS + WINDOW_NS, end, WINDOW_NS):
        now = next(((a, b, text) for a, b, text in voiced if a < window < b + WINDOW_NS), None)
        silent = max(0, (min(window, now[0]) if now else window) - last)
        if now and not speaking and window >= now[0] + CONFIRMED_NS:
            speaking, asked = True, False
            facts.append((window, 0, (1.0, now[0])))
        if speaking:
            over = now is None or window >= now[1] + WINDOW_NS
            last = next(b for a, b, _ in reversed(voiced) if a < window) if over else window
            speaking, silent = not over, window - last if over else 0
        facts.append((window, 1, (float(speaking), silent // MS, speaking, -60.0, -60.0, window)))
        if not speaking and not asked and silent >= FINALISED_NS:
            asked = True
            start, stop, text = next(one for one in reversed(voiced) if one[0] < window)
            facts.append((window + stt_ms * MS, 2, (text, True, start, stop, "en", window + stt_ms * MS)))
    return facts


def committed_ms(one: Said, silence_ms: int) -> float:
    """When fixed silence ends the turn: at the first window with so much of it, since the true end."""
    due = one.end + silence_ms * MS
    windows = -(-(due - ORIGIN_NS) // WINDOW_NS)
    return (ORIGIN_NS + windows * WINDOW_NS - one.end) / MS


def optimized(*settings: str) -> Graph:
    return Graph.load("optimized", settings=settings, environ={})


def replayed(evidence: Evidence, after: Delays = FAST, graph: Graph | None = None, **options: Any) -> list[Outcome]:
    """`options` of the dialogue over those of the optimized graph."""
    return replay(owner_with(graph or optimized(), options), evidence, after)
