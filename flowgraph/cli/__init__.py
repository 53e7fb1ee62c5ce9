"""The command line, `flow`. Everything heavy is imported by the command that needs it, so that `flow --help` answers at once."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flowgraph.cli import doctor
from flowgraph.cli.console import write_plainly
from flowgraph.interrupts import leave_at_once

__all__ = ["app", "main"]


READER_GONE = 141
"""What a shell tells of a program that SIGPIPE has ended."""


class Commands(TyperGroup):
    """Says what went wrong in a sentence, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # who read it has gone away (`flow nodes | head`), and there is no other to tell
            os._exit(READER_GONE)
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("typer", "click"):
                raise
            from flowgraph.cli.console import tell_error

            raise typer.Exit(tell_error(error)) from None


app = typer.Typer(
    name="flow",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing the help with rich would take longer than everything else together
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Flowgraph: self-hosted voice assistants as graphs, that answer fast and show why.",
)

GraphName = Annotated[
    str, typer.Argument(metavar="GRAPH", help="A YAML file, or the name of a bundled graph: optimized.")
]
Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="NODE.OPTION=VALUE", help="Change an option of a node. Can be given several times."),
]


@app.command()
def run(  # noqa: PLR0917 -- its parameters are the options
    graph: GraphName,
    settings: Settings = [],  # noqa: B006 -- typer's way of an option that may be given several times
    source: Annotated[
        str,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE|CALLER|DEVICE",
            help="Instead of the microphone: a WAV file, a recorded caller (YAML file, folder, or bundled name), or a device.",
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="STEREO.wav", help="Record the user on the left, the answers on the right."
        ),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write down everything that happens.")
    ] = None,
    otel: Annotated[
        bool,
        typer.Option("--otel", help="Send each turn as OpenTelemetry spans (OTEL_EXPORTER_OTLP_ENDPOINT says where)."),
    ] = False,
    text: Annotated[bool, typer.Option("--text", "-t", help="Type instead of speaking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout, nothing else.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Details on stderr.")] = False,
) -> None:
    """Run a graph: talk with it until it ends, or until Ctrl-C.

    Exit code: 0 fine; 1 it failed while running, or an utterance stayed unanswered or was answered with an error; 2 the graph or an
    argument is wrong; 130 Ctrl-C.
    """
    from flowgraph.cli.running import Wishes, run_graph

    wishes = Wishes(
        graph, settings, source=source, output=output, trace=trace, otel=otel, text=text, json=json, verbose=verbose
    )
    raise typer.Exit(run_graph(wishes))


