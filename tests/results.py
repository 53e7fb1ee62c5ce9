"""Made-up results of runs, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from flowgraph.compare import Answered, Piece, RunResult


def answered(utterance: int, latency_ms: float | None, **phases: float) -> Answered:
    """A turn; its phases become its pieces too."""
    pieces, at = [], 0.0
    for name, ms in phases.items():
        pieces.append(Piece(name, "working", name, at, at + ms))
        at += ms
    return Answered(
        utterance,
        "what time is it",
        "what time is it",
        "noon",
        latency_ms,
        phases,
        tuple(pieces),
        failed=latency_ms is None,
    )


def runs(graph: str, latencies: Sequence[Sequence[float | None]]) -> list[RunResult]:
    """One list of latencies a repeat."""
    return [
        RunResult(graph, repeat, tuple(answered(i, ms) for i, ms in enumerate(row)), cpu_s=1.0, seconds=60.0)
        for repeat, row in enumerate(latencies)
    ]
