"""A conversation on virtual time, and the trace file that it leaves: three turns, a withdrawn attempt, an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowgraph import taps
from flowgraph.report import Report
from flowgraph.session import Session
from flowgraph.testing import run_virtual
from flowgraph.units import MS
from tests.spoken import spoken

SAYS: list[dict[str, Any]] = [
    {"from": 500, "to": 1500, "text": "What time is it?"},
    {"from": 4500, "to": 6500, "pauses": [[5200, 5500]], "text": "And now, what is it?"},
    {"from": 7300, "to": 8300, "text": "Stop it.", "barges_in": True},
]
SETTINGS = (
    "ear.seconds=12",
    "dialogue.barge_in=headphones",
    "stt.texts=[what time is it, and now, and now what is it, stop it]",
    "llm.answer=Nine o'clock and all is well, thank you.",
)
WIRES = [
    (1700, "warm_start", 1), (1705, "warm_end", 1), (1710, "reused", 2), (1711, "request_sent", 2), (1741, "response_start", 2),
    (5400, "connect_start", 3), (5420, "connect_end", 3), (5421, "request_sent", 3), (5500, "closed", 3),
]  # fmt: skip
"""Milliseconds behind the start: what a service named `far` might have done."""


def traced(path: Path, *settings: str, says: list[dict[str, Any]] | None = None) -> Report:
    """Hold it, leave the trace at `path`, and return what was reported of it."""
    session = Session(spoken(*SETTINGS, *settings, says=SAYS if says is None else says), trace=path)
    report = Report(session)

    async def main() -> None:
        async with session:
            for ms, what, request in WIRES:
                session.trace.tap((session.trace.started + ms * MS, taps.WIRE, "far", what, request, 0))
            session.trace.tap((session.trace.started + 1750 * MS, taps.NOTE, -1, "the loop came 28 ms late"))
            await session.finished()
            report.finish()

    run_virtual(main())
    return report
