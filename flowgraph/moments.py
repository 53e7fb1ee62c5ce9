"""What happened in a turn, in the order of time, in words: what the critical path doesn't show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from flowgraph.units import MS

if TYPE_CHECKING:
    from flowgraph.report import TurnReport
    from flowgraph.timeline import Decision, Timeline, Traced, Window, Wire


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened."""

    at: int
    who: str
    """A node, an edge, or a service."""
    what: str
    matters: bool = False
    """A decision, or what the user noticed."""


def moments(timeline: Timeline, turn: TurnReport) -> list[Moment]:
    """All of them, within the turn's window."""
    window = timeline.window(turn)
    found = [
        *_facts(timeline, window),
        *_decisions(timeline, window),
        *_answers(timeline, window),
        *_wires(timeline),
        *_troubles(timeline, window),
        Moment(turn.speech_end_at, "", "the user's last voiced sample", matters=True),
    ]
    return sorted((one for one in found if one.at in window), key=lambda one: one.at)


def _facts(timeline: Timeline, window: Window) -> Iterator[Moment]:
    for frame in timeline.frames.values():
        if frame.made_at not in window:
            continue
        if frame.type == "SpeechStarted":
            yield Moment(frame.made_at, frame.node, "speech begins")
        elif frame.type == "Transcript":
            kind = "final" if frame.fields["final"] else "partial"
            yield Moment(frame.made_at, frame.node, f'{kind} "{frame.fields["text"].strip()}"')
        elif frame.type == "Failure":
            yield Moment(frame.made_at, frame.node, str(frame.fields["message"]), matters=True)


def _decisions(timeline: Timeline, window: Window) -> Iterator[Moment]:
    owner = timeline.owner or ""
    plans = (frame for frame in timeline.frames.values() if frame.node == owner and frame.type in timeline.plans)
    prompts = {frame.turn: frame for frame in plans if not frame.cited}
    for one in timeline.decisions:
        if one.at in window:
            text = _decision(timeline, one, prompts)
            because = timeline.frames.get(one.by)
            yield Moment(
                one.at, owner, f"{text} (on {because.node}'s {because.type})" if because else text, matters=True
            )


def _decision(timeline: Timeline, decision: Decision, prompts: dict[int, Traced]) -> str:
    if decision.kind == "gain":
        share = decision.value
        return "the answer pauses" if not share else f"the answer at {share:.0%} of its level"
    attempt = int(decision.value)
    if decision.kind == "commit":
        return f"attempt {attempt} may be heard{_waited(timeline, attempt, decision.at)}"
    before = attempt - 1
    words = [_left(timeline, before, decision.at)] if before in prompts else []
    if attempt in prompts:
        said = _said(prompts[attempt])
        words.append(f"attempt {attempt} begins{f': answer {said}' if said else ''}")
    return "; ".join(word for word in words if word) or f"attempt {attempt}"


def _left(timeline: Timeline, attempt: int, at: int) -> str:
    """What became of the attempt before; "" = it was heard out."""
    answer = next((one for one in timeline.answers if one.attempt == attempt), None)
    if answer is None:
        return f"attempt {attempt} is withdrawn"
    return f"attempt {attempt} is interrupted" if answer.cut and answer.begin <= at else ""


def _said(prompt: Traced) -> str:
    messages = prompt.fields.get("messages") or ()
    if prompt.fields.get("say"):
        return f'"{prompt.fields["say"]}"'
    return f'"{messages[-1][1]}"' if messages else ""


def _waited(timeline: Timeline, attempt: int, at: int) -> str:
    """`; 12 frames had waited at tts -> speaker, for up to 210 ms`."""
    waited: dict[str, list[int]] = {}
    for frame in timeline.frames.values():
        if frame.turn == attempt:
            for edge in timeline.held & frame.puts.keys():
                if frame.puts[edge] < at:
                    waited.setdefault(edge, []).append(frame.puts[edge])
    return "".join(
        f"; {_many(len(since), 'frame')} had waited at {edge}, for up to {(at - min(since)) / MS:.0f} ms"
        for edge, since in waited.items()
    )


def _answers(timeline: Timeline, window: Window) -> Iterator[Moment]:
    for one in timeline.answers:
        if one.begin in window:
            yield Moment(one.begin, one.node, f"the answer is heard (attempt {one.attempt})", matters=True)
        if one.end in window and one.final:
            how = "cut off after" if one.cut else "heard to its end:"
            yield Moment(one.end, one.node, f'{how} "{one.text}"', matters=True)


def _wires(timeline: Timeline) -> Iterator[Moment]:
    """A request is one line: on which connection, and when its first byte came."""
    sent: dict[tuple[str, int], Wire] = {}
    begun: dict[tuple[str, int, str], int] = {}
    how: dict[tuple[str, int], str] = {}
    names = {"connect": "a new connection", "dns": "its name was looked up", "warm": "a spare connection"}
    for one in timeline.wires:
        request = one.service, one.request
        match one.what:
            case "reused":
                how[request] = " on a kept connection"
            case "request_sent":
                sent[request] = one
            case "response_start" if (first := sent.pop(request, None)) is not None:
                after = (one.at - first.at) / MS
                yield Moment(first.at, one.service, f"request{how.get(request, '')}; first byte after {after:.1f} ms")
            case "connect_start" | "dns_start" | "warm_start":
                begun[*request, one.what.removesuffix("_start")] = one.at
            case "connect_end" | "dns_end" | "warm_end":
                kind = one.what.removesuffix("_end")
                since = begun.pop((*request, kind), one.at)
                yield Moment(since, one.service, f"{names[kind]}, {(one.at - since) / MS:.1f} ms")
                if kind == "connect":
                    how[request] = " on a new connection"
            case "closed":
                yield Moment(one.at, one.service, "a connection was closed")
    for request, one in sent.items():
        yield Moment(one.at, one.service, f"request{how.get(request, '')}; no answer")


def _troubles(timeline: Timeline, window: Window) -> Iterator[Moment]:
    for note in timeline.notes:
        if note.at in window:
            yield Moment(note.at, note.node, note.text.partition("\nTraceback ")[0], matters=True)
    kinds = {"stale": "refused, their attempt was over", "full": "had to wait for room", "dropped": "lost"}
    for kind, words in kinds.items():
        when: dict[str, list[int]] = {}
        for frame in timeline.frames.values():
            for edge, at in getattr(frame, kind).items():
                if at in window:
                    when.setdefault(edge, []).append(at)
        for edge, times in when.items():
            for group in _groups(times):
                yield Moment(group[0], edge, f"{_many(len(group), 'frame')} {words}")


def _groups(times: Iterable[int], apart_ns: int = 100 * MS) -> Iterator[list[int]]:
    """Times that follow each other closely."""
    group: list[int] = []
    for at in sorted(times):
        if group and at - group[-1] > apart_ns:
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
