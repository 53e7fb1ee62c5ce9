"""Ctrl-C, `kill`, and a terminal that is closed: each ends a command in good order, at any moment.

1. Until a command has something to clean up, it is gone at once (`leave_at_once`): nothing else is as sure while modules are imported.
2. From then on (`begin_work`) it is interrupted as Python has it, by KeyboardInterrupt, whichever of these signals came.
3. A signal that whoever started us wants to be ignored (`nohup`) stays ignored.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import stat
from types import FrameType

BY_SIGNAL = 128
"""Exit code 128 + the signal's number: 130 for Ctrl-C."""
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_came: list[int] = []


def leave_at_once() -> None:
    """Ctrl-C ends the process, without a word. The other signals do that by themselves."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def begin_work() -> None:
    """From here on there is something to clean up: servers, files, what is drawn on a terminal. Garbage is collected again."""
    gc.enable()
    if signal.getsignal(signal.SIGINT) is not _leave:  # it isn't the command line that works
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = os.getpid()

    def interrupt(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:  # one that was forked to work for us
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _came.append(number)
        if number != signal.SIGTERM:
            without_terminal()
        signal.raise_signal(signal.SIGINT)  # asyncio knows what to do about that one

    for number in ENDING:
        if number != signal.SIGINT and not is_ignored(number):
            signal.signal(number, interrupt)


def exit_code() -> int:
    """Of a command that was interrupted."""
    return BY_SIGNAL + (_came[0] if _came else signal.SIGINT)


def is_ignored(number: int) -> bool:
    """Has whoever started us asked for that?"""
    return signal.getsignal(number) is signal.SIG_IGN


def without_terminal() -> None:
    """Behind SIGHUP: what is written to a terminal that is gone goes nowhere; elsewhere it would be an error."""
    import termios

    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                try:
                    termios.tcgetattr(descriptor)
                except termios.error:
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, descriptor)
                    os.close(nowhere)


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(BY_SIGNAL + number)
