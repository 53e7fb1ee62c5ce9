"""Frames: the typed, immutable messages that nodes pass.

1. A frame is a Fact (it happened; never stale) or a Plan (we intend it in one attempt; worthless once
   that attempt is over). Its class decides, nothing else does.
2. The engine stamps a frame once, when it is first yielded: `id`, `cause`, `turn`, `at`, `source`. A frame that
   was received and is yielded again keeps its stamps. A node may state `at` or `cause` itself, by keyword.
3. A stamped frame never changes. It isn't enforced with `object.__setattr__` at every construction, since that
   would cost more than the rest of a hop: the type checker refuses the write, and `enforce_frozen` (on in our
   tests) makes it an error at run time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=False, field_specifiers=(dataclasses.field,))
def frame(cls: type[T]) -> type[T]:
    """Class decorator for frames: a slotted dataclass that compares by identity (samples may be arrays)."""
    return dataclasses.dataclass(slots=True, eq=False)(cls)


@frame
class Frame:
    """What travels on an edge. Subclass `Fact` or `Plan`, not this."""

    cause: Frame | int = dataclasses.field(default=0, kw_only=True, repr=False)
    """Id of the frame whose processing made this one; 0 = it came by itself. A node yielding from `run` may give
    the frame itself; the engine replaces it by the id."""
    at: int = dataclasses.field(default=0, kw_only=True, repr=False)
    """Nanoseconds on the session's clock: when it happened (sound: when its first sample was captured)."""
    id: int = dataclasses.field(default=0, init=False, repr=False)
    """Unique in a session, rising; 0 = not stamped yet."""
    turn: int = dataclasses.field(default=0, init=False, repr=False)
    """The attempt that it belongs to."""
    source: str = dataclasses.field(default="", init=False, repr=False)
    """Name of the node that yielded it first."""
    lost: int = dataclasses.field(default=0, init=False, repr=False)
    """How many frames were dropped before this one, on the edge that it came by."""

    is_plan: ClassVar[bool] = False
    bulk: ClassVar[bool] = False
    """Many a second (sound, voice probabilities): the trace aggregates them."""

    @property
    def duration_ns(self) -> int:
        """How much time it covers; 0 unless it is sound."""
        return 0

    @property
    def cause_id(self) -> int:
        """`cause` as an id, stamped or not."""
        cause = self.cause
        return cause if isinstance(cause, int) else cause.id

    def restamped(self, **stamps: Any) -> Self:
        """A copy that differs in its stamps only (the engine's: what was lost differs from edge to edge)."""
        twin = object.__new__(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(twin, field.name, stamps.get(field.name, getattr(self, field.name)))
        return twin

    def fields(self) -> Iterator[tuple[str, Any]]:
        """Its own fields, without the stamps: what a trace or a printer shows."""
        for field in dataclasses.fields(self):
            if field.name not in STAMPS:
                yield field.name, getattr(self, field.name)


STAMPS = frozenset({"cause", "at", "id", "turn", "source", "lost"})


@frame
class Fact(Frame):
    """Something that happened. Never dropped as stale."""


@frame
class Plan(Frame):
    """Something we intend in one attempt. Refused everywhere once `turn` is below the current attempt."""

    is_plan: ClassVar[bool] = True


Reason = Literal["done", "length", "error"]


@frame
class End(Plan):
    """Behind the last Plan of an attempt, exactly once: nodes that buffer empty themselves and pass it on."""

    reason: Reason = "done"
    detail: str = ""


@frame
class Heard(Fact):
    """What of an attempt's answer was really heard so far: cumulative, a later one contains the earlier.

    `turn` is the attempt. The last one has `final=True`: the answer was played to its end or was cut.
    """

    text: str = ""
    """The original text, to the word: a word counts when half of its span was played."""
    samples: int = 0
    """Samples played, at the rate of the speech."""
    first_audible_at: int = 0
    """When the first audible sample left the device (clock, nanoseconds); 0 = nothing audible yet."""
    played_until: int = 0
    """When the last sample so far left the device (clock, nanoseconds)."""
    final: bool = False
    cut: bool = False
    """True if the answer was interrupted before its end."""
    reason: Reason = "done"
    """How the answer ended; with "error", `detail` says why."""
    detail: str = ""


@frame
class Failure(Fact):
    """A node failed and `on_error` is not `fail`: told to the owner of the turn."""

    node: str
    message: str
    attempt: int = 0
    """The attempt that was lost with it; 0 = it was working on a Fact."""


def enforce_frozen() -> None:
    """Make writing to a stamped frame an error at run time (for tests: it slows every frame down)."""

    def guard(self: Frame, name: str, value: object) -> None:
        stamped = getattr(self, "id", 0) != 0
        if stamped:
            raise dataclasses.FrozenInstanceError(f"{type(self).__name__}.{name}: a stamped frame does not change")
        object.__setattr__(self, name, value)

    Frame.__setattr__ = guard  # type: ignore[method-assign, assignment]
