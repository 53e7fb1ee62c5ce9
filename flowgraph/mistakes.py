"""What is wrong in the code of somebody's node, in words: where it is, and for the likely mistakes what to write instead."""

from __future__ import annotations

import traceback
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from flowgraph.errors import FlowError
from flowgraph.frame import Frame

_ENGINE = Path(__file__).parent
SHOWN = 40
"""Characters of a value."""


def ended(error: SystemExit) -> FlowError:
    """What to say of code that calls `sys.exit` where it must not."""
    code = "" if error.code is None else _shown(error.code)
    return FlowError(f"it ends the program: sys.exit({code})", hint="raise an exception that says what is wrong")


def in_words(error: BaseException, files: Collection[str]) -> tuple[str, str]:
    """(what went wrong and where in these files, what to do). `files`: those that the node's own code is in."""
    if isinstance(error, FlowError):
        return error.message, error.hint
    if misused := _no_frames(error):
        return misused
    return f"{first_line(error)}{place(error, files)}", ""


def first_line(error: BaseException) -> str:
    """`KeyError: 'x'`; of a message in several lines the first."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def place(error: BaseException, files: Collection[str]) -> str:
    """` (robot.py:12)`: the last line of these files that it came through; "" = none."""
    found = [entry for entry in traceback.extract_tb(error.__traceback__) if entry.filename in files]
    return f" ({Path(found[-1].filename).name}:{found[-1].lineno})" if found else ""


def _no_frames(error: BaseException) -> tuple[str, str] | None:
    """Where the engine stumbled over what a node gave it: what that was. None = it stumbled over nothing."""
    last = _last(error.__traceback__)
    if last is None or Path(last.tb_frame.f_code.co_filename).parent != _ENGINE:
        return None
    if isinstance(error, AttributeError) and error.name == "id" and not isinstance(error.obj, Frame):
        return f"it yielded {_shown(error.obj)}, which is no frame", "yield frames: `yield Token(text)`"
    outputs = last.tb_frame.f_locals.get("outputs")
    if isinstance(error, TypeError) and outputs is not None and not hasattr(outputs, "__iter__"):
        kind = type(outputs).__name__
        if isinstance(outputs, Frame):
            return f"it returned a {kind} instead of yielding it", "write `yield frame`, or return a list of frames"
        return f"it returned {_shown(outputs)}, which is no sequence of frames", "write `yield frame` for each"
    return None


def _last(found: TracebackType | None) -> TracebackType | None:
    while found is not None and found.tb_next is not None:
        found = found.tb_next
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
