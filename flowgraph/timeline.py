"""A trace file, read back: every frame with its way, what the owner decided, what the connections did, and the turns.

1. Times are nanoseconds on the session's clock; `unix(at)` maps them to the time of day by the offset of the file's first line.
2. A job is a node's work on one frame: from its take to the last put, or decision, that came of it. Frames that are only
   counted in the file make no jobs; what was heard isn't work of the speaker, it is the answer.
3. A turn's window begins with the user's first voiced sample and ends where the next one's begins, or with its own answer,
   or with the decision that interrupted that: an answer pauses long before.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from flowgraph.errors import FlowError
from flowgraph.phases import phase_of
from flowgraph.report import IN_MS, TurnReport
from flowgraph.trace import Step
from flowgraph.units import MS

ARROW = " -> "
NO_TURNS = "there is no turn in it: nobody spoke, or nothing was answered"


class UnusableTrace(FlowError):
    """The file is no trace, or hasn't what was asked for."""

    exit_code = 2


@dataclasses.dataclass(slots=True)
class Traced:
    """One frame, and where it was."""

    id: int
    type: str
    node: str
    """Who yielded it first."""
    cause: int
    turn: int
    made_at: int
    at: int
    """Its own stamp: when it happened."""
    fields: dict[str, Any]
    """Empty for sound and voice probabilities."""
    cited: bool
    """One of many of its kind: in the file because something refers to it."""
    puts: dict[str, int]
    """Edge → when."""
    takes: dict[str, int]
    held: dict[str, int] = dataclasses.field(default_factory=dict)
    """Edge → since when it waited there for its commit."""
    stale: dict[str, int] = dataclasses.field(default_factory=dict)
    """Edge → when it was refused there: its attempt was over."""
    full: dict[str, int] = dataclasses.field(default_factory=dict)
    """Edge → since when its put had to wait."""
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What the owner of the turn did to it."""

    kind: Literal["advance", "commit", "gain"]
    at: int
    value: float
    """The attempt, or the gain."""
    by: int
    """Id of the frame that the owner was processing; 0 = none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wire:
    """An event of a service's connections."""

    at: int
    service: str
    what: str
    request: int
    """Shared by the events of one request."""


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """A failure, a restart, a lag."""

    at: int
    node: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A node's work on one frame."""

    node: str
    frame: Traced
    start: int
    first: int
    """When the first of what came of it was there."""
    end: int
    """When the last was."""
    outputs: tuple[Traced, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What was heard of an attempt."""

    node: str
    """Who played it."""
    attempt: int
    begin: int
    """The first audible sample."""
    end: int
    """The last sample."""
    text: str
    cut: bool
    final: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """The time of a turn."""

    begin: int
    end: int

    def __contains__(self, at: int) -> bool:
        return self.begin <= at < self.end


class Timeline:
    """A session, as its trace file tells it. Make it with `Timeline.read`."""

    def __init__(self, path: str | Path, graph: dict[str, Any]) -> None:
        """`graph`: the file's first line."""
        self.path = str(path)
        self.name = str(graph["name"])
        self.started = int(graph["at"])
        self.nodes: list[str] = list(graph["nodes"])
        self.edges: list[str] = list(graph["edges"])
        self.owner: str | None = graph["owner"]
        self.held = frozenset(graph["held"])
        """The edges that wait for a commit."""
        self.plans = frozenset(graph["plans"])
        """Types of frames that belong to an attempt."""
        self.services: dict[str, str] = dict(graph["services"])
        """Node → the service that it uses."""
        self.frames: dict[int, Traced] = {}
        self.decisions: list[Decision] = []
        self.wires: list[Wire] = []
        self.notes: list[Note] = []
        self.turns: list[TurnReport] = []
        self.cut_at = 0
        """The number of the last line if only a part of it is there, which was left out: the run was killed, or goes on. 0 = all is there."""
        self._yields: dict[str, list[str]] = dict(graph["yields"])
        self._unix_ns = int(graph["unix_ns"])
        self._last = self.started

    @classmethod
    def read(cls, path: str | Path) -> Timeline:
        """Read a file that `--trace` wrote. Raises UnusableTrace."""
        try:
            with Path(path).open("rb") as file:
                return cls._of(path, enumerate(file, start=1))
        except OSError as error:
            raise UnusableTrace(
                f"can't read {path}: {error.strerror}", hint="flow run GRAPH --trace FILE.jsonl writes one"
            ) from None
        except UnicodeDecodeError:
            raise _no_trace(path, "it isn't text") from None

    @classmethod
    def _of(cls, path: str | Path, lines: Iterator[tuple[int, bytes]]) -> Timeline:
        found: Timeline | None = None
        for number, line in lines:
            if found is not None and not line.endswith(b"\n"):
                found.cut_at = number
                break
            try:
                event = json.loads(line.decode("utf-8"))
                if found is None:
                    if event["event"] != "graph":
                        raise _no_trace(path, "it doesn't begin with a graph")
                    found = cls(path, event)
                else:
                    found._add(event)
            except UnicodeDecodeError:
                raise
            except (ValueError, KeyError, TypeError, AttributeError):
                raise _no_trace(path, f"line {number} is no event of one") from None
        if found is None:
            raise _no_trace(path, "it is empty")
        return found

    def _add(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "frame":
                self.frames[event["frame"]] = Traced(
                    id=event["frame"],
                    type=event["type"],
                    node=event["node"],
                    cause=event["cause"],
                    turn=event["turn"],
                    made_at=event["at"],
                    at=event["frame_at"],
                    fields=event.get("fields", {}),
                    cited="puts" in event,
                    puts=dict(event.get("puts", {})),
                    takes=dict(event.get("takes", {})),
                )
            case "put" | "take" | "held" | "stale" | "full" | "drop" as kind:
                names = {"put": "puts", "take": "takes", "drop": "dropped"}
                frame = self.frames[event["frame"]]
                getattr(frame, names.get(kind, kind)).setdefault(event["edge"], event["at"])
            case "advance" | "commit" as kind:
                self.decisions.append(Decision(kind, event["at"], event["attempt"], event["by"]))
            case "gain":
                self.decisions.append(Decision("gain", event["at"], event["gain"], event["by"]))
            case "wire":
                self.wires.append(Wire(event["at"], event["service"], event["what"], event["request"]))
            case "note":
                self.notes.append(Note(event["at"], event["node"], event["text"]))
            case "turn":
                self.turns.append(_turn(event))
        self._last = max(self._last, event.get("at", 0))

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> int:
        """The last event's time."""
        return self._last

    def unix(self, at: int) -> int:
        """The time of day, in nanoseconds since 1970, of a time of the session's clock."""
        return at - self.started + self._unix_ns

    # -- turns ---------------------------------------------------------------------------------------------------------

    def turn(self, number: int) -> TurnReport:
        """A turn by its number; 0 is the greeting. Raises UnusableTrace."""
        self.require_turns()
        for turn in self.turns:
            if turn.number == number:
                return turn
        numbers = [turn.number for turn in self.turns]
        known = f"{min(numbers)} to {max(numbers)}" if len(numbers) > 1 else str(numbers[0])
        raise UnusableTrace(f"{self.path}: there is no turn {number}", hint=f"--turn {known}")

    def slowest(self) -> TurnReport:
        """The turn whose answer was heard latest. Raises UnusableTrace."""
        self.require_turns()
        timed = [turn for turn in self.turns if turn.latency_ns is not None]
        if not timed:
            raise UnusableTrace(f"{self.path}: no answer was heard", hint="--turn N shows what happened instead")
        return max(timed, key=lambda turn: turn.latency_ns or 0)

    def require_turns(self) -> None:
        """Raise UnusableTrace if there is none."""
        if not self.turns:
            raise UnusableTrace(f"{self.path}: {NO_TURNS}", hint="--perfetto FILE.json shows all the rest")

    def phase(self, step: Step) -> str:
        """The phase that a step belongs to."""
        return phase_of(step, owner=self.owner, yields=self._yields.get(step.where, ()))

    @cached_property
    def answers(self) -> list[Answer]:
        """All that were audible, in their order."""
        latest = {frame.turn: frame for frame in self._of_type("Heard") if frame.fields["first_audible_at"]}
        return [
            Answer(
                node=frame.node,
                attempt=attempt,
                begin=frame.fields["first_audible_at"],
                end=frame.fields["played_until"],
                text=frame.fields["text"].strip(),
                cut=frame.fields["cut"],
                final=frame.fields["final"],
            )
            for attempt, frame in latest.items()
        ]

    def answer(self, turn: TurnReport) -> Answer | None:
        """What was heard in it."""
        return next((one for one in self.answers if one.begin == turn.audible_at), None) if turn.audible_at else None

    def window(self, turn: TurnReport) -> Window:
        """When it happened."""
        index = self.turns.index(turn)
        following = self._begins[index + 1] if index + 1 < len(self.turns) else self._last + 1
        answer = self.answer(turn)
        ends = [following]
        if answer is not None:
            ends.append(answer.end + 1)
        if answer is not None and answer.cut:
            ends += [one.at + 1 for one in self.decisions if one.kind == "advance" and one.value == answer.attempt + 1]
        return Window(self._begins[index], max(ends))

    def made(self, node: str, turn: TurnReport) -> list[Traced]:
        """What a node yielded in a turn's window, without what it still made for an earlier attempt."""
        window = self.window(turn)
        begun = [one.value for one in self.decisions if one.kind == "advance" and one.at in window]
        return [
            frame for frame in self.frames.values()
            if frame.node == node and frame.made_at in window and not frame.cited
            and not (begun and frame.type in self.plans and frame.turn < begun[0])
        ]  # fmt: skip

    @cached_property
    def _begins(self) -> list[int]:
        """When the user began to speak, for each turn."""
        begins = []
        before: TurnReport | None = None
        for turn in self.turns:
            begins.append(self._begin(turn, before))
            before = turn
        return begins

    def _begin(self, turn: TurnReport, before: TurnReport | None) -> int:
        if turn.annotated:
            told = (one.fields for one in self._of_type("Utterance") if one.fields["index"] == turn.utterance)
            return next((int(fields["start_at"]) for fields in told), turn.speech_end_at)
        since = 0 if before is None else self._silent_at(before)
        onsets = sorted(one.at for one in self._of_type("SpeechStarted") if since <= one.at <= turn.speech_end_at)
        return onsets[0] if onsets else turn.speech_end_at

    def _silent_at(self, turn: TurnReport) -> int:
        """When the answer was over, or somebody spoke over it."""
        answer = self.answer(turn)
        if answer is None:
            return turn.speech_end_at + 1
        return answer.end - (turn.stopped_in_ns or 0)

    def _of_type(self, name: str) -> Iterator[Traced]:
        return (frame for frame in self.frames.values() if frame.type == name)

    # -- work ----------------------------------------------------------------------------------------------------------

    @cached_property
    def jobs(self) -> list[Job]:
        """Every node's work, in the order of its beginning; without what nothing came of."""
        outputs: dict[tuple[str, int], list[Traced]] = {}
        for frame in self.frames.values():
            if frame.cause and frame.type != "Heard":
                outputs.setdefault((frame.node, frame.cause), []).append(frame)
        decided: dict[int, list[int]] = {}
        for decision in self.decisions:
            decided.setdefault(decision.by, []).append(decision.at)
        found = []
        for frame in self.frames.values():
            for edge, start in frame.takes.items():
                node = edge.partition(ARROW)[2]
                made = outputs.get((node, frame.id), [])
                came = [at for one in (*made, frame) for out, at in one.puts.items() if _source(out) == node]
                if node == self.owner:
                    came += decided.get(frame.id, ())
                if came and min(came) >= start:
                    found.append(Job(node, frame, start, min(came), max(came), tuple(made)))
        return sorted(found, key=lambda job: (job.start, job.end))

    @cached_property
    def commits(self) -> dict[int, Decision]:
        """Attempt → its commit."""
        return {int(one.value): one for one in self.decisions if one.kind == "commit"}


def _source(edge: str) -> str:
    return edge.partition(ARROW)[0]


def _no_trace(path: str | Path, why: str) -> UnusableTrace:
    return UnusableTrace(f"{path} is no trace: {why}", hint="flow run GRAPH --trace FILE.jsonl writes one")


def _turn(event: dict[str, Any]) -> TurnReport:
    """What `TurnReport.to_json` wrote, without its loss of names."""
    data = {name: value for name, value in event.items() if name != "event"}
    for name in IN_MS:
        value = data.pop(name.replace("_ns", "_ms"))
        data[name] = None if value is None else round(value * MS)
    data["phases"] = {name: round(ms * MS) for name, ms in data["phases"].items()}
    data["steps"] = tuple(Step(**step) for step in data["steps"])
    return TurnReport(**data)
