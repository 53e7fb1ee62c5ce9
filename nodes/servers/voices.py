"""Kokoro's voice names, and what a request may write where a voice is wanted.

`af_heart` = American, female, called heart. A mix names several with weights: `af_bella(2)+af_sky(1)`, `-` takes away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ENGLISH: tuple[str, ...] = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck",
    "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
)  # fmt: skip
"""The English voices of Kokoro 1.0."""

DEFAULT = "af_heart"

OPENAI = {
    "alloy": "af_alloy", "ash": "am_adam", "coral": "bf_emma", "echo": "am_echo", "fable": "bm_fable",
    "nova": "af_nova", "onyx": "am_onyx", "sage": "am_michael", "shimmer": "af_sky",
}  # fmt: skip
"""OpenAI's names are taken for the Kokoro voice that comes closest."""

LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "cmn",
}  # fmt: skip
"""The first letter of a voice, or `lang_code`, and the language that it stands for."""


class UnknownVoice(ValueError):
    """The voice is not there, or the mix cannot be read."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice or a mix: names with weights that sum to 1."""

    parts: tuple[tuple[str, float], ...]

    @property
    def name(self) -> str:
        """The voice that weighs most."""
        return max(self.parts, key=lambda part: part[1])[0]

    @classmethod
    def parse(cls, text: str, available: tuple[str, ...]) -> Voice:
        """Raises UnknownVoice, which lists the available ones."""
        parts = []
        for sign, term in re.findall(r"(^|[+-])([^+-]*)", text.replace(" ", "")):
            found = re.fullmatch(r"(\w+)(?:\((\d+(?:\.\d+)?)\))?", term)
            name = OPENAI.get(found[1], found[1]) if found else term
            if not found or name not in available:
                raise UnknownVoice(f"Voice '{name}' not found. Available voices: {', '.join(available)}")
            parts.append((name, float(found[2] or 1) * (-1 if sign == "-" else 1)))
        total = sum(weight for _, weight in parts)
        if abs(total) < 1e-6:
            raise UnknownVoice(f"the weights of '{text}' sum to 0")
        return cls(tuple((name, weight / total) for name, weight in parts))
