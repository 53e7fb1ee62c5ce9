from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

import pytest

from flowgraph import taps
from flowgraph.errors import FlowError
from flowgraph.frame import Heard
from flowgraph.session import Session
from flowgraph.testing import run_virtual
from flowgraph.trace import Incomplete, Step, Trace
from flowgraph.units import MS
from nodes.vocabulary import Prompt
from tests.spoken import Conversation, held, spoken

FULL = Path("/dev/full")
SAYS = [{"from": 500, "to": 1100, "text": "What time is it?"}]
PREPARED = ("ear.seconds=2",)
"""The answer waits for its commit: the path goes through the decision."""
LATE = ("ear.seconds=2", "dialogue.speculate_after=off", "llm.delay=200ms")
"""The commit waits for the answer: the path goes through LLM and TTS."""


def replayed(talk: Conversation, without: int = -1) -> list[Step]:
    """The path of the first turn from the recorded events, one of them left out."""
    [turn] = talk.turns
    answer = talk.report._answers[turn.attempts]
    trace = Trace(talk.session.graph, now=lambda: talk.events[-1][0])
    for number, event in enumerate(talk.events):
        if number != without:
            trace.tap(event)
    return trace.path(answer.sound, by=answer.by, audible_at=answer.audible_at, since=turn.speech_end_at)


def on_the_path(talk: Conversation) -> list[int]:
    """Indices of the events that the path is made of: found by following the causes, not by asking the trace."""
    made: dict[int, tuple[int, int, int]] = {}
    for number, event in enumerate(talk.events):
        if event[1] == taps.STAMP:
            made[event[3].id] = (number, event[3].cause_id, event[2])
        elif event[1] == taps.BULK:
            made[event[3]] = (number, event[4], event[2])
    [turn] = talk.turns
    labels = {step.where for step in turn.steps if step.kind in ("waiting", "holding")}
    edges = [edge.label for edge in talk.session.graph.edges]
    found: list[int] = []
    for number, event in enumerate(talk.events):
        if event[1] == taps.COMMIT:
            found.append(number)
    committing = talk.events[found[0]][3]
    frame = talk.report._answers[turn.attempts].sound
    while frame:
        number, cause, _ = made[frame]
        found.append(number)
        found += [
            other
            for other, event in enumerate(talk.events)
            if event[1] in (taps.PUT, taps.TAKE) and event[3] == frame and edges[event[2]] in labels
        ]
        held_back = any(step.kind == "holding" for step in turn.steps) and frame == talk.report._answers[1].sound
        frame = committing if held_back else cause
    return found


@pytest.mark.parametrize("settings", [PREPARED, LATE], ids=["prepared", "late"])
def test_every_event_of_a_path_is_needed(settings: tuple[str, ...]) -> None:
    talk = held(*settings, says=SAYS)
    needed = on_the_path(talk)

    assert replayed(talk) == list(talk.turns[0].steps)
    assert len(needed) >= 10
    for number in needed:
        with pytest.raises(Incomplete):
            replayed(talk, without=number)


@pytest.mark.parametrize("settings", [PREPARED, LATE], ids=["prepared", "late"])
def test_an_event_that_is_missing_elsewhere_changes_nothing(settings: tuple[str, ...]) -> None:
    talk = held(*settings, says=SAYS)
    whole = replayed(talk)
    needed = set(on_the_path(talk))

    for number in range(0, len(talk.events), 17):
        if number not in needed:
            assert replayed(talk, without=number) == whole


def test_the_path_of_a_prepared_answer_goes_through_the_decision() -> None:
    [turn] = held(*PREPARED, says=SAYS).turns

    assert [step.where for step in turn.steps if step.kind == "holding"] == ["tts -> speaker"]
    assert not any(step.where in ("llm", "tts", "stt") for step in turn.steps)


def test_the_path_of_a_late_answer_goes_through_what_made_it() -> None:
    [turn] = held(*LATE, says=SAYS).turns

    working = [step.where for step in turn.steps if step.kind == "working"]
    assert working == ["gate", "dialogue", "llm", "split", "tts"]
    assert not any(step.kind == "holding" for step in turn.steps)


