"""What goes wrong, as a user reads it: where, what was found, what to do. `flow` prints these; anything else is our bug."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


class FlowError(Exception):
    """One clear sentence, and what to do about it. `str()` is both, the second behind `= `.

    `exit_code` is the command line's: 2 for a wrong graph or argument, 1 for what fails while running.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  = {self.hint}" if self.hint else self.message

    def reword(self, change: Callable[[str], str]) -> None:
        """Change all that it says."""
        self.message, self.hint = change(self.message), change(self.hint)
        self.args = (self.message,)


class NodeFailed(FlowError):
    """A node raised, and its `on_error` is `fail` (or its restarts are used up)."""

    def __init__(self, node: str, message: str, *, place: str = "", hint: str = "", while_doing: str = "") -> None:
        where = f"{place}: " if place else ""
        doing = f" while {while_doing}" if while_doing else ""
        super().__init__(f"{where}node '{node}' failed{doing}: {message}", hint=hint)
        self.node = node
        self.cause = message
        """What it raised, without where and while doing what."""


class ServiceError(FlowError):
    """A service (STT, LLM, TTS) can't be reached or answers with something that isn't its protocol."""

    status = 0
    """Of its HTTP answer, if that refuses; else 0."""


class DeviceError(FlowError):
    """A sound device or a sound file can't be used."""


class Stuck(FlowError):
    """No frame has moved for too long, or a prompt came to no end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a graph, and its place in the text.

    `str()` is `file:line:column: message`, the line with a caret, and what to do behind `= `.
    """

    message: str
    hint: str = ""
    file: str = ""
    line: int = 0
    """From 1; 0 = the problem has no line (a command-line option, a file that can't be read)."""
    column: int = 0
    text: str = ""
    """The line itself."""
    width: int = 1

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        lines = [f"{place}: {self.message}" if place else self.message]
        if self.text:
            number = f"{self.line:>5}"
            lines.append(f"{number} | {self.text}")
            lines.append(f"{' ' * len(number)} | {' ' * (self.column - 1)}{'^' * max(self.width, 1)}")
        if self.hint:
            lines.append(f"      = {self.hint}")
        return "\n".join(lines)


class GraphError(FlowError):
    """A graph file (or an option for it) is wrong. Holds every problem that was found, in the order of the text."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
