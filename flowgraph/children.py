"""Servers of ours as child processes: started early, heard through one line, never left behind.

1. A child runs `python -m MODULE --port 0 --parent` and says one JSON line on stdout when it answers: `{"ready": true, "url": …}`,
   or `{"error": …, "hint": …}`.
2. It ends when its stdin closes. The kernel closes that pipe whatever ends us, so a child doesn't outlive a parent that is killed.
3. Threads read its pipes, so that it can be started before there is a loop, and before anything heavy is imported.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING, Any

from flowgraph.errors import ServiceError

if TYPE_CHECKING:
    from flowgraph.specs import ServiceSpec

READY_S = 30.0
"""A server that loads a model from a cold disk is slow; one that says nothing for this long hangs."""
PATIENCE_S = 1.0
"""What a child gets to end by itself, and again after being asked by a signal."""
LAST_WORDS_S = 0.5
"""For what is left in its pipes when it is gone; a process of its own may hold them open for ever."""
LINE_BYTES = 4096
SHOWN_LINES = 8
SHOWN_CHARACTERS = 200


class Child:
    """One running server."""

    def __init__(self, spec: ServiceSpec) -> None:
        """Starts it; returns at once. Raises ServiceError where no process can be started."""
        self.spec = spec
        self.ready: Future[str] = _running()
        """Its base URL; or the ServiceError that says why it never answered."""
        self.exited: Future[int] = _running()
        """Its exit status, negative for a signal; `ready` is known by then."""
        self.closing = False
        """Its end is our wish."""
        self._tail: deque[str] = deque(maxlen=SHOWN_LINES)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", spec.server, "--port", "0", "--parent", *_arguments(spec.options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(import_path()), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # a Ctrl-C in the terminal is for us alone: we drain before they end
            )
        except OSError as error:
            raise self._error(f"can't be started: {error.strerror}") from None
        _alive.add(self)
        _thread(self._attend)

    def __repr__(self) -> str:
        return f"Child({self.spec.name!r}, pid={self.process.pid})"

    async def url(self) -> str:
        """Wait until it answers. Raises ServiceError: it ended, said what is wrong, or said nothing for READY_S seconds."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.ready), READY_S)
        except TimeoutError:
            raise self._error(f"did not say within {READY_S:.0f} s that it is ready") from None

    def death(self) -> ServiceError:
        """What to tell of its end while it was needed."""
        return self._error(self._ended())

    async def close(self) -> None:
        """End it: close its stdin, then ask by signal, then kill. Returns when the process is gone."""
        self.closing = True
        try:
            for step in (self._let_go, self.process.terminate, self.process.kill):
                step()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(self.exited), PATIENCE_S)
                    return
        except asyncio.CancelledError:
            self.process.kill()
            raise

    def _let_go(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    # -- its life, in threads ------------------------------------------------------------------------------------------

    def _attend(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        readers = [_thread(self._follow_stdout, self.process.stdout), _thread(self._follow_stderr, self.process.stderr)]
        status = self.process.wait()
        for reader in readers:
            reader.join(LAST_WORDS_S)
        self._let_go()
        _alive.discard(self)
        if not self.ready.done():
            self.ready.set_exception(self._error(f"{self._ended()} before it was ready"))
        self.exited.set_result(status)

    def _follow_stdout(self, pipe: IO[bytes]) -> None:
        with pipe:
            if line := pipe.readline(LINE_BYTES).strip():
                self._read(line)
            self._tail.extend(_lines(pipe))

    def _follow_stderr(self, pipe: IO[bytes]) -> None:
        with pipe:
            self._tail.extend(_lines(pipe))

    def _read(self, line: bytes) -> None:
        """Its first line."""
        text = line.decode(errors="replace")
        try:
            said: Any = json.loads(text)
        except ValueError:
            said = None
        match said:
            case {"ready": True, "url": str(url)}:
                self.ready.set_result(url)
            case {"error": str(error)}:
                self.ready.set_exception(self._error(f"can't start: {error}", str(said.get("hint") or "")))
            case _:
                self.ready.set_exception(self._error(f"said {text[:100]!r} where it should say that it is ready"))

    # -- words -----------------------------------------------------------------------------------------------------------

    def _error(self, what: str, hint: str | None = None) -> ServiceError:
        """`hint`: the server's own advice; without one, its last words are shown, and how to see more."""
        message = f"{self.spec.place}: service '{self.spec.name}': its server {self.spec.server} {what}"
        if hint is not None:
            return ServiceError(message, hint=hint)
        said = [line[:SHOWN_CHARACTERS] for line in list(self._tail)]
        hint = f"`python -m {self.spec.server}` shows what is wrong; or give the service the url of another server"
        return ServiceError("\n    ".join([message, *said]), hint=hint)

    def _ended(self) -> str:
        status = self.process.returncode
        if status is None:
            return "ended"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-status).name}"
        return f"ended with exit status {status}"


def spawn_early(specs: Iterable[ServiceSpec]) -> dict[str, Child]:
    """Start the servers of all embedded services, by name, without waiting for them. Imports nothing heavy, needs no loop.

    Raises ServiceError; then none is left running.
    """
    children: dict[str, Child] = {}
    try:
        for spec in specs:
            if spec.embedded:
                children[spec.name] = Child(spec)
    except BaseException:
        _reap(children.values())
        raise
    return children


def _arguments(options: dict[str, Any]) -> Iterator[str]:
    """`{"words_per_s": 4, "quiet": True}` as `--words-per-s 4 --quiet`; what is False or None is left out."""
    for key, value in options.items():
        if value is not None and value is not False:
            yield f"--{key.replace('_', '-')}"
            if value is not True:
                yield str(value)


def import_path() -> list[str]:
    """Where a child finds what we find: our `sys.path` without what every Python has. (`-P` keeps its own folder out.)"""
    paths = sysconfig.get_paths()
    own = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own |= {os.path.join(paths["platstdlib"], "lib-dynload")}  # noqa: PTH118
    return [os.path.abspath(path) for path in sys.path if path not in own and not path.endswith(".zip")]  # noqa: PTH100


def _lines(pipe: IO[bytes]) -> Iterator[str]:
    for line in iter(lambda: pipe.readline(LINE_BYTES), b""):
        if text := line.decode(errors="replace").rstrip():
            yield text


def _running() -> Future[Any]:
    """A future that can't be cancelled: asyncio would, when whoever waits for it gives up."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def _thread(target: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


_alive: set[Child] = set()


@atexit.register
def _reap(children: Iterable[Child] = _alive) -> None:
    """End children without a loop: at the exit of an interpreter that never came to `close`, or in one that has none yet."""
    left = list(children)
    for child in left:
        child._let_go()
    patience = time.monotonic() + PATIENCE_S
    for child in left:
        try:
            child.process.wait(max(0.0, patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
