"""The bundled conversation with the embedded servers, in real time, as `flow run` holds it. Takes about a minute.

What it costs is held against `bare`, which runs beside it: what slows the one down slows down the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.bare import beside
from tests.benchmarks.figures import Figure, median
from tests.benchmarks.startup import FLOW, ROOT

CALLER = ("--input", "caller:demo", "--set", "speaker.device=null", "--set", "dialogue.barge_in=headphones")
BARE_S = 30.0
SERVICES = {"stt", "llm", "tts"}
"""Their working time on the critical path is their own; everything else between two devices is ours."""
TICKS = os.sysconf("SC_CLK_TCK")
MOST_CPU = 2.0
"""Times what `bare` takes."""
BARE = "bare asyncio, aiohttp, onnxruntime"


class Observed:
    """A `flow run`, watched from outside while it runs."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.cpu_s = 0.0
        """Used by the graph's own process, servers not counted, from `listening` to the end."""
        self.peak_mb = 0.0
        self.lasted_s = 0.0
        """From `listening` to the end."""
        self.errors = ""
        """What it wrote on stderr."""
        self.exit_code = 0

    @property
    def cpu_a_minute(self) -> float:
        """Seconds of a processor."""
        return self.cpu_s / self.lasted_s * 60

    def run(self, *arguments: str, cwd: Path | None = None) -> None:
        """`flow run optimized --json` with these arguments."""
        command = [sys.executable, "-c", FLOW, "run", "optimized", "--json", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            started = cpu_before = 0.0
            for line in process.stdout:
                event = json.loads(line)
                self.events.append(event)
                if event["event"] == "listening":
                    started, cpu_before = time.monotonic(), self._look(process.pid)
                elif event["event"] != "summary":
                    self.cpu_s = self._look(process.pid) - cpu_before
                self.lasted_s = time.monotonic() - started
            self.errors = process.stderr.read()
        self.exit_code = process.returncode

    def _look(self, pid: int) -> float:
        """Its CPU seconds so far; remembers its memory."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            return self.cpu_s
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        self.peak_mb = max(self.peak_mb, int(peak.split()[1]) / 1024)
        return (int(fields[11]) + int(fields[12])) / TICKS

    def the(self, event: str) -> dict[str, Any]:
        return next(one for one in self.events if one["event"] == event)


def added_ms(turn: dict[str, Any]) -> float:
    """What is between the services and devices of a turn: waiting at edges, and the work of the nodes that ask nobody."""
    return sum(
        (step["end"] - step["start"]) / 1e6
        for step in turn["steps"]
        if step["kind"] in ("waiting", "holding") or (step["kind"] == "working" and step["where"] not in SERVICES)
    )


def figures() -> Iterator[Figure]:
    observed = Observed()
    with beside(BARE_S) as bare:
        observed.run(*CALLER)
    if observed.exit_code:
        raise RuntimeError(f"the conversation failed with exit code {observed.exit_code}:\n{observed.errors}")
    turns = [turn for turn in observed.the("summary")["turns"] if turn["latency_ms"] is not None]
    latencies = [turn["latency_ms"] for turn in turns]
    added = sorted(added_ms(turn) for turn in turns)
    yield Figure("first sound, p50 (embedded servers)", median(latencies), "ms", most=1000, note=f"{len(turns)} turns")
    yield Figure("added by the graph to a turn, p50", median(added), "ms", most=5)
    yield Figure("added by the graph to a turn, most", added[-1], "ms", most=15)
    cpu_s = bare.result()["cpu_s"] / BARE_S * 60
    yield Figure(
        "CPU for a minute of conversation", observed.cpu_a_minute, "s", cpu_s, BARE, most_ratio=MOST_CPU, most=3
    )
    yield Figure("peak memory, servers not counted", observed.peak_mb, "MB", bare.result()["peak_mb"], BARE, most=120)