@app.command()
def compare(  # noqa: PLR0917
    graphs: Annotated[
        list[str], typer.Argument(metavar="A B [C…]", help="YAML files, or names of bundled graphs. A is the first.")
    ],
    settings: Settings = [],  # noqa: B006
    conversation: Annotated[
        str,
        typer.Option(
            "--conversation",
            "-c",
            metavar="CALLER",
            help="Who speaks: a bundled caller, a conversation's YAML file, or a folder of WAV files.",
        ),
    ] = "demo",
    runs: Annotated[int, typer.Option(metavar="N", help="So many runs of each graph, in real time.")] = 3,
    network: Annotated[
        str,
        typer.Option(
            metavar="PROFILE|rtt=80ms,…",
            help="What lies before every service: lan, home-to-cloud, runpod, or rtt=80ms,jitter=10ms,loss=1%,bandwidth=20Mbit,tls.",
        ),
    ] = "",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a report: one page, with the sound.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw what came out as one picture, light and dark.")
    ] = None,
    fail_if: Annotated[
        list[str],
        typer.Option(
            metavar="CONDITION",
            help="Exit with 1 if it holds: '[GRAPH] p95 > 700ms' (p50…, mean, failed, cut_off, words_wrong; GRAPH is a name or a "
            "letter, the last without), or 'B slower than A by 5%' (for certain: all of the 95 % interval).",
        ),
    ] = [],  # noqa: B006
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Judge by ear: the caller speaks into the default microphone, which has to be a virtual one (`pactl load-module "
            "module-null-sink sink_name=room; pactl load-module module-remap-source source_name=microphone master=room.monitor; "
            "pactl set-default-source microphone`), the default output is recorded, and the figures are the recording's.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure graphs against each other: the same recorded caller, in turns, in real time.

    A graph that can't start on this machine (a model, a device, a server is missing) is left out, and the others are compared; but
    not without the first, nor without one that --fail-if judges.

    Exit code: 0 fine; 1 a run failed, a graph was left out, or a --fail-if condition holds; 2 a graph or an argument is wrong; 130 Ctrl-C.
    """
    from flowgraph.cli.comparing import Wishes, compare_graphs

    wishes = Wishes(
        graphs,
        settings,
        conversation=conversation,
        runs=runs,
        network=network,
        gates=fail_if,
        html=html,
        json=json,
        record=record,
        picture=picture,
    )
    raise typer.Exit(compare_graphs(wishes))


@app.command()
def tune(  # noqa: PLR0917
    graph: GraphName,
    settings: Settings = [],  # noqa: B006
    conversations: Annotated[
        str,
        typer.Option(
            "--conversations",
            "-c",
            metavar="DIR",
            help="Recorded users: a folder of conversations (with `fit` and `report` in it, settings are chosen on the one and judged on "
            "the other), one conversation, or a bundled name.",
        ),
    ] = "",
    fit: Annotated[str, typer.Option(metavar="DIR", help="The recorded users on whom settings are chosen.")] = "",
    report: Annotated[str, typer.Option(metavar="DIR", help="Those on whom they are judged.")] = "",
    policy: Annotated[
        str, typer.Option(metavar="NAME,…", help="Policies to sweep: fixed, adaptive, model. All without it.")
    ] = "",
    budget: Annotated[
        str, typer.Option(metavar="SHARE", help="So many of the pauses may be taken for the end.")
    ] = "5%",
    stt: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Instead of listening in real time: the recogniser is told the words of the annotation, and has them so long after it is asked.",
        ),
    ] = "",
    score: Annotated[
        str, typer.Option(metavar="TIME", help="With --stt: so long an end-of-turn model takes for a score.")
    ] = "50ms",
    llm: Annotated[str, typer.Option(metavar="TIME", help="From the prompt to the first clause.")] = "200ms",
    tts: Annotated[str, typer.Option(metavar="TIME", help="From the first clause to its sound.")] = "150ms",
    playout: Annotated[str, typer.Option(metavar="TIME", help="From the sound to the ear.")] = "20ms",
    callers: Annotated[
        int, typer.Option(metavar="N", help="Listen to so many at a time; without, one for each core.")
    ] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Listen again to what has been heard before.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a report: one page, with the curve.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the curve as one picture, light and dark.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Write the graph with the best setting within --budget.")
    ] = None,
) -> None:
    """Choose how the end of a turn is told: how long users wait, against how often they are cut off.

    Each recorded user is heard once, in real time, by the graph's own ears; then every setting is tried on virtual time. What was heard is
    kept, so that the next sweep takes seconds. With `--stt 100ms` nothing takes real time: what the policies are worth with a recogniser that errs not.

    Exit code: 0 fine; 1 listening failed, or no setting keeps the budget and none is written; 2 the graph or an argument is wrong; 130 Ctrl-C.
    """
    from flowgraph.cli.tuning import Wishes, tune_graph

    wishes = Wishes(
        graph, settings, conversations=conversations, fit=fit, report=report, policies=policy, budget=budget, stt=stt, score=score,
        llm=llm, tts=tts, playout=playout, callers=callers, fresh=fresh, html=html, picture=picture, json=json, write=write,
    )  # fmt: skip
    raise typer.Exit(tune_graph(wishes))


@app.command()
def trace(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="What `flow run --trace FILE.jsonl` wrote.")],
    turn: Annotated[int | None, typer.Option(metavar="N", help="One turn on a time axis; 0 is the greeting.")] = None,
    slowest: Annotated[bool, typer.Option("--slowest", help="The turn whose answer came latest.")] = False,
    perfetto: Annotated[
        Path | None, typer.Option(metavar="OUT.json", help="Write it for https://ui.perfetto.dev and chrome://tracing.")
    ] = None,
    otel: Annotated[
        bool, typer.Option("--otel", help="Send it as OpenTelemetry spans, to where OTEL_EXPORTER_OTLP_ENDPOINT says.")
    ] = False,
) -> None:
    """Look at a run that is over: its turns, or one of them with its critical path and what else happened.

    Exit code: 0 fine; 1 writing or sending failed; 2 the file is no trace, or hasn't that turn.
    """
    from flowgraph.cli.tracing import Wishes, show_trace

    show_trace(Wishes(file, turn=turn, slowest=slowest, perfetto=perfetto, otel=otel))


@app.command()
def check(
    graphs: Annotated[list[str], typer.Argument(metavar="GRAPH…", help="YAML files, or names of bundled graphs.")],
    settings: Settings = [],  # noqa: B006
) -> None:
    """Say what is wrong with graphs, without starting anything."""
    from flowgraph.cli.looking import check_graphs

    raise typer.Exit(check_graphs(graphs, settings))


@app.command()
def show(
    graph: GraphName,
    settings: Settings = [],  # noqa: B006
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="terminal|mermaid|dot", help="How to draw it.")
    ] = "terminal",
) -> None:
    """Draw a graph, with the types on its edges."""
    from flowgraph.cli.looking import show_graph

    show_graph(graph, settings, form)


@app.command()
def nodes(kind: Annotated[str, typer.Argument(metavar="[TYPE]", help="One type, with all about it.")] = "") -> None:
    """List the types of nodes, or show one with its options."""
    from flowgraph.cli.types import list_types, show_type

    if kind:
        show_type(kind)
    else:
        list_types()


@app.command()
def devices() -> None:
    """List the sound devices, and what else can be used like one."""
    from flowgraph.cli.looking import list_devices

    list_devices()


app.add_typer(doctor.app, name="doctor")


@app.command()
def schema() -> None:
    """Print the JSON Schema of graph files, for editors."""
    from flowgraph.cli.looking import print_schema

    print_schema()


@app.command()
def new(name: Annotated[str, typer.Argument(metavar="NAME", help="NAME.yaml is written into this folder.")]) -> None:
    """Begin a graph of your own, from a template with comments."""
    from flowgraph.cli.beginning import write_new

    write_new(name)


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        print(f"flowgraph {version_of('flowgraph')}")
        raise typer.Exit


def require_streams() -> None:
    """A standard stream that is closed is given a place, or the first file or socket that is opened would be taken for it.

    Without a standard output there is nothing that a command is good for.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # gets the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.exit("error: the standard output is closed\n  = to throw it away: > /dev/null")
    write_plainly()


def require_folder() -> None:
    """Paths are seen from the working directory: it must be there."""
    try:
        os.getcwd()  # noqa: PTH109 - pathlib isn't imported yet
    except OSError:
        sys.exit("error: the folder that this runs in is gone\n  = go to another one: cd")


def main() -> None:
    """The command line."""
    # What a command imports stays: looking for garbage in it, again and again and once more at the end, would take a fifth of
    # `flow check`. What runs sessions enables it again.
    gc.disable()
    atexit.register(gc.freeze)
    leave_at_once()
    require_streams()
    require_folder()
    try:
        app()
    finally:
        leave_at_once()
