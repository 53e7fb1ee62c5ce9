"""The sound of a turn, cut from a run's stereo recording: a second before the end of speech to a while after the first sound.

All clips of one turn have the same span, so that they lie on one time axis. The sound is mixed to one channel and packed as FLAC, which loses
nothing and begins where it begins; without ffmpeg, as WAV.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowgraph.compare import Answered, Comparison, RunResult

    Samples = npt.NDArray[np.float32]

BEFORE_MS = 1000
AFTER_MS = 2500
LOST_MS = 4000
"""So much is shown behind a turn that nobody answered."""
BINS = 500
MOST_BYTES = 7_500_000
"""Of all sound on a page, as it is written there."""
QUIETEST = 0.01
"""Peaks below it are the room's noise, and not drawn."""
HALF = 46
"""Half of a waveform's height, in its own units."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One turn of one run, to be looked at and listened to."""

    graph: str
    repeat: int
    turn: Answered
    user: str
    """Outline of the user's sound: an SVG path, x in milliseconds since the end of speech, y from −HALF to HALF."""
    answer: str
    audio: str
    """A data URI; "" = there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """One utterance of the caller, and what every graph made of it."""

    utterance: int
    text: str
    begin_ms: float
    """Since the end of speech: negative."""
    end_ms: float
    clips: tuple[Clip, ...]


def scenes(comparison: Comparison) -> list[Scene]:
    """For each utterance the repeat that is most like all repeats, and its clips. Sound only as far as the page may grow."""
    found = [_scene(comparison, utterance) for utterance in _utterances(comparison)]
    budget = MOST_BYTES
    # First and last graph first: they are what is compared.
    order = [comparison.graphs[0], comparison.graphs[-1], *comparison.graphs[1:-1]]
    sounds: dict[tuple[int, str], str] = {}
    for graph in dict.fromkeys(order):
        for scene in found:
            for clip in scene.clips:
                if clip.graph == graph and len(clip.audio) <= budget:
                    sounds[scene.utterance, graph] = clip.audio
                    budget -= len(clip.audio)
    return [
        dataclasses.replace(
            scene,
            clips=tuple(
                dataclasses.replace(clip, audio=sounds.get((scene.utterance, clip.graph), "")) for clip in scene.clips
            ),
        )
        for scene in found
    ]


def _utterances(comparison: Comparison) -> list[int]:
    return sorted({turn.utterance for run in comparison.runs for turn in run.turns})


def _scene(comparison: Comparison, utterance: int) -> Scene:
    repeat = _typical(comparison, utterance)
    turns = {
        run.graph: (run, turn)
        for run in comparison.runs
        for turn in run.turns
        if turn.utterance == utterance and run.repeat == repeat
    }
    latencies = [turn.latency_ms for _, turn in turns.values() if turn.latency_ms is not None]
    end_ms = max(latencies) + AFTER_MS if latencies else LOST_MS
    return Scene(
        utterance=utterance,
        text=next((turn.truth or turn.said for _, turn in turns.values()), ""),
        begin_ms=-BEFORE_MS,
        end_ms=end_ms,
        clips=tuple(_clip(*turns[graph], end_ms) for graph in comparison.graphs if graph in turns),
    )


def _typical(comparison: Comparison, utterance: int) -> int:
    """The repeat whose difference between the first and the last graph is the median one."""
    first, last = comparison.graphs[0], comparison.graphs[-1]
    found: dict[int, list[float]] = {}
    for run in comparison.runs:
        if run.graph in (first, last):
            latencies = [turn.latency_ms for turn in run.turns if turn.utterance == utterance]
            found.setdefault(run.repeat, []).extend(ms for ms in latencies if ms is not None)
    both = sorted((abs(two[-1] - two[0]), repeat) for repeat, two in found.items() if len(two) > 1)
    return both[len(both) // 2][1] if both else min(found, default=0)


def _clip(run: RunResult, turn: Answered, end_ms: float) -> Clip:
    if not run.recording:
        return Clip(run.graph, run.repeat, turn, "", "", "")
    rate_hz, sound = _cut(Path(run.recording), turn.speech_end_s - BEFORE_MS / 1000, turn.speech_end_s + end_ms / 1000)
    user, answer = sound[:, 0], sound[:, 1]
    span_ms = BEFORE_MS + end_ms
    mixed = (user + answer).clip(-1, 1)
    return Clip(
        run.graph,
        run.repeat,
        turn,
        outline(user, span_ms),
        outline(answer, span_ms),
        packed(mixed, rate_hz),
    )


def _cut(path: Path, begin_s: float, end_s: float) -> tuple[int, Samples]:
    """Rate, and samples of shape (n, 2); silence where the recording has none."""
    import numpy as np

    with wave.open(str(path)) as file:
        rate_hz, frames = file.getframerate(), file.getnframes()
        begin, end = round(begin_s * rate_hz), round(end_s * rate_hz)
        sound = np.zeros((max(end - begin, 1), 2), np.float32)
        first, last = max(begin, 0), min(end, frames)
        if first < last:
            file.setpos(first)
            read = np.frombuffer(file.readframes(last - first), "<i2").reshape(-1, file.getnchannels())
            sound[first - begin : first - begin + len(read)] = read.astype(np.float32)[:, :2] / np.float32(32768)
    return rate_hz, sound


def outline(samples: Samples, span_ms: float) -> str:
    """The envelope as a closed SVG path."""
    import numpy as np

    edges = np.linspace(0, len(samples), BINS + 1).astype(int)
    peaks = np.maximum.reduceat(np.abs(samples), edges[:-1])
    peaks[peaks < QUIETEST] = 0.0
    # The square root: what is soft can be seen beside what is loud.
    heights = np.round(np.sqrt(np.minimum(peaks, 1.0)) * HALF).astype(int)
    xs = np.round(np.linspace(-BEFORE_MS, span_ms - BEFORE_MS, BINS)).astype(int)
    if not heights.any():
        return ""
    upper = "L".join(f"{x} {-height}" for x, height in zip(xs, heights, strict=True))
    lower = "L".join(f"{x} {height}" for x, height in zip(xs[::-1], heights[::-1], strict=True))
    return f"M{upper}L{lower}Z"


def packed(samples: Samples, rate_hz: int) -> str:
    """A data URI that browsers play."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    kind, data = _flac(content.getvalue()) or ("wav", content.getvalue())
    return f"data:audio/{kind};base64,{base64.b64encode(data).decode()}"


def _flac(data: bytes) -> tuple[str, bytes] | None:
    """The same as FLAC; None without ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="flowgraph-") as folder:
        path = Path(folder) / "clip.flac"  # a file, because only there ffmpeg goes back to write down the length
        command = [program, "-v", "error", "-i", "-", "-compression_level", "8", str(path)]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        return ("flac", path.read_bytes()) if done.returncode == 0 and path.exists() else None
