"""The trace: what the taps wrote down, indexed, and the critical path of a turn.

The path is walked back from the first audible sample. Each step has a start and an end that were both observed; none is
worked out as the rest. So the steps tile the time from the user's last voiced sample to the first audible one, and a trace
with an event missing yields `Incomplete`, never a guess.

At an edge the path follows the put; at a held edge it follows whichever came last, the put or the commit, and then the frame
that the owner was processing when it committed.

The file has a line for each event. Facts that stream in (captured sound, voice probabilities) are counted by edge and second
instead; one of them gets lines of its own from when it is cited: as a cause, or as what the owner decided by. Its `puts` and
`takes` say where it had been until then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from flowgraph.errors import FlowError
from flowgraph.frame import Frame
from flowgraph.node import ports, service_options
from flowgraph.taps import ADVANCE, BULK, COMMIT, DROP, FULL, GAIN, HELD, KINDS, NOTE, PUT, STALE, STAMP, TAKE, WIRE
from flowgraph.units import MS, SECOND

if TYPE_CHECKING:
    from flowgraph.graph import Edge, Graph, NodeSpec

RING = 1 << 17
"""So many taps are kept until they are collected (every second of real time)."""
KEPT_BEHIND_NS = 30 * SECOND
"""What goes on all the time (sound, and the facts of an attempt that lasts) is kept for so much longer than nothing has to move until an
answer counts as stuck: a path may reach back that far, and some seconds more."""
KEPT_NS = 60 * SECOND + KEPT_BEHIND_NS
KEPT_ATTEMPTS = 60
KEPT_EVENTS = 4096
"""Of each kind that no frame is."""

StepKind = Literal["speech end", "capture", "waiting", "working", "network", "holding", "playout"]


Times: TypeAlias = tuple[tuple[int, int], ...]
"""(edge index, when): a dict for each of the thousands of sounds that are kept would take twice the memory of all else."""


class Incomplete(FlowError):
    """The trace lacks an event of this path."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One piece of a turn's time."""

    kind: StepKind
    where: str
    """A node, an edge (`a -> b`), or the source whose sound the path begins with."""
    start: int
    end: int

    @property
    def ms(self) -> float:
        return (self.end - self.start) / MS


@dataclasses.dataclass(slots=True)
class Record:
    """What the trace knows of one frame."""

    type: str
    source: str
    cause: int
    turn: int
    at: int
    end_at: int
    made_at: int
    frame: Frame | None = None
    """The frame itself, unless it is bulk."""
    puts: Times = ()
    """Into which edges, and when."""
    takes: Times = ()
    written: bool = False
    """It has lines of its own in the file."""


@dataclasses.dataclass(slots=True)
class _Kept:
    """The frames of one attempt."""

    attempt: int
    plans: list[int] = dataclasses.field(default_factory=list)
    """Kept as long as the attempt is."""
    passing: deque[int] = dataclasses.field(default_factory=deque)
    """Facts; without an owner, whose one attempt lasts for ever, all there is. While it lasts, kept for `kept_ns`."""


@dataclasses.dataclass(frozen=True, slots=True)
class FailureEdge:
    """The engine's own way to the owner: what failed."""

    label: str = "failures"
    place: str = ""
    capacity: int = 256
    capacity_ns: int = 0
    overflow: str = "drop_oldest"
    hold: bool = False
    feedback: bool = True
    source: str = ""
    target: str = ""


