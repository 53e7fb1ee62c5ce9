"""fastkokoro, a Kokoro server, over weights that the tests made.

Runs in the environment of `make interop`: python kokoro_server.py WEIGHTS VOICES PORT
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time

import uvicorn


def main(weights: str, voices: str, port: str) -> None:
    os.environ["FASTKOKORO_MODEL_PATH"], os.environ["FASTKOKORO_VOICES_PATH"] = weights, voices
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FASTKOKORO_CACHE_DIR"] = cache
        from fastkokoro.server import app

        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=int(port), log_level="warning"))

        def attend() -> None:
            while not server.started:
                time.sleep(0.05)
            print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
            sys.stdin.read()  # until whoever started this is gone
            server.should_exit = True

        threading.Thread(target=attend, daemon=True).start()
        server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
