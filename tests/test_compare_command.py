from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flowgraph.cli import app, comparing
from flowgraph.cli.comparing import Wishes, compare_graphs
from flowgraph.compare import RunResult
from flowgraph.graph import Graph
from flowgraph.network import Conditions, Distant
from flowgraph.testing import run_virtual
from flowgraph.trials import Circumstances, Trial, _services, run_trial
from tests.sharp import SHARP, caller_known_to_the_sample

pytestmark = pytest.mark.realtime  # each graph is started once, to see that it can be

SHARP_FILE = SHARP.replace("type: sharp", 'type: "tests.sharp:Sharp"').replace("type: tone", 'type: "tests.sharp:Tone"')


def flow(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments])


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Two graphs that need no server, one 200 ms slower, and a caller who says one thing: seconds in real time."""
    (tmp_path / "slow.yaml").write_text(SHARP_FILE.replace("name: sharp", "name: slow"), encoding="utf-8")
    (tmp_path / "fast.yaml").write_text(
        "extends: slow.yaml\nname: fast\nnodes: {dialogue: {after_ms: 500}}\n", encoding="utf-8"
    )
    call = caller_known_to_the_sample(tmp_path, times=1, text="A square wave")
    return str(tmp_path / "slow.yaml"), str(tmp_path / "fast.yaml"), str(call)


def test_two_graphs_are_compared_in_real_time_and_a_report_is_written(
    files: tuple[str, str, str], tmp_path: Path
) -> None:
    slow, fast, call = files
    page = tmp_path / "report.html"

    found = flow(
        slow, fast, "--conversation", call, "--runs", "1", "--json", "--html", str(page),
        "--fail-if", "p95 > 10s", "--fail-if", "B slower than A by 5%", "--fail-if", "A p50 > 100ms",
    )  # fmt: skip

    assert found.exit_code == 1
    assert "failed: A p50 > 100ms: slow has 7" in found.stderr
    assert found.stderr.count("failed:") == 1
    data = json.loads(found.stdout)
    assert [graph["graph"] for graph in data["graphs"]] == ["slow", "fast"]
    assert [graph["p50"] for graph in data["graphs"]] == [pytest.approx(700, abs=60), pytest.approx(500, abs=60)]
    difference = data["differences"]["fast"]["difference"]
    assert (difference["pairs"], difference["median"]) == (1, pytest.approx(200, abs=60))
    assert sum(phase["saved"] for phase in data["differences"]["fast"]["phases"]) == pytest.approx(difference["mean"])
    assert [run["graph"] for run in data["runs"]] == ["slow", "fast"]
    assert data["runs"][0]["turns"][0]["truth"] == "A square wave"
    assert data["about"]["network"] == "none beside the real one"
    assert "core" in data["about"]["processor"]
    assert data["about"]["conversation"].endswith("1 utterance, end of speech annotated to the sample")
    assert sorted(data["fail_if"].values()) == [False, False, True]
    assert "A square wave" in page.read_text(encoding="utf-8")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs take virtual time."""

    def run_trials(
        trials: Any, circumstances: Circumstances, *, on_start: Callable[[Trial], None]
    ) -> Iterator[RunResult]:
        for trial in trials:
            on_start(trial)
            result = run_virtual(run_trial(trial, circumstances))
            if trial.counts:
                yield result

    monkeypatch.setattr(comparing, "run_trials", run_trials)


@pytest.mark.usefixtures("at_once")
def test_what_is_shown_names_the_graphs_the_difference_and_the_blame(files: tuple[str, str, str]) -> None:
    slow, fast, call = files

    found = flow(fast, slow, "-c", call, "--runs", "2")

    assert found.exit_code == 0, found.output
    lines = [line.rstrip() for line in found.stdout.splitlines()]
    assert "First sound heard" in lines
    assert any(line.split()[:4] == ["A", "fast", "500", "500"] for line in lines)
    assert any(line.split()[:4] == ["B", "slow", "700", "700"] for line in lines)
    assert "Where B slow saves, and where it loses, against A fast" in lines
    assert any(line.split() == ["sum", "=", "first", "sound", "500", "700", "−200"] for line in lines)
    assert "B slow is heard 200 ms later than A fast (95 % interval 200 … 200), sooner in 0 of 2 turns." in found.stdout
    assert "run 2 of 5, A fast (repeat 1): p50 500 ms, 1 of 1 turns" in found.stderr
    lines = [line for line in found.stderr.splitlines() if line.startswith("run ")]
    assert ["left" in line for line in lines] == [True] * 3 + [False]
    assert "run 4 of 5, B slow (repeat 2): p50 700 ms" in found.stderr


