"""A trace in the Chrome trace event format, which Perfetto (https://ui.perfetto.dev) and chrome://tracing open.

The session is one process. Its tracks, from above: the critical paths, what was heard, the nodes with their work, the edges with what
waits on them, the services with their requests. A track never holds two slices that overlap without one containing the other (neither
viewer can show that): work that overlaps gets a second line of the same name. Arrows lead along causes, from work to work.

Times are microseconds since the session began to start, exact to the nanosecond.
Format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgraph.errors import FlowError
from flowgraph.units import MS

if TYPE_CHECKING:
    from flowgraph.report import TurnReport
    from flowgraph.timeline import Job, Timeline

PROCESS = 1
CRITICAL = "critical path"
HEARD = "heard"
ENGINE = "engine"


def write(timeline: Timeline, path: Path) -> None:
    """Write the file. Raises FlowError."""
    try:
        path.write_text(json.dumps(trace_events(timeline), ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise FlowError(f"can't write {path}: {error.strerror}", hint="choose another --perfetto") from None


def trace_events(timeline: Timeline) -> dict[str, Any]:
    """The whole file as data."""
    return _Drawing(timeline).drawn()


@dataclasses.dataclass(slots=True)
class _Slice:
    """A bar on a track."""

    begin: int
    end: int
    name: str
    args: dict[str, Any]
    category: str
    inner: list[_Slice] = dataclasses.field(default_factory=list)
    """Bars within it, in order, without gaps that matter."""
    lane: int = 0
    """Its line, once it is known."""


class _Drawing:
    """One file in the making."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._tracks: dict[str, list[_Slice]] = {}
        self._lanes: dict[tuple[str, int], int] = {}
        """(track, line of it) → thread id."""
        self._points: list[tuple[int, str, str, dict[str, Any]]] = []
        """(at, track, name, arguments)."""

    def drawn(self) -> dict[str, Any]:
        timeline = self._timeline
        works: list[tuple[Job, _Slice]] = []
        for track in (CRITICAL, HEARD, *timeline.nodes):
            self._tracks[track] = []
        self._draw_turns()
        self._draw_answers()
        for job in timeline.jobs:
            slice_ = self._draw_job(job)
            works.append((job, slice_))
        for edge in timeline.edges:
            self._draw_waits(edge)
        self._draw_requests()
        self._draw_points()
        events = [event for track in self._tracks for event in self._slices(track)]
        events += self._instants()
        events += self._arrows(works)
        # What begins at once stays in its order: the outer slice first.
        events.sort(key=lambda event: float(event["ts"]))
        return {"displayTimeUnit": "ms", "traceEvents": [*self._names(), *events]}

    # -- what is on the tracks -----------------------------------------------------------------------------------------

    def _draw_turns(self) -> None:
        for turn in self._timeline.turns:
            if turn.latency_ns is None:
                continue
            args = {"said": turn.said, "heard": turn.heard, "ms": turn.latency_ns / MS, "verdict": turn.verdict}
            steps = [
                _Slice(step.start, step.end, f"{step.kind} {step.where}", {"phase": self._timeline.phase(step)}, "step")
                for step in turn.steps
            ]
            self._tracks[CRITICAL].append(
                _Slice(turn.speech_end_at, turn.audible_at, _title(turn), args, "turn", inner=steps)
            )

    def _draw_answers(self) -> None:
        for one in self._timeline.answers:
            name = f"{one.text}{' …' if one.cut else ''}"
            args = {"attempt": one.attempt, "by": one.node, "cut": one.cut}
            self._tracks[HEARD].append(_Slice(one.begin, max(one.begin, one.end), name, args, "heard"))

    def _draw_job(self, job: Job) -> _Slice:
        counts = Counter(frame.type for frame in job.outputs)
        made = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts.items())
        args = {"frame": job.frame.id, "attempt": job.frame.turn, "service": self._timeline.services.get(job.node, "")}
        text = "".join(str(frame.fields.get("text", "")) for frame in job.outputs) or job.frame.fields.get("text")
        if text:
            args["text"] = text
        first = [_Slice(job.start, job.first, "until the first", {}, "work")] if job.start < job.first < job.end else []
        name = f"{job.frame.type} → {made}" if made else job.frame.type
        found = _Slice(job.start, job.end, name, args, "work", inner=first)
        self._tracks[job.node].append(found)
        return found

    def _draw_waits(self, edge: str) -> None:
        """While frames wait on an edge there is a bar; it says whether they are held for their commit, or wait in vain."""
        held, waiting, vain = [], [], []
        commits = self._timeline.commits
        for frame in self._timeline.frames.values():
            if edge not in frame.puts:
                continue
            put, taken = frame.puts[edge], frame.takes.get(edge, 0)
            if edge in frame.stale:
                vain.append((put, frame.stale[edge], frame.type))
            commit = commits.get(frame.turn) if edge in self._timeline.held else None
            if commit is not None and put < commit.at <= taken:
                held.append((put, commit.at, frame.type))
                put = commit.at
            if put < taken:
                waiting.append((put, taken, frame.type))
        bars = [*_busy(held, "held"), *_busy(waiting, "waiting"), *_busy(vain, "in vain")]
        if bars:
            self._tracks[f"edge {edge}"] = bars

    def _draw_requests(self) -> None:
        begun: dict[tuple[str, int, str], int] = {}
        for wire in self._timeline.wires:
            track = f"service {wire.service}"
            bars = self._tracks.setdefault(track, [])
            kind, _, what = wire.what.rpartition("_")
            if wire.what == "request_sent":
                begun[track, wire.request, "request"] = wire.at
            elif wire.what == "response_start":
                if since := begun.pop((track, wire.request, "request"), 0):
                    bars.append(_Slice(since, wire.at, "until the first byte", {}, "network"))
            elif what == "start":
                begun[track, wire.request, kind] = wire.at
            elif what == "end":
                bars.append(_Slice(begun.pop((track, wire.request, kind), wire.at), wire.at, kind, {}, "network"))
            else:
                self._points.append((wire.at, track, wire.what, {}))

    def _draw_points(self) -> None:
        timeline = self._timeline
        owner = timeline.owner or ENGINE
        for one in timeline.decisions:
            value = int(one.value) if one.kind != "gain" else one.value
            self._points.append((one.at, owner, f"{one.kind} {value}", {"by": one.by}))
        for frame in timeline.frames.values():
            if frame.type == "SpeechStarted":
                self._points.append((frame.made_at, frame.node, frame.type, {"at_us": self._us(frame.at)}))
        for note in timeline.notes:
            self._points.append((note.at, note.node or ENGINE, note.text, {}))

    # -- the events ----------------------------------------------------------------------------------------------------

    def _slices(self, track: str) -> Iterator[dict[str, Any]]:
        ends: list[int] = []
        for bar in sorted(self._tracks[track], key=lambda bar: (bar.begin, bar.end)):
            bar.lane = next((lane for lane, end in enumerate(ends) if end <= bar.begin), len(ends))
            ends[bar.lane : bar.lane + 1] = [bar.end]
            thread = self._thread(track, bar.lane)
            for one in (bar, *bar.inner):
                times = {"ts": self._us(one.begin), "dur": (one.end - one.begin) / 1000}
                yield self._event("X", thread, name=one.name, cat=one.category, args=one.args, **times)

    def _instants(self) -> Iterator[dict[str, Any]]:
        for at, track, name, args in self._points:
            yield self._event("i", self._thread(track, 0), name=name, cat="event", args=args, s="t", ts=self._us(at))

    def _arrows(self, works: list[tuple[Job, _Slice]]) -> Iterator[dict[str, Any]]:
        """From the work that made a frame to the work that it caused."""
        makers = {frame.id: (job, bar, frame) for job, bar in works for frame in job.outputs}
        for number, (job, bar) in enumerate(works, start=1):  # Perfetto takes no other ids than numbers
            if job.frame.id not in makers:
                continue
            maker, origin, frame = makers[job.frame.id]
            arrow = {"name": "cause", "cat": "cause", "id": number}
            left = min(max(frame.made_at, origin.begin), origin.end)
            yield self._event("s", self._thread(maker.node, origin.lane), ts=self._us(left), **arrow)
            yield self._event("f", self._thread(job.node, bar.lane), ts=self._us(bar.begin), bp="e", **arrow)

    def _event(self, kind: str, thread: int, **fields: Any) -> dict[str, Any]:
        return {"ph": kind, "pid": PROCESS, "tid": thread, **fields}

    def _thread(self, track: str, lane: int) -> int:
        return self._lanes.setdefault((track, lane), len(self._lanes) + 1)

    def _names(self) -> Iterator[dict[str, Any]]:
        """Process and tracks, in their order."""
        yield self._event("M", 0, name="process_name", ts=0, args={"name": self._timeline.name})
        order = {track: index for index, track in enumerate(self._tracks)}
        for (track, lane), thread in self._lanes.items():
            index = order.get(track, len(order)) * 100 + lane
            yield self._event("M", thread, name="thread_name", ts=0, args={"name": track})
            yield self._event("M", thread, name="thread_sort_index", ts=0, args={"sort_index": index})

    def _us(self, at: int) -> float:
        return (at - self._timeline.started) / 1000


def _title(turn: TurnReport) -> str:
    name = f"turn {turn.number}" if turn.number else "greeting"
    return f"{name}: {(turn.latency_ns or 0) / MS:.0f} ms"


def _busy(waits: list[tuple[int, int, str]], what: str) -> Iterator[_Slice]:
    """One bar for waits that touch each other."""
    group: list[tuple[int, int, str]] = []
    end = 0
    for wait in sorted(waits):
        if group and wait[0] > end:
            yield _bar(group, end, what)
            group = []
        end = max(end, wait[1]) if group else wait[1]
        group.append(wait)
    if group:
        yield _bar(group, end, what)


def _bar(group: list[tuple[int, int, str]], end: int, what: str) -> _Slice:
    counts = Counter(kind for _, _, kind in group)
    frames = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts.items())
    longest = max(end - begin for begin, end, _ in group) / MS
    return _Slice(group[0][0], end, f"{what}: {frames}", {"frames": len(group), "longest_ms": longest}, what)
