"""What a graph's ears made of a recorded user: every fact that reached the owner of the turn, and when.

1. The user is heard once, in real time, through all that lies before the owner: the real detector, the real recogniser. The owner is
   replaced by somebody who only listens; nothing behind it runs.
2. The user waits for nobody (`nodes/sound/monologue.py`): each utterance has `SILENCE_NS` behind it, whatever a policy would do.
3. Times count from `ORIGIN_NS` at the first sample, so that 0 stays "never". In frames, clock times are the fields `at` and `…_at`.
4. It is kept on disk by the content of everything that made it: sound, annotations, nodes, options, servers, versions.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gzip
import hashlib
import importlib.util
import json
import operator
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgraph.errors import FlowError
from flowgraph.frame import STAMPS, Frame
from flowgraph.graph import Graph, NodeSpec
from flowgraph.machine import versions
from flowgraph.node import Node, ports
from flowgraph.session import Session
from flowgraph.specs import services_used
from flowgraph.units import SECOND

if TYPE_CHECKING:
    from flowgraph.services import Services
    from flowgraph.tuning.dictated import Dictated

SILENCE_NS = 4 * SECOND
"""Behind each utterance: a policy that hasn't ended the turn within it has missed it."""
ORIGIN_NS = SECOND
FORMAT = 1
"""Of the files in the cache."""


