"""What the bundled caller says, as bytes: s16le, mono, 16 kHz, in the noise of its room."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import numpy as np

from nodes.sound.conversation import Conversation, load_conversation

RATE_HZ = 16_000
DEMO = Path(__file__).parents[2] / "graphs/conversations/demo.yaml"


@cache
def conversation() -> Conversation:
    return load_conversation(DEMO)


def pcm(samples: np.ndarray) -> bytes:
    return bytes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def noise(ms: int, dbfs: float = -60.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(ms * RATE_HZ // 1000) * 10 ** (dbfs / 20)


def said(index: int, *, before_ms: int = 500, after_ms: int = 1000) -> bytes:
    """One utterance (counted from 0)."""
    samples = np.pad(conversation().utterances[index].samples(), [ms * RATE_HZ // 1000 for ms in (before_ms, after_ms)])
    return pcm(samples + noise(1000 * len(samples) // RATE_HZ + 1)[: len(samples)])


def with_pauses(silence_ms: int) -> list[bytes]:
    """All of it, cut after so much silence: in each pause that is as long, and behind each utterance."""
    parts, rest = [], b""
    for index, one in enumerate(conversation().utterances):
        whole = rest + said(index)
        begin = len(rest) + 500 * RATE_HZ // 1000 * 2
        silence = silence_ms * RATE_HZ // 1000
        ends = [first for first, last in one.hesitations if last - first >= silence] + [one.speech_end]
        cuts = [0, *(begin + 2 * (end + silence) for end in ends)]
        parts += [whole[a:b] for a, b in itertools.pairwise(cuts)]
        rest = whole[cuts[-1] :]
    return parts
