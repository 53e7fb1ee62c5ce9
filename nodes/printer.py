"""Print one line for each frame: to see what travels on an edge."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from flowgraph import Field, Frame, Node
from flowgraph.errors import FlowError
from flowgraph.files import beside, unwritable
from flowgraph.node import Placed, Trouble

STANDARD_OUTPUT = "-"


def _beside(file: str, folder: str) -> str:
    return file if file == STANDARD_OUTPUT else beside(file, folder)


class Printer(Node):
    """Prints one line for each frame that reaches it, of whatever type."""

    format: Literal["text", "json"] = Field(
        "text", description="`text` for people, `json` for programs (one object a line)."
    )
    file: Annotated[str, Placed(_beside)] = Field(
        STANDARD_OUTPUT,
        description="Where to: a path, or `-` for the standard output (the standard error with `flow run --json`, which has that for itself).",
    )

    def problems(self) -> Iterator[Trouble]:
        if self.file != STANDARD_OUTPUT and (why := unwritable(self.file)):
            yield f"file: can't write {self.file}: {why}", "name a file in a folder that is there and may be written"

    async def open(self) -> None:
        self._opened_at = self.ctx.clock.now()
        self._out = None if self.file == STANDARD_OUTPUT else _written(Path(self.file))

    async def close(self) -> None:
        if (out := getattr(self, "_out", None)) is not None:
            out.close()

    def process(self, frame: Frame) -> None:
        line = self._as_json(frame) if self.format == "json" else self._as_text(frame)
        print(line, file=self._out or sys.stdout, flush=True)

    def _as_text(self, frame: Frame) -> str:
        shown = " ".join(f"{name}={_plain(value)!r}" for name, value in frame.fields())
        turn = f" turn={frame.turn}" if frame.turn else ""
        lost = f" lost={frame.lost}" if frame.lost else ""
        return f"{(frame.at - self._opened_at) / 1e9:8.3f}s {frame.source or '-':<10} {type(frame).__name__:<14}{turn}{lost} {shown}".rstrip()

    def _as_json(self, frame: Frame) -> str:
        stamps = {"id": frame.id, "cause": frame.cause_id, "at": frame.at, "turn": frame.turn, "source": frame.source}
        own = {name: _plain(value) for name, value in frame.fields()}
        return json.dumps({"type": type(frame).__name__, **stamps, "lost": frame.lost, **own}, default=repr)


def _written(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise FlowError(f"can't write {path}: {error.strerror}", hint="does its folder exist?") from None


def _plain(value: Any) -> Any:
    """Samples as their number: nobody reads thousands of them."""
    return f"{len(value)} samples" if hasattr(value, "dtype") else value
