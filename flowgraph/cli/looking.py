"""Commands that look at graphs, devices and formats, and start nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from flowgraph.cli.console import stderr, stdout, tell_error
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
            stderr().print(Text(warning), soft_wrap=True)
        counts = f"{len(graph.nodes)} nodes, {len(graph.edges)} edges"
        stdout().print(Text.assemble((f"{graph.path}: ", ""), ("fine", "green"), f" ({counts})"), soft_wrap=True)
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
    for line in import_module("nodes.sound.devices").described():
        print(line)


def print_schema() -> None:
    """The JSON Schema on stdout."""
    from flowgraph.schema import schema_text

    print(schema_text(), end="")