@pytest.mark.usefixtures("at_once")
def test_three_graphs_have_a_row_of_gains(files: tuple[str, str, str]) -> None:
    slow, fast, call = files

    found = flow(slow, fast, fast, "-c", call, "--runs", "1")

    assert found.exit_code == 0, found.output
    assert "Gained over the graph before" in found.stdout
    bars = [line.rstrip().rpartition(" ")[2] for line in found.stdout.splitlines() if "█" in line]
    assert bars == ["█" * 18, "█" * 13 + "░" * 5, "█" * 13]


@pytest.mark.usefixtures("at_once")
def test_the_tables_fit_a_terminal_of_80_characters(
    files: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    slow, fast, call = files

    found = flow(slow, fast, fast, "-c", call, "--runs", "1")

    lines = found.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("C fast-2 is heard")) <= 80, (
        "sentences wrap by themselves"
    )
    [row] = [line for line in lines if line.startswith("A slow ")][:1]
    assert len(row.split()) == 12, "every column is there"


def test_a_picture_is_written(files: tuple[str, str, str], tmp_path: Path, at_once: None) -> None:
    slow, fast, call = files

    found = flow(slow, fast, "-c", call, "--runs", "1", "--picture", str(tmp_path / "turns.svg"))

    assert found.exit_code == 0
    assert f"picture: {tmp_path}/turns.svg" in found.stderr
    assert "sooner than A slow" in (tmp_path / "turns.svg").read_text(encoding="utf-8")


@pytest.mark.usefixtures("at_once")
def test_a_broken_budget_is_told_with_what_broke_it(files: tuple[str, str, str], tmp_path: Path) -> None:
    slow, _, call = files
    (tmp_path / "strict.yaml").write_text(
        "extends: fast.yaml\nname: strict\nbudget: {first_audio_p95: 300ms}\n", encoding="utf-8"
    )

    found = flow(slow, str(tmp_path / "strict.yaml"), "-c", call, "--runs", "1")

    assert "budget of B strict: first_audio_p95 ≤ 300 ms: broken, 500 ms; mostly by end of speech" in found.stdout


def test_a_graph_may_be_compared_with_itself(files: tuple[str, str, str]) -> None:
    slow, _, call = files

    graphs = comparing._graphs(Wishes([slow, slow, slow], conversation=call))

    assert list(graphs) == ["slow", "slow-2", "slow-3"]


def test_a_setting_applies_to_every_graph_and_the_caller_takes_the_microphone(files: tuple[str, str, str]) -> None:
    slow, fast, call = files

    graphs = comparing._graphs(Wishes([slow, fast], ["dialogue.after_ms=900"], conversation=call))

    assert [graph.nodes["dialogue"].options["after_ms"] for graph in graphs.values()] == [900, 900]
    assert {graph.nodes["mic"].options["device"] for graph in graphs.values()} == {f"caller:{call}"}


