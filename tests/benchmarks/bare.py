"""The least that a voice assistant can do, in plain asyncio: what an engine costs is judged by how much more it takes.

Every 10 ms a block of sound is taken and one is played, every 20 ms what was taken is sent to the recogniser (aiohttp), every 32 ms Silero judges
a window (onnxruntime). There is no graph, no frame, no turn, and nobody answers.

`python -m tests.benchmarks.bare SECONDS [--stt URL]`: with servers of its own, started as a session starts them, or with one that runs. Says
`{"event": "listening"}` when it does, and at the end `{"event": "over", "cpu_s": …, "peak_mb": …}`, both counted from `listening` on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]
    Judge = Callable[[Samples], float]

ROOT = Path(__file__).parents[2]
RATE_HZ = 16_000
PLAYED_HZ = 24_000
BLOCK_S = 0.01
BLOCK = RATE_HZ // 100
WINDOW = 512
CONTEXT = 64
"""Samples of the window before that Silero is given once more."""
SERVERS = ("stt", "llm", "tts")


def silero() -> Judge:
    """The model that `vad` uses, in a plain session."""
    import numpy as np
    import onnxruntime as ort

    from nodes.vad import ONNX_16_KHZ, ONNX_ANY, _model_file

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = str(_model_file(*ONNX_16_KHZ, ONNX_ANY))
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    context, state, rate = np.zeros(CONTEXT, np.float32), np.zeros((2, 1, 128), np.float32), np.array(RATE_HZ)

    def judge(window: Samples) -> float:
        nonlocal context, state
        given = np.concatenate([context, window])[None]
        probability, state = session.run(None, {"input": given, "state": state, "sr": rate})
        context = window[-CONTEXT:]
        return float(probability[0, 0])

    return judge


def recorded() -> Samples:
    """What the bundled user says first, and a pause as long."""
    import numpy as np

    path = next((ROOT / "graphs/conversations/demo").glob("1-*.wav"))
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE_HZ, 1)
        spoken = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    return np.concatenate([spoken, np.zeros(len(spoken), np.float32)])


async def listen(
    session: aiohttp.ClientSession,
    url: str,
    judge: Judge,
    sound: Samples,
    seconds: float,
    *,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Until that time is over, on the loop's clock. `begun` is told when the socket is there."""
    import numpy as np

    query = f"encoding=linear16&sample_rate={RATE_HZ}&interim_results=true&endpointing=false"
    async with session.ws_connect(f"{url}/v1/listen?{query}", compress=0) as socket:
        begun()
        reading = asyncio.ensure_future(_read(socket))
        played = np.zeros(PLAYED_HZ // 100, np.float32)
        pending, loop = np.zeros(0, np.float32), asyncio.get_running_loop()
        start, length = loop.time(), len(sound) // (2 * BLOCK) * 2 * BLOCK
        for count in range(round(seconds / BLOCK_S)):
            await asyncio.sleep(start + (count + 1) * BLOCK_S - loop.time())
            at = count * BLOCK % length
            pending = np.concatenate([pending, sound[at : at + BLOCK]])
            played[:] = 0
            if count % 2:
                await socket.send_bytes((sound[at - BLOCK : at + BLOCK] * 32767).astype("<i2").tobytes())
            if len(pending) >= WINDOW:
                judge(pending[:WINDOW])
                pending = pending[WINDOW:]
        reading.cancel()


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for message in socket:
        json.loads(message.data)


def serve(name: str) -> subprocess.Popen[bytes]:
    """One of our servers, as a session starts it. It ends with this process."""
    command = [sys.executable, "-m", f"nodes.servers.{name}", "--port", "0", "--parent"]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def url_of(server: subprocess.Popen[bytes]) -> str:
    """Waits until it answers."""
    assert server.stdout is not None
    return str(json.loads(server.stdout.readline())["url"])


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def command(seconds: float, *, stt: str = "") -> list[str]:
    """What starts it as a process of its own."""
    return [sys.executable, "-m", "tests.benchmarks.bare", f"{seconds:g}", *(["--stt", stt] if stt else [])]


@contextlib.contextmanager
def beside(seconds: float) -> Iterator[Future[dict[str, Any]]]:
    """Run it beside the block. What it said of itself in the end is there behind the block."""
    said: Future[dict[str, Any]] = Future()
    with subprocess.Popen(command(seconds), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield said
            said.set_result(json.loads(process.communicate()[0].splitlines()[-1]))
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("--stt", default="")
    options = parser.parse_args()
    servers = [] if options.stt else [serve(name) for name in SERVERS]
    # What `flow run` can't do without either; servers start meanwhile.
    import aiohttp
    import networkx as nx
    import pydantic
    import rich
    import typer
    import yaml

    assert all((nx, pydantic, rich, typer))
    yaml.safe_load((ROOT / "graphs/optimized.yaml").read_text(encoding="utf-8"))
    judge, sound, cpu_s = silero(), recorded(), 0.0

    def begun() -> None:
        nonlocal cpu_s
        _say("listening")
        cpu_s = time.process_time()

    async def whole() -> None:
        url = options.stt or url_of(servers[0])
        async with aiohttp.ClientSession() as session:
            await listen(session, url, judge, sound, options.seconds, begun=begun)

    try:
        asyncio.run(whole())
    finally:
        for server in servers:
            server.kill()
            server.wait()
    # Not by getrusage: it counts what the process was forked from, too.
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(line for line in status if line.startswith("VmHWM"))
    _say("over", cpu_s=time.process_time() - cpu_s, peak_mb=int(peak.split()[1]) / 1024)


if __name__ == "__main__":
    main()
