"""`flow run`: one session on the real clock, shown while it runs, and ended in good order.

The first Ctrl-C closes the sources and lets what is on its way come through; the second one cancels. So does SIGTERM; a terminal that is
closed (SIGHUP) counts once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

import flowgraph
from flowgraph.cli.console import stderr, stdout, tell_error
from flowgraph.cli.inputs import with_input
from flowgraph.display import Display, JsonLines, Lines, Live, Typed
from flowgraph.errors import FlowError, NodeFailed
from flowgraph.files import require_apart, require_writable
from flowgraph.graph import Graph
from flowgraph.interrupts import BY_SIGNAL, ENDING, is_ignored, without_terminal
from flowgraph.phases import phase
from flowgraph.recording import require_sound
from flowgraph.report import Report, TurnReport
from flowgraph.session import Session
from flowgraph.units import MS

if TYPE_CHECKING:
    from flowgraph.telemetry import Telemetry


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """The command's arguments."""

    graph: str
    settings: Sequence[str] = ()
    source: str = ""
    output: Path | None = None
    trace: Path | None = None
    otel: bool = False
    text: bool = False
    json: bool = False
    verbose: bool = False


def run_graph(wishes: Wishes) -> int:
    """Run a graph to its end. Returns the exit code; raises GraphError before anything has started."""
    with _only_to_check():
        graph = _prepared(wishes)
    telemetry = None
    if wishes.otel:
        from flowgraph.telemetry import Telemetry

        telemetry = Telemetry(graph.name)
    run = Run(graph, wishes, _display(wishes), telemetry)
    gc.enable()
    try:
        with asyncio.Runner() as runner:
            return runner.run(run.whole())
    except KeyboardInterrupt:  # before our own handler was in place, or behind it
        return BY_SIGNAL + signal.SIGINT


@contextlib.contextmanager
def _only_to_check() -> Iterator[None]:
    """Behind the block, networkx and what uses it is gone: only a graph's check needs it, and it would be a tenth of a conversation's memory."""
    gc.freeze()  # what was there before isn't searched for garbage
    yield
    vars(flowgraph).pop("checks", None)
    for name in [name for name in sys.modules if name == "flowgraph.checks" or name.partition(".")[0] == "networkx"]:
        del sys.modules[name]
    gc.collect()
    gc.unfreeze()


def _prepared(wishes: Wishes) -> Graph:
    from flowgraph.cli.looking import WrongArgument

    if wishes.source and wishes.text:
        raise WrongArgument("--input and --text exclude each other", hint="with --text, the keyboard is the input")
    if wishes.source:
        graph = with_input(wishes.graph, wishes.source, settings=wishes.settings)
    else:
        graph = Graph.load(wishes.graph, settings=wishes.settings)
    if wishes.text:
        if sys.stdin is None:
            raise WrongArgument(
                "--text: the standard input is closed", hint="type, or give lines: flow run --text < FILE"
            )
        from flowgraph.cli.typed import typed

        graph = typed(graph)
    require_writable(wishes.trace, "--trace")
    require_writable(wishes.output, "--output", whole=True)
    require_apart({"--trace": wishes.trace, "--output": wishes.output})
    if wishes.output is not None:
        require_sound(graph)
    for warning in graph.warnings:
        stderr().print(Text(warning), soft_wrap=True)
    return graph


def _display(wishes: Wishes) -> Display:
    if wishes.json:
        return JsonLines()
    console = stdout()
    if wishes.text:
        return Typed(console, echo=not (sys.stdin and sys.stdin.isatty()))
    return Live(console) if console.is_terminal else Lines(console)