class CantTune(FlowError):
    """The graph or the conversations give nothing to tune."""

    exit_code = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """An utterance of the recorded user, as it was annotated. Times as in rule 3."""

    text: str
    kind: str
    """What the conversation calls it, else what it is by its annotation: `plain`, `hesitation`, `interruption`, `over the answer`, `noise`."""
    asked: str
    """What the assistant had said before; "" = nothing in particular."""
    start: int
    end: int
    """The last voiced sample."""
    pauses: tuple[tuple[int, int], ...]
    answered: bool
    """Does it expect an answer?"""
    over_answer: bool
    """It is spoken while an answer sounds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A type of fact, and the order in which its fields are kept."""

    path: str
    """`module:Class`."""
    fields: tuple[str, ...]

    @classmethod
    def of(cls, frame_type: type[Frame]) -> Kind:
        names = [field.name for field in dataclasses.fields(frame_type) if field.name not in STAMPS]
        return cls(f"{frame_type.__module__}:{frame_type.__qualname__}", (*names, "at"))

    @property
    def name(self) -> str:
        """`Transcript`."""
        return self.path.rpartition(":")[2]

    @property
    def times(self) -> tuple[bool, ...]:
        """Which of the fields are times of the clock."""
        return tuple(name == "at" or name.endswith("_at") for name in self.fields)

    def type(self) -> type[Frame]:
        """The class."""
        module, _, name = self.path.partition(":")
        found: Any = functools.reduce(getattr, name.split("."), import_module(module))
        return found  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """One recorded user, heard."""

    name: str
    voice: str
    estimated: bool
    """An end of speech is a guess from the level."""
    said: tuple[Said, ...]
    kinds: tuple[Kind, ...]
    facts: tuple[tuple[int, int, tuple[Any, ...]], ...]
    """(when it reached the owner, index into `kinds`, values of the fields), in order of arrival."""
    end: int
    """When the last silence was over."""
    lost: int = 0
    """Frames that were dropped because the machine was too slow."""

    def until(self, index: int) -> int:
        """When what belongs to an utterance is over: the next one begins, or the sound ends."""
        return self.said[index + 1].start if index + 1 < len(self.said) else self.end

    def of_type(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(arrival, fields) of every fact of the type with that name."""
        wanted = {index: kind for index, kind in enumerate(self.kinds) if kind.name == name}
        for arrival, kind, values in self.facts:
            if kind in wanted:
                yield arrival, dict(zip(wanted[kind].fields, values, strict=True))

    def frames(self, origin: int) -> list[tuple[int, Frame]]:
        """(arrival, a fresh frame) of every fact. `origin`: the clock's time at which the first sample is captured."""
        shift = origin - ORIGIN_NS
        made = []
        types = [(kind.type(), kind.fields, kind.times) for kind in self.kinds]
        for arrival, index, values in self.facts:
            frame_type, names, times = types[index]
            fields = {
                name: value + shift if timed and value else value
                for name, value, timed in zip(names, values, times, strict=True)
            }
            made.append((arrival + shift, frame_type(**fields)))
        return made


# -- hearing ------------------------------------------------------------------------------------------------------------


def front_end(graph: Graph) -> Graph:
    """All that leads to the owner of the turn, and a listener in the owner's place. Raises CantTune."""
    import networkx as nx

    owner = graph.owner
    if owner is None:
        raise CantTune(f"{graph.path}: nobody in this graph decides when a turn is over", hint="it needs a `dialogue`")
    flow = nx.DiGraph((edge.source, edge.target) for edge in graph.edges if not edge.feedback)
    before = nx.ancestors(flow, owner) if owner in flow else set()
    edges = [edge for edge in graph.edges if edge.source in before and edge.target in {*before, owner}]
    types = tuple(dict.fromkeys(kind for edge in edges if edge.target == owner for kind in edge.types))
    if not sources(graph, before) or not types:
        raise CantTune(
            f"{graph.path}: nothing that listens to a device leads to '{owner}'",
            hint="it needs a `mic`, as in optimized.yaml",
        )
    nodes = {name: spec for name, spec in graph.nodes.items() if name in before}
    used = services_used(nodes)
    listener = NodeSpec(owner, "listener", listener_class(types), {}, "fail", graph.nodes[owner].place)
    return dataclasses.replace(
        graph,
        nodes={**nodes, owner: listener},
        edges=tuple(edges),
        services={name: spec for name, spec in graph.services.items() if name in used},
        budget={},
        owner=None,
        order=tuple(name for name in graph.order if name in before or name == owner),
    )


def sources(graph: Graph, among: set[str]) -> list[str]:
    """The nodes that listen to a device."""
    return [
        name
        for name, spec in graph.nodes.items()
        if name in among and not ports(spec.cls).inputs and "device" in spec.cls.model_fields
    ]


@functools.cache
def listener_class(types: tuple[type[Frame], ...]) -> type[Node]:
    """A sink for these types that notes when each frame came."""

    class Listener(Node):
        async def open(self) -> None:
            self.__dict__["heard"] = []

        def process(self, frame: Frame) -> None:
            self.__dict__["heard"].append((self.ctx.clock.now(), frame))

    Listener.process.__annotations__["frame"] = functools.reduce(operator.or_, types)
    return Listener


async def hear(
    graph: Graph,
    conversation: Any,
    *,
    services: Services | None = None,
    progress: Callable[[float], None] = lambda _seconds: None,
    silence_ns: int = SILENCE_NS,
) -> Evidence:
    """Let the graph's ears hear a recorded user. `progress` is told the seconds of sound that have been heard so far.

    `services`: instead of those that the graph declares (tests). Raises what ended the session.
    """
    # By name: the engine doesn't import nodes.
    monologue = import_module("nodes.sound.monologue")
    ears = front_end(graph)
    with tempfile.TemporaryDirectory(prefix="flowgraph-") as folder:
        path = Path(folder) / "said.wav"
        spoken = await asyncio.to_thread(monologue.write_one_by_one, conversation, path, silence_ns)
        last = conversation.utterances[-1]
        length = spoken[-1].end + (len(last.samples()) - last.speech_end) * SECOND // 16_000 + silence_ns
        heard = await _listen(ears, path, length, services, progress)
    return _evidence(conversation, spoken, length, heard)


@dataclasses.dataclass(slots=True)
class _Heard:
    began: int = 0
    """The clock's time of the first sample."""
    facts: Sequence[tuple[int, Frame]] = ()
    lost: int = 0


async def _listen(
    ears: Graph, path: Path, length: int, services: Services | None, progress: Callable[[float], None]
) -> _Heard:
    (source, *_) = sources(ears, set(ears.nodes))
    listener = next(name for name, spec in ears.nodes.items() if spec.type == "listener")
    spec = ears.nodes[source]
    nodes = {**ears.nodes, source: dataclasses.replace(spec, options={**spec.options, "device": f"file:{path}"})}
    session = Session(dataclasses.replace(ears, nodes=nodes), services=services)
    found = _Heard()
    over = asyncio.Event()
    told = 0

    def watch(frame: Frame) -> None:
        nonlocal told
        if frame.source != source or not frame.duration_ns:
            return
        found.began = found.began or frame.at
        so_far = frame.at + frame.duration_ns - found.began
        if so_far - told >= SECOND // 2:
            told = so_far
            progress(min(so_far, length) / SECOND)
        if so_far >= length:
            over.set()

    session.watch(Frame, watch)
    async with session:
        ended = asyncio.ensure_future(session.finished())
        enough = asyncio.ensure_future(over.wait())
        try:
            done, _ = await asyncio.wait({ended, enough}, return_when=asyncio.FIRST_COMPLETED)
            if ended in done:
                ended.result()
            await asyncio.sleep(0.1)  # what is still on its way
        finally:
            for task in (ended, enough):
                task.cancel()
            await asyncio.gather(ended, enough, return_exceptions=True)
        found.facts = session.node(listener).__dict__["heard"]
        found.lost = session.lost
    progress(length / SECOND)
    return found


def _evidence(conversation: Any, spoken: Sequence[Any], length: int, heard: _Heard) -> Evidence:
    shift = ORIGIN_NS - heard.began
    kinds: dict[type[Frame], int] = {}
    table: list[Kind] = []
    facts = []
    for arrival, frame in heard.facts:
        if type(frame) not in kinds:
            kinds[type(frame)] = len(table)
            table.append(Kind.of(type(frame)))
        kind = table[kinds[type(frame)]]
        values = tuple(
            value + shift if timed and value else value
            for name, timed in zip(kind.fields, kind.times, strict=True)
            for value in [getattr(frame, name)]
        )
        facts.append((arrival + shift, kinds[type(frame)], values))
    return Evidence(
        name=conversation.name,
        voice=conversation.voice,
        estimated=conversation.estimated,
        said=tuple(_said(one) for one in spoken),
        kinds=tuple(table),
        facts=tuple(facts),
        end=length + ORIGIN_NS,
        lost=heard.lost,
    )


def _said(spoken: Any) -> Said:
    return Said(
        spoken.text,
        spoken.kind or _kind(spoken),
        spoken.asked,
        spoken.start + ORIGIN_NS,
        spoken.end + ORIGIN_NS,
        tuple((start + ORIGIN_NS, end + ORIGIN_NS) for start, end in spoken.pauses),
        spoken.answered,
        spoken.over_answer,
    )


def _kind(spoken: Any) -> str:
    if spoken.over_answer:
        return "interruption" if spoken.answered else "over the answer"
    if not spoken.answered:
        return "noise"
    return "hesitation" if spoken.pauses else "plain"


async def hear_all(
    graph: Graph,
    conversations: Sequence[Any],
    *,
    callers: int,
    progress: Callable[[int, float], None] = lambda _index, _seconds: None,
    done: Callable[[int, Evidence], None] = lambda _index, _heard: None,
) -> list[Evidence]:
    """Hear several recorded users, `callers` at a time, each with ears of its own. Raises what ended the first session that failed."""
    free = asyncio.Semaphore(callers)
    found: list[Evidence | None] = [None] * len(conversations)

    async def one(index: int) -> None:
        async with free:
            heard = await hear(graph, conversations[index], progress=functools.partial(progress, index))
        found[index] = heard
        done(index, heard)

    try:
        async with asyncio.TaskGroup() as together:
            for index in range(len(conversations)):
                together.create_task(one(index))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [heard for heard in found if heard is not None]


def seconds_of(conversation: Any, silence_ns: int = SILENCE_NS) -> float:
    """So long it takes to hear it."""
    return 1.0 + float(sum((one.duration_ns + silence_ns) / SECOND for one in conversation.utterances))


# -- on disk ------------------------------------------------------------------------------------------------------------


class Cache:
    """Evidence on disk, a file for each key; what can't be read counts as not there."""

    def __init__(self, folder: Path | None = None) -> None:
        """Without a folder: `$XDG_CACHE_HOME/flowgraph/evidence`, in ~/.cache if that isn't set."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        self.folder = folder or home / "flowgraph" / "evidence"

    def load(self, key: str) -> Evidence | None:
        """What was heard, or None."""
        try:
            with gzip.open(self._path(key), "rt", encoding="utf-8") as file:
                data = json.load(file)
            return _from_json(data) if data.pop("format") == FORMAT else None
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return None

    def save(self, key: str, heard: Evidence) -> None:
        """Keep it. Where the folder can't be written to, it isn't kept."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self._path(key).with_suffix(f".{os.getpid()}")
            with gzip.open(part, "wt", encoding="utf-8") as file:
                json.dump({"format": FORMAT, **dataclasses.asdict(heard)}, file)
            part.replace(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json.gz"


def _from_json(data: dict[str, Any]) -> Evidence:
    said = tuple(Said(**{**one, "pauses": tuple(map(tuple, one["pauses"]))}) for one in data.pop("said"))
    kinds = tuple(Kind(one["path"], tuple(one["fields"])) for one in data.pop("kinds"))
    facts = tuple((arrival, kind, tuple(values)) for arrival, kind, values in data.pop("facts"))
    return Evidence(said=said, kinds=kinds, facts=facts, **data)


def key_of(graph: Graph, conversation: Any, silence_ns: int = SILENCE_NS, *, dictated: Dictated | None = None) -> str:
    """A name for all that the evidence depends on. Raises CantTune, as `front_end` does."""
    ears = front_end(graph)
    parts: dict[str, Any] = {
        "format": FORMAT,
        "dictated": dictated and (dataclasses.astuple(dictated), _source("nodes.servers.scripted")),
        "silence": silence_ns,
        "nodes": {
            name: (spec.type, _without_device(ears, spec), _source(spec.cls.__module__))
            for name, spec in ears.nodes.items()
            if spec.type != "listener"
        },
        "edges": [(edge.label, [kind.__name__ for kind in edge.types]) for edge in ears.edges],
        "services": {
            name: (spec.url, spec.options, _source(spec.server) if spec.embedded else "")
            for name, spec in ears.services.items()
        },
        "conversation": conversation.model_dump(mode="json", exclude={"utterances": {"__all__": {"audio"}}}),
        "sound": [hashlib.sha256(one.samples().tobytes()).hexdigest() for one in conversation.utterances],
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _without_device(ears: Graph, spec: NodeSpec) -> Mapping[str, Any]:
    """A source listens to the recorded user, whatever its file says."""
    if spec.name not in sources(ears, set(ears.nodes)):
        return spec.options
    return {name: value for name, value in spec.options.items() if name != "device"}


_IMPORT = re.compile(r"^\s*(?:from|import)\s+([\w.]+)", re.MULTILINE)


@functools.cache
def _source(module: str) -> str:
    """A hash of a module's text and of the texts in the same package that it imports."""
    texts: dict[str, str] = {}
    waiting = [module]
    top = module.partition(".")[0]
    while waiting:
        name = waiting.pop()
        if name in texts:
            continue
        texts[name] = _text(name)
        waiting += [found for found in _IMPORT.findall(texts[name]) if found.startswith(f"{top}.")]
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def _text(module: str) -> str:
    try:
        spec = importlib.util.find_spec(module)
        return Path(spec.origin).read_text(encoding="utf-8") if spec is not None and spec.origin else ""
    except (ImportError, ValueError, OSError, UnicodeDecodeError):
        return ""


__all__ = ["Cache", "CantTune", "Evidence", "Kind", "Said", "front_end", "hear", "hear_all", "key_of", "seconds_of"]