@pytest.mark.usefixtures("at_once")
def test_a_run_that_fails_is_named_and_what_was_measured_before_is_shown(
    files: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow, fast, call = files
    at_once = comparing.run_trials

    def breaks(trials: Any, circumstances: Circumstances, **options: Any) -> Any:
        yield from at_once([trial for trial in trials if trial.counts][:1], circumstances, **options)
        raise RuntimeError("the roof fell in")

    monkeypatch.setattr(comparing, "run_trials", breaks)

    assert compare_graphs(Wishes([slow, fast], conversation=call, runs=1)) == 1
    out, err = capsys.readouterr()
    assert "the roof fell in" in err
    assert "Only A slow has a finished run." in out


@pytest.fixture
def lacking(files: tuple[str, str, str], tmp_path: Path) -> str:
    """A graph that is right, and whose model isn't on this machine."""
    nodes = "  vad: {type: vad}\n  turn: {type: smart_turn, model: nowhere.onnx}\n  words: {type: printer}\n"
    text = SHARP_FILE.replace("name: sharp", "name: lacking").replace("edges:\n", f"{nodes}edges:\n")
    path = tmp_path / "lacking.yaml"
    path.write_text(f"{text}  - mic -> vad -> turn -> words\n  - mic -> turn\n", encoding="utf-8")
    return str(path)


@pytest.mark.usefixtures("at_once")
def test_a_graph_that_cannot_start_here_is_left_out_and_named_everywhere(
    files: tuple[str, str, str], lacking: str, tmp_path: Path
) -> None:
    slow, fast, call = files
    page = tmp_path / "report.html"

    told = flow(slow, lacking, fast, "-c", call, "--runs", "1", "--html", str(page))
    data = json.loads(flow(slow, lacking, fast, "-c", call, "--runs", "1", "--json", "--fail-if", "C p50 > 1s").stdout)

    assert told.exit_code == 1
    assert "left out: B lacking can't start: " in told.stderr
    assert f"node 'turn' failed: there is no file {tmp_path / 'nowhere.onnx'}" in told.stderr
    assert "run 3 of 3, C fast (repeat 1): p50 500 ms" in told.stderr
    assert told.stderr.splitlines()[-1] == "left out: B lacking"
    assert "Left out: can't start here" in told.stdout
    assert "pip install --no-deps pipecat-ai" in " ".join(told.stdout.split())
    assert "C fast is heard 200 ms sooner than A slow" in told.stdout
    assert "nowhere.onnx" in page.read_text(encoding="utf-8")
    assert [graph["graph"] for graph in data["graphs"]] == ["slow", "fast"]
    [left_out] = data["left_out"]
    assert left_out["graph"] == "lacking"
    assert "nowhere.onnx" in left_out["why"]
    assert "pip install --no-deps pipecat-ai" in left_out["remedy"]
    assert data["fail_if"] == {"C p50 > 1s: fast has 500 ms": False}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("order", "options", "which"),
    [
        pytest.param("lacking slow fast", [], "A", id="the one that the others are compared with"),
        pytest.param("slow lacking", [], "B", id="one of two"),
        pytest.param("slow lacking lacking", [], "C", id="two of three"),
        pytest.param("slow lacking fast", ["--fail-if", "B p50 > 1s"], "B", id="judged"),
        pytest.param("slow fast lacking", ["--fail-if", "p50 > 1s"], "C", id="judged without a name"),
        pytest.param("slow lacking fast", ["--fail-if", "C slower than B by 5%"], "B", id="judged against"),
    ],
)
def test_without_a_graph_that_is_needed_nothing_is_measured(
    order: str, options: list[str], which: str, files: tuple[str, str, str], lacking: str
) -> None:
    slow, fast, call = files
    paths = {"slow": slow, "fast": fast, "lacking": lacking}

    found = flow(*(paths[name] for name in order.split()), "-c", call, "--runs", "1", *options)

    assert found.exit_code == 1
    assert f"starting {which} lacking" in found.stderr
    assert "nowhere.onnx" in found.stderr
    assert "p50" not in found.stderr
    assert found.stdout == ""


def test_a_wrong_graph_among_many_stops_all_before_anything_starts(
    files: tuple[str, str, str], lacking: str, tmp_path: Path
) -> None:
    slow, fast, call = files
    (tmp_path / "wrong.yaml").write_text("extends: slow.yaml\nnodes: {tts: {colour: red}}\n", encoding="utf-8")

    found = flow(slow, lacking, str(tmp_path / "wrong.yaml"), fast, "-c", call)

    assert found.exit_code == 2
    assert "colour" in found.stderr
    assert "left out" not in found.stderr


def test_services_are_put_behind_the_network_and_every_graph_gets_the_same_jitter() -> None:
    graph = Graph.load("optimized", environ={})
    conditions = Conditions.parse("runpod")

    ones, others = (_services(Trial(name, graph, 1), conditions) for name in "ab")

    networks = [ones._network, others._network]
    assert all(isinstance(network, Distant) for network in networks)
    assert [network._seed for network in networks] == [2, 2]  # type: ignore[union-attr]
    assert _services(Trial("a", graph, 1), None)._network is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["optimized"], "one graph has nothing to be compared with"),
        (["optimized", "optimised"], "no such file"),
        (["optimized", "baseline", "--runs", "0"], "--runs 0"),
        (["optimized", "baseline", "--network", "moon"], "neither a profile nor a condition"),
        (["optimized", "baseline", "--fail-if", "p95 over 3"], "this is no condition"),
        (["optimized", "baseline", "--conversation", "none.yaml"], "--conversation none.yaml: there is no such file"),
        (["optimized", "baseline", "--conversation", "graphs/steps"], "there is no WAV file in"),
        (["optimized", "baseline", "--conversation", ""], "nobody who speaks"),
        (["optimized", "baseline", "--conversation", "null"], "nobody who speaks"),
        (["optimized", "baseline", "--html", "no/folder/report.html"], "can't write no/folder/report.html"),
        (["optimized", "baseline", "--set", "llm.colour=red"], "colour"),
    ],
)
def test_wrong_arguments_are_told_before_anything_runs(arguments: list[str], says: str) -> None:
    found = flow(*arguments)

    assert found.exit_code == 2
    assert says in " ".join(found.stderr.split())
