"""Commands that look at graphs, devices and formats, and start nothing."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from flowgraph.cli.console import coloured, stdout, tell_error
from flowgraph.errors import FlowError, GraphError

FORMS = ("terminal", "mermaid", "dot")


class WrongArgument(FlowError):
    """An argument of the command line that can't be meant."""

    exit_code = 2


def check_graphs(names: Sequence[str], settings: Sequence[str]) -> int:
    """All problems of all graphs. Returns the exit code."""
    from flowgraph.graph import Graph

    code = 0
    for name in names:
        try:
            graph = Graph.load(name, settings=settings)
        except GraphError as error:
            code = tell_error(error)
            continue
        for warning in graph.warnings:
            typer.echo(warning, err=True)
        counts = f"{len(graph.nodes)} nodes, {len(graph.edges)} edges"
        typer.echo(f"{graph.path}: {coloured('fine', 'green')} ({counts})")
    return code


def show_graph(name: str, settings: Sequence[str], form: str) -> None:
    """Draw a graph on stdout. Raises GraphError, or WrongArgument for an unknown form."""
    from flowgraph import drawing
    from flowgraph.graph import Graph

    if form not in FORMS:
        raise WrongArgument(f"--format {form}: there is no such form", hint=f"one of {', '.join(FORMS)}")
    graph = Graph.load(name, settings=settings)
    match form:
        case "mermaid":
            print(drawing.mermaid(graph))
        case "dot":
            print(drawing.dot(graph))
        case _:
            print(drawing.text(graph, stdout().width))


def list_devices() -> None:
    """What `mic.device` and `speaker.device` may name."""
    from importlib import import_module

    # By name: the engine doesn't import nodes, and only this command needs to know of sound.
    devices = import_module("nodes.sound.hardware").list_devices()
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("device", style="cyan", overflow="fold")
    for head in ("mic", "speaker", "what it is"):
        table.add_column(head)
    for device in devices:
        marks = ["yes" if able else "" for able in (device.input, device.output)]
        for index, direction in enumerate(("input", "output")):
            if device.default in (direction, "both"):
                marks[index] = "default"
        table.add_row(Text(device.address), *marks, Text(device.detail))
    console = stdout()
    console.print(table)
    console.print("\n[dim]flow run GRAPH --input DEVICE, or --set speaker.device=DEVICE[/]")


def print_schema() -> None:
    """The JSON Schema on stdout."""
    from flowgraph.schema import schema_text

    print(schema_text(), end="")
