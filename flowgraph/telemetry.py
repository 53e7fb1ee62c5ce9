"""Turns as OpenTelemetry traces: a turn is a trace, its root span the turn, the root's children the steps of its critical path.

1. Where they go is said by OpenTelemetry's own environment variables (OTEL_EXPORTER_OTLP_ENDPOINT, …_HEADERS, OTEL_SERVICE_NAME, …);
   OTEL_TRACES_EXPORTER may be `otlp` (the default; over HTTP) or `console` (stderr).
2. Times of the session's clock are mapped to the time of day by one offset, taken when the session began.
3. What was said and heard is sent as its length. The text itself goes along only where
   OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true, the variable that other tools know for the same question, asks for it.
4. Nothing here is on the way of a frame: a turn's spans are made when it is over, and sent by a thread.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flowgraph.errors import FlowError
from flowgraph.units import MS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from flowgraph.report import TurnReport
    from flowgraph.timeline import Timeline
    from flowgraph.trace import Step

CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
INSTALL = "pip install 'flowgraph[otel]'"
PATIENCE_S = 3.0
DEFAULT_ENDPOINT = "http://localhost:4318"
FLAGS = ("greeting", "expected", "annotated", "interrupted", "cut_off")
COUNTS = ("number", "attempts", "withdrawn", "utterance")


_STATUS = re.compile(r"code: ([1-5][0-9]{2})\b")


class NoTelemetry(FlowError):
    """OpenTelemetry isn't installed, or its environment variables ask for what isn't there."""

    exit_code = 2


class NotSent(FlowError):
    """Nobody took the spans."""


class Telemetry:
    """Makes spans of turns and sends them. `close` at the end."""

    def __init__(self, graph: str, exporter: SpanExporter | None = None) -> None:
        """`exporter`: instead of the one that the environment asks for. Raises NoTelemetry."""
        try:
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise NoTelemetry("OpenTelemetry isn't installed", hint=INSTALL) from None
        self.where = "an exporter"
        if exporter is None:
            exporter, self.where = exporter_asked_for()
        self._graph = graph
        self._failures = _Failures()
        self._provider = _provider()
        self._provider.add_span_processor(BatchSpanProcessor(_watched(exporter, self._failures)))
        self._tracer = self._provider.get_tracer("flowgraph")
        self._text = os.environ.get(CONTENT, "").strip().lower() == "true"

    def turn(self, turn: TurnReport, *, unix: Callable[[int], int], phase: Callable[[Step], str]) -> None:
        """Make a turn's trace. `unix` maps the session's clock to nanoseconds since 1970, `phase` names a step's phase."""
        from opentelemetry.context import Context
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        begin = turn.speech_end_at
        root = self._tracer.start_span(
            "turn", Context(), start_time=unix(begin), attributes=dict(_attributes(turn, self._graph, text=self._text))
        )
        inside = set_span_in_context(root, Context())
        for step in turn.steps:
            attributes = {"flowgraph.kind": step.kind, "flowgraph.where": step.where, "flowgraph.phase": phase(step)}
            name = f"{step.kind} {step.where}"
            span = self._tracer.start_span(name, inside, start_time=unix(step.start), attributes=attributes)
            span.end(unix(step.end))
        if turn.failed:
            what = "the answer ended with an error" if turn.error else "unanswered"
            root.set_status(Status(StatusCode.ERROR, what))
        root.end(unix(max(turn.audible_at, begin)))

    def flush(self) -> None:
        """Send what there is. Raises NotSent."""
        self._provider.force_flush()
        self._failures.tell(self.where)

    def close(self) -> None:
        """Send the rest, and end. Raises NotSent if anything was lost."""
        self._provider.shutdown()
        self._failures.stop()
        self._failures.tell(self.where)


def send(timeline: Timeline, exporter: SpanExporter | None = None) -> tuple[int, str]:
    """Send the turns of a run that is over. Returns how many, and where to. Raises NoTelemetry, NotSent."""
    telemetry = Telemetry(timeline.name, exporter)
    try:
        for turn in timeline.turns:
            telemetry.turn(turn, unix=timeline.unix, phase=timeline.phase)
            telemetry.flush()
    finally:
        telemetry.close()
    return len(timeline.turns), telemetry.where


def exporter_asked_for(environ: Mapping[str, str] = os.environ) -> tuple[SpanExporter, str]:
    """What the environment asks for, and its name for people (without what may be secret in an address). Raises NoTelemetry."""
    wish = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if wish == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr), "stderr"
    if wish != "otlp":
        raise NoTelemetry(f"OTEL_TRACES_EXPORTER={wish}: this exporter isn't there", hint="otlp or console")
    signal = "OTEL_EXPORTER_OTLP_TRACES_"
    protocol = environ.get(f"{signal}PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        raise NoTelemetry(f"OTLP over {protocol} isn't there", hint="OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise NoTelemetry("OpenTelemetry's exporter for OTLP over HTTP isn't installed", hint=INSTALL) from None
    address = environ.get(f"{signal}ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        server = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # a bad port or IPv6 address
        server = False
    if not server:
        raise NoTelemetry(
            "OTEL_EXPORTER_OTLP_ENDPOINT is no address of a server", hint=f"for example {DEFAULT_ENDPOINT}"
        )
    # Its own default, ten seconds, would keep the user waiting at the end of a run.
    patience = None if environ.get(f"{signal}TIMEOUT") or environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else PATIENCE_S
    return OTLPSpanExporter(timeout=patience), f"{parts.scheme}://{parts.hostname}{port}"


def _attributes(turn: TurnReport, graph: str, *, text: bool) -> Iterator[tuple[str, str | bool | int | float]]:
    yield "flowgraph.graph", graph
    for name in (*COUNTS, *FLAGS):
        yield f"flowgraph.turn.{name}", getattr(turn, name)
    if turn.latency_ns is not None:
        yield "flowgraph.turn.latency_ms", turn.latency_ns / MS
    if turn.stopped_in_ns is not None:
        yield "flowgraph.turn.stopped_in_ms", turn.stopped_in_ns / MS
    if turn.incomplete:
        yield "flowgraph.turn.incomplete", turn.incomplete
    for name, ns in turn.phases.items():
        yield f"flowgraph.phase.{name.replace(' ', '_').lower()}_ms", ns / MS
    for name in ("said", "heard"):
        value: str = getattr(turn, name)
        yield f"flowgraph.turn.{name}_length", len(value)
        if text:
            yield f"flowgraph.turn.{name}", value
    if text and turn.error:
        yield "flowgraph.turn.error", turn.error


def _provider() -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "flowgraph"}))
    return TracerProvider(resource=resource, shutdown_on_exit=False)


class _Failures(logging.Handler):
    """Counts the spans that were lost, and keeps what OpenTelemetry says of it away from the screen."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0
        self._why = ""
        self._logger = logging.getLogger("opentelemetry")
        self._propagates = self._logger.propagate
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        if status := _STATUS.search(record.getMessage()):
            self._why = f" (HTTP {status[1]})"

    def stop(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagates

    def tell(self, where: str) -> None:
        """Raise NotSent if spans were lost."""
        if self.lost:
            raise NotSent(
                f"OpenTelemetry: {self.lost} spans were not taken by {where}{self._why}",
                hint="is a collector there? OTEL_EXPORTER_OTLP_ENDPOINT says where",
            )


def _watched(exporter: SpanExporter, failures: _Failures) -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Watched(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            result = exporter.export(spans)
            failures.lost += len(spans) * (result is not SpanExportResult.SUCCESS)
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return exporter.force_flush(timeout_millis)

    return Watched()
