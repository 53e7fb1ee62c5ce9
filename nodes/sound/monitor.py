"""What the computer really plays, heard at the monitor of an output, so that any program can be judged by ear.

1. A child process of the sound server's own records: `parec` (PulseAudio, and PipeWire with its PulseAudio server), else `pw-record`
   (PipeWire). It hands raw samples to a thread of ours.
2. A sample's time is counted from the first one, and the first one's from when samples came: a block is never early, so the
   earliest of all blocks tells. Monitors of one sound server are all as late as each other, to about a millisecond once half a
   second has been heard: what lies between two of them can be measured.
3. Samples that the sound server has lost show in that even the earliest block of a second is late. Silence takes their place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from flowgraph.errors import DeviceError
from nodes.sound.pulse import INSTALL, RUNNING, ask
from nodes.sound.wav import WavTarget

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

SECOND = 1_000_000_000
START_S = 5.0
"""So long the first sample may take."""
STOP_S = 2.0
LATENCY_MS = 20
BYTES = 2
LOST_NS = SECOND // 40
"""A second whose earliest block is so late has lost samples. A quantum of PipeWire's is 21 ms."""


class Monitor:
    """`with Monitor(heard): …` calls `heard(samples, at)` for what is played while the block runs, mono float32 in [-1, 1].

    `at` is when the first of them was played (CLOCK_MONOTONIC, nanoseconds: a session's clock), some tens of milliseconds late, always
    the same. `heard` is called in a thread, and may raise DeviceError, which ends it. Inside the block the first sample is there.
    Raises DeviceError, also at the end.
    """

    def __init__(
        self,
        heard: Callable[[Samples, int], object],
        *,
        source: str = "",
        rate_hz: int = 48_000,
        settle_s: float = 0.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`source`: a source's name for the sound server, such as `speaker.monitor`; "" is the default output's monitor.

        `settle_s`: so much is heard first to learn the time, and isn't handed over. Without it `at` is only as good as what has come.
        """
        self.rate_hz = rate_hz
        self.begin_at = 0
        """When the first sample was played, as far as is known."""
        self.lost_ns = 0
        """So much sound the sound server has lost."""
        self._heard = heard
        self._source = source
        self._settling = round(settle_s * rate_hz)
        self._environ = dict(os.environ if environ is None else environ)
        self._begun = threading.Event()
        self._problem: DeviceError | None = None
        self._count = 0
        """Samples so far, lost ones among them."""
        self._earliest = 0
        """The begin that the blocks of this second tell."""
        self._second_ends = 0

    def __enter__(self) -> Self:
        command = self._command()
        self._program = Path(command[0]).name
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
            raise DeviceError(f"{self._program} can't be started: {error.strerror}", hint=INSTALL) from None
        self._thread = threading.Thread(target=self._copy, name="monitor", daemon=True)
        self._thread.start()
        self._begun.wait(START_S)
        if self._count <= self._settling:
            self._end()
            where = self._source or "the output's monitor"
            raise self._died(f"no sound came from {where}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        died = self._process.poll() is not None
        self._end()
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
        if shutil.which("pactl", path=self._environ.get("PATH")) is None:
            return "@DEFAULT_MONITOR@"
        return f"{ask('get-default-sink', environ=self._environ)}.monitor"

    def _copy(self) -> None:
        import numpy as np

        stream = self._process.stdout
        assert stream is not None
        rest = b""
        while data := os.read(stream.fileno(), 1 << 16):
            now = time.monotonic_ns()
            data = rest + data
            whole = len(data) - len(data) % BYTES
            samples, rest = np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768), data[whole:]
            try:
                self._place(samples, now)
            except DeviceError as error:
                self._problem = error
                break
        self._begun.set()

    def _place(self, samples: Samples, now: int) -> None:
        """A block has come."""
        first, self._count = self._count, self._count + len(samples)
        begin_at = now - self._count * SECOND // self.rate_hz
        self._earliest = min(self._earliest or begin_at, begin_at)
        if not self.begin_at or begin_at < self.begin_at:
            self.begin_at = begin_at
        if self._count <= self._settling:
            self._second_ends, self._earliest = self._count + self.rate_hz, 0
            return
        self._begun.set()
        self._heard(samples, self.begin_at + first * SECOND // self.rate_hz)
        if self._count >= self._second_ends:
            if self._second_ends and (lost_ns := self._earliest - self.begin_at) > LOST_NS:
                self._fill(lost_ns)
            self._second_ends, self._earliest = self._count + self.rate_hz, 0

    def _fill(self, lost_ns: int) -> None:
        import numpy as np

        self.lost_ns += lost_ns
        at = self.begin_at + self._count * SECOND // self.rate_hz
        silence = np.zeros(lost_ns * self.rate_hz // SECOND, np.float32)
        self._count += len(silence)
        self._heard(silence, at)

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
        return DeviceError(f"{what} ({self._program}{said})", hint=RUNNING)


class MonitorRecording(Monitor):
    """`with MonitorRecording("heard.wav"): …` records into a WAV file, which appears, whole, at the end. Raises DeviceError."""

    def __init__(
        self, path: str | Path, *, source: str = "", rate_hz: int = 48_000, environ: Mapping[str, str] | None = None
    ) -> None:
        """As `Monitor`."""
        super().__init__(self._write, source=source, rate_hz=rate_hz, environ=environ)
        self.path = Path(path)

    def __enter__(self) -> Self:
        self._command()  # where nothing can be recorded, no file is begun
        self._target = WavTarget(self.path, self.rate_hz)
        try:
            return super().__enter__()
        except BaseException:
            self._target.discard()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            self._target.save()

    def _write(self, samples: Samples, at: int) -> None:  # noqa: ARG002 (one block follows the other)
        self._target.write(samples)