def test_a_path_that_goes_back_in_time_is_none() -> None:
    talk = held(*LATE, says=SAYS)
    answer = talk.report._answers[1]
    trace = Trace(talk.session.graph, now=lambda: talk.events[-1][0])
    for event in talk.events:
        early = event[1] == taps.TAKE and event[3] == answer.sound
        trace.tap((event[0] - 1, *event[1:]) if early else event)

    with pytest.raises(Incomplete, match=r"waiting at tts -> speaker ends .* before it begins"):
        trace.path(answer.sound, by=answer.by, audible_at=answer.audible_at, since=talk.turns[0].speech_end_at)


def _with_wires(*wires: tuple[str, float, int, int]) -> list[tuple[str, float]]:
    """The steps of a late answer's LLM, in ms, had its service's connections done that: (event, ms, request, frame it is for).

    A frame of 1 stands for the one that the LLM worked on there.
    """
    talk = held(*LATE, says=SAYS)
    [turn] = talk.turns
    answer = talk.report._answers[turn.attempts]
    [llm] = [step for step in turn.steps if step.where == "llm"]
    [prompt] = [event[3].id for event in talk.events if event[1] == taps.STAMP and type(event[3]) is Prompt]
    trace = Trace(talk.session.graph, now=lambda: talk.events[-1][0])
    trace._services["llm"] = "llm"
    for event in talk.events:
        trace.tap(event)
    for what, ms, request, frame in wires:
        trace.tap((llm.start + round(ms * MS), taps.WIRE, "llm", what, request, prompt if frame == 1 else frame))
    steps = trace.path(answer.sound, by=answer.by, audible_at=answer.audible_at, since=turn.speech_end_at)
    assert all(before.end == after.start for before, after in itertools.pairwise(steps))
    assert sum(step.end - step.start for step in steps) == turn.latency_ns
    return [(step.kind, step.ms) for step in steps if step.where == "llm"]


@pytest.mark.parametrize("frame", [1, 0], ids=["for the frame", "by itself"])
def test_connecting_is_told_apart_from_working(frame: int) -> None:
    found = _with_wires(
        ("connect_start", 10, 7, frame), ("connect_end", 50, 7, frame), ("response_start", 90, 7, frame)
    )

    assert found == [("working", 10.0), ("network", 40.0), ("working", 150.0)]


@pytest.mark.parametrize(
    ("begins", "ends", "network"),
    [
        ((10, 20), (50, 90), [("working", 10.0), ("network", 80.0), ("working", 110.0)]),
        ((10, 20), (90, 50), [("working", 10.0), ("network", 80.0), ("working", 110.0)]),
        ((10, 50), (50, 90), [("working", 10.0), ("network", 80.0), ("working", 110.0)]),
        ((10, 60), (50, 90), [("working", 10.0), ("network", 40.0), ("working", 10.0), ("network", 30.0), ("working", 110.0)]),
        ((-5, -9), (50, 300), [("working", 0.0), ("network", 200.0), ("working", 0.0)]),
    ],
)  # fmt: skip
def test_connections_that_are_made_at_once_are_one_wait(
    begins: tuple[int, int], ends: tuple[int, int], network: list[tuple[str, float]]
) -> None:
    starts = [("connect_start", float(ms), number, 1) for number, ms in enumerate(begins)]
    stops = [("connect_end", float(ms), number, 1) for number, ms in enumerate(ends)]

    assert _with_wires(*sorted([*starts, *stops], key=lambda wire: wire[1])) == network


def test_what_a_request_for_another_frame_waits_for_is_no_part_of_this_one() -> None:
    mine = [("connect_start", 10.0, 1, 1), ("connect_end", 30.0, 1, 1)]
    another = [("connect_start", 20.0, 2, 99), ("connect_end", 120.0, 2, 99)]

    assert _with_wires(*sorted([*mine, *another], key=lambda wire: wire[1])) == [
        ("working", 10.0),
        ("network", 20.0),
        ("working", 170.0),
    ]


