"""What the engine writes down while it runs: one tuple a tap, appended to a ring. Everything else is worked out later.

A tuple is `(at_ns, kind, …)`:

    STAMP    node index, frame             a frame was yielded for the first time (not for bulk frames, see below)
    BULK     node index, id, cause, turn, type, at, end_at     the same for sound and voice probabilities, without samples
    PUT      edge index, frame id          accepted by a channel
    HELD     edge index, frame id          … and it waits there for its commit
    FULL     edge index, frame id          the put has to wait
    TAKE     edge index, frame id          taken by the consumer
    STALE    edge index, frame id          refused or dropped: its attempt is over
    DROP     edge index, frame id          lost to a declared overflow
    ADVANCE  attempt, id of the frame that the owner was processing
    COMMIT   attempt, id of the frame that the owner was processing
    GAIN     gain, id of the frame that the owner was processing
    WIRE     service, event, request, frame id     what a service's connections do: for which request (a number), made for which
                                           frame in process (0 = none)
    NOTE     node index, text              failures, restarts, loop lag, detached clean-up
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STAMP, BULK, PUT, HELD, FULL, TAKE, STALE, DROP, ADVANCE, COMMIT, GAIN, WIRE, NOTE = range(13)

KINDS = ("stamp", "bulk", "put", "held", "full", "take", "stale", "drop", "advance", "commit", "gain", "wire", "note")

Tap = Callable[[tuple[Any, ...]], None]
