"""What is wrong in the code of somebody's node, in words: where it is, and for the likely mistakes what to write instead."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from flowgraph.errors import FlowError
from flowgraph.frame import Frame

_ENGINE = Path(__file__).parent
SHOWN = 40
"""Characters of a value."""
LONGEST = 300
"""Characters of an exception's message."""
YIELD = "yield frames: `yield Token(text)`"

T = TypeVar("T")


def ended(error: SystemExit) -> FlowError:
    """What to say of code that calls `sys.exit` where it must not."""
    code = "" if error.code is None else _shown(error.code)
    found = FlowError(f"it ends the program: sys.exit({code})", hint="raise an exception that says what is wrong")
    found.__cause__ = error
    return found


async def contained(work: Awaitable[T]) -> T:
    """Await somebody's code. A `sys.exit` in it, which would end the event loop, is an error like any other."""
    try:
        return await work
    except SystemExit as error:
        raise ended(error) from error


def in_words(error: BaseException, files: Collection[str]) -> tuple[str, str]:
    """(what went wrong and where in these files, what to do). `files`: those that the node's own code is in."""
    if isinstance(error, SystemExit):
        error = ended(error)
    if isinstance(error, FlowError):
        left = error.__cause__
        return f"{error.message}{place(left, files) if isinstance(left, SystemExit) else ''}", error.hint
    if misused := _no_frames(error):
        return misused
    return f"{first_line(error)}{place(error, files)}", ""


def traceback_of(error: BaseException) -> str:
    """As Python shows it."""
    return "".join(traceback.format_exception(error)).rstrip()


def first_line(error: BaseException) -> str:
    """`KeyError: 'x'`; a message in several lines in one, without what is only a reference (pydantic's)."""
    lines = (line.strip() for line in str(error).splitlines())
    text = "; ".join(line for line in lines if line and not line.startswith("For further information"))
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
        return f"it yielded {_shown(error.obj)}, which is no frame", YIELD
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
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
