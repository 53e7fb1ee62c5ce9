"""Where sound files are written: a folder that stays, or a temporary one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flowgraph.errors import FlowError
from flowgraph.files import unmakeable

OTHERWISE = "choose another `folder`, or `memory: true`"


def require_folder(path: str) -> None:
    """Before anything starts: can there be a `Folder`? Raises FlowError."""
    if path and (why := unmakeable(path)):
        raise FlowError(f"can't write sound files into {path}: {why}", hint=OTHERWISE)


class Folder:
    """Gives file names in it."""

    def __init__(self, path: str) -> None:
        """`path`: the folder, made if it isn't there; "" = a temporary one, which `close` removes. Raises FlowError."""
        self._count = 0
        try:
            self._temporary = None if path else tempfile.TemporaryDirectory(prefix="flowgraph-")
            self._path = Path(self._temporary.name if self._temporary else path)
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = path or tempfile.gettempdir()
            raise FlowError(f"can't write sound files into {where}: {error.strerror}", hint=OTHERWISE) from None

    def next(self, name: str, suffix: str) -> Path:
        """`NAME-001.SUFFIX`, counting up."""
        self._count += 1
        return self._path / f"{name}-{self._count:03}.{suffix}"

    def close(self) -> None:
        """Remove it, if it is temporary."""
        if self._temporary is not None:
            self._temporary.cleanup()
