"""espeak-ng from the espeakng-loader wheel, by ctypes: text in, sound out while it is being made.

The library has one global state and calls back from inside `espeak_Synth`: everything here must run in one thread at a
time (`Espeak` holds a lock). A callback that returns 1 stops the synthesis, so that a reader who goes away costs nothing.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass

from nodes.servers.serving import ServingError
from nodes.servers.speech import RATE_HZ, Piece
from nodes.servers.voices import DEFAULT, ENGLISH, Voice

SYNCHRONOUS = 2
OWN_BUFFER = 0
"""espeak's own choice, 60 ms of sound a callback; this library takes no other."""
DO_NOT_EXIT = 0x8000
UTF8, END_PAUSE = 1, 0x1000
SPEED, PITCH, RANGE, WORD_GAP = 1, 3, 4, 7
LIST_TERMINATED, WORD = 0, 1
SLOWEST_WPM, FASTEST_WPM = 80, 450
NORMAL_WPM = 175
BREATH = 10 ** (-58 / 20) * 3**0.5
"""The peak of even noise at -58 dBFS: below what counts as silence (`speech.QUIET`)."""
SPOKEN = {"en-gb": "en"}
"""Languages that espeak calls otherwise."""


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Identity),
    )  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class Manner:
    """How a voice speaks: one of espeak's voices (with a variant), words per minute, pitch and its range (0 to 100)."""

    voice: str = "en-us"
    words_per_minute: int = 150
    pitch: int = 50
    range: int = 50
    word_gap: int = 0
    """Pause between words in 10 ms."""


class Espeak:
    """The library, loaded and ready. `rate_hz` is its own rate (22050)."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise ServingError("espeakng-loader is not installed", "pip install espeakng-loader") from error
        self._lock = threading.Lock()
        self._heard: Callable[[bytes, list[tuple[int, int, int]]], bool] = lambda _sound, _words: False
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = str(espeakng_loader.get_data_path())
        except (OSError, RuntimeError) as error:
            raise ServingError(f"espeak-ng cannot be loaded: {error}", "reinstall espeakng-loader") from error
        self.rate_hz = int(self._library.espeak_Initialize(SYNCHRONOUS, OWN_BUFFER, data.encode(), DO_NOT_EXIT))
        if self.rate_hz <= 0:
            raise ServingError(f"espeak-ng does not find its data in {data}", "reinstall espeakng-loader")
        self._callback = _CALLBACK(self._on_sound)  # ctypes keeps no reference: this one must live as long as we
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, manner: Manner, heard: Callable[[bytes, list[tuple[int, int, int]]], bool]) -> None:
        """Speak all of `text`; blocks until it is spoken or `heard` returns False.

        `heard(sound, words)` is called for each piece: s16le mono bytes at `rate_hz`, and the words that begin in it as
        (sample from the start, place in the text, length in characters).
        """
        data = text.replace("\0", " ").encode("utf-8", "replace")
        with self._lock:
            self._heard = heard
            if self._library.espeak_SetVoiceByName(manner.voice.encode()):
                raise ServingError(f"espeak-ng has no voice {manner.voice!r}")
            speed = min(max(manner.words_per_minute, SLOWEST_WPM), FASTEST_WPM)
            settings = ((SPEED, speed), (PITCH, manner.pitch), (RANGE, manner.range), (WORD_GAP, manner.word_gap))
            for parameter, value in settings:
                self._library.espeak_SetParameter(parameter, value, 0)
            self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, UTF8 | END_PAUSE, None, None)

    def _on_sound(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        words = []
        index = 0
        while events[index].type != LIST_TERMINATED:
            if events[index].type == WORD:
                event = events[index]
                words.append((event.sample, event.text_position - 1, event.length))
            index += 1
        sound = ctypes.string_at(samples, count * 2) if samples and count > 0 else b""
        if not sound and not words:
            return 0
        return 0 if self._heard(sound, words) else 1


class EspeakEngine:
    """espeak-ng under Kokoro's voice names.

    espeak's own formant voices are hard to understand, for recognisers even more than for people. Two things helped most
    (words that PocketSphinx got wrong, of 240): a Klatt synthesiser at 175 words a minute instead of the default voice,
    and a breath of noise under the sound, because a Klatt synthesiser leaves the bands between its formants as empty as
    no recogniser has ever heard them: 55 % without, 27 % with it. So all voices are of that kind, and differ in pitch and
    accent.
    """

    name = "espeak-ng"
    voices = ENGLISH

    def __init__(self) -> None:
        self._espeak = Espeak()

    def speak(self, text: str, voice: Voice, language: str, speed: float, heard: Callable[[Piece], bool]) -> None:
        import numpy as np
        import soxr

        ratio = RATE_HZ / self._espeak.rate_hz
        chance = np.random.default_rng(0)
        resampler = soxr.ResampleStream(self._espeak.rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")

        def on_sound(sound: bytes, words: list[tuple[int, int, int]]) -> bool:
            marks = tuple((int(sample * ratio), place) for sample, place, _ in words)
            samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768
            samples += chance.uniform(-BREATH, BREATH, len(samples)).astype(np.float32)
            return heard(Piece(resampler.resample_chunk(samples), marks))

        self._espeak.speak(text, manner(voice.name, language, speed), on_sound)
        heard(Piece(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))


def manner(name: str, language: str, speed: float) -> Manner:
    """How espeak plays a Kokoro voice."""
    words_per_minute = round(NORMAL_WPM * speed)
    spread = 3 * (sum(name.encode()) % 5 - 2)
    pitch = 50 if name == DEFAULT else (62 if name[1:2] == "f" else 42) + spread
    return Manner(f"{SPOKEN.get(language, language)}+klatt4", words_per_minute, pitch)
