"""What the three embedded servers share: they serve on loopback, say when they answer, and end with their parent.

`python -m nodes.servers.stt --port 0 --parent` is what a session starts. The rules of that conversation:

1. When models are loaded and the port answers, one JSON line on stdout: `{"ready": true, "url": "http://127.0.0.1:PORT"}`.
2. What goes wrong before that is one JSON line too, `{"error": "...", "hint": "..."}`, and exit status 1.
3. With `--parent` the server lives as long as its stdin: the kernel closes that pipe whatever kills the parent.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

HOST = "127.0.0.1"
"""Loopback only: the servers have no business on a network card."""


class ServingError(Exception):
    """The server cannot start: what was found, and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class _Arguments(argparse.ArgumentParser):
    """Says what is wrong with the command line as `ServingError`, not as a usage text on stderr."""

    def error(self, message: str) -> Any:
        raise ServingError(message, f"`python -m {self.prog} --help` lists the options")


def arguments(module: str, summary: str, port: int) -> argparse.ArgumentParser:
    """The options that every server takes; the caller adds its own."""
    parser = _Arguments(prog=module, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--port", type=_port, default=port, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--parent", action="store_true", help="end when stdin is closed")
    parser.add_argument("--key", default="", help="the API key to ask for; none: everybody may call")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a TCP port (0 to 65535)")
    return int(text)


def serve(parser: argparse.ArgumentParser, app: Callable[[argparse.Namespace], web.Application]) -> None:
    """Run one server until SIGINT, SIGTERM or the end of its parent. Exit status: 0, or 1 with an error line."""
    try:
        options = parser.parse_args()
        if options.parent:
            threading.Thread(target=_die_with_parent, name="parent", daemon=True).start()
        asyncio.run(_serve(app(options), options.port))
    except ServingError as error:
        _fail(str(error), error.hint)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _fail(f"port {options.port} is taken", "choose another --port, or 0 for a free one")
        _fail(str(error), "")
    except ImportError as error:
        _fail(f"{error.name} is not installed", "install Flowgraph with its dependencies: pip install flowgraph")
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}", "")


async def _serve(app: web.Application, port: int) -> None:
    from aiohttp import web

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    try:
        await runner.setup()
        await web.TCPSite(runner, HOST, port).start()
        _say({"ready": True, "url": f"http://{HOST}:{runner.addresses[0][1]}"})
        await stop.wait()
    finally:
        await runner.cleanup()


def _die_with_parent() -> None:
    # A blocking read in a thread of its own: nothing else in the process can delay or swallow it.
    while os.read(0, 4096):
        pass
    os._exit(0)


def _say(line: dict[str, Any]) -> None:
    try:
        print(json.dumps(line), flush=True)
    except BrokenPipeError:  # nobody reads us, and nobody has to
        os._exit(0)


def _fail(message: str, hint: str) -> None:
    _say({"error": message, "hint": hint})
    sys.exit(1)


async def finished(work: asyncio.Future[Any]) -> Any:
    """The work's result, waited for even where the waiter is cancelled: a thread cannot be left behind half-way."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    return work.result()


def authorised(headers: Any, key: str) -> bool:
    """Whether the request carries the key, as `Bearer KEY` (OpenAI) or `Token KEY` (Deepgram)."""
    if not key:
        return True
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    return scheme.lower() in ("bearer", "token") and given.strip() == key


def openai_error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> web.Response:
    """An error as OpenAI's API words it: `{"error": {"message", "type", "param", "code"}}`."""
    from aiohttp import web

    kind = {401: "authentication_error", 404: "not_found_error"}.get(status, "invalid_request_error")
    if status >= 500:
        kind = "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return web.json_response({"error": error}, status=status)
