"""Kokoro by kokoro-onnx, where its weights are there.

The weights are not part of any package: `kokoro-v1.0.onnx` and `voices-v1.0.bin` from the releases of
github.com/thewh1teagle/kokoro-onnx. They are looked for where the command line says, where KOKORO_MODEL and
KOKORO_VOICES say, and in ~/.cache/flowgraph/kokoro.

A call of the model returns when its sound is complete, so text is spoken sentence by sentence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodes.servers.serving import ServingError
from nodes.servers.speech import RATE_HZ, Piece
from nodes.servers.voices import Voice

CACHE = "~/.cache/flowgraph/kokoro"
MODEL, VOICES = "kokoro-v1.0.onnx", "voices-v1.0.bin"
SLOWEST, FASTEST = 0.5, 2.0
"""What kokoro-onnx takes; speeds beyond are spoken as these."""
PAUSE = RATE_HZ * 250 // 1000
"""Between two sentences."""


def weights(model: str = "", voices: str = "") -> tuple[Path, Path] | None:
    """The two files; None where nobody named any and the cache has none. Raises ServingError: named, but not there."""
    named = (model or os.environ.get("KOKORO_MODEL", ""), voices or os.environ.get("KOKORO_VOICES", ""))
    paths = tuple(
        Path(name or f"{CACHE}/{kept}").expanduser() for name, kept in zip(named, (MODEL, VOICES), strict=True)
    )
    missing = [str(path) for path in paths if not path.is_file()]
    if not missing:
        return paths[0], paths[1]
    if any(named):
        raise ServingError(
            f"there is no file {' and no file '.join(missing)}",
            f"--model and --voices (or KOKORO_MODEL, KOKORO_VOICES) name {MODEL} and {VOICES}; without both, espeak speaks",
        )
    return None


class KokoroEngine:
    """Kokoro 82M. `voices` are those in the voices file."""

    name = "kokoro-onnx"

    def __init__(self, model: Path, voices: Path) -> None:
        try:
            from kokoro_onnx import Kokoro
        except ImportError as error:
            raise ServingError("kokoro-onnx is not installed", "pip install 'flowgraph[kokoro]'") from error
        try:
            self._kokoro = Kokoro(str(model), str(voices))
            self.voices: tuple[str, ...] = tuple(sorted(self._kokoro.voices))
        except Exception as error:  # onnxruntime and numpy raise their own kinds
            raise ServingError(
                f"Kokoro cannot be loaded from {model} and {voices}: {error}", "download them again"
            ) from error
        if not self.voices:
            raise ServingError(f"{voices} holds no voice", "download it again")

    def speak(self, text: str, voice: Voice, language: str, speed: float, heard: Callable[[Piece], bool]) -> None:
        import numpy as np

        styles = [self._kokoro.get_voice_style(name) * weight for name, weight in voice.parts]
        style: Any = np.sum(styles, axis=0, dtype=np.float32)
        sample = 0
        for start, sentence in sentences(text):
            if sample:
                sample += PAUSE
                if not heard(Piece(np.zeros(PAUSE, np.float32))):
                    return
            samples, _, spoken = self._kokoro.create_timed(
                sentence, style, speed=min(max(speed, SLOWEST), FASTEST), lang=language
            )
            marks = tuple((sample + at, start + place) for at, place in _marks(sentence, spoken))
            sample += len(samples)
            if not heard(Piece(np.asarray(samples, np.float32), marks)):
                return


def sentences(text: str) -> list[tuple[int, str]]:
    """Each with its place in the text; pieces without a letter or digit are left out, Kokoro has no sound for them."""
    found = re.finditer(r"\S.*?(?:[.!?…]+[\"')\]”’]*(?=\s)|[。！？]|\n|$)", text, re.DOTALL)
    return [(one.start(), one[0]) for one in found if any(letter.isalnum() for letter in one[0])]


def _marks(sentence: str, spoken: list[Any]) -> list[tuple[int, int]]:
    """(sample, place) of each word: the model times phonemes, and words are what stands between spaces.

    Only where both count the same words: "42" is one written word and two spoken ones.
    """
    starts, new = [], True
    for timing in spoken:
        if timing.phoneme.isspace():
            new = True
        elif new:
            starts.append(round(timing.start * RATE_HZ))
            new = False
    places = [word.start() for word in re.finditer(r"\S+", sentence)]
    return list(zip(starts, places, strict=True)) if len(starts) == len(places) else []
