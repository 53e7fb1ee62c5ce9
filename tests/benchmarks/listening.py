"""From the start of `flow run` until it listens, against `bare`, which imports the same, starts the same servers and loads the same model."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks import bare
from tests.benchmarks.conversation import BARE, CALLER
from tests.benchmarks.figures import Figure, best_of, median
from tests.benchmarks.startup import FLOW, ROOT

ROUNDS = 5
MOST_RATIO = 1.6
SERVERS = {"stt": "STT_URL", "llm": "LLM_URL", "tts": "TTS_URL"}


def listens_after_ms(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """From its start until it says that it listens; then it is ended."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if json.loads(line)["event"] == "listening":
                    return (time.perf_counter() - started) * 1e3
        finally:
            process.terminate()
    raise RuntimeError(f"it never listened: {' '.join(command)}")


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Servers that run already: their addresses by name."""
    servers = {name: bare.serve(name) for name in SERVERS}
    try:
        yield {name: bare.url_of(server) for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.kill()
            server.wait()


def figures() -> Iterator[Figure]:
    flow = [sys.executable, "-c", FLOW, "run", "optimized", "--json", *CALLER]
    unset = {name: value for name, value in os.environ.items() if name not in SERVERS.values()}
    ours, plain = best_of(
        ROUNDS,
        lambda: listens_after_ms(flow, unset),
        lambda: listens_after_ms(bare.command(60), unset),
    )
    yield Figure(
        "flow run, until it listens", median(ours), "ms", median(plain), BARE, most_ratio=MOST_RATIO, most=2500
    )
    with running() as urls:
        pointed = unset | {SERVERS[name]: url for name, url in urls.items()}
        ours, plain = best_of(
            ROUNDS,
            lambda: listens_after_ms(flow, pointed),
            lambda: listens_after_ms(bare.command(60, stt=urls["stt"]), pointed),
        )
    yield Figure(
        "flow run, until it listens, with servers that run", median(ours), "ms", median(plain), BARE,
        most_ratio=MOST_RATIO, most=1000,
    )  # fmt: skip
