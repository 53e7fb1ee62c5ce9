"""Turns as OpenTelemetry traces, against its own in-memory exporter and a collector of a few lines."""

from __future__ import annotations

import builtins
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from typer.testing import CliRunner

from flowgraph.cli import app
from flowgraph.cli.running import Run, Wishes, _display
from flowgraph.telemetry import CONTENT, Telemetry, send
from flowgraph.testing import run_virtual
from flowgraph.timeline import Timeline
from flowgraph.units import MS, SECOND
from tests.spoken import spoken
from tests.traced import SAYS, SETTINGS, traced

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def _nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "talk.jsonl"
    traced(path)
    return path


def sent(timeline: Timeline) -> dict[int, list[ReadableSpan]]:
    """Turn → its spans, the root first, the others in the order of their beginning."""
    exporter = InMemorySpanExporter()
    assert send(timeline, exporter)[0] == len(timeline.turns)
    return by_turn(exporter.get_finished_spans())


def by_turn(spans: Sequence[ReadableSpan]) -> dict[int, list[ReadableSpan]]:
    roots = {span.context.trace_id: span for span in spans if span.parent is None and span.context}
    found: dict[int, list[ReadableSpan]] = {}
    for trace, root in roots.items():
        assert root.attributes is not None
        inner = [span for span in spans if span.parent is not None and span.context and span.context.trace_id == trace]
        number = root.attributes["flowgraph.turn.number"]
        found[int(str(number))] = [root, *sorted(inner, key=lambda span: (span.start_time, span.end_time))]
    return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# -- what a turn becomes ------------------------------------------------------------------------------------------------


def test_a_turn_is_a_trace_and_its_steps_are_the_children_of_one_root(path: Path) -> None:
    timeline = Timeline.read(path)
    traces = sent(timeline)

    assert list(traces) == [1, 2, 3]
    assert len({root.context.trace_id for root, *_ in traces.values() if root.context}) == 3
    for turn in timeline.turns:
        root, *steps = traces[turn.number]
        assert [step.name for step in steps] == [f"{step.kind} {step.where}" for step in turn.steps]
        assert root.context is not None
        assert {step.parent.span_id for step in steps if step.parent} == {root.context.span_id}


def test_the_children_tile_the_time_of_the_root(path: Path) -> None:
    for root, *steps in sent(Timeline.read(path)).values():
        assert root.start_time is not None
        assert root.end_time is not None
        assert root.end_time - root.start_time == 425 * MS
        assert (steps[0].start_time, steps[-1].end_time) == (root.start_time, root.end_time)
        assert all(one.end_time == other.start_time for one, other in itertools.pairwise(steps))


def test_spans_have_the_time_of_day(path: Path) -> None:
    timeline = Timeline.read(path)
    root, *_ = sent(timeline)[1]

    assert root.start_time == timeline.unix(timeline.turn(1).speech_end_at)
    assert abs(time.time_ns() - (root.start_time or 0)) < 3600 * SECOND


def test_the_root_says_how_the_turn_was(path: Path) -> None:
    one, two, _ = (attributes(spans[0]) for spans in sent(Timeline.read(path)).values())

    assert one["flowgraph.graph"] == "spoken"
    assert one["flowgraph.turn.latency_ms"] == 425
    assert one["flowgraph.turn.said_length"] == len("what time is it")
    assert one["flowgraph.phase.end_of_speech_ms"] == 400
    assert (one["flowgraph.turn.interrupted"], two["flowgraph.turn.interrupted"]) == (False, True)
    assert (one["flowgraph.turn.withdrawn"], two["flowgraph.turn.withdrawn"]) == (0, 1)
    assert two["flowgraph.turn.stopped_in_ms"] == 225


def test_a_step_says_where_and_in_which_phase_it_was(path: Path) -> None:
    _, *steps = sent(Timeline.read(path))[1]

    assert attributes(steps[0]) == {
        "flowgraph.kind": "speech end",
        "flowgraph.where": "ear",
        "flowgraph.phase": "end of speech",
    }


def test_what_was_said_and_heard_stays_at_home(path: Path) -> None:
    for span in itertools.chain.from_iterable(sent(Timeline.read(path)).values()):
        values = " ".join(str(value) for value in attributes(span).values())
        assert "time is it" not in values
        assert "o'clock" not in values


def test_the_text_goes_along_where_it_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTENT, "true")
    root, *_ = sent(Timeline.read(path))[1]

    assert attributes(root)["flowgraph.turn.said"] == "what time is it"
    assert attributes(root)["flowgraph.turn.heard"] == "Nine o'clock and all is well, thank you."


def test_a_turn_that_failed_has_the_status_error_without_its_details(tmp_path: Path) -> None:
    path = tmp_path / "failing.jsonl"
    traced(path, "llm.fails=true", "nodes.llm.on_error=skip", says=[{"from": 500, "to": 1500}])
    [root] = sent(Timeline.read(path))[1]

    assert root.status.status_code is StatusCode.ERROR
    assert root.status.description == "the answer ended with an error"
    assert "no such model" not in str(attributes(root))
    assert root.start_time == root.end_time