class Trace:
    """The taps of one session. `tap` is the ring's append: the only part that runs per frame."""

    def __init__(self, graph: Graph, *, now: Callable[[], int], path: str | Path | None = None) -> None:
        self.failures = FailureEdge()
        self.nodes = list(graph.nodes)
        self.edges: list[Edge | FailureEdge] = [*graph.edges, self.failures]
        self._owner = graph.owner or ""
        self.labels = [edge.label for edge in self.edges]
        self.records: dict[int, Record] = {}
        self.commits: dict[int, tuple[int, int]] = {}
        """Attempt → (when, id of the frame that the owner was processing)."""
        self.advances: deque[tuple[int, int, int]] = deque(maxlen=KEPT_EVENTS)
        """(when, attempt, id of the frame that the owner was processing)."""
        self.gains: deque[tuple[int, float, int]] = deque(maxlen=KEPT_EVENTS)
        """(when, gain, id of the frame that the owner was processing)."""
        self.wires: deque[tuple[int, str, str, int, int]] = deque(maxlen=KEPT_EVENTS)
        """(when, service, event, request, id of the frame that it was made for) of the HTTP clients."""
        self.notes: deque[tuple[int, str, str]] = deque(maxlen=KEPT_EVENTS)
        """(when, node or "", text): failures, restarts, lag."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """(edge, what) → how often: put, take, full, stale, drop."""
        self.dropped = 0
        self._ring: deque[tuple[Any, ...]] = deque(maxlen=RING)
        self.tap = self._ring.append
        self._now = now
        self.kept_ns = KEPT_NS
        """How long what goes on all the time is known."""
        self._started = now()
        self._started_unix_ns = time.time_ns()
        self._moved_at = 0
        self._bulk: deque[int] = deque()
        self._attempts: deque[_Kept] = deque()
        self._by_attempt: dict[int, _Kept] = {}
        self._seconds: Counter[tuple[int, int, int]] = Counter()
        self.failure: FlowError | None = None
        """Why the file ends before the session does; None where it doesn't."""
        self._file = self._open(path)
        self._write_graph(graph)
        self._services = {name: _service_of(spec) for name, spec in graph.nodes.items()}

    @property
    def started(self) -> int:
        """When the session began to start (clock, nanoseconds)."""
        return self._started

    def unix(self, at: int) -> int:
        """The time of day, in nanoseconds since 1970, of a time of the clock: by one offset, taken at the start."""
        return at - self._started + self._started_unix_ns

    # -- collecting ----------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Work the taps since the last time into the index, and into the file: whoever is killed leaves all but the last second."""
        ring = self._ring
        while ring:
            self._index(ring.popleft())
        self._forget()
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Write what is left and close the file."""
        self.collect()
        self._write_seconds(self._now() + 2 * SECOND)
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._give_up(error)
            self._file = None

    def quiet_for(self, ns: int) -> bool:
        """True if no Plan and no single fact has moved for so long (sound that streams in doesn't count)."""
        self.collect()
        return self._now() - self._moved_at > ns

    def _index(self, event: tuple[Any, ...]) -> None:
        at, kind = event[0], event[1]
        if kind == STAMP:
            frame = event[3]
            node = self.nodes[event[2]]
            record = Record(type(frame).__name__, node, frame.cause_id, frame.turn, frame.at, frame.at, at, frame=frame)
            self.records[frame.id] = record
            self._moved_at = at
            self._keep(frame.turn, frame.id, planned=frame.is_plan)
            if self._file is not None:
                self._write_frame(frame.id, record)
        elif kind == BULK:
            _, _, node, frame_id, cause, turn, cls, frame_at, end_at = event
            record = Record(cls.__name__, self.nodes[node], cause, turn, frame_at, end_at, at)
            self.records[frame_id] = record
            if cls.is_plan:
                self._keep(turn, frame_id, planned=True)
                if self._file is not None:
                    self._write_frame(frame_id, record)
            else:
                self._bulk.append(frame_id)
        elif kind in (PUT, TAKE, HELD, FULL, STALE, DROP):
            edge, frame_id = event[2], event[3]
            found = self.records.get(frame_id)
            self.counts[self.labels[edge], KINDS[kind]] += 1
            self.dropped += kind == DROP
            if found is not None:
                if kind == PUT:
                    found.puts += ((edge, at),)
                elif kind == TAKE:
                    found.takes += ((edge, at),)
            if self._file is not None:
                if found is not None and found.written:
                    self._write({"event": KINDS[kind], "at": at, "edge": self.labels[edge], "frame": frame_id})
                else:
                    self._seconds[(at - self._started) // SECOND, edge, kind] += 1
                    self._write_seconds(at)
        elif kind == COMMIT:
            self.commits[event[2]] = (at, event[3])
            self._cite(event[3])
            self._write({"event": "commit", "at": at, "attempt": event[2], "by": event[3]})
        elif kind == ADVANCE:
            self.advances.append((at, event[2], event[3]))
            self._cite(event[3])
            self._write({"event": "advance", "at": at, "attempt": event[2], "by": event[3]})
        elif kind == GAIN:
            self.gains.append((at, event[2], event[3]))
            self._cite(event[3])
            self._write({"event": "gain", "at": at, "gain": event[2], "by": event[3]})
        elif kind == WIRE:
            _, _, service, what, request, frame_id = event
            self.wires.append((at, service, what, request, frame_id))
            self._write(
                {"event": "wire", "at": at, "service": service, "what": what, "request": request, "for": frame_id}
            )
        elif kind == NOTE:
            node = self.nodes[event[2]] if event[2] >= 0 else ""
            self.notes.append((at, node, event[3]))
            self._write({"event": "note", "at": at, "node": node, "text": event[3]})

    def _keep(self, turn: int, frame_id: int, *, planned: bool) -> None:
        if turn not in self._by_attempt:
            self._by_attempt[turn] = _Kept(turn)
            self._attempts.append(self._by_attempt[turn])
        kept = self._by_attempt[turn]
        (kept.plans if planned and self._owner else kept.passing).append(frame_id)

    def _forget(self) -> None:
        horizon = self._now() - self.kept_ns
        self._forget_before(horizon, self._bulk)
        if self._attempts:
            self._forget_before(horizon, self._attempts[-1].passing)
        while len(self._attempts) > KEPT_ATTEMPTS:
            kept = self._attempts.popleft()
            del self._by_attempt[kept.attempt]
            self.commits.pop(kept.attempt, None)
            for frame_id in (*kept.plans, *kept.passing):
                del self.records[frame_id]

    def _forget_before(self, horizon: int, frames: deque[int]) -> None:
        while frames and self.records[frames[0]].made_at < horizon:
            del self.records[frames.popleft()]

    # -- the critical path ---------------------------------------------------------------------------------------------

    def path(self, frame_id: int, *, by: str, audible_at: int, since: int) -> list[Step]:
        """What the time from `since` (the last voiced sample) to `audible_at` was spent on, in order of time.

        `frame_id` is the sound that was audible at `audible_at`, played by node `by`. The steps tile the time: each begins
        where the one before ends. Empty if it was audible before `since`. Raises Incomplete if an event is missing.
        """
        self.collect()
        steps: list[Step] = []
        for step in self._walk(frame_id, by, audible_at, since):
            if step.end < step.start:
                raise Incomplete(f"{step.kind} at {step.where} ends {-step.ms:.1f} ms before it begins")
            if step.end > since:
                steps.append(step if step.start >= since else dataclasses.replace(step, start=since))
            if step.start <= since:
                break
        return steps[::-1]

    def _walk(self, frame_id: int, by: str, audible_at: int, since: int) -> Iterator[Step]:
        """The critical path, backwards. What happened before `since` may be in it, where it is the cause of what came after."""
        record = self._record(frame_id)
        edge, taken = self._taken(by, frame_id, record)
        yield Step("playout", by, taken, audible_at)
        for _ in range(1000):
            label = self.labels[edge]
            made = self._put(record, frame_id, edge)
            committed, cause = self._commit(record, edge)
            if committed > made:
                yield Step("holding", label, committed, taken)
                frame_id, producer, made = cause, self._owner, committed
                record = self._record(frame_id)
            else:
                yield Step("waiting", label, made, taken)
                producer = self.edges[edge].source
                if record.source == producer:
                    if not record.cause:
                        captured = min(record.end_at, made)
                        yield Step("capture", producer, captured, made)
                        yield Step("speech end", producer, min(since, captured), captured)
                        return
                    frame_id = record.cause
                    record = self._record(frame_id)
            edge, taken = self._taken(producer, frame_id, record)
            yield from self._working(producer, frame_id, taken, made)
        raise Incomplete("the path of this turn has no beginning")

    def _commit(self, record: Record, edge: int) -> tuple[int, int]:
        """When a held edge let a frame go, and the frame that the owner was processing then; (0, 0) if nothing held it."""
        if not (self.edges[edge].hold and self._owner):
            return 0, 0
        if record.turn not in self.commits:
            raise Incomplete(f"the trace has no commit of attempt {record.turn}")
        return self.commits[record.turn]

    def _working(self, node: str, frame_id: int, start: int, end: int) -> Iterator[Step]:
        """A node's working time on a frame, latest piece first, with the part that went into connecting told apart."""
        cursor = end
        for first, last in reversed(_joined(self._connecting(node, frame_id, start, end))):
            yield Step("working", node, last, cursor)
            yield Step("network", node, first, last)
            cursor = first
        yield Step("working", node, start, cursor)

    def _connecting(self, node: str, frame_id: int, start: int, end: int) -> Iterator[tuple[int, int]]:
        """When a node's requests waited for a connection: those for this frame, and those for none, which its `run` makes.

        What a request for another frame waited for, at the same time, delayed nothing here. A request that never came to its
        end (it failed, or was withdrawn) waited for nothing that came of this one.
        """
        service = self._services.get(node, "")
        begun: dict[int, int] = {}
        for at, name, event, request, made_for in self.wires:
            if not service or name != service or made_for not in (frame_id, 0):
                continue
            if event == "connect_start":
                begun[request] = at
            elif event == "connect_end":
                if request in begun:
                    yield max(begun.pop(request), start), min(at, end)
                elif start < at <= end:
                    raise Incomplete(f"the trace has no beginning of the connection that '{node}' made")
            elif event in ("request_sent", "response_start") and request in begun and start < at <= end:
                raise Incomplete(f"the trace has no end of the connection that '{node}' made")

    def _record(self, frame_id: int) -> Record:
        record = self.records.get(frame_id)
        if record is None:
            raise Incomplete(f"the trace has no stamp of frame {frame_id}")
        return record

    def _put(self, record: Record, frame_id: int, edge: int) -> int:
        for index, at in record.puts:
            if index == edge:
                return at
        raise Incomplete(f"the trace has no put of frame {frame_id} ({record.type}) on {self.labels[edge]}")

    def _taken(self, node: str, frame_id: int, record: Record) -> tuple[int, int]:
        """The edge by which a node got a frame, and when."""
        for edge, at in record.takes:
            if self.edges[edge].target == node:
                return edge, at
        raise Incomplete(f"the trace has no take of frame {frame_id} ({record.type}) by '{node}'")

    # -- the file ------------------------------------------------------------------------------------------------------

    def write(self, event: dict[str, Any]) -> None:
        """Add a line of one's own (a turn's summary, the session's end)."""
        self._write(event)

    def _open(self, path: str | Path | None) -> IO[str] | None:
        if path is None:
            return None
        try:
            return Path(path).open("w", encoding="utf-8", buffering=1 << 16)
        except OSError as error:
            raise FlowError(f"can't write the trace {path}: {error.strerror}", hint="choose another --trace") from None

    def _write(self, event: dict[str, Any]) -> None:
        if self._file is not None:
            try:
                self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """A conversation is worth more than its trace: it goes on, and ends with this failure."""
        assert self._file is not None
        hint = "free some space, or choose another --trace"
        self.failure = FlowError(f"can't write on the trace {self._file.name}: {error.strerror}", hint=hint)
        file, self._file = self._file, None
        with contextlib.suppress(OSError):  # what is left to write fails again
            file.close()

    def _write_graph(self, graph: Graph) -> None:
        """The first line: what the rest refers to, and the time of day at a time of the clock."""
        yields = {name: ports(spec.cls).outputs for name, spec in graph.nodes.items()}
        self._write(
            {
                "event": "graph",
                "name": graph.name,
                "at": self._started,
                "unix_ns": self._started_unix_ns,
                "nodes": self.nodes,
                "edges": self.labels,
                "owner": graph.owner,
                "held": [edge.label for edge in self.edges if edge.hold],
                "yields": {name: [kind.__name__ for kind in kinds] for name, kinds in yields.items()},
                "plans": sorted({kind.__name__ for kinds in yields.values() for kind in kinds if kind.is_plan}),
                "services": {name: service for name, spec in graph.nodes.items() if (service := _service_of(spec))},
            }
        )

    def _write_frame(self, frame_id: int, record: Record) -> None:
        self._cite(record.cause)
        record.written = True
        line: dict[str, Any] = {
            "event": "frame",
            "at": record.made_at,
            "node": record.source,
            "type": record.type,
            "frame": frame_id,
            "cause": record.cause,
            "turn": record.turn,
            "frame_at": record.at,
        }
        if record.frame is not None:
            line["fields"] = dict(record.frame.fields())
        if record.puts:
            line["puts"] = {self.labels[edge]: at for edge, at in record.puts}
            line["takes"] = {self.labels[edge]: at for edge, at in record.takes}
        self._write(line)

    def _cite(self, frame_id: int) -> None:
        """A frame that is only counted otherwise turns out to be of interest."""
        if self._file is not None:
            record = self.records.get(frame_id)
            if record is not None and not record.written:
                self._write_frame(frame_id, record)

    def _write_seconds(self, at: int) -> None:
        second = (at - self._started) // SECOND
        for key in [key for key in self._seconds if key[0] < second]:
            self._write(
                {"event": "second", "second": key[0], "edge": self.labels[key[1]], "what": KINDS[key[2]],
                 "frames": self._seconds.pop(key)}
            )  # fmt: skip


def _service_of(spec: NodeSpec) -> str:
    """The service whose connections a node's working time may hold; "" = none."""
    for option in service_options(spec.cls):
        return str(spec.options.get(option, spec.cls.model_fields[option].default))
    return ""


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of time as ones that don't overlap, in their order. Empty ones are left out."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] < span[1]):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
