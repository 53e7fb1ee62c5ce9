"""What streaming recognisers have in common. A protocol is one class beside this file, such as `deepgram.Deepgram`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nodes.vocabulary import Samples


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a recogniser made of a stretch of the stream. Times are seconds of the sound that it got."""

    text: str
    begin: float
    """Where its first word begins; without word times, where the stretch begins."""
    end: float
    has_word_times: bool = False
    stable: bool = False
    """It won't change any more."""
    finalised: bool = False
    """It answers a request to finalise: all sound until that request is in it or in results before it."""
    language: str = ""


class Recogniser(Protocol):
    """One wire protocol: pure, no sockets. Text frames are control messages, binary frames are sound."""

    path: str
    keep_alive: str
    """Sent while no sound is, often enough that the server doesn't hang up."""
    finalise: str
    """Asks for all that is known about the sound so far, now."""
    bye: str
    """The sound has ended: say what is left and hang up."""

    def query(self, *, rate_hz: int, model: str, language: str) -> dict[str, str]:
        """The stream's settings, as the URL's query."""
        ...

    def headers(self, key: str) -> dict[str, str]:
        """How the service wants to see its key."""
        ...

    def encode(self, samples: Samples) -> bytes:
        """Sound as the stream's settings say."""
        ...

    def parse(self, message: str) -> Result | None:
        """What a text frame says; None where it is of no interest. Raises ServiceError."""
        ...