class Run:
    """One session, from the first line on the screen to the exit code."""

    def __init__(self, graph: Graph, wishes: Wishes, display: Display, telemetry: Telemetry | None = None) -> None:
        self._graph = graph
        self._telemetry = telemetry
        self._wishes = wishes
        self._display = display
        self._begun = time.perf_counter()
        self._interrupts: list[int] = []
        """Numbers of the signals that asked us to stop."""
        self._stop = asyncio.Event()
        self._listening = False

    async def whole(self) -> int:
        """Start, run, report. Returns the exit code."""
        display = self._display
        session = Session(self._graph, trace=self._wishes.trace, say=display.say)
        display.watch(session)  # first: what was heard is shown before what is made of it
        report = Report(session, lambda turn: self._on_turn(session, turn))
        failure: Exception | None = None
        refreshing = asyncio.get_running_loop().create_task(display.refresh())
        try:
            with self._signals(), self._output_kept():
                display.starting([name for name, service in self._graph.services.items() if service.embedded])
                with self._recording(session):
                    async with session:
                        self._listening = True
                        display.listening(time.perf_counter() - self._begun)
                        try:
                            await self._until_over(session)
                        except FlowError as error:
                            report.finish(error.cause if isinstance(error, NodeFailed) else error.message)
                            raise
                        finally:
                            report.finish()
        except asyncio.CancelledError:
            if not self._interrupts:
                raise
        except BrokenPipeError:  # nobody reads what is shown: nothing is left to show
            raise
        except Exception as error:
            failure = error
        finally:
            refreshing.cancel()
            self._close_telemetry()
        display.finish(report if self._listening else None)
        if self._wishes.verbose and self._listening:
            self._tell_notes(session)
        if failure is not None:
            code = self._failed(failure)
            if self._listening and (other := session.trace.failure) is not None and other is not failure:
                self._failed(other)
            return code
        return BY_SIGNAL + self._interrupts[0] if self._interrupts else report.exit_code

    async def _until_over(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        finished = loop.create_task(session.finished())
        stopped = loop.create_task(self._stop.wait())
        try:
            await asyncio.wait([finished, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not finished.done():
                await session.stop()
            if finished.done():
                finished.result()
        finally:
            for task in (finished, stopped):
                task.cancel()
            await asyncio.wait([finished, stopped])

    def _failed(self, error: Exception) -> int:
        if isinstance(error, FlowError):
            self._display.error(error)
        if self._wishes.verbose:
            traceback.print_exception(error)
        return tell_error(error)

    # -- Ctrl-C --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        assert main is not None
        handled = []
        for number in ENDING:
            if is_ignored(number):
                continue
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
                loop.add_signal_handler(number, self._on_interrupt, number, main.cancel)
                handled.append(number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def _on_interrupt(self, number: int, cancel: Callable[[], Any]) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):  # SIGHUP
            without_terminal()
            if number in self._interrupts:  # the kernel tells it, and then the shell
                return
        self._interrupts.append(number)
        if len(self._interrupts) == 1 and self._listening:
            self._display.stopping()
            self._stop.set()
        elif len(self._interrupts) <= 2:
            cancel()

    @contextlib.contextmanager
    def _output_kept(self) -> Iterator[None]:
        """With --json, whoever else writes on the standard output (a `printer`, a library) writes on the standard error."""
        with contextlib.redirect_stdout(sys.stderr) if self._wishes.json else contextlib.nullcontext():
            yield

    # -- beside the display --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _recording(self, session: Session) -> Iterator[None]:
        if self._wishes.output is None:
            yield
            return
        from flowgraph.recording import recording

        with recording(session, self._wishes.output):
            yield

    def _on_turn(self, session: Session, turn: TurnReport) -> None:
        self._display.turn(turn)
        if self._telemetry is not None:
            self._telemetry.turn(turn, unix=session.trace.unix, phase=lambda step: phase(step, self._graph))
        if self._wishes.verbose:
            for step in turn.steps:
                line = f"    {(step.start - turn.speech_end_at) / MS:8.1f} ms  {step.ms:8.1f}  {step.kind:<10}  {step.where}"
                stderr().print(Text(line, style="dim"), soft_wrap=True)

    def _close_telemetry(self) -> None:
        """What wasn't sent is told; the run was fine all the same."""
        if self._telemetry is not None:
            try:
                self._telemetry.close()
            except FlowError as error:
                tell_error(error)

    def _tell_notes(self, session: Session) -> None:
        console = stderr()
        started = session.trace.started
        for at, node, text in session.trace.notes:
            console.print(Text(f"{(at - started) / MS:10.0f} ms  {node or '–'}: {text}", style="dim"), soft_wrap=True)
        for (edge, what), count in sorted(session.trace.counts.items()):
            if what in ("drop", "full", "stale"):
                console.print(Text(f"{edge}: {count} × {what}", style="dim"), soft_wrap=True)
