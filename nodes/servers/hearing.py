"""Understand a stream of speech with PocketSphinx while it is spoken.

Four ideas carry this file; each was measured on recorded conversations.

1. **A finalise is a snapshot, not a cut.** PocketSphinx keeps the best word sequence of everything heard so far, so
   `finalise` reads it and freezes the words up to now; the decoder goes on with its language and sound context. A user
   who goes on after a comma loses nothing. The utterance really ends after `CLOSE_MS` without sound.
2. **The ear adapts before it decodes.** With the cepstral mean of another microphone and voice, three times as many words
   are wrong, and PocketSphinx's own estimate moves with a time constant of 5 s. So a stream's first `ADAPT_MS` of sound are
   searched for a single phrase only, at a tenth of the cost, which gives their mean; then the words are decoded from the
   beginning. Whoever asks for words before gets them with the mean of what there is.
3. **Silence is not decoded.** A gate over the tracked noise floor keeps it out: no CPU, and no words made of noise.
4. **What only noise could have said is not said.** An utterance without pitch is no speech (`Pitch`); and a lone short
   function word, or one drawn out over a second and a half, is what this model makes of tones and hums.

Everything here is plain and synchronous: bytes in, words out. Sound is s16le mono at 16 kHz; times are milliseconds
from the start of the stream, counted in samples.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nodes.servers.gate import BLOCK_BYTES, BLOCK_MS, Gate, Pitch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LEAD_MS = 400
"""Silence given to the decoder before the first sound: a word needs its soft beginning."""
CLOSE_MS = 700
"""Silence after which an utterance is over."""
LONGEST_MS = 30_000
"""An utterance is closed here even where nobody pauses: the decoder's memory and backtrace grow with it."""
ADAPT_MS = 800
"""Sound heard on the stream that gives a usable cepstral mean: with 600 ms, half as many words again are wrong; with more, no fewer."""
ADAPTED_MS = 3000
"""Sound heard, from which on PocketSphinx's own, slow estimate is good enough."""
PRIOR_FRAMES = 500
"""The weight that PocketSphinx gives to the mean that it was set to (CMN_WIN in its cmn.h), in frames of 10 ms."""
UNKNOWN_EAR = "40,3,-1"
"""PocketSphinx's own start value."""
MEASURING, DECODING = "measuring", "_default"
"""The decoder's two searches: one that costs next to nothing, and the one for words (its own name for it)."""
DRAWN_OUT_MS = 1500
VOICED_MS = 60
"""The shortest word has so much pitch."""
FILLERS = frozenset(
    {"a", "ah", "an", "and", "are", "eh", "her", "him", "hm", "hmm", "huh", "i'm", "in", "is", "it", "mm", "of", "oh"}
    | {"if", "on", "or", "that", "the", "this", "uh", "um"}
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its place in the stream."""

    text: str
    start_ms: int
    end_ms: int


def decoder(*, streaming: bool) -> Any:
    """A PocketSphinx decoder with the English model of its wheel (0.3 s to load).

    Streaming: the first pass only, pruned (0.07 of real time), so that an answer is there when the sound ends.
    Otherwise all three passes, for sound that is complete: a third fewer errors.
    """
    import pocketsphinx

    made = pocketsphinx.Decoder(
        fwdflat=not streaming, bestpath=not streaming, cmn="live" if streaming else "batch",
        maxhmmpf=3000 if streaming else 5000, maxwpf=10, loglevel="FATAL",
    )  # fmt: skip
    if streaming:
        made.add_keyphrase(MEASURING, "hello")
    return made


class Ear:
    """The cepstral mean of one stream: quickly estimated from its first seconds, then left to PocketSphinx."""

    def __init__(self) -> None:
        self.mean = UNKNOWN_EAR
        self._heard_ms = 0
        self._sum: npt.NDArray[np.float64] | float = 0.0
        self._frames = 0

    @property
    def unknown(self) -> bool:
        """Is there too little sound yet for a mean?"""
        return self._heard_ms < ADAPT_MS

    @property
    def adapting(self) -> bool:
        """Is our own mean still the better one?"""
        return self._heard_ms < ADAPTED_MS

    def heard(self, ms: int) -> bool:
        """Count sound; True when it is time to take the mean from it."""
        before, self._heard_ms = self._heard_ms, self._heard_ms + ms
        return before < ADAPT_MS <= self._heard_ms

    def measure(self, decoder: Any, before: npt.NDArray[np.float64], *, keep: bool) -> None:
        """Take the mean from the utterance that the decoder is in; `before` is what it was set to at its start.

        The decoder reports (before * PRIOR_FRAMES + sum of frames) / (PRIOR_FRAMES + frames). `keep`: the utterance is
        over, so its frames count for the next ones too.
        """
        frames = decoder.n_frames()
        if not frames:
            return
        total = means(decoder, update=True) * (PRIOR_FRAMES + frames) - before * PRIOR_FRAMES
        self.mean = ",".join(f"{value:.5f}" for value in (self._sum + total) / (self._frames + frames))
        if keep:
            self._sum, self._frames = self._sum + total, self._frames + frames


def means(decoder: Any, *, update: bool = False) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.array([float(value) for value in decoder.get_cmn(update).split(",")])


class Hearing:
    """One stream of sound. `feed` it, then ask `words()` at any time; `finalise()` freezes them."""

    def __init__(self, decoder: Any) -> None:
        """`decoder`: lent until the stream is over. What it remembers of the noise in another one's room is forgotten."""
        decoder.reinit_feat()
        self._decoder = decoder
        self._gate = Gate()
        self._pitch = Pitch()
        self._ear = Ear()
        self._rest = b""
        self._lead: deque[bytes] = deque(maxlen=LEAD_MS // BLOCK_MS)
        self._utterance: list[bytes] = []
        self._start_ms = 0
        self._voiced_ms = 0
        self._before: Any = None
        self._measuring = False
        """The utterance is not being decoded yet."""
        self._frozen_ms = 0
        self._finished: list[Word] = []
        self.now_ms = 0
        """How much was fed, in whole blocks."""
        self.silence_ms = 0
        """Since the last block with sound."""
        self.listening = False
        """True inside an utterance."""
        self.sound_at_ms: int | None = None
        """Where the utterance's first sound began; None outside of one."""

    def feed(self, pcm: bytes) -> None:
        """Hear more sound: s16le, mono, 16 kHz, any number of bytes."""
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % BLOCK_BYTES
        self._rest = pcm[whole:]
        pending: list[bytes] = []
        for start in range(0, whole, BLOCK_BYTES):
            block = pcm[start : start + BLOCK_BYTES]
            sound = self._gate.is_sound(block)
            self.now_ms += BLOCK_MS
            self.silence_ms = 0 if sound else self.silence_ms + BLOCK_MS
            if not self.listening:
                self._lead.append(block)
                if sound:
                    self._open()
                    self._voiced_ms = BLOCK_MS * self._pitch.is_voiced(block)
                continue
            if sound and self._voiced_ms < VOICED_MS and self._pitch.is_voiced(block):
                self._voiced_ms += BLOCK_MS
            self._utterance.append(block)
            pending.append(block)
            if sound and self._ear.heard(BLOCK_MS):
                self._decode(pending)
                pending.clear()
                self._adapt()
            elif self.silence_ms >= CLOSE_MS or self.now_ms - self._start_ms >= LONGEST_MS:
                self._decode(pending)
                pending.clear()
                self._close()
        self._decode(pending)

    def words(self) -> list[Word]:
        """What was understood and is not frozen yet; it may still change."""
        return self._finished + self._heard()

    def finalise(self) -> list[Word]:
        """The words up to now, for the last time: `words()` goes on behind them."""
        if self._measuring:
            self._adapt()
        words = self.words()
        self._finished = []
        self._frozen_ms = self.now_ms
        return words

    def finish(self) -> list[Word]:
        """The sound is over: decode the rest of it, then the words up to the end."""
        if self._rest:
            self.feed(bytes(BLOCK_BYTES - len(self._rest)))
        if self.listening:
            self._close()
        return self.finalise()

    def _open(self) -> None:
        self.listening = True
        self._utterance = list(self._lead)
        self._start_ms = self.now_ms - BLOCK_MS * len(self._utterance)
        self.sound_at_ms = self.now_ms - BLOCK_MS
        self._begin(measuring=self._ear.unknown)
        self._decode(self._utterance)

    def _begin(self, *, measuring: bool) -> None:
        self._measuring = measuring
        self._decoder.activate_search(MEASURING if measuring else DECODING)
        self._decoder.set_cmn(self._ear.mean)
        self._decoder.start_utt()
        self._before = means(self._decoder)

    def _adapt(self) -> None:
        self._ear.measure(self._decoder, self._before, keep=False)
        self._decoder.end_utt()
        self._begin(measuring=False)
        self._decode(self._utterance)

    def _decode(self, blocks: list[bytes]) -> None:
        if blocks:
            self._decoder.process_raw(b"".join(blocks))

    def _close(self) -> None:
        if self._measuring:
            self._adapt()
        if self._ear.adapting:
            self._ear.measure(self._decoder, self._before, keep=True)
            self._decoder.end_utt()
        else:
            self._decoder.end_utt()
            self._ear.mean = self._decoder.get_cmn()
        self._finished += self._heard()
        self.listening = False
        self.sound_at_ms = None
        self._lead.clear()
        self._lead.extend(self._utterance[-LEAD_MS // BLOCK_MS :])
        self._utterance = []
        self._frozen_ms = max(self._frozen_ms, self._finished[-1].end_ms if self._finished else 0)

    def _heard(self) -> list[Word]:
        if not self.listening or self._measuring:
            return []
        words = spoken(self._decoder, self._start_ms)
        if only_noise(words):
            return []
        # A word that lies mostly before the finalise was in that snapshot.
        return [word for word in words if (word.start_ms + word.end_ms) / 2 >= self._frozen_ms]


def spoken(decoder: Any, start_ms: int) -> list[Word]:
    """The decoder's best words so far, without its marks for silence, noise and pronunciation variants."""
    words = []
    for segment in decoder.seg() or ():
        if segment.word[0] not in "<[+":
            text = re.sub(r"\(\d+\)$", "", segment.word)
            words.append(Word(text, start_ms + segment.start_frame * 10, start_ms + (segment.end_frame + 1) * 10))
    return words


def only_noise(words: list[Word]) -> bool:
    """True for what the model makes of knocks, hums and breath rather than of speech."""
    if len(words) > 2:
        return False
    return all(word.text in FILLERS or word.end_ms - word.start_ms >= DRAWN_OUT_MS for word in words)


def understand(decoder: Any, pcm: bytes) -> list[Word]:
    """The words of a whole recording (s16le, mono, 16 kHz), decoded utterance by utterance with all passes."""
    gate, pitch, words = Gate(), Pitch(), list[Word]()
    blocks = [pcm[start : start + BLOCK_BYTES] for start in range(0, len(pcm) - BLOCK_BYTES + 1, BLOCK_BYTES)]
    sound = [gate.is_sound(block) for block in blocks]
    voiced = [here and pitch.is_voiced(block) for here, block in zip(sound, blocks, strict=True)]
    for first, last in _stretches(sound):
        if sum(voiced[first:last]) * BLOCK_MS < VOICED_MS:
            continue
        decoder.start_utt()
        decoder.process_raw(b"".join(blocks[first:last]), full_utt=True)
        decoder.end_utt()
        heard = spoken(decoder, first * BLOCK_MS)
        words += [] if only_noise(heard) else heard
    return words


def _stretches(sound: list[bool]) -> list[tuple[int, int]]:
    """Runs of blocks with sound, `LEAD_MS` wider on both sides, those that touch joined, none above `LONGEST_MS`."""
    lead, longest = LEAD_MS // BLOCK_MS, LONGEST_MS // BLOCK_MS
    runs: list[tuple[int, int]] = []
    for index in (index for index, here in enumerate(sound) if here):
        first, last = max(index - lead, 0), min(index + 1 + lead, len(sound))
        if runs and first <= runs[-1][1]:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return [(a, min(a + longest, last)) for first, last in runs for a in range(first, last, longest)]
