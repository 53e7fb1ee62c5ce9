"""Sound without its pauses, and conversations in which it has some: what the generators of conversations share.

1. Each pause is as long as drawn, by the rule that annotates it. Its silence is not stored (`silences`).
2. The lengths are log-normal, as in speech (Campione & Véronis, "A large-scale multilingual study of silent pause
   duration", Speech Prosody 2002: medium pauses of 200 to 1000 ms, and long ones over 1000 ms that only occur in
   spontaneous speech). Median and spread are set so that a typical one lasts a quarter to half a second (Lundholm Fors,
   "Production and Perception of Pauses in Speech", Gothenburg 2015), and one in twenty more than a second and a half:
   with recorded people a timeout of 1.6 s still cuts off one in twenty (eot-bench, English, LiveKit 2026). They are
   drawn once, with a fixed seed, and were drawn before any policy was tried.
3. Everything is said twice: in a quiet room and in a loud one, with other pauses.
"""

from __future__ import annotations

import dataclasses
import sys
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from flowgraph.units import FROM_FILE
from nodes.sound.annotate import as_yaml
from nodes.sound.conversation import (
    RATE_HZ,
    VOICED_DBFS,
    WINDOW,
    Conversation,
    RecordedUtterance,
    Span,
    annotate,
    levels_dbfs,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

MS = RATE_HZ // 1000
ROOMS = {"quiet": -60, "loud": -50}
"""Noise floors in dBFS, under speech of `SPEECH_DBFS`."""
MEDIAN_MS, SPREAD, SHORTEST_MS, LONGEST_MS = 400.0, 0.75, 200, 3000
"""Of the drawn pauses: median and spread (of the natural logarithm) of the log-normal distribution, which is cut here."""
SPEECH_DBFS = -26.0
"""The level of the voiced samples of an utterance."""
HEAD_MS, TAIL_MS, EDGE_MS = 20, 40, 5
"""What is kept around the voiced samples, for the soft beginnings and ends of words; and how long its edges fade."""


@dataclasses.dataclass(frozen=True)
class Take:
    """An utterance as it is stored: clean sound in 16 bits, without its pauses."""

    kind: str
    parts: Sequence[Samples]
    """The sound between the pauses."""
    keys: dict[str, Any]
    """What else its YAML says."""

    @property
    def name(self) -> str:
        return self.kind.replace("_", "-")


def write(path: Path, takes: Sequence[Take], head: str, voice: str, seed: int) -> None:
    """Write `PATH-ROOM.yaml` for each room and `PATH/NUMBER-KIND.wav` for each take.

    `head`: a comment above all; `seed`: of the pauses and of the noise, to be different for each path.
    """
    path.mkdir(parents=True, exist_ok=True)
    for old in path.glob("*.wav"):
        old.unlink()
    digits = len(str(len(takes)))
    names = [f"{number:0{digits}}-{take.name}.wav" for number, take in enumerate(takes, 1)]
    for name, take in zip(names, takes, strict=True):
        _write_wav(path / name, take.parts)
    for place, (room, noise_dbfs) in enumerate(ROOMS.items(), 2 * seed):
        pauses_ms = _pauses_ms(place)
        said = [_utterance(f"{path.name}/{name}", take, pauses_ms) for name, take in zip(names, takes, strict=True)]
        conversation = Conversation(
            name=f"{path.name}-{room}",
            description=f"{len(said)} utterances with the pauses of spontaneous speech, in a {room} room.",
            voice=voice,
            noise_floor_dbfs=noise_dbfs,
            noise_seed=place + 1,
            utterances=tuple(said),
        )
        path.with_name(f"{path.name}-{room}.yaml").write_text(head + as_yaml(conversation), encoding="utf-8")


def leveled(parts: Sequence[Samples], gain_db: float = 0) -> list[Samples]:
    """The parts of an utterance at `SPEECH_DBFS` (and `gain_db` more), with their soft edges and nothing around."""
    import numpy as np

    voiced = np.concatenate([part[levels_dbfs(part) > VOICED_DBFS] for part in parts])
    gain_db += SPEECH_DBFS - float(10 * np.log10(np.mean(voiced.astype(np.float64) ** 2)))
    return [clean(part * np.float32(10 ** (gain_db / 20))) for part in parts]


def clean(samples: Samples) -> Samples:
    """From a little before the first voiced sample to a little after the last, edges faded, in 16 bits."""
    import numpy as np

    first, last = _voiced(samples)
    cut = samples[max(first - HEAD_MS * MS, 0) : last + 1 + TAIL_MS * MS].copy()
    fade = np.linspace(0, 1, EDGE_MS * MS, dtype=np.float32)
    cut[: len(fade)] *= fade
    cut[-len(fade) :] *= fade[::-1]
    if np.abs(cut).max() >= 1:
        raise ValueError("too loud: its peaks are far above its level")
    exact: Samples = np.round(cut * 32767).astype(np.float32) / np.float32(32768)
    return exact


def read_wav(path: Path) -> Samples:
    """float32, shape (n,), of a 16 kHz mono 16-bit file."""
    import numpy as np

    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE_HZ, f"{path} has {file.getframerate()} Hz"
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32768)


def _pauses_ms(seed: int) -> Iterator[int]:
    """Lengths of pauses, without end."""
    import numpy as np

    chance = np.random.default_rng(seed)
    while True:
        drawn = round(float(chance.lognormal(np.log(MEDIAN_MS), SPREAD)))
        if SHORTEST_MS <= drawn <= LONGEST_MS:
            yield drawn


def _utterance(audio: str, take: Take, pauses_ms: Iterator[int]) -> RecordedUtterance:
    """A take with its pauses drawn."""
    import numpy as np

    samples = take.parts[0]
    silences: list[Span] = []
    for part in take.parts[1:]:
        soft = len(samples) - 1 - _voiced(samples)[1] + _voiced(part)[0]
        length = next(pauses_ms) * MS - soft
        silences.append((len(samples), len(samples) + length - 1))
        samples = np.concatenate([samples, np.zeros(length, np.float32), part])
    found = annotate(samples)
    assert found is not None
    speech, pauses = found
    said = {"audio": audio, "kind": take.kind, "silences": silences, "speech": speech, "pauses": pauses}
    return RecordedUtterance.model_validate(said | take.keys, context=FROM_FILE)


def _voiced(samples: Samples) -> Span:
    """The first and the last voiced sample of what has silence on both sides: they may lie in the silence."""
    import numpy as np

    found = annotate(np.pad(samples, WINDOW))
    assert found is not None
    (first, last), _ = found
    return first - WINDOW, last - WINDOW


def _write_wav(path: Path, parts: Sequence[Samples]) -> None:
    import numpy as np

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.round(np.concatenate(parts) * 32768).astype("<i2").tobytes())
