"""A node: one file, one class. Its fields are its YAML options, its `process` is its behaviour.

1. Options are pydantic fields. State has an underscore and is set in `open`.
2. Ports are annotations: `process(self, frame: A | B) -> Iterator[C]` takes A and B and yields C. `run` adds outputs.
3. What a node says, it yields; the engine stamps, routes, measures and interrupts. A node has at most two tasks, `process`
   (its frames, in order) and `run` (what comes by itself); they interleave only at awaits, so it needs no locks.
4. `def process` runs inline and must be short (≤ 1 ms); `async def process` may await; with `blocking = True` a plain
   `def` runs in a thread that is never abandoned.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from flowgraph.errors import FlowError, GraphError
from flowgraph.files import beside
from flowgraph.frame import Frame
from flowgraph.units import MS

if TYPE_CHECKING:
    from flowgraph.context import Context
    from flowgraph.tuning.sweep import Sweep

OnError = Literal["fail", "skip", "restart"]

Trouble: TypeAlias = str | tuple[str, str]
"""One sentence about what is wrong, alone or with what to do. It is shown at the option that its first word names."""


def troubles(option: str, check: Callable[..., object], *arguments: object) -> Iterator[Trouble]:
    """What a check that raises FlowError says of an option."""
    try:
        check(*arguments)
    except GraphError as error:
        if any(problem.file for problem in error.problems):
            raise
        for problem in error.problems:
            yield f"{option}: {problem.message}", problem.hint
    except FlowError as error:
        yield f"{option}: {error.message}", error.hint


class _ServiceMarker:
    """Marks an option that names a service of the YAML's `services:`."""


ServiceName = Annotated[str, _ServiceMarker()]
"""An option's type: the name of a service declared under `services:`. The graph checks that it is there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """Marks an option that may name a file. Paths are meant as seen from the graph's file, and a node gets them as seen from where it runs."""

    placed: Callable[[str, str], str]
    """`placed(value, folder)`: the option's value in a file of that folder, as the working directory sees it."""


FileName = Annotated[str, Placed(beside)]
"""An option's type: the path of a file or folder. In a file it is relative to that file; behind `--set`, and where it comes from the
environment, to the working directory."""


