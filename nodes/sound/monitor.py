"""A recording of what the computer really plays: the monitor of the default output, so that any program can be judged by ear.

A child process of the sound server's own records: `parec` (PulseAudio, and PipeWire with its PulseAudio server), else `pw-record`
(PipeWire). It hands raw samples to a thread of ours, which writes them to a WAV file as they come; the file appears, whole, at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from flowgraph.errors import DeviceError
from nodes.sound.wav import WavTarget

START_S = 5.0
"""So long the first sample may take."""
STOP_S = 2.0
LATENCY_MS = 20
BYTES = 2
RUNNING = "is PipeWire or PulseAudio running? `pactl info` tells"
INSTALL = "Debian and Ubuntu: apt-get install pulseaudio-utils; Fedora: dnf install pulseaudio-utils"


class MonitorRecording:
    """`with MonitorRecording("heard.wav"): …` records while the block runs, mono. Raises DeviceError, also at the end.

    Inside, the recording has begun: the first sample is there. Entering and leaving block for some tens of milliseconds.
    """

    def __init__(
        self, path: str | Path, *, source: str = "", rate_hz: int = 48_000, environ: Mapping[str, str] | None = None
    ) -> None:
        """`source`: a source's name for the sound server, such as `speaker.monitor`; "" is the default output's monitor."""
        self.path = Path(path)
        self.rate_hz = rate_hz
        self.begin_at = 0
        """CLOCK_MONOTONIC, nanoseconds, a session's clock: when the first sample was played, to within some tens of milliseconds."""
        self._source = source
        self._environ = dict(os.environ if environ is None else environ)
        self._begun = threading.Event()
        self._problem: DeviceError | None = None

    def __enter__(self) -> Self:
        command = self._command()
        self._program = Path(command[0]).name
        self._target = WavTarget(self.path, self.rate_hz)
        try:
            self._process = subprocess.Popen(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C ends the recorded session; the recording ends behind it
            )
        except OSError as error:
            self._target.discard()
            raise DeviceError(f"{self._program} can't be started: {error.strerror}", hint=INSTALL) from None
        self._thread = threading.Thread(target=self._copy, name="monitor", daemon=True)
        self._thread.start()
        self._begun.wait(START_S)
        if not self.begin_at:
            self._end()
            self._target.discard()
            raise self._died("no sound came from the output's monitor")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        died = self._process.poll() is not None
        self._end()
        self._target.save()
        problem = self._died("the recording ended early") if died else self._problem
        if problem is not None and error is None:
            raise problem

    def _command(self) -> list[str]:
        path = self._environ.get("PATH")
        rate, latency = str(self.rate_hz), str(LATENCY_MS)
        if program := shutil.which("parec", path=path):
            source = self._source or self._default()
            how = ["--raw", "--format=s16le", f"--rate={rate}", "--channels=1", f"--latency-msec={latency}"]
            return [program, f"--device={source}", *how]
        if program := shutil.which("pw-record", path=path):
            target = ["--target", self._source.removesuffix(".monitor")] if self._source else []
            sink = (
                ["-P", "{ stream.capture.sink=true }"] if not self._source or self._source.endswith(".monitor") else []
            )
            how = ["--format", "s16", "--rate", rate, "--channels", "1", "--latency", f"{latency}ms"]
            return [program, *target, *sink, *how, "-"]
        raise DeviceError("what is played can't be recorded: there is neither parec nor pw-record", hint=INSTALL)

    def _default(self) -> str:
        """The default output's monitor. Asked for by name: PipeWire 0.3.65 takes `@DEFAULT_MONITOR@` for the default microphone."""
        program = shutil.which("pactl", path=self._environ.get("PATH"))
        if program is None:
            return "@DEFAULT_MONITOR@"
        try:
            asked = subprocess.run(
                [program, "get-default-sink"],
                env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_S, check=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DeviceError("the sound server doesn't answer (pactl)", hint=RUNNING) from None
        except subprocess.CalledProcessError as error:
            said = str(error.stderr).strip().splitlines()
            raise DeviceError(
                f"there is no sound server (pactl: {said[-1] if said else 'failed'})", hint=RUNNING
            ) from None
        return f"{asked.stdout.strip()}.monitor"

    def _copy(self) -> None:
        import numpy as np

        stream = self._process.stdout
        assert stream is not None
        rest = b""
        while data := os.read(stream.fileno(), 1 << 16):
            data = rest + data
            whole = len(data) - len(data) % BYTES
            samples, rest = np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768), data[whole:]
            if not self.begin_at and whole:
                self.begin_at = time.monotonic_ns() - len(samples) * 1_000_000_000 // self.rate_hz
                self._begun.set()
            try:
                self._target.write(samples)
            except DeviceError as error:
                self._problem = error
                break
        self._begun.set()

    def _end(self) -> None:
        process = self._process
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._thread.join(STOP_S)
        assert process.stdout is not None
        assert process.stderr is not None
        self._said = process.stderr.read().decode(errors="replace").strip()
        process.stdout.close()
        process.stderr.close()

    def _died(self, what: str) -> DeviceError:
        said = f": {self._said.splitlines()[-1]}" if self._said else ""
        return DeviceError(
            f"{what} ({self._program}{said})", hint="is PipeWire or PulseAudio running? `pactl info` tells"
        )
