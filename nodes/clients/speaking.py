"""From the bytes of one spoken sentence to the chunks of sound that the speaker takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nodes.clients.pcm import SampleReader, Trimmer
from nodes.text.aligning import Span, align
from nodes.vocabulary import Speech

if TYPE_CHECKING:
    from nodes.clients.captions import Word
    from nodes.vocabulary import Samples

FIRST_MS = 10
"""The first chunk leaves as soon as there is so much of it: enough for a device block."""
LEAST_MS = 40
"""The others wait for so much …"""
MOST_MS = 100
"""… and are never longer than this, so that an interruption wastes little."""


class Part:
    """One request's answer. The first chunk carries the original text, the last one says that it is the last.

    Word times come with the chunk behind which they became known; over all chunks, joined, the words are the text.
    """

    def __init__(self, text: str, *, number: int, rate_hz: int, keep_ms: float | None, pause_ms: float = 0.0) -> None:
        """`text`: the original. `number`: counts the parts of an attempt. `keep_ms`: silence that stays at the ends; None: all.

        `pause_ms`: silence before it, by `begin`.
        """
        import numpy as np

        self.received = 0
        """Samples that the server sent."""
        self._number = number
        self._reader = SampleReader(rate_hz)
        self._keep_ms = keep_ms
        self._trimmer: Trimmer | None = None
        self._text = text
        self._untimed = text
        self._heard: list[Word] = []
        self._pause = round(rate_hz * pause_ms / 1000)
        self._timed_until = self._pause
        self._captioned = False
        self._samples: Samples = np.zeros(0, np.float32)
        self._sent = 0

    @property
    def rate_hz(self) -> int:
        """The rate of the sound, once it has begun."""
        return self._reader.rate_hz

    @property
    def sound_ms(self) -> float:
        """So much has left, the pause aside."""
        return (self._sent - self._pause) * 1000 / self.rate_hz

    def begin(self) -> list[Speech]:
        """The pause before it, which can be heard while the sound is still being made."""
        import numpy as np

        if not self._pause:
            return []
        samples = np.zeros(self._pause, np.float32)
        samples.flags.writeable = False
        self._sent = self._pause
        return [Speech(samples, self.rate_hz, part=self._number)]

    def feed(self, portion: bytes, words: Iterable[Word] = ()) -> list[Speech]:
        """The chunks that these bytes complete. Raises ServiceError."""
        samples = self._reader.feed(portion)
        self._heard += words
        self.received += len(samples)
        self._add(self._trimmed(samples))
        least = LEAST_MS if self._sent > self._pause else FIRST_MS
        return list(self._chunks(self.rate_hz * least // 1000))

    def end(self) -> list[Speech]:
        """The chunks that are left; at least one, the last."""
        if self._trimmer:
            self._add(self._trimmer.end())
        total = self._sent + len(self._samples)
        chunks = list(self._chunks(self.rate_hz * MOST_MS // 1000 + 1))
        last = self._chunk(len(self._samples), last=True, total=total)
        return [*chunks, last]

    def _trimmed(self, samples: Samples) -> Samples:
        if self._keep_ms is None or not len(samples):
            return samples
        if self._trimmer is None:
            self._trimmer = Trimmer(rate_hz=self.rate_hz, keep_ms=self._keep_ms)
        return self._trimmer.feed(samples)

    def _add(self, samples: Samples) -> None:
        import numpy as np

        self._samples = np.concatenate((self._samples, samples))

    def _chunks(self, least: int) -> Iterator[Speech]:
        while len(self._samples) >= least:
            yield self._chunk(min(len(self._samples), self.rate_hz * MOST_MS // 1000))
            least = self.rate_hz * LEAST_MS // 1000

    def _chunk(self, count: int, *, last: bool = False, total: int | None = None) -> Speech:
        samples, self._samples = self._samples[:count], self._samples[count:]
        samples.flags.writeable = False
        text, self._text = self._text, ""
        self._sent += count
        return Speech(samples, self.rate_hz, text=text, part=self._number, last=last, words=tuple(self._words(total)))

    def _words(self, total: int | None) -> list[Span]:
        """The words whose times have become known. `total`: the part's length, once that is known."""
        if not self._heard and (total is None or not self._captioned):
            return []
        self._captioned = True
        cut = self._trimmer.cut if self._trimmer else 0
        heard = [(word, self._sample(start, cut), self._sample(end, cut)) for word, start, end in self._heard]
        self._heard = []
        spans, self._untimed = align(self._untimed, heard, after=self._timed_until, until=total)
        self._timed_until = spans[-1][2] if spans else self._timed_until
        return spans

    def _sample(self, seconds: float, cut: int) -> int:
        return self._pause + max(round(seconds * self.rate_hz) - cut, 0)
