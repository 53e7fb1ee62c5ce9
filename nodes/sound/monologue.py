"""A recorded user who waits for nobody: one utterance after the other, with silence behind each.

What a graph's ears make of it doesn't depend on what the graph answers, so it has to be heard only once. Utterances that barge into an
answer are spoken like the others: whoever replays what was heard lets an answer sound there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from nodes.sound.conversation import RATE_HZ, Conversation
from nodes.sound.word_times import word_ends

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

SECOND = 1_000_000_000
LEAD_NS = SECOND
"""Silence before the first utterance: a voice activity detector learns the noise of the room."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance in the sound. Nanoseconds since the first sample of all."""

    text: str
    kind: str
    """What the conversation calls it; "" = nothing."""
    asked: str
    """What the assistant had said before, if the conversation tells."""
    start: int
    """The first voiced sample."""
    end: int
    """The last voiced sample."""
    pauses: tuple[tuple[int, int], ...]
    """Start and end of every stretch of 100 ms or more within it in which nothing is voiced."""
    answered: bool
    """Does it expect an answer?"""
    over_answer: bool
    """It is meant to be spoken while an answer sounds."""
    words: tuple[tuple[int, str], ...] = ()
    """Each word of the text, and when it is over."""


def spoken_one_by_one(conversation: Conversation, silence_ns: int) -> tuple[Samples, tuple[Spoken, ...]]:
    """The sound, noise included: float32, shape (n,), in [-1, 1] at 16 kHz. Behind each utterance lie `silence_ns`."""
    import numpy as np

    silence = np.zeros(silence_ns * RATE_HZ // SECOND, np.float32)
    pieces = [np.zeros(LEAD_NS * RATE_HZ // SECOND, np.float32)]
    spoken: list[Spoken] = []
    begin = len(pieces[0])
    for one in conversation.utterances:
        samples = one.samples()
        spoken.append(
            Spoken(
                text=one.text,
                kind=one.kind,
                asked=one.asked,
                start=_ns(begin + one.speech_start),
                end=_ns(begin + one.speech_end),
                pauses=tuple((_ns(begin + first), _ns(begin + last + 1)) for first, last in one.hesitations),
                answered=one.expects == "answer",
                over_answer=one.barge_in is not None,
                words=tuple(
                    (_ns(begin + end), word) for end, word in zip(word_ends(one), one.text.split(), strict=True)
                ),
            )
        )
        pieces += [samples, silence]
        begin += len(samples) + len(silence)
    sound = np.concatenate(pieces)
    noise = conversation.noise_floor()
    sound += np.tile(noise, -(-len(sound) // len(noise)))[: len(sound)]
    return sound.clip(-1, 1), tuple(spoken)


def write_one_by_one(conversation: Conversation, path: Path, silence_ns: int) -> tuple[Spoken, ...]:
    """The same into a WAV file, 16 bit. Raises DeviceError."""
    from nodes.sound.wav import WavTarget

    sound, spoken = spoken_one_by_one(conversation, silence_ns)
    target = WavTarget(path, RATE_HZ)
    try:
        target.write(sound)
    except BaseException:
        target.discard()
        raise
    target.save()
    return spoken


def _ns(sample: int) -> int:
    return sample * SECOND // RATE_HZ
