from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from flowgraph import catalog
from flowgraph.cli import app
from flowgraph.cli.inputs import NoInput, address_of, with_input
from flowgraph.cli.running import Run, Wishes, _display
from flowgraph.cli.typed import NothingToType, typed
from flowgraph.cli.types import example, summary, wrapped, yaml_of
from flowgraph.errors import GraphError
from flowgraph.graph import Graph
from flowgraph.testing import run_virtual
from nodes.sound.wav import WavTarget
from tests.spoken import GRAPH, TYPES, spoken

ROOT = Path(__file__).parent.parent
SAYS = [{"from": 100, "to": 500, "text": "What time is it?"}]
FLOW = "import sys\nfrom flowgraph.cli import main\nsys.argv = ['flow', *sys.argv[1:]]\nmain()\n"


def flow(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(app, list(arguments), **options)


def in_a_process(*arguments: str, folder: Path, script: str = FLOW, **options: Any) -> subprocess.Popen[str]:
    """A real `flow`, with the stand-ins importable."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=folder, env=environ, text=True, **{**pipes, **options})


def ended(process: subprocess.Popen[str], typed: str | None = None) -> tuple[int, str, str]:
    out, err = process.communicate(typed, timeout=30)
    return process.returncode, out, err


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    """The spoken graph as a file that a process can load: fast, on the real clock."""
    text = GRAPH
    for name, cls in TYPES.items():
        text = text.replace(f"type: {name}", f'type: "tests.spoken:{cls.__name__}"')
    data = yaml.safe_load(text)
    data["nodes"]["ear"] |= {"says": SAYS, "seconds": 1.2}
    data["nodes"]["llm"]["answer"] = "Nine o'clock."
    path = tmp_path / "spoken.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


# -- run -----------------------------------------------------------------------------------------------------------------


def run(*settings: str, says: list[dict[str, Any]] = SAYS, **wishes: Any) -> int:
    """`flow run` on virtual time, without a process. Returns the exit code."""
    wanted = Wishes("spoken", **wishes)
    settings = ("ear.seconds=2", "llm.answer=Nine o'clock.", *settings)
    return run_virtual(Run(spoken(*settings, says=says), wanted, _display(wanted)).whole())


def test_a_run_shows_each_turn_and_ends_with_the_table(graph_file: Path) -> None:
    process = in_a_process("run", "spoken.yaml", "--trace", "trace.jsonl", "-v", folder=graph_file.parent)
    code, out, err = ended(process)

    assert code == 0
    assert "listening" in out
    [line] = [line for line in out.splitlines() if "→" in line]
    assert line.startswith(' 1  "what time is it" → "Nine o\'clock." 4')
    assert "ms = speech end 40" in line
    assert "voice to voice" in out
    assert "budget" in out
    assert "1 answered" in out
    assert "holding     tts -> speaker" in err
    assert "holding     tts -> speaker" not in out
    lines = [json.loads(line) for line in (graph_file.parent / "trace.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["said"] for line in lines if line["event"] == "turn"] == ["what time is it"]


def test_json_is_one_object_a_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(json=True)
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events]

    assert (code, err) == (0, "")
    assert kinds[0] == "starting"
    assert kinds[-1] == "summary"
    assert {"listening", "transcript", "heard", "turn"} <= set(kinds)
    [turn] = [event for event in events if event["event"] == "turn"]
    assert turn["latency_ms"] == pytest.approx(sum(turn["phases"].values()))
    assert events[-1]["counts"]["answered"] == 1


def test_an_utterance_without_an_answer_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run('stt.texts=[""]') == 1
    assert '"What time is it?" [unanswered]' in capsys.readouterr().out


def test_a_failure_is_a_sentence_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("llm.fails=true") == 1
    err = capsys.readouterr().err

    assert "node 'llm' failed" in err
    assert "no such model" in err
    assert "Traceback" not in err


def test_a_failure_is_an_event_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("llm.fails=true", json=True) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert "no such model" in next(event["message"] for event in events if event["event"] == "error")


def test_verbose_shows_where_a_failure_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("llm.fails=true", verbose=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_trace_that_cannot_be_written_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace=Path("no/such/trace")) == 1
    assert "can't write the trace no/such/trace" in capsys.readouterr().err


def unusable(folder: Path, kind: str) -> Path:
    """A path where no file can be written."""
    match kind:
        case "no folder":
            return folder / "none" / "x"
        case "folder":
            return folder
        case "below a file":
            (folder / "file").touch()
            return folder / "file" / "x"
        case "link that leads nowhere":
            (folder / "link").symlink_to(folder / "none" / "x")
            return folder / "link"
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize(
    ("option", "kind", "why"),
    [
        ("--trace", "no folder", "none is no folder that can be written to"),
        ("--trace", "folder", "it is a folder"),
        ("--trace", "below a file", "Not a directory"),
        ("--trace", "link that leads nowhere", "none is no folder that can be written to"),
        ("--output", "no folder", "none is no folder that can be written to"),
        ("--output", "folder", "it is a folder"),
        ("--output", "pipe", "it is a device or a pipe, and can't be replaced by a file"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_anything_starts(
    option: str, kind: str, why: str, tmp_path: Path
) -> None:
    path = unusable(tmp_path, kind)
    done = flow("run", "echo", "-i", "null", option, str(path))

    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: can't write {path}: ")
    assert why in done.stderr
    assert f"= choose another {option}" in done.stderr
    assert done.stdout == ""


def test_trace_and_output_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    done = flow("run", "echo", "--trace", str(tmp_path / "a"), "--output", str(tmp_path / "link"))

    assert done.exit_code == 2
    assert done.stderr.startswith("error: --trace and --output name the same file")


def test_a_graph_without_sound_is_not_recorded(tmp_path: Path) -> None:
    graph = tmp_path / "silent.yaml"
    graph.write_text("nodes: {keys: {type: keyboard}, out: {type: printer}}\nedges: [keys -> out]\n", encoding="utf-8")
    done = flow("run", str(graph), "--output", str(tmp_path / "x.wav"))

    assert done.exit_code == 2
    assert "nothing in this graph captures or plays sound" in done.stderr
    assert done.stdout == ""


def test_an_output_holds_the_user_on_the_left_in_time(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"

    assert run(output=path) == 0
    with wave.open(str(path)) as file:
        assert file.getnchannels() == 2
        rate_hz = file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    voiced = np.flatnonzero(np.abs(sound[:, 0]) > 1000) / rate_hz
    assert (voiced[0], voiced[-1]) == pytest.approx((0.1, 0.5), abs=0.001)


def test_an_output_needs_sound(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    graph = Graph.from_text("nodes: {a: {type: keyboard}, b: {type: printer}}\nedges: [a -> b]")
    wanted = Wishes("typed", output=tmp_path / "a.wav")

    assert run_virtual(Run(graph, wanted, _display(wanted)).whole()) == 2
    assert "captures or plays sound" in capsys.readouterr().err


def until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"it never said {words!r}")


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["INT", "TERM", "HUP"],
)
def test_ctrl_c_drains_and_is_exit_code_130(graph_file: Path, number: int, expected: int) -> None:
    process = in_a_process("run", "spoken.yaml", "--set", "ear.seconds=60", folder=graph_file.parent)
    until(process, "listening")
    began = time.monotonic()
    process.send_signal(number)
    code, out, err = ended(process)

    assert (code, err) == (expected, "")
    assert "stopping" in out
    assert "no turns" in out
    assert time.monotonic() - began < 3


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_a_second_ctrl_c_does_not_wait(graph_file: Path) -> None:
    slow = ("--set", "stt.delay=60s", "--set", "ear.seconds=60")
    process = in_a_process("run", "spoken.yaml", *slow, folder=graph_file.parent)
    until(process, "listening")
    time.sleep(0.8)  # the STT is at work: a real process on the real clock
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    until(process, "stopping")
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)

    assert (code, err) == (130, "")
    assert time.monotonic() - began < 1.5


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("module", ["typer", "flowgraph.cli.running", "networkx", "flowgraph.session"])
def test_ctrl_c_while_modules_are_imported_leaves_without_a_word(module: str, graph_file: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from flowgraph.__main__ import main\n"
        "sys.argv = ['flow', 'run', 'spoken.yaml']\n"
        "main()\n"
    )

    assert ended(in_a_process(folder=graph_file.parent, script=script)) == (130, "", "")


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_a_terminal_that_is_closed_ends_the_run_in_good_order(graph_file: Path) -> None:
    import fcntl
    import termios

    ours, its = os.openpty()

    def take_the_terminal() -> None:
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)

    with in_a_process(
        "run", "spoken.yaml", "--set", "ear.seconds=60", "--output", "talk.wav", folder=graph_file.parent,
        stdin=its, stdout=its, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=take_the_terminal,
    ) as process:  # fmt: skip
        os.close(its)
        shown = b""
        while b"listening" not in shown:
            shown += os.read(ours, 4096)
        os.close(ours)
        assert process.stderr is not None

        assert process.wait(20) == 129
        assert process.stderr.read() == ""
    assert (graph_file.parent / "talk.wav").exists()


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_who_is_started_by_nohup_goes_on_when_the_terminal_is_closed(graph_file: Path) -> None:
    process = in_a_process(
        "run", "spoken.yaml", folder=graph_file.parent, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    until(process, "listening")
    process.send_signal(signal.SIGHUP)

    assert ended(process)[0] == 0


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such shell")
@pytest.mark.parametrize(
    ("closed", "arguments", "code", "message"),
    [
        ("<&-", ["run", "spoken.yaml", "--text"], 2, "error: --text: the standard input is closed"),
        (">&-", ["run", "spoken.yaml", "--json"], 1, "error: the standard output is closed"),
        (">&-", ["nodes"], 1, "error: the standard output is closed"),
        ("<&- 2>&-", ["run", "spoken.yaml"], 0, ""),
        pytest.param(
            "> /dev/full",
            ["check", "echo"],
            1,
            "error: can't write the standard output: No space left on device",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full"),
        ),
    ],
)
def test_a_standard_stream_that_is_closed_or_full_is_told_as_that(
    closed: str, arguments: list[str], code: int, message: str, graph_file: Path
) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", FLOW, *arguments]
    done = subprocess.run(command, cwd=graph_file.parent, env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr.partition("\n")[0]) == (code, message)


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such shell")
def test_a_folder_that_is_gone_is_told_as_that(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        "sh",
        "-c",
        'mkdir gone && cd gone && rmdir ../gone && exec "$@"',
        "sh",
        sys.executable,
        "-c",
        FLOW,
        "check",
        "echo",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (
        1,
        "error: the folder that this runs in is gone\n  = go to another one: cd\n",
    )


@pytest.mark.realtime
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_without_our_signs_gets_others(encoding: str, graph_file: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}

    def said(*arguments: str) -> str:
        command = [sys.executable, "-c", FLOW, *arguments]
        done = subprocess.run(command, cwd=graph_file.parent, env=environ, capture_output=True, check=False)
        assert done.stderr == b""
        return done.stdout.decode(encoding)

    box = "│ mic     │\n└───┬─────┘\n" if encoding == "utf-8" else "| mic     |\n+---+-----+\n"
    assert box in said("show", "echo")
    lines = [
        json.loads(line) for line in said("run", "spoken.yaml", "--json", "--set", "llm.answer=Grüße…").splitlines()
    ]
    assert lines[-2]["heard"].strip() == "Grüße…"


def test_what_a_node_prints_is_not_among_the_lines_of_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wav = tmp_path / "a.wav"
    with wave.open(str(wav), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(3200))
    graph = Graph.from_text(f"nodes: {{a: {{type: wav_reader, path: {wav}}}, b: {{type: printer}}}}\nedges: [a -> b]")
    wanted = Wishes("printed", json=True)

    assert run_virtual(Run(graph, wanted, _display(wanted)).whole()) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["starting", "listening", "summary"]
    assert "Audio" in err


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize("options", [["--json"], []], ids=["json", "lines"])
def test_a_reader_that_goes_away_ends_the_run_without_a_word(graph_file: Path, options: list[str]) -> None:
    command = ("run", "spoken.yaml", *options, "--set", "ear.seconds=60")
    with in_a_process(*command, folder=graph_file.parent) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        until(process, "listening")
        process.stdout.close()

        assert process.wait(20) == 141
        assert process.stderr.read() == ""


def test_typed_lines_are_answered_one_after_the_other(graph_file: Path) -> None:
    process = in_a_process("run", "spoken.yaml", "--text", "--set", "dialogue.greeting=Hi", folder=graph_file.parent)
    code, out, err = ended(process, "what time is it\n\nand now?")

    assert (code, err) == (0, "")
    lines = [line.strip() for line in out.splitlines() if line.startswith(("›", "Nine", "Hi"))]
    assert lines == ["Hi", "› what time is it", "Nine o'clock.", "› and now?", "Nine o'clock."]
    assert "2 answered" in out


def test_text_and_input_exclude_each_other(graph_file: Path) -> None:
    result = flow("run", str(graph_file), "--text", "--input", "demo")

    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


# -- wrong graphs and arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check", "show"])
def test_a_wrong_graph_is_exit_code_2_with_the_place_of_every_problem(command: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("nodes:\n  a: {type: nothing}\n  b: {type: gain, factr: 2}\nedges: [a -> b]\n", encoding="utf-8")
    result = flow(command, str(path))

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "wrong.yaml:2:13: there is no node type 'nothing'" in result.stderr
    assert "did you mean 'factor'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_check_goes_on_behind_a_wrong_graph() -> None:
    result = flow("check", "nothing-of-that-name", "echo")

    assert result.exit_code == 2
    assert "echo.yaml: fine" in result.stdout
    assert "nothing-of-that-name" in result.stderr


def test_an_unknown_option_is_exit_code_2() -> None:
    assert flow("run", "echo", "--nothing").exit_code == 2


def test_an_unknown_form_is_exit_code_2() -> None:
    result = flow("show", "echo", "--format", "ascii")

    assert result.exit_code == 2
    assert "one of terminal, mermaid, dot" in result.stderr


def test_a_fault_of_ours_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("flowgraph.cli.looking.print_schema", broken)
    result = flow("schema")

    assert result.exit_code == 1
    assert "ZeroDivisionError: by nothing" in result.stderr
    assert "Traceback" not in result.stderr


# -- show, nodes, devices, schema, new -----------------------------------------------------------------------------------


def test_a_graph_is_shown_in_three_forms() -> None:
    terminal, mermaid, dot = (flow("show", "echo", "--format", form).stdout for form in ("terminal", "mermaid", "dot"))

    assert "mic" in terminal
    assert mermaid.startswith("flowchart")
    assert dot.startswith("digraph")


def test_nodes_are_listed_with_what_they_do() -> None:
    result = flow("nodes")

    assert result.exit_code == 0
    for name, cls in catalog.all_types().items():
        assert name in result.stdout
        assert summary(cls), name


@pytest.mark.parametrize("name", catalog.built_in())
def test_a_node_is_shown_with_ports_options_and_defaults(name: str) -> None:
    result = flow("nodes", name)

    assert result.exit_code == 0
    assert "takes" in result.stdout
    assert "yields" in result.stdout
    for option in catalog.find(name).model_fields:
        assert option in result.stdout
    assert not re.search(r"[A-Z]{2,}_[A-Z]", result.stdout), "a constant of the code"
    assert ("on_error" in result.stdout) == (not catalog.find(name).owns_turn)


@pytest.mark.parametrize("name", catalog.built_in())
def test_the_example_of_a_node_is_right(name: str) -> None:
    cls = catalog.find(name)
    data = yaml.safe_load(example(name, cls).replace("…", '"anything"'))
    options = {key: value for key, value in data["nodes"][name].items() if key != "type"}

    assert data["nodes"][name]["type"] == name
    cls.model_validate({key: value if value is not False else "off" for key, value in options.items()})


def test_an_unknown_type_is_exit_code_2() -> None:
    result = flow("nodes", "vda")

    assert result.exit_code == 2
    assert "there is no node type 'vda'" in result.stderr


def test_devices_are_listed_without_sound_hardware() -> None:
    result = flow("devices")

    assert result.exit_code == 0
    for address in ("caller:demo", "file:PATH.wav", "null"):
        assert address in result.stdout


def test_the_schema_is_json() -> None:
    assert json.loads(flow("schema").stdout)["title"] == "A Flowgraph graph"


def test_a_new_graph_is_right_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = flow("new", "mine")
    graph = Graph.load("mine.yaml")

    assert made.exit_code == 0
    assert graph.name == "mine"
    assert list(graph.nodes) == list(Graph.load("optimized").nodes)


def test_a_new_graph_states_what_it_inherits_until_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flow("new", "mine")
    mine, inherited = Graph.load("mine.yaml"), Graph.load("optimized")

    assert mine.warnings == ()
    assert mine.budget == inherited.budget
    assert {name: spec.make() for name, spec in mine.nodes.items()} == {
        name: spec.make() for name, spec in inherited.nodes.items()
    }


def test_a_new_graphs_suggestions_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flow("new", "mine")
    (tmp_path / "prompt.txt").write_text("Be brief.")
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    taken = re.sub(r"(?m)^( +)# (system|greeting|tts)(?=: )", r"\1\2", text)
    (tmp_path / "mine.yaml").write_text(taken, encoding="utf-8")

    assert Graph.load("mine.yaml").nodes["dialogue"].options.keys() >= {"system", "greeting"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_recording_and_a_trace_that_find_no_space_are_both_told(tmp_path: Path) -> None:
    target = WavTarget(tmp_path / "in.wav", 16_000)
    target.write(np.zeros(48_000, np.float32))
    target.save()
    command = f"{sys.executable} -m flowgraph run echo --input in.wav --set speaker.device=null --output out.wav --trace /dev/full"
    limited = f"cd {tmp_path} && ulimit -f 150 && exec {command}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [
        "error: can't write out.wav: File too large",
        "error: can't write on the trace /dev/full: No space left on device",
    ]


def test_a_new_graph_that_finds_no_space_leaves_nothing(tmp_path: Path) -> None:
    flow_new = f"cd {tmp_path} && ulimit -f 0 && exec {sys.executable} -m flowgraph new mine"
    done = subprocess.run(["bash", "-c", flow_new], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stderr == "error: can't write mine.yaml: File too large\n  = is the disk full?\n"
    assert list(tmp_path.iterdir()) == []


def test_a_new_graph_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    result = flow("new", "mine")

    assert result.exit_code == 2
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"


def test_a_name_that_is_none_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert flow("new", "-- x").exit_code == 2
    assert flow("new", "no/such/folder").exit_code == 2
    assert list(tmp_path.iterdir()) == []


# -- inputs and typed graphs ---------------------------------------------------------------------------------------------


def _wav(path: Path) -> None:
    target = WavTarget(path, 16_000)
    target.write(np.zeros(1600, np.float32))
    target.save()


def test_an_input_becomes_the_device_of_what_listens(tmp_path: Path) -> None:
    sound = tmp_path / "${a}.wav"
    _wav(sound)

    assert with_input("echo", str(sound)).nodes["mic"].options == {"device": f"file:{sound}"}


def test_an_input_takes_the_place_of_a_device_that_is_not_there() -> None:
    graph = with_input("echo", "null", settings=["mic.device=file:nothere.wav"])

    assert graph.nodes["mic"].make().device == "null"  # type: ignore[attr-defined]


def test_an_input_is_a_file_a_caller_or_a_device(tmp_path: Path) -> None:
    conversation = tmp_path / "talk.yaml"
    conversation.touch()

    assert address_of(str(conversation)) == f"caller:{conversation}"
    assert address_of(str(tmp_path)) == f"caller:{tmp_path}"
    assert address_of("demo").startswith("caller:")
    assert address_of("demo").endswith("demo.yaml")
    assert address_of("USB Audio") == "USB Audio"
    assert address_of("caller:demo") == "caller:demo"


@pytest.mark.parametrize("address", ["caller:demo", "caller:talks/x.yaml", "file:talk.wav", "null", "USB microphone"])
def test_an_input_that_is_an_address_stays_as_it_is(address: str) -> None:
    assert address_of(address) == address


def test_an_input_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoInput, match="no such file"):
        address_of(str(tmp_path / "a.wav"))


@pytest.mark.parametrize("name", ["talk.jsonl", "talk.txt", "talk"])
def test_an_input_that_is_a_file_of_another_kind_is_no_device(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}", encoding="utf-8")

    with pytest.raises(NoInput, match=f"--input .*{name} is neither a WAV file nor a conversation") as caught:
        address_of(str(tmp_path / name))
    assert caught.value.exit_code == 2
    assert "file:PATH" in caught.value.hint


@pytest.mark.parametrize(
    "wish", ["./gone", "/nowhere/gone", "~/gone", "gone.mp3", "~nobody/gone.wav", "/" + "gone" * 99]
)
def test_an_input_that_looks_like_a_path_is_no_device(wish: str) -> None:
    with pytest.raises(NoInput, match=r"gone.*there is no such file"):
        address_of(wish)


@pytest.mark.parametrize(
    ("name", "why", "hint"),
    [
        ("mine", "no such file, and no graph of that name", "did you mean mine.yaml?"),
        ("optimised", "no such file, and no graph of that name", "did you mean 'optimized'?"),
        ("", "the name of a graph is missing", "name a YAML file, or one of the graphs that come with it: "),
        ("pipe", "this is a device or a pipe, not a graph", "name a YAML file"),
        ("folder", "this is a folder, not a graph", "name a file in it"),
        ("loop", "can't be read: Too many levels of symbolic links", "graphs that come with it: "),
        ("x" * 300, "can't be read: File name too long", "graphs that come with it: "),
        ("a\0b", "can't be read: it holds a character that no name may", "graphs that come with it: "),
    ],
)
def test_a_name_that_means_no_graph_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str, hint: str
) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(GraphError) as caught:
        Graph.load(name)

    [problem] = caught.value.problems
    assert why in problem.message
    assert problem.hint.startswith(hint)


def test_a_name_that_no_file_may_have_is_that_of_a_device() -> None:
    assert address_of("x" * 300) == "x" * 300


def test_what_is_wrong_with_an_input_names_the_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sound = tmp_path / "talk.mp3"
    sound.write_bytes(b"ID3")

    for wish, why in [
        (str(sound), "isn't a WAV file"),
        (f"caller:{tmp_path}/gone", "there is no conversation "),
        (f"caller:{tmp_path}/empty", "there is no WAV file in "),
    ]:
        with pytest.raises(GraphError) as caught:
            with_input("echo", wish)
        assert str(caught.value).startswith(f"--input {wish}: mic.device: ")
        assert why in str(caught.value)


def test_an_input_needs_somebody_who_listens(graph_file: Path) -> None:
    with pytest.raises(NoInput, match="--input needs a node that listens to a device"):
        with_input(str(graph_file), "null")


def test_what_is_wrong_with_a_graph_is_told_before_what_it_would_listen_to(tmp_path: Path) -> None:
    graph = tmp_path / "wrong.yaml"
    graph.write_text(
        "nodes: {mic: {type: mike}, speaker: {type: speaker}}\nedges: [mic -> speaker]\n", encoding="utf-8"
    )

    with pytest.raises(GraphError, match="there is no node type 'mike'"):
        with_input(str(graph), "null")


def test_a_typed_graph_keeps_the_owner_and_what_is_behind_it() -> None:
    graph = typed(Graph.load("optimized"))

    assert list(graph.nodes) == ["keyboard", "dialogue", "llm", "split", "tts", "speaker"]
    assert graph.order[0] == "keyboard"
    assert set(graph.services) == {"llm", "tts"}
    assert graph.nodes["dialogue"].options["end"] == "transcript"
    labels = {edge.label: edge for edge in graph.edges}
    assert labels["tts -> speaker"].hold
    assert labels["speaker -> keyboard"].feedback
    assert not labels["keyboard -> dialogue"].feedback


def test_a_graph_without_a_dialogue_cannot_be_typed_to() -> None:
    with pytest.raises(NothingToType, match="needs a graph with a dialogue"):
        typed(Graph.load("echo"))


# -- small things --------------------------------------------------------------------------------------------------------


def test_prose_is_wrapped_with_hanging_items() -> None:
    text = "One two\nthree.\n\n1. four\n   five six\n2. seven"

    assert wrapped(text, 12) == "One two\nthree.\n\n1. four five\n   six\n2. seven"


@pytest.mark.parametrize(
    ("value", "text"), [("off", "off"), ("a b", '"a b"'), (None, "null"), (1.5, "1.5"), (True, "true")]
)
def test_a_default_is_yaml(value: Any, text: str) -> None:
    assert yaml_of(value) == text


def test_a_duration_is_yaml_with_its_unit() -> None:
    assert yaml_of(400_000_000, is_duration=True) == "400ms"
