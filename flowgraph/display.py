"""What a run shows: `Live` on a terminal, `Lines` in a pipe, `Typed` where the user types, `JsonLines` for programs.

They watch a session from outside: nothing here is on the way of a frame, and what is drawn is drawn ten times a second at most.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.text import Text

from flowgraph.errors import FlowError
from flowgraph.frame import Heard
from flowgraph.report import types_named
from flowgraph.tables import figures, one_line, summary
from flowgraph.waiting import Wait

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live as RichLive
    from rich.status import Status

    from flowgraph.report import Report, TurnReport
    from flowgraph.session import Session

REFRESH_S = 0.1
LONG_S = 5
"""Who waits so long for an answer wants to know for whom."""
METER = 14
QUIETEST_DBFS = -60.0


class Display(Protocol):
    """What the command line tells whoever shows a run."""

    def watch(self, session: Session) -> None:
        """Before it is entered."""

    def starting(self, what: Sequence[str]) -> None:
        """Servers of ours, or nothing, are being started; devices and models open."""

    def listening(self, after_s: float) -> None:
        """The session is there."""

    def say(self, text: str) -> None:
        """A line for the user, from a node or the engine."""

    def turn(self, turn: TurnReport) -> None:
        """A turn is over."""

    def stopping(self) -> None:
        """Ctrl-C, the first."""

    def error(self, error: FlowError) -> None:
        """It failed. The message itself goes to stderr, from elsewhere."""

    def finish(self, report: Report | None) -> None:
        """The session is over; None = it never began."""

    async def refresh(self) -> None:
        """Runs beside the session."""


class Lines:
    """Plain lines, for a pipe or a file: one for each turn, a table at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._wait: Wait | None = None

    def watch(self, session: Session) -> None:
        self._wait = Wait(session)

    def starting(self, what: Sequence[str]) -> None:
        self.line(f"starting {', '.join(what)} …" if what else "starting …")

    def listening(self, after_s: float) -> None:
        self.line(f"listening ({after_s:.1f} s)")

    def say(self, text: str) -> None:
        self.line(text)

    def turn(self, turn: TurnReport) -> None:
        self.line(one_line(turn))

    def stopping(self) -> None:
        self.line("stopping … (Ctrl-C again: at once)")

    def error(self, error: FlowError) -> None:
        pass

    def finish(self, report: Report | None) -> None:
        if report is not None:
            self.console.print()
            for part in summary(report, self.console.width):
                self.console.print(part)

    async def refresh(self) -> None:
        """Tell once of each attempt, if it takes long, who is at work on it."""
        told = -1
        while True:
            await asyncio.sleep(REFRESH_S)
            if self._wait is not None and self._wait.attempt != told:
                node, seconds = self._wait.at()
                if seconds >= LONG_S:
                    told = self._wait.attempt
                    self.line(f"still waiting for '{node}', after {seconds:.0f} s")

    def line(self, text: str | Text, style: str = "") -> None:
        """One line, however long, as it is."""
        self.console.print(text if isinstance(text, Text) else Text(text, style=style), soft_wrap=True)


