"""Somebody speaks over the answer: an interruption, or only a cough, an "mhm", or the answer's own echo?

1. Ducking costs nothing, so little is enough for it: a sound that stands out from the noise of the room, or from the answer's echo in
   it (`Attention`). Sounds that don't turn
   into speech within 160 ms are none. Speech that has sounded for `pause_after` pauses the answer: it is silent while it is undecided.
2. Words decide as soon as they weigh enough: `min_words` of them that are neither backchannels nor an echo of the answer, or one that can
   only mean it ("stop", `interruptions`), even if a partial transcript says so. Any word will do where the answer has only begun, as the
   user may not have finished; and once it is settled, where it asks, or where the answer has just asked something.
3. Fewer words may be anything: a recogniser writes "im who" where somebody says "mhm". So they wait for more: until `confirm_after` of
   silence. Then the answer goes on ("Paris", said once over an answer that asked nothing, doesn't stop it), but if the user says more
   soon, and that is an interruption, they are part of it.
4. Without words that tell, length does: nobody coughs for as long as `confirm_after`.
5. Speech that has ended without any of it is none once its transcript is there, or `patience` later. Where an acoustic model hears
   that the user has not finished, twice as long.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from nodes.text.finishing import asked, words_of

if TYPE_CHECKING:
    from nodes.vocabulary import DoubleTalk, Voice

ECHO_WORDS = 3
"""So many words in a row that the answer has just said are its echo."""
ECHO_REACH = 25
"""They are looked for among the last so many words that were heard."""
UNFINISHED = 0.3
"""A probability below this says that the user is in the middle of something."""

LIKELY = 0.5
"""A window at least this likely to be speech is taken for some, as far as ducking goes."""
CLEAR_DB = 8.0
"""What stands out is so far above the noise of the room: the level of noise alone varies by 3 dB between windows …"""
CLEAR_DBFS = -50.0
"""… and no softer than this, where digital silence, dithering and what a canceller leaves of an echo end."""
FLOOR_WINDOWS = 94
"""The noise of the room is the softest window of the last 3 s."""
NOTICED_NS = 60_000_000
"""What was noticed beside the echo so recently is heard in this window: it is as long as 32 ms, and comes later."""
UNLIKELY = 0.1
"""A sound that stands out and is less likely than this to be speech …"""
UNLIKE_WINDOWS = 5
"""… for longer than this is none. A hiss ("stop", "sorry") is unlike speech to a detector until its vowel comes, 90 to 130 ms later; a
voice that it doubts, for twice as long."""

Verdict = Literal["open", "interruption", "nothing", "doubtful"]
"""`doubtful`: nothing, but its words count if the user says more."""
Phrases = frozenset[tuple[str, ...]]
"""Each as its words."""


@dataclasses.dataclass(slots=True)
class Overlap:
    """Speech that began while an answer was on. Times in nanoseconds on the session's clock."""

    onset_at: int
    lasted: int = 0
    """How long it is voiced, up to now or to its end."""
    early: bool = False
    """It began so soon after the answer that the user may not have finished before: any word is more of it."""
    ended: bool = False
    unfinished: bool = False
    """An acoustic model heard that the user goes on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listening:
    """What tells an interruption from what is none."""

    confirm_after: int
    """Nanoseconds of speech that interrupt, whatever was said; of silence behind words that may be anything."""
    patience: int
    """Nanoseconds of silence behind it, within which its transcript has to come."""
    backchannels: Phrases
    interruptions: Phrases
    """What wants the turn, however short."""
    min_words: int
    """So many words want it, whatever they are."""

    def verdict(self, overlap: Overlap, *, said: str, settled: bool, silence: int, heard: str) -> Verdict:
        """`said`: its words so far; `settled`: a final transcript covers it; `silence`: since it ended; `heard`: the answer so far."""
        words = words_of(said)
        ours = not words or is_echo(words, words_of(heard)) or self.is_backchannel(words)
        telling = overlap.early or (settled and (said.rstrip().endswith("?") or asked(heard) != "nothing"))
        if not ours and (telling or self._weighty(self._beyond_backchannels(words))):
            return "interruption"
        if overlap.lasted >= (3 if words and ours else 1) * self.confirm_after:
            return "interruption"
        if not overlap.ended:
            return "open"
        patience = (self.patience if ours else self.confirm_after) * (2 if overlap.unfinished else 1)
        if silence < patience and not (settled and ours):
            return "open"
        return "nothing" if ours else "doubtful"

    def is_backchannel(self, words: Sequence[str]) -> bool:
        """Nothing but backchannels, one or several?"""
        return bool(words) and not self._beyond_backchannels(words)

    def _weighty(self, words: tuple[str, ...]) -> bool:
        return len(words) >= self.min_words or any(
            words[i : i + len(one)] == one for one in self.interruptions for i in range(len(words))
        )

    def _beyond_backchannels(self, words: Sequence[str]) -> tuple[str, ...]:
        """Without the backchannels that it begins with."""
        rest = tuple(words)
        while found := max((len(one) for one in self.backchannels if one == rest[: len(one)]), default=0):
            rest = rest[found:]
        return rest


class Attention:
    """Does something begin to sound in the room that may be somebody who speaks?"""

    def __init__(self) -> None:
        self._levels: deque[float] = deque([CLEAR_DBFS - CLEAR_DB], maxlen=FLOOR_WINDOWS)
        self._unlike = 0
        """So many windows in a row stood out and were unlike speech."""
        self.since = 0
        """When that began, by the end of its first window (clock, nanoseconds); 0 = nothing does."""
        self._noticed_at = -NOTICED_NS
        """When something was heard beside the echo."""

    def hears(self, voice: Voice) -> bool:
        """Take in the next window."""
        loudest = max(voice.level_dbfs, voice.end_dbfs)
        clear = loudest >= max(min(self._levels) + CLEAR_DB, CLEAR_DBFS) or voice.at - self._noticed_at < NOTICED_NS
        self._levels.append(voice.level_dbfs)
        likely = voice.probability >= LIKELY
        self._unlike = self._unlike + 1 if clear and voice.probability < UNLIKELY else 0
        if not likely and (not clear or self._unlike > UNLIKE_WINDOWS):
            self.since = 0
            return False
        self.since = self.since or voice.at
        return True

    def notices(self, beside: DoubleTalk) -> bool:
        """Before a canceller lets it through, and between two windows."""
        self._noticed_at = beside.at
        if self._unlike > UNLIKE_WINDOWS or len(self._levels) == 1:
            return False  # (without windows nothing would tell that it is over)
        self.since = self.since or beside.at
        return True


def phrases(texts: Sequence[str]) -> Phrases:
    """`["uh huh", "yeah"]` as words."""
    return frozenset(tuple(words) for text in texts if (words := words_of(text)))


def is_echo(words: Sequence[str], heard: Sequence[str]) -> bool:
    """Are these words, at least three, what the answer has just said?"""
    if len(words) < ECHO_WORDS:
        return False
    recent = list(heard[-ECHO_REACH:])
    return any(recent[i : i + len(words)] == list(words) for i in range(len(recent) - len(words) + 1))
