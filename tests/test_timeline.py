from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from flowgraph.cli import app
from flowgraph.moments import moments
from flowgraph.report import Report
from flowgraph.timeline import Timeline, UnusableTrace
from flowgraph.units import MS
from tests.traced import traced


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    path = tmp_path_factory.mktemp("trace") / "talk.jsonl"
    return path, traced(path)


@pytest.fixture(scope="module")
def timeline(run: tuple[Path, Report]) -> Timeline:
    return Timeline.read(run[0])


def flow(*arguments: object, columns: int = 100) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": str(columns)})


def rows(text: str) -> dict[str, str]:
    """First words of a line → the line."""
    return {line.split("  ")[0].strip(): line for line in text.splitlines() if line.strip()}


# -- what is read -------------------------------------------------------------------------------------------------------


def test_the_turns_of_the_file_are_the_turns_of_the_run(run: tuple[Path, Report], timeline: Timeline) -> None:
    assert timeline.turns == run[1].turns
    assert [turn.attempts for turn in timeline.turns] == [1, 2, 1]


def test_every_step_has_the_phase_that_it_had_in_the_run(timeline: Timeline) -> None:
    for turn in timeline.turns:
        sums: dict[str, int] = {}
        for step in turn.steps:
            sums[timeline.phase(step)] = sums.get(timeline.phase(step), 0) + step.end - step.start

        assert sums == turn.phases


def test_from_every_decision_the_file_leads_back_to_the_sound_that_was_captured(timeline: Timeline) -> None:
    for decision in timeline.decisions:
        frame = timeline.frames[decision.by]
        while frame.cause:
            frame = timeline.frames[frame.cause]

        assert (frame.type, frame.node) == ("Audio", "ear")
    assert len(timeline.decisions) >= 9


def test_every_step_of_work_on_a_critical_path_is_within_a_job(timeline: Timeline) -> None:
    for step in itertools.chain.from_iterable(turn.steps for turn in timeline.turns):
        if step.kind == "working":
            jobs = [job for job in timeline.jobs if job.node == step.where]

            assert any(job.start <= step.start and step.end <= job.end for job in jobs)


def test_a_job_knows_when_the_first_of_its_outputs_was_there(tmp_path: Path) -> None:
    traced(tmp_path / "slow.jsonl", "tts.delay=50ms")
    spoken = [job for job in Timeline.read(tmp_path / "slow.jsonl").jobs if job.node == "tts" and job.outputs]

    assert {job.first - job.start for job in spoken} == {50 * MS}
    assert {len(job.outputs) for job in spoken} == {8}


def test_a_turn_begins_with_the_first_voiced_sample_and_ends_where_the_next_begins(timeline: Timeline) -> None:
    windows = [timeline.window(turn) for turn in timeline.turns]
    begins = [(window.begin - timeline.started) / MS for window in windows]

    assert begins == [500, 4500, 7300]
    assert windows[0].end == windows[1].begin
    # Its answer is still on while the user speaks over it, and paused until that is an interruption, at 8 s.
    assert windows[1].end == timeline.started + 8000 * MS + 1


def test_a_turn_that_nobody_annotated_begins_with_the_first_onset_behind_the_answer_before(tmp_path: Path) -> None:
    traced(tmp_path / "live.jsonl", "ear.annotated=false")
    found = Timeline.read(tmp_path / "live.jsonl")
    begins = [(found.window(turn).begin - found.started) / MS for turn in found.turns]

    assert begins == [500, 4500, 7300]
    assert not any(turn.annotated for turn in found.turns)


def test_times_map_to_the_time_of_day_by_one_offset(run: tuple[Path, Report], timeline: Timeline) -> None:
    first = json.loads(run[0].read_text(encoding="utf-8").splitlines()[0])

    assert timeline.unix(timeline.started) == first["unix_ns"]
    assert timeline.unix(timeline.started + 5) - timeline.unix(timeline.started) == 5


# -- what can't be read -------------------------------------------------------------------------------------------------


def wrong(path: Path, *arguments: str) -> str:
    """What is said of a file that can't be shown, in one line and a hint."""
    done = flow("trace", path, *arguments)

    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    message, hint = done.stderr.splitlines()
    assert hint.startswith("  = ")
    return message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no trace: it is empty"),
        (b"hello\n", "is no trace: line 1 is no event of one"),
        (b"[1, 2]\n", "is no trace: line 1 is no event of one"),
        (b'{"event": "turn"}\n', "is no trace: it doesn't begin with a graph"),
        (b'{"event": "graph"}\n', "is no trace: line 1 is no event of one"),
        (b"\x7fELF\xff\xfe\n", "is no trace: it isn't text"),
    ],
)
def test_what_is_no_trace_is_one_error(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)

    assert wrong(path) == f"error: {path} {said}"


