"""A server as sessions start it, in all its moods. Run as `python -m tests.child_server --mood serve --port 0 --parent`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--parent", action="store_true")
    parser.add_argument("--mood", default="serve")
    parser.add_argument("--meet", default="")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.mood not in ("stubborn", "hush"):
        threading.Thread(target=end_with_parent, daemon=True).start()
    print("I am", os.getpid(), file=sys.stderr, flush=True)
    match options.mood:
        case "refuse":
            if options.meet:
                meet(Path(options.meet))
            say({"error": "there is no model", "hint": "download one"})
            sys.exit(1)
        case "babble":
            print("Welcome to the server!", flush=True)
        case "crash":
            sys.exit("no such file: voices.bin")
        case "hush":
            pass
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            serve()
        case "meet":
            meet(Path(options.meet))
            serve()
        case "serve":
            serve()
    time.sleep(60)


def serve() -> None:
    """Answer every request on every connection; connections stay."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    say({"ready": True, "url": f"http://127.0.0.1:{listener.getsockname()[1]}"})


def accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    while b"/die" not in (request := connection.recv(65536)):
        if not request:
            return
        connection.sendall(ANSWER)
    os.kill(os.getpid(), signal.SIGKILL)


def meet(place: Path) -> None:
    """Go on when two are here."""
    (place / str(os.getpid())).touch()
    while len(list(place.iterdir())) < 2:
        time.sleep(0.005)


def end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
