"""Files that a graph or an argument names: where they lie, and whether they can be written, before anything starts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from flowgraph.errors import FlowError

SOUND_FILES = (".wav", ".wave", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".webm", ".mp4")
"""How files with sound are named; what isn't a WAV file is told how to become one."""


class Unwritable(FlowError):
    """No file can be written where an argument of the command line says."""

    exit_code = 2


def beside(path: str, folder: str) -> str:
    """A path that a file in `folder` states, as the working directory sees it. `~` is the user's own folder."""
    return os.path.join(folder, os.path.expanduser(path)) if path else ""  # noqa: PTH111, PTH118 - "" stays ""


def address_beside(address: str, folder: str) -> str:
    """The same of `file:PATH`; any other text is itself."""
    kind, colon, path = address.strip().partition(":")
    return f"file:{beside(path, folder)}" if colon and kind == "file" else address


def is_stream(path: str | Path) -> bool:
    """Is it a pipe or a device? What is looked at there is gone, or may never come."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def unwritable(path: str | Path, *, whole: bool = False) -> str:
    """Why no file can be written there; "" where one can. Writes nothing, and opens nothing.

    `whole`: the file appears when it is complete, in the place of an older one. That can't be done to a device or a pipe, and
    takes a folder that may be written to.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if mode and whole and not stat.S_ISREG(mode):
        return "it is a device or a pipe, and can't be replaced by a file"
    if mode and not os.access(path, os.W_OK):
        return "it may not be written to"
    folder = Path(os.path.realpath(path)).parent  # of what a link leads to
    if (whole or not mode) and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return f"{folder if path.is_symlink() else path.parent} is no folder that can be written to"
    return ""


def unmakeable(folder: str | Path) -> str:
    """Why there can't be a folder to write into; "" where there is one, or it can be made."""
    folder = Path(folder).absolute()
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ""
    if there == folder and not there.is_dir():
        return "it is no folder"
    return f"{there} is no folder that can be written to"


def require_writable(path: Path | None, option: str, *, whole: bool = False) -> None:
    """Raises Unwritable if the path that an option of the command line names can't be written. `whole`: see `unwritable`."""
    why = "" if path is None else unwritable(path, whole=whole)
    if why:
        raise Unwritable(f"can't write {path}: {why}", hint=f"choose another {option}")


def require_apart(named: dict[str, Path | None]) -> None:
    """Raises Unwritable where two options name the same file: one would overwrite the other's."""
    seen: dict[str, str] = {}
    for option, path in named.items():
        if path is None or is_stream(path):
            continue  # two may well share a terminal
        where = os.path.realpath(path)
        if where in seen:
            raise Unwritable(f"{seen[where]} and {option} name the same file: {path}", hint=f"choose another {option}")
        seen[where] = option