class Live(Lines):
    """A terminal: the conversation, and below it a line that moves: level, who speaks, what is being understood."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._status: Status | None = None
        self._live: RichLive | None = None
        self._level_dbfs = QUIETEST_DBFS
        self._speaking = False
        self._partial = ""
        self._answer = ""
        self._audible = False
        self._shown = ""

    def watch(self, session: Session) -> None:
        super().watch(session)
        for kind in types_named(session.graph, "Voice"):
            session.watch(kind, self._on_voice)
        for kind in types_named(session.graph, "Transcript"):
            session.watch(kind, self._on_transcript)
        session.watch(Heard, self._on_heard)

    def starting(self, what: Sequence[str]) -> None:
        text = f"starting {', '.join(what)} …" if what else "starting …"
        self._status = self.console.status(Text(text), spinner="dots")
        self._status.start()

    def listening(self, after_s: float) -> None:
        from rich.live import Live as RichLive

        self._no_status()
        self.line(f"listening ({after_s:.1f} s) · Ctrl-C ends", style="dim")
        self._live = RichLive(console=self.console, auto_refresh=False, transient=True, get_renderable=self._drawn)
        self._live.start()

    def say(self, text: str) -> None:
        self.line(text, style="dim")

    def turn(self, turn: TurnReport) -> None:
        self.console.print()
        said = "" if turn.greeting else turn.said or turn.truth
        number = f"{turn.number or '':>2}  "
        if said:
            self._paragraph(number, said, "bold")
        if turn.heard.strip():
            self._paragraph("    " if said else number, turn.heard.strip(), "")
        line = figures(turn, self.console.width)
        if line is not None:
            self.console.print(line)
        self._partial = ""

    def stopping(self) -> None:
        self.line("stopping … (Ctrl-C again: at once)", style="dim")

    def finish(self, report: Report | None) -> None:
        self._no_status()
        if self._live is not None:
            self._live.stop()
            self._live = None
        super().finish(report)

    async def refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            if self._live is not None:
                drawn = self._drawn().plain
                if drawn != self._shown:
                    self._shown = drawn
                    self._live.refresh()

    def _paragraph(self, head: str, text: str, style: str) -> None:
        from rich.table import Table

        grid = Table.grid()
        grid.add_column(width=4, no_wrap=True, style="dim")
        grid.add_column(ratio=1)
        grid.add_row(head, Text(text, style=style))
        self.console.print(grid)

    def _no_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    # -- the line that moves -------------------------------------------------------------------------------------------

    def _drawn(self) -> Text:
        text = meter(self._level_dbfs)
        if self._speaking:
            who, words, style = "you", self._partial, "bold cyan"
        elif self._audible:
            who, words, style = "assistant", self._answer, "bold green"
        elif self._wait is not None and self._wait.on:
            node, seconds = self._wait.at()
            who, words, style = "thinking", self._partial, "magenta"
            if seconds >= 1:
                who = f"thinking {seconds:.0f} s, {node}"
        else:
            who, words, style = "silence", self._partial, "dim"
        text.append(f"  {who:<9} ", style=style)
        room = max(self.console.width - text.cell_len - 1, 0)
        return text.append(_end_of(words.strip(), room))

    def _on_voice(self, voice: Any) -> None:
        self._level_dbfs = voice.level_dbfs
        self._speaking = voice.speaking

    def _on_transcript(self, transcript: Any) -> None:
        self._partial = transcript.text

    def _on_heard(self, heard: Heard) -> None:
        self._answer = heard.text
        self._audible = bool(heard.first_audible_at) and not heard.final


class Typed(Lines):
    """The user types: answers appear as they are heard."""

    def __init__(self, console: Console, *, echo: bool) -> None:
        """`echo`: show what was typed, because no terminal does."""
        super().__init__(console)
        self._echo = echo
        self._shown = 0
        """Characters of the answer that are on the screen."""
        self._open = False
        """The line that the cursor is on has begun."""
        self._said: list[str] = []

    def watch(self, session: Session) -> None:
        super().watch(session)
        for kind in types_named(session.graph, "Transcript"):
            session.watch(kind, self._on_transcript)
        session.watch(Heard, self._on_heard)

    def listening(self, after_s: float) -> None:
        self.line(
            f"ready ({after_s:.1f} s)" if self._echo else f"ready ({after_s:.1f} s): type; Ctrl-D ends", style="dim"
        )
        self._prompt()

    def say(self, text: str) -> None:
        self._said.append(text)
        super().say(text)

    def turn(self, turn: TurnReport) -> None:
        self._new_line()
        told = bool(turn.error) and any(turn.error in text for text in self._said)  # it stands right above
        line = figures(turn, self.console.width, verdict=not told)
        if line is not None:
            self.console.print(line)
        self._prompt()

    def finish(self, report: Report | None) -> None:
        self._new_line()
        super().finish(report)

    def line(self, text: str | Text, style: str = "") -> None:
        self._new_line()
        super().line(text, style)

    def _on_transcript(self, transcript: Any) -> None:
        self._open = False  # the user's own end of line
        if self._echo:
            self.line(f"› {transcript.text}", style="bold")

    def _on_heard(self, heard: Heard) -> None:
        news = heard.text[self._shown :]
        if news and not self._shown:
            self._new_line()
            news = news.lstrip()
        if news:
            self.console.print(Text(news), end="", soft_wrap=True)
            self._open = True
        self._shown = 0 if heard.final else len(heard.text)
        if heard.final:
            self._new_line()

    def _prompt(self) -> None:
        if not self._echo:
            self.console.print(Text("› ", style="bold cyan"), end="")
            self._open = True

    def _new_line(self) -> None:
        if self._open:
            self._open = False
            self.console.print()


class JsonLines:
    """One JSON object a line on stdout, nothing else."""

    def __init__(self) -> None:
        self._out = sys.stdout  # as it is at the beginning: nobody else is to write there later

    def watch(self, session: Session) -> None:
        for kind in types_named(session.graph, "Transcript"):
            session.watch(kind, self._on_transcript)
        session.watch(Heard, self._on_heard)

    def starting(self, what: Sequence[str]) -> None:
        self._write("starting", services=list(what))

    def listening(self, after_s: float) -> None:
        self._write("listening", after_ms=round(after_s * 1000, 1))

    def say(self, text: str) -> None:
        self._write("note", text=text)

    def turn(self, turn: TurnReport) -> None:
        self._write("turn", **turn.to_json())

    def stopping(self) -> None:
        self._write("stopping")

    def error(self, error: FlowError) -> None:
        self._write("error", message=error.message, hint=error.hint)

    def finish(self, report: Report | None) -> None:
        if report is not None:
            self._write("summary", **report.to_json())

    async def refresh(self) -> None:
        pass

    def _on_transcript(self, transcript: Any) -> None:
        self._write(
            "transcript",
            text=transcript.text,
            final=transcript.final,
            start_at=transcript.start_at,
            end_at=transcript.end_at,
        )

    def _on_heard(self, heard: Heard) -> None:
        self._write("heard", attempt=heard.turn, text=heard.text, final=heard.final, cut=heard.cut)

    def _write(self, event: str, **fields: Any) -> None:
        self._out.write(json_line({"event": event, **fields}, self._out) + "\n")
        self._out.flush()


def json_line(data: object, out: TextIO) -> str:
    """One line of JSON, in characters that `out` can take."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    return json.dumps(data, ensure_ascii=encoding.lower().replace("-", "") != "utf8")


def meter(level_dbfs: float, width: int = METER) -> Text:
    """A level meter from −60 to 0 dBFS."""
    share = min(max((level_dbfs - QUIETEST_DBFS) / -QUIETEST_DBFS, 0.0), 1.0)
    full = round(share * width)
    text = Text()
    for cell in range(width):
        style = "green" if cell < width * 0.75 else "yellow" if cell < width * 0.9 else "red"
        text.append("▮" if cell < full else "▯", style=style if cell < full else "dim")
    return text


def _end_of(text: str, room: int) -> str:
    """The end of a text that is too long: the latest words matter."""
    return text if len(text) <= room else f"…{text[len(text) - room + 1 :]}" if room > 1 else ""