class Node(BaseModel):
    """Subclass it in a file of its own; the file's name is the YAML type."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    owns_turn: ClassVar[bool] = False
    """It alone may advance, commit and set the gain; its Plans are the prompts."""
    effects: ClassVar[bool] = False
    """What it does can't be undone (a speaker, a tool): it sits behind a held edge when the owner speculates."""
    live: ClassVar[bool] = False
    """A source that can't be paused without losing data: its edges don't block."""
    blocking: ClassVar[bool] = False
    """`process` is a plain `def` that blocks: it runs in a thread."""
    server: ClassVar[str] = ""
    """Module of the server that `url: embedded` starts for this node's service."""
    needs: ClassVar[tuple[type[Frame], ...]] = ()
    """Inputs without which it is of no use: a graph that feeds it none of one of these is wrong. The others are optional."""
    typical_ms: ClassVar[float] = 0.0
    """What it typically adds to the first sound, for the static check of a budget; 0 = not declared."""

    if not TYPE_CHECKING:
        # State is written per frame: pydantic's own __setattr__ costs ten times a plain one.
        __setattr__ = object.__setattr__

    @property
    def ctx(self) -> Context:
        """Clock, turn, services and devices of the session. Set by the engine before `open`."""
        try:
            return self.__dict__["_ctx"]  # type: ignore[no-any-return]
        except KeyError:
            raise RuntimeError(f"{type(self).__name__}.ctx is there from open() on") from None

    async def open(self) -> None:
        """Acquire what it needs (models, sockets, devices). All nodes open at once."""

    async def close(self) -> None:
        """Release it. Called once, also where `open` failed half-way."""

    def flush(self) -> None:
        """The attempt is over: forget what is buffered of it. Called in band, before the next frame."""

    async def drain(self) -> None:
        """All inputs have ended: let `run` come to its own end. Called once."""

    def speculates(self) -> bool:
        """For an owner: may a Plan leave it before the commit?"""
        return False

    def patience_ns(self) -> int:
        """The longest that it may wait for an answer from outside before it fails by itself: so long nothing need move."""
        return 0

    def typical_ns(self) -> int:
        """`typical_ms`, where it depends on the options. An owner's: how long it takes to see that the user has finished."""
        return round(self.typical_ms * MS)

    def candidate_ns(self) -> int:
        """For an owner that speculates: so long after the user's last word a Plan may leave it."""
        return 0

    @classmethod
    def sweeps(cls) -> Sequence[Sweep]:
        """For an owner: the policies that `flow tune` may try, each with its settings."""
        return ()

    def problems(self) -> Iterator[Trouble]:
        """What only the node can see is wrong with its options, before anything starts.

        Raises GraphError for what is wrong inside a file that an option names.
        """
        return iter(())

    def edge_problems(self, edges: Wired) -> Iterator[Trouble]:  # noqa: ARG002 -- for subclasses
        """The same of its edges."""
        return iter(())


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """Frame types that a node class takes and yields."""

    inputs: tuple[type[Frame], ...]
    outputs: tuple[type[Frame], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Wired:
    """What the edges of a node carry."""

    fed: frozenset[type[Frame]]
    """The frame types that are brought to it."""
    taken: frozenset[type[Frame]]
    """The frame types that somebody takes from it."""


def port_name(frame_type: type[Frame]) -> str:
    """`SpeechStarted` → `speech_started`."""
    name = frame_type.__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def _frames_in(annotation: object) -> Iterator[type[Frame]]:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        for part in typing.get_args(annotation):
            yield from _frames_in(part)
    elif isinstance(annotation, type) and issubclass(annotation, Frame):
        yield annotation
    elif typing.get_origin(annotation) in (
        Iterator,
        AsyncIterator,
        Generator,
        AsyncGenerator,
        Iterable,
        Sequence,
        list,
    ):
        yield from _frames_in(typing.get_args(annotation)[0])


@cache
def ports(cls: type[Node]) -> Ports:
    """The ports of a node class, read from the annotations of `process` and `run`.

    Raises TypeError when an annotation is missing or names a frame that isn't defined at module level.
    """
    inputs: list[type[Frame]] = []
    outputs: list[type[Frame]] = []
    for name in ("process", "run"):
        method = getattr(cls, name, None)
        if method is None:
            continue
        try:
            hints = typing.get_type_hints(method)
        except NameError as error:
            raise TypeError(f"{cls.__name__}.{name}: {error}; its frames must be imported at module level") from None
        outputs += _frames_in(hints.get("return"))
        if name == "process":
            parameters = [p for p in inspect.signature(method).parameters if p != "self"]
            if len(parameters) != 1 or parameters[0] not in hints:
                raise TypeError(f"{cls.__name__}.process takes one annotated frame: process(self, frame: Audio)")
            inputs += _frames_in(hints[parameters[0]])
    if not inputs and not outputs:
        raise TypeError(f"{cls.__name__} has no ports: annotate the frames of process or run")
    return Ports(tuple(dict.fromkeys(inputs)), tuple(dict.fromkeys(outputs)))


def service_options(cls: type[Node]) -> list[str]:
    """Names of the options that name a service."""
    return [
        name
        for name, field in cls.model_fields.items()
        if any(isinstance(marker, _ServiceMarker) for marker in field.metadata)
    ]


def parallel_of(node: Node) -> int:
    """How many frames may be in `process` at once: the node's `parallel` (an option or a ClassVar), else one.

    Outputs leave in input order all the same.
    """
    value: Any = getattr(node, "parallel", 1)
    return int(value)
