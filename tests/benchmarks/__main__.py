"""`python -m tests.benchmarks [GROUP…] [--json]`: measure, and say which targets are met. Exit code 1 if one isn't."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import platform
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from tests.benchmarks import figures
from tests.benchmarks.figures import Figure

GROUPS = ("hops", "voice_activity", "startup", "listening", "virtual_time", "conversation")


def measure(groups: list[str]) -> Iterator[Figure]:
    for group in groups:
        module = importlib.import_module(f"tests.benchmarks.{group}")
        yield from module.figures()


def number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def row(figure: Figure) -> tuple[str, ...]:
    ratio = figure.ratio
    verdict = figure.verdict
    reference = f"{number(figure.reference)} {figure.unit}" if figure.reference else ""
    return (
        figure.name,
        f"{number(figure.measured)} {figure.unit}",
        reference,
        f"{ratio:.2f}×" if ratio else "",
        figure.target,
        f"[{'red' if verdict == 'missed' else 'green'}]{verdict}[/]" if verdict else "",
        figure.against or figure.note,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all of them without")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    parser.add_argument("--quick", action="store_true", help="half of the rounds: enough for who allows some slack")
    arguments = parser.parse_args()
    figures.share = 0.5 if arguments.quick else 1.0
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}; choose from {', '.join(GROUPS)}")
    groups = arguments.groups or list(GROUPS)
    if arguments.json:
        missed = False
        for figure in measure(groups):
            print(json.dumps(dataclasses.asdict(figure)), flush=True)
            missed |= not figure.within()
        return int(missed)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = Table(
        "what", "measured", "reference", "ratio", "target", "", "against",
        title=f"Python {platform.python_version()}, {platform.machine()}",
    )  # fmt: skip
    measured = []
    for figure in measure(groups):
        console.print(f"{figure.name}: {number(figure.measured)} {figure.unit}", highlight=False)
        measured.append(figure)
        table.add_row(*row(figure))
    console.print(table)
    return int(not all(figure.within() for figure in measured))


if __name__ == "__main__":
    sys.exit(main())