def test_a_line_that_is_no_event_is_named(run: tuple[Path, Report], tmp_path: Path) -> None:
    lines = run[0].read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "x.jsonl"
    path.write_text("".join([*lines[:4], '{"event": "put", "at": 1}\n', *lines[4:]]), encoding="utf-8")

    assert wrong(path) == f"error: {path} is no trace: line 5 is no event of one"


def test_a_file_that_was_cut_short_is_read_as_far_as_it_goes_and_says_so(
    run: tuple[Path, Report], tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    whole = run[0].read_bytes()
    path.write_bytes(whole[:-20])
    last = whole.count(b"\n")

    done = flow("trace", path)

    assert done.exit_code == 0
    said = "only a part of the last line is there: the run was killed, or still goes on"
    assert done.stderr == f"{path}:{last}: {said}\n"
    assert "p90" in done.stdout
    assert len(Timeline.read(path).frames) >= len(Timeline.read(run[0]).frames) - 1


def test_a_file_that_was_cut_within_a_character_is_read_too(run: tuple[Path, Report], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(run[0].read_bytes() + '{"event": "note", "text": "ü'.encode()[:-1])

    assert Timeline.read(path).cut_at
    assert len(Timeline.read(path).turns) == len(Timeline.read(run[0]).turns)


def test_a_file_that_isnt_there_and_a_folder_are_one_error(tmp_path: Path) -> None:
    assert "No such file" in wrong(tmp_path / "nothing.jsonl")
    assert "directory" in wrong(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("--slowest",), ("--turn", "1")])
def test_a_run_without_a_turn_has_nothing_to_show(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "quiet.jsonl"
    traced(path, says=[])

    assert wrong(path, *arguments).endswith("there is no turn in it: nobody spoke, or nothing was answered")


@pytest.mark.parametrize("number", ["0", "4", "-1"])
def test_a_turn_that_isnt_there_is_one_error_that_says_which_are(run: tuple[Path, Report], number: str) -> None:
    assert wrong(run[0], "--turn", number).endswith(f"there is no turn {number}")
    assert "--turn 1 to 3" in flow("trace", run[0], "--turn", number).stderr


def test_turn_and_slowest_exclude_each_other(run: tuple[Path, Report]) -> None:
    assert "exclude each other" in wrong(run[0], "--turn", "1", "--slowest")


# -- what is shown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", [(), ("--turn", "2")])
def test_no_line_of_figures_is_wider_than_the_terminal(
    run: tuple[Path, Report], columns: int, arguments: tuple[str, ...]
) -> None:
    shown = flow("trace", run[0], *arguments, columns=columns).stdout

    heads = ("turn ", "really said", "one of them", "425 ms", "━ working")
    assert all(cell_len(line) <= columns for line in shown.splitlines() if not line.startswith(heads))


def test_the_turns_are_a_table_with_what_was_special_below(run: tuple[Path, Report]) -> None:
    shown = flow("trace", run[0]).stdout

    assert [line.split()[0] for line in shown.splitlines() if line[:1].isdigit()] == ["1", "2", "3"]
    assert "turn 2: interrupted: silent after 225 ms" in shown
    assert "p90" in shown


@pytest.mark.parametrize("columns", [80, 120])
def test_the_steps_of_the_critical_path_stand_one_behind_the_other_and_add_up(
    run: tuple[Path, Report], timeline: Timeline, columns: int
) -> None:
    lines = flow("trace", run[0], "--turn", "1", columns=columns).stdout.splitlines()
    begin = next(index for index, line in enumerate(lines) if line.startswith("the critical path"))
    drawn = lines[begin + 1 : begin + 1 + len(timeline.turn(1).steps)]
    bars = [[index for index, mark in enumerate(line) if mark in "━═┄─·"] for line in drawn]

    assert all(bars)
    assert all(one[-1] <= other[0] + 1 for one, other in itertools.pairwise(bars))
    assert sum(float(line.split()[-1]) for line in drawn) == pytest.approx(425.0, abs=0.1)
    assert lines[begin + 1 + len(drawn)].split() == ["425.0"]


def test_a_step_is_as_long_on_the_axis_as_in_time(run: tuple[Path, Report]) -> None:
    shown = rows(flow("trace", run[0], "--turn", "1", columns=200).stdout)
    end, playout = (shown[name].count(mark) for name, mark in (("speech end", "─"), ("playout", "━")))

    assert end / (end + playout) == pytest.approx(400 / 425, abs=0.01)


def test_what_was_prepared_meanwhile_is_shown_beside_the_path(run: tuple[Path, Report]) -> None:
    shown = rows(flow("trace", run[0], "--turn", "1", columns=120).stdout)

    assert "8 Speech" in shown["tts"]
    assert shown["tts"].split()[-2:] == ["240", "240"]
    assert "━" in shown["llm"]
    assert shown["held"].split()[-2:] == ["240", "400"]
    assert shown["held"].index("┄") >= shown["tts"].rindex("━")


def test_the_slowest_turn_is_the_one_whose_answer_came_latest(tmp_path: Path) -> None:
    path = tmp_path / "slow.jsonl"
    traced(path, says=[{"from": 500, "to": 1500}, {"from": 4500, "to": 5507}, {"from": 8500, "to": 9500}])

    assert [turn.latency_ns for turn in Timeline.read(path).turns] == [425 * MS, 438 * MS, 425 * MS]
    assert flow("trace", path, "--slowest").stdout.startswith("turn 2 ")


def test_a_greeting_is_shown_as_turn_0(tmp_path: Path) -> None:
    path = tmp_path / "greeting.jsonl"
    traced(path, "dialogue.greeting=Hello there", says=[{"from": 3000, "to": 4000}])
    shown = flow("trace", path, "--turn", "0").stdout

    assert shown.startswith('greeting → "Hello there"')
    assert "the critical path" not in shown
    assert 'heard to its end: "Hello there"' in shown


# -- what else happened -------------------------------------------------------------------------------------------------


def told(timeline: Timeline, number: int) -> list[str]:
    turn = timeline.turn(number)
    return [f"{(one.at - turn.speech_end_at) // MS} {one.who}: {one.what}" for one in moments(timeline, turn)]


def test_what_was_understood_and_decided_is_told_in_its_order(timeline: Timeline) -> None:
    found = told(timeline, 2)

    assert [int(line.split()[0]) for line in found] == sorted(int(line.split()[0]) for line in found)
    for line in (
        "-1980 gate: speech begins",
        '-1140 stt: final "and now"',
        '-1140 dialogue: attempt 2 begins: answer "and now" (on stt\'s Transcript)',
        "-840 dialogue: attempt 2 is withdrawn (on gate's Voice)",
        "0 : the user's last voiced sample",
        "425 speaker: the answer is heard (attempt 4)",
        "820 dialogue: the answer at 25% of its level (on gate's SpeechStarted)",
        "1000 dialogue: the answer pauses (on gate's Voice)",
        '1025 speaker: cut off after "Nine o\'clock and all is well,"',
        "1500 dialogue: attempt 4 is interrupted (on gate's Voice)",
    ):
        assert line in found


def test_what_was_held_and_what_was_refused_is_counted(timeline: Timeline) -> None:
    found = told(timeline, 2)

    assert "-840 tts -> speaker: 9 frames refused, their attempt was over" in found
    assert (
        "400 dialogue: attempt 4 may be heard; 9 frames had waited at tts -> speaker, for up to 160 ms (on gate's Voice)"
        in found
    )


def test_requests_and_connections_are_told_with_how_long_they_took(timeline: Timeline) -> None:
    first, second = told(timeline, 1), told(timeline, 2)

    assert "200 far: a spare connection, 5.0 ms" in first
    assert "211 far: request on a kept connection; first byte after 30.0 ms" in first
    assert "250 : the loop came 28 ms late" in first
    assert "-1100 far: a new connection, 20.0 ms" in second
    assert "-1079 far: request on a new connection; no answer" in second
    assert "-1000 far: a connection was closed" in second


def test_a_failure_is_told(tmp_path: Path) -> None:
    path = tmp_path / "failing.jsonl"
    traced(path, "llm.fails=true", "nodes.llm.on_error=skip", says=[{"from": 500, "to": 1500}])
    found = Timeline.read(path)

    assert any("no such model" in line for line in told(found, 1))


def test_a_trace_that_cant_be_read_is_an_error_for_programs_too(tmp_path: Path) -> None:
    with pytest.raises(UnusableTrace, match="No such file"):
        Timeline.read(tmp_path / "nothing.jsonl")
