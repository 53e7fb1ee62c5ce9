"""The Chrome trace event format: what Perfetto and chrome://tracing need of a file."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flowgraph.cli import app
from flowgraph.timeline import Timeline
from flowgraph.units import MS
from tests.traced import traced

Event = dict[str, Any]
NEEDED = {
    "X": {"name", "cat", "ts", "dur", "pid", "tid", "args"},
    "i": {"name", "cat", "ts", "pid", "tid", "s"},
    "s": {"name", "cat", "ts", "pid", "tid", "id"},
    "f": {"name", "cat", "ts", "pid", "tid", "id", "bp"},
    "M": {"name", "pid", "tid", "args"},
}
EXACT_US = 0.001


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "talk.jsonl"
    traced(path, "tts.delay=90ms", "llm.delay=20ms")
    return path


@pytest.fixture(scope="module")
def file(path: Path) -> dict[str, Any]:
    out = path.with_name("out.json")
    done = CliRunner().invoke(app, ["trace", str(path), "--perfetto", str(out)])
    assert done.exit_code == 0, done.output
    assert (done.stdout, "ui.perfetto.dev" in done.stderr) == ("", True)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def events(file: dict[str, Any]) -> list[Event]:
    return list(file["traceEvents"])


@pytest.fixture(scope="module")
def tracks(events: list[Event]) -> dict[int, str]:
    return {one["tid"]: one["args"]["name"] for one in events if one["name"] == "thread_name"}


def on(events: list[Event], tracks: dict[int, str], track: str, kind: str = "X") -> list[Event]:
    return [one for one in events if one["ph"] == kind and tracks.get(one["tid"]) == track]


def test_every_event_has_what_its_kind_needs(events: list[Event]) -> None:
    assert {one["ph"] for one in events} == set(NEEDED)
    for one in events:
        assert NEEDED[one["ph"]] <= one.keys()
        assert one["pid"] == 1
        assert isinstance(one["name"], str)
        assert isinstance(one["tid"], int)


def test_times_are_numbers_and_rise(events: list[Event]) -> None:
    times = [one["ts"] for one in events if one["ph"] != "M"]

    assert times == sorted(times)
    assert times[0] >= 0
    assert all(one["dur"] >= 0 for one in events if one["ph"] == "X")


def test_the_session_is_one_process_with_a_named_track_for_each_node_and_edge(
    path: Path, events: list[Event], tracks: dict[int, str]
) -> None:
    timeline = Timeline.read(path)

    assert [one["args"]["name"] for one in events if one["name"] == "process_name"] == ["spoken"]
    assert {one["tid"] for one in events if one["ph"] != "M"} <= tracks.keys()
    assert {"critical path", "heard", "gate", "stt", "dialogue", "llm", "split", "tts"} <= set(tracks.values())
    assert {name for name in tracks.values() if name.startswith("edge ")} == {
        "edge split -> tts",
        "edge tts -> speaker",
    }
    order = {one["tid"]: one["args"]["sort_index"] for one in events if one["name"] == "thread_sort_index"}
    assert order.keys() == tracks.keys()
    assert len(set(order.values())) == len(order)
    nodes = [name for _, name in sorted((order[tid], name) for tid, name in tracks.items()) if name in timeline.nodes]
    assert list(dict.fromkeys(nodes)) == [name for name in timeline.nodes if name in nodes]


def test_slices_of_a_track_are_apart_or_within_each_other(events: list[Event]) -> None:
    by_track: defaultdict[int, list[Event]] = defaultdict(list)
    for one in events:
        if one["ph"] == "X":
            by_track[one["tid"]].append(one)
    for slices in by_track.values():
        ends: list[float] = []
        for one in slices:
            while ends and ends[-1] <= one["ts"] + EXACT_US:
                ends.pop()
            assert not ends or one["ts"] + one["dur"] <= ends[-1] + EXACT_US, one
            ends.append(one["ts"] + one["dur"])


def test_the_steps_on_the_critical_path_add_up_to_the_turns_latency(
    path: Path, events: list[Event], tracks: dict[int, str]
) -> None:
    slices = on(events, tracks, "critical path")
    turns = [one for one in slices if one["cat"] == "turn"]
    latencies = [turn.latency_ns for turn in Timeline.read(path).turns]

    assert [one["dur"] * 1000 for one in turns] == latencies
    assert len(turns) == 3
    for turn in turns:
        end = turn["ts"] + turn["dur"]
        steps = [one for one in slices if one["cat"] == "step" and turn["ts"] <= one["ts"] <= end]
        assert sum(one["dur"] for one in steps) == pytest.approx(turn["dur"], abs=EXACT_US)
        for one, other in itertools.pairwise(steps):
            assert one["ts"] + one["dur"] == pytest.approx(other["ts"], abs=EXACT_US)


def test_work_is_a_slice_from_take_to_put(events: list[Event], tracks: dict[int, str]) -> None:
    [one, *_] = [one for one in on(events, tracks, "tts") if one["name"].startswith("Sentence")]

    assert one["name"] == "Sentence → 8 Speech"
    assert one["args"]["text"] == "Nine o'clock and all is well, thank you."
    assert one["dur"] == 90_000


def test_an_edge_says_how_long_frames_were_held(events: list[Event], tracks: dict[int, str]) -> None:
    held = [one for one in on(events, tracks, "edge tts -> speaker") if one["cat"] == "held"]
    [vain] = [one for one in on(events, tracks, "edge tts -> speaker") if one["cat"] == "in vain"]
    commits = [one["ts"] for one in events if one["name"].startswith("commit")]

    assert [one["name"] for one in held] == ["held: End, 8 Speech"] * 3
    assert [one["ts"] + one["dur"] for one in held] == commits
    assert {one["args"]["longest_ms"] for one in held} == {400 - 160 - 20 - 90}
    assert (vain["name"], vain["ts"] + vain["dur"]) == (
        "in vain: End, 8 Speech",
        next(one["ts"] for one in events if one["name"] == "advance 3"),
    )


def test_decisions_onsets_and_notes_are_points_on_their_tracks(events: list[Event], tracks: dict[int, str]) -> None:
    names = Counter(one["name"].partition(" ")[0] for one in on(events, tracks, "dialogue", "i"))

    assert names["advance"] == 6
    assert names["commit"] == 3
    assert names["gain"] >= 1
    assert {one["name"] for one in on(events, tracks, "gate", "i")} == {"SpeechStarted"}
    assert "the loop came 28 ms late" in {one["name"] for one in events}


def test_arrows_lead_from_a_cause_to_its_consequence(events: list[Event], tracks: dict[int, str]) -> None:
    begins = {one["id"]: one for one in events if one["ph"] == "s"}
    ends = {one["id"]: one for one in events if one["ph"] == "f"}
    pairs = Counter((tracks[begins[one]["tid"]], tracks[ends[one]["tid"]]) for one in begins)

    assert begins.keys() == ends.keys()
    assert all(isinstance(one, int) for one in begins)  # Perfetto knows no others
    assert len(begins) == sum(one["ph"] == "s" for one in events) == sum(one["ph"] == "f" for one in events)
    assert all(begins[one]["ts"] <= ends[one]["ts"] for one in begins)
    assert {
        ("gate", "stt"),
        ("stt", "dialogue"),
        ("dialogue", "llm"),
        ("llm", "split"),
        ("split", "tts"),
    } <= pairs.keys()
    slices = [one for one in events if one["ph"] == "X"]
    for arrow in (*begins.values(), *ends.values()):
        assert any(
            one["tid"] == arrow["tid"] and one["ts"] <= arrow["ts"] <= one["ts"] + one["dur"] + EXACT_US
            for one in slices
        )


def test_what_was_heard_is_a_slice_for_each_answer(events: list[Event], tracks: dict[int, str]) -> None:
    assert [one["name"] for one in on(events, tracks, "heard")] == [
        "Nine o'clock and all is well, thank you.",
        "Nine o'clock and all is well, …",
        "Nine o'clock and all is well, thank you.",
    ]


def test_requests_and_connections_are_slices_of_their_service(events: list[Event], tracks: dict[int, str]) -> None:
    found = {one["name"]: one["dur"] / 1000 for one in on(events, tracks, "service far")}

    assert found == {"warm": 5, "connect": 20, "until the first byte": 30}
    assert {one["name"] for one in on(events, tracks, "service far", "i")} == {"reused", "closed"}


def test_a_run_without_a_turn_can_be_drawn_too(tmp_path: Path) -> None:
    path, out = tmp_path / "quiet.jsonl", tmp_path / "out.json"
    traced(path, says=[])
    done = CliRunner().invoke(app, ["trace", str(path), "--perfetto", str(out)])

    assert done.exit_code == 0
    assert any(one["ph"] == "M" for one in json.loads(out.read_text(encoding="utf-8"))["traceEvents"])


def test_a_file_that_cant_be_written_is_one_error(path: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["trace", str(path), "--perfetto", str(tmp_path / "no" / "out.json")])

    assert done.exit_code == 2
    assert done.stderr.startswith("error: can't write")


def test_a_trace_is_not_overwritten_by_what_is_made_of_it(path: Path) -> None:
    before = path.read_bytes()
    done = CliRunner().invoke(app, ["trace", str(path), "--perfetto", str(path)])

    assert done.exit_code == 2
    assert done.stderr.startswith("error: FILE and --perfetto name the same file")
    assert path.read_bytes() == before


def test_one_turn_can_be_shown_while_the_file_is_written(path: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["trace", str(path), "--turn", "1", "--perfetto", str(tmp_path / "out.json")])

    assert done.stdout.startswith("turn 1 ")
    assert (tmp_path / "out.json").exists()


def test_work_that_overlaps_gets_a_line_of_its_own(tmp_path: Path) -> None:
    path, out = tmp_path / "slow.jsonl", tmp_path / "out.json"
    traced(path, "tts.delay=90ms")
    timeline = Timeline.read(path)
    [job, *_] = [one for one in timeline.jobs if one.node == "tts"]
    twin = type(job)(job.node, job.frame, job.start + 10 * MS, job.first + 20 * MS, job.end + 30 * MS, ())
    timeline.__dict__["jobs"] = [*timeline.jobs, twin]

    from flowgraph.perfetto import write

    write(timeline, out)
    names = [
        one["args"]["name"]
        for one in json.loads(out.read_text(encoding="utf-8"))["traceEvents"]
        if one["name"] == "thread_name"
    ]
    assert names.count("tts") == 2