def test_a_connection_that_came_to_nothing_is_no_part_of_the_path() -> None:
    refused = [("connect_start", 10.0, 1, 1)]
    again = [("connect_start", 60.0, 2, 1), ("connect_end", 90.0, 2, 1), ("request_sent", 95.0, 2, 1)]

    assert _with_wires(*refused, *again) == [("working", 60.0), ("network", 30.0), ("working", 110.0)]


@pytest.mark.parametrize(("without", "lacks"), [("connect_start", "beginning"), ("connect_end", "end")])
def test_a_connection_that_lacks_an_event_is_incomplete(without: str, lacks: str) -> None:
    whole = [("connect_start", 10.0), ("connect_end", 50.0), ("request_sent", 51.0), ("response_start", 90.0)]

    with pytest.raises(Incomplete, match=f"the trace has no {lacks} of the connection that 'llm' made"):
        _with_wires(*((what, ms, 3, 1) for what, ms in whole if what != without))


def test_a_sound_that_was_audible_before_the_end_of_speech_has_no_path() -> None:
    talk = held(*LATE, says=SAYS)
    answer = talk.report._answers[1]

    assert (
        talk.session.trace.path(answer.sound, by=answer.by, audible_at=answer.audible_at, since=answer.audible_at + 1)
        == []
    )


def test_the_file_holds_the_graph_each_frame_and_what_happened_to_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"

    async def main() -> None:
        async with Session(spoken("ear.seconds=2", says=SAYS), trace=path) as session:
            await session.finished()

    run_virtual(main())
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kinds = {line["event"] for line in lines}

    assert lines[0]["event"] == "graph"
    assert {"frame", "put", "take", "held", "commit", "advance", "second"} <= kinds
    [prompt] = [line for line in lines if line.get("type") == "Prompt"]
    assert prompt["node"] == "dialogue"
    assert prompt["fields"]["messages"][-1] == ["user", "what time is it"]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("at_once", [False, True])
def test_a_trace_that_finds_no_space_ends_by_itself_and_the_session_says_so(*, at_once: bool) -> None:
    heard = []

    async def main() -> None:
        session = Session(spoken("ear.seconds=2", says=SAYS), trace=FULL)
        session.watch(Heard, heard.append)
        async with session:
            if at_once:
                session.trace.write({"event": "much", "text": "x" * (1 << 17)})
                assert session.trace.failure is not None
            await session.finished()

    with pytest.raises(FlowError, match="can't write on the trace /dev/full: No space left") as failure:
        run_virtual(main())

    assert "--trace" in failure.value.hint
    assert any(one.final for one in heard), "the answer was heard all the same"


@pytest.mark.skipif(not FULL.exists(), reason="this system has no disk that is always full")
def test_what_ended_the_session_is_told_rather_than_that() -> None:
    async def main() -> None:
        async with Session(spoken("ear.seconds=2", "llm.fails=true", says=SAYS), trace=FULL) as session:
            await session.finished()

    with pytest.raises(FlowError, match="no such model"):
        run_virtual(main())


def test_what_is_collected_is_in_the_file_for_whoever_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"

    async def main() -> list[str]:
        async with Session(spoken("ear.seconds=4", says=SAYS), trace=path) as session:
            await asyncio.sleep(3)
            session.trace.collect()  # as the real clock does every second
            return path.read_text(encoding="utf-8").splitlines()

    lines = [json.loads(line) for line in run_virtual(main())]
    began = lines[0]["at"]

    assert max(line["at"] for line in lines if "at" in line) - began >= 1900 * MS
    assert [line["type"] for line in lines if line["event"] == "frame"].count("Prompt") == 1


def test_sound_is_counted_by_the_second(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"

    async def main() -> None:
        async with Session(spoken("ear.seconds=2", says=[]), trace=path) as session:
            await session.finished()

    run_virtual(main())
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    seconds = [line for line in lines if line["event"] == "second" and line["edge"] == "ear -> gate"]

    assert sum(line["frames"] for line in seconds if line["what"] == "put") == 100
    assert not any(line.get("type") == "Audio" for line in lines)
