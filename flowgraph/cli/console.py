"""Where the commands write: results on stdout, what goes wrong on stderr."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

import typer

from flowgraph.errors import FlowError, GraphError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PIPE_COLUMNS = 100
"""Tables in a pipe or a file are this wide, unless COLUMNS says otherwise."""

PLAIN = str.maketrans(
    dict.fromkeys("─━┄═╌", "-") | dict.fromkeys("│┃┊║╷", "|") | dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╥", "+")
    | {"▼": "v", "◄": "<", "▮": "#", "▯": ".", "…": "...", "→": "->", "·": "-", "≤": "<=", "×": "x", "–": "-", "›": ">", "±": "+-"}
)  # fmt: skip
"""What stands for our own signs where the terminal's encoding lacks them."""


def stdout() -> Console:
    """Made anew by each command: where `sys.stdout` leads is known then."""
    return _console(stderr=False)


def stderr() -> Console:
    return _console(stderr=True)


def coloured(text: str, colour: str) -> str:
    """Text for `typer.echo`, which leaves colours out where no terminal shows them: a line alone isn't worth rich's import."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")
    return text if plain else typer.style(text, fg=colour)


def progress(console: Console) -> Progress:
    """For what takes minutes: what is done, a bar, the time so far and the time left. Nothing where there is no terminal."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """Called where the reader has gone: the one obvious end of that is in `Commands`, not here."""
            raise  # noqa: PLE0704 -- what rich has caught

    console = Plain(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    return console


def tell_error(error: Exception) -> int:
    """Say on stderr what happened and what to do. Returns the exit code."""
    from rich.text import Text

    console = stderr()
    if isinstance(error, GraphError):
        for problem in error.problems:
            console.print(Text(str(problem)), soft_wrap=True)
        count = len(error.problems)
        console.print(f"{count} problem{'s' if count > 1 else ''}", style="bold red")
        return error.exit_code
    if isinstance(error, FlowError):
        console.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
        if error.hint:
            console.print(Text.assemble(("  = ", "cyan"), error.hint), soft_wrap=True)
        return error.exit_code
    if (
        isinstance(error, OSError) and error.filename is None and error.errno == errno.ENOSPC
    ):  # nobody else lets it through
        console.print(Text.assemble(("error: ", "bold red"), f"can't write the standard output: {error.strerror}"))
        console.print(Text.assemble(("  = ", "cyan"), "free some space, or send it somewhere else"))
        return 1
    console.print(Text.assemble(("error: ", "bold red"), f"{type(error).__name__}: {error}"), soft_wrap=True)
    if isinstance(error, OSError):
        fault = "the system said so; is there space left, and may it be written?"
    else:
        fault = "this is a fault of Flowgraph or of a node; `flow run -v` shows where"
    console.print(Text.assemble(("  = ", "cyan"), fault), soft_wrap=True)
    return 1


def write_plainly() -> None:
    """Let the standard streams take our own signs, whatever their encoding is."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: what can't be written is written otherwise."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return "".join(sign if sign.isascii() else "?" for sign in text), error.end