def test_the_service_is_called_flowgraph_unless_the_environment_says_otherwise(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name() -> object:
        return sent(Timeline.read(path))[1][0].resource.attributes["service.name"]

    assert name() == "flowgraph"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "kitchen")
    assert name() == "kitchen"


# -- live ---------------------------------------------------------------------------------------------------------------


def test_a_run_sends_each_turn_the_same_as_its_file_does(tmp_path: Path) -> None:
    path, exporter = tmp_path / "talk.jsonl", InMemorySpanExporter()
    wishes = Wishes("spoken", trace=path, json=True)
    run = Run(spoken(*SETTINGS, says=SAYS), wishes, _display(wishes), Telemetry("spoken", exporter))

    assert run_virtual(run.whole()) == 0

    live = by_turn(exporter.get_finished_spans())
    assert {
        number: [(span.name, span.start_time, span.end_time, span.attributes) for span in spans]
        for number, spans in live.items()
    } == {
        number: [(span.name, span.start_time, span.end_time, span.attributes) for span in spans]
        for number, spans in sent(Timeline.read(path)).items()
    }


def test_a_run_whose_spans_nobody_takes_is_fine_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wishes = Wishes("spoken", json=True)
    with collector(status=403) as (address, _):
        monkeypatch.setenv(ENDPOINT, address)
        run = Run(spoken("ear.seconds=3", says=SAYS[:1]), wishes, _display(wishes), Telemetry("spoken"))
        code = run_virtual(run.whole())

    assert code == 0
    error = capsys.readouterr().err
    assert f"spans were not taken by {address} (HTTP 403)" in error
    assert error.count("\n") == 2  # nothing of OpenTelemetry's own


# -- over the wire ------------------------------------------------------------------------------------------------------


@contextmanager
def collector(status: int = 200) -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Its address, and what it was sent."""
    taken: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def flow(path: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["trace", str(path), "--otel"])
    assert done.stdout == ""
    return done.exit_code, done.stderr


def test_a_file_is_sent_to_the_collector_that_the_environment_names(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as (address, taken):
        monkeypatch.setenv(ENDPOINT, address)
        code, said = flow(path)
    spans = [
        span for one in taken for group in one.resource_spans for scope in group.scope_spans for span in scope.spans
    ]

    assert (code, said) == (0, f"3 turns sent to {address}\n")
    assert sum(span.name == "turn" for span in spans) == 3
    assert len({span.trace_id for span in spans}) == 3


def test_a_collector_that_refuses_is_one_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector(status=401) as (address, _):
        monkeypatch.setenv(ENDPOINT, address.replace("http://", "http://user:sesame@"))
        code, said = flow(path)

    assert code == 1
    assert said.splitlines() == [
        f"error: OpenTelemetry: 9 spans were not taken by {address} (HTTP 401)",
        "  = is a collector there? OTEL_EXPORTER_OTLP_ENDPOINT says where",
    ]
    assert "sesame" not in said


def test_nobody_there_is_one_error_after_a_short_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (address, _):
        pass
    monkeypatch.setenv(ENDPOINT, address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    code, said = flow(path)

    assert code == 1
    assert said.splitlines()[0] == f"error: OpenTelemetry: 9 spans were not taken by {address}"


def test_opentelemetry_logs_as_before_when_all_is_sent(path: Path) -> None:
    logger = logging.getLogger("opentelemetry")
    before = (logger.propagate, list(logger.handlers))
    sent(Timeline.read(path))

    assert (logger.propagate, logger.handlers) == before


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER=zipkin: this exporter isn't there"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTLP over grpc isn't there"),
        (ENDPOINT, "localhost:4318", "OTEL_EXPORTER_OTLP_ENDPOINT is no address of a server"),
        (ENDPOINT, "http://localhost:99999", "OTEL_EXPORTER_OTLP_ENDPOINT is no address of a server"),
    ],
)
def test_an_environment_that_cant_be_followed_is_one_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    code, error = flow(path)

    assert code == 2
    assert error.startswith(f"error: {said}\n  = ")


def test_the_console_can_be_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    code, said = flow(path)

    assert code == 0
    assert said.count('"name": "turn"') == 3
    assert said.endswith("3 turns sent to stderr\n")


@pytest.mark.parametrize("missing", ["opentelemetry.sdk", "opentelemetry.exporter"])
def test_without_the_package_there_is_one_error_with_the_line_that_installs_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith(missing):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    code, said = flow(path)

    assert code == 2
    assert "isn't installed" in said
    assert said.splitlines()[-1] == "  = pip install 'flowgraph[otel]'"


def test_a_run_is_not_begun_where_its_spans_could_not_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    done = CliRunner().invoke(app, ["run", "optimized", "--otel"])

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "zipkin" in done.stderr
