"""What the owner of the turn makes of what was heard, on virtual time: the real node, with the options that are to be tried.

1. The facts come when they came, as fresh frames. Behind the owner stand two nodes: one takes as long as the services are said to take until
   the first sound is ready, the other is a mouth behind the same kind of edge as the graph's speaker: held until the commit, or not.
2. An answer sounds for `ANSWER_NS`, or, where the next utterance is meant to be spoken over it, until what is spoken over it is over. It says what
   the recorded user is known to have been asked.
3. A pause in which the turn was committed is a false cut-off, whether or not the answer was ready soon enough to be heard: the next machine is
   faster. A commit behind the true end is the answer, and its first sound ends the user's wait.
4. One conversation is one session: an owner that learns the user's pauses learns them here too.
"""

from __future__ import annotations

import asyncio
import bisect
import dataclasses
import functools
import operator
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowgraph.clock import run_virtual
from flowgraph.errors import FlowError, NodeFailed
from flowgraph.frame import Frame, Heard, Plan, frame
from flowgraph.graph import Edge, Graph, NodeSpec
from flowgraph.node import Node, ports
from flowgraph.session import Session
from flowgraph.tuning.evidence import ORIGIN_NS, Evidence, Said
from flowgraph.units import MS, SECOND

if TYPE_CHECKING:
    from flowgraph.tuning.sweep import Options

ANSWER_NS = SECOND
PAUSE_BEFORE_NEXT_NS = 300 * MS
"""An answer that is spoken over ends this long before the next utterance that isn't."""
ANSWER = "All right."
DEAD_AIR_MS = 2000.0
POLL_S = 0.01
REAL_LIMIT_S = 600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Delays:
    """What comes behind the owner. Nanoseconds."""

    prepared: int
    """From the prompt until the first sound of the answer waits at the held edge."""
    after: int
    """From there, once committed, until it reaches the player: what lies behind the held edge."""
    playout: int
    """From the player to the ear."""
    held: bool
    """Does an edge hold the answer until the commit?"""


def delays(graph: Graph, services: Mapping[str, int], playout: int) -> Delays:
    """Each service's delay, before or behind the edge that the graph holds. `services`: by name, nanoseconds until something comes of them."""
    held = {edge for edge in graph.edges if edge.hold}
    before, waiting = set[str](), [graph.owner or ""]
    while waiting:
        name = waiting.pop()
        if name not in before:
            before.add(name)
            waiting += [edge.target for edge in graph.edges_from(name) if edge not in held and not edge.feedback]
    users: dict[str, set[str]] = {
        service: {name for name, spec in graph.nodes.items() if service in _services_of(spec)} for service in services
    }
    after = sum(ns for service, ns in services.items() if users[service] and not users[service] & before)
    return Delays(sum(services.values()) - after, after, playout, bool(held))


def _services_of(spec: NodeSpec) -> set[str]:
    from flowgraph.specs import services_used

    return services_used({spec.name: spec})


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How one utterance fared. Durations in milliseconds."""

    conversation: str
    voice: str
    index: int
    kind: str
    answered: bool
    """Should it be answered?"""
    over_answer: bool
    pauses: int
    """Chances to cut it off."""
    cuts: tuple[tuple[int, float], ...]
    """Each pause in which the turn was committed (−1: in none, right in the speech), and how long after its beginning."""
    cut_heard: bool
    """An answer was audible before the user had finished."""
    commits: tuple[float, ...]
    """All commits, since the true end: negative before it."""
    decided: float | None
    """From the true end to the commit of that answer: what the policy alone takes."""
    latency: float | None
    """From the true end to the first audible sample of the answer."""
    missed: bool
    """It should have been answered, and was not within the silence behind it."""
    ended: bool | None = None
    """Spoken over an answer: did it stop it? None where none sounded."""
    stopped: float | None = None
    """From its first voiced sample until the answer was silent."""
    needless: bool = False
    """It was answered, and nothing was asked."""
    prompts: int = 0
    """Attempts that were begun for it."""

    @property
    def cut_off(self) -> bool:
        """Was the turn taken to be over before it was?"""
        return bool(self.cuts)

    @property
    def dead_air(self) -> bool:
        """Did nothing sound for more than 2 s?"""
        return self.missed or (self.latency is not None and self.latency > DEAD_AIR_MS)


class WrongSettings(FlowError):
    """The owner can't be made with these options."""

    exit_code = 2


def owner_with(graph: Graph, options: Options) -> NodeSpec:
    """The graph's owner with other options on top. Raises WrongSettings."""
    assert graph.owner is not None
    spec = graph.nodes[graph.owner]
    changed = dataclasses.replace(spec, options={**spec.options, **options})
    try:
        problems = list(changed.make().problems())
    except ValueError as error:
        raise WrongSettings(f"{spec.name} with {dict(options)}: {error}") from None
    if problems:
        first = problems[0] if isinstance(problems[0], str) else problems[0][0]
        raise WrongSettings(f"{spec.name} with {dict(options)}: {first}")
    return changed


def replay(owner: NodeSpec, heard: Evidence, after: Delays) -> list[Outcome]:
    """All utterances of a conversation, in order. Raises NodeFailed if the owner fails."""
    return run_virtual(_replay(owner, heard, after), limit_s=heard.end / SECOND + 120, real_limit_s=REAL_LIMIT_S)


async def _replay(owner: NodeSpec, heard: Evidence, after: Delays) -> list[Outcome]:
    outputs = ports(owner.cls).outputs
    types = tuple(kind.type() for kind in heard.kinds)
    ears, services, mouth = _ears(types)(), _services(outputs)(), _Mouth()
    graph = _graph(owner, {"ears": ears, "services": services, "mouth": mouth}, types, outputs, held=after.held)
    origin = round(asyncio.get_running_loop().time() * SECOND) + SECOND
    ears.__dict__["_given"] = heard.frames(origin)
    services.__dict__["_prepared_s"] = after.prepared / SECOND
    mouth.__dict__["_plan"] = _Script(heard, origin, after)
    session = Session(graph, nodes={"ears": ears, "services": services, "mouth": mouth})
    prompts: list[int] = []
    commits: list[int] = []
    for kind in outputs:
        session.watch(kind, lambda _: prompts.append(session.clock.now()))
    async with session:
        session.turn.on_commit(lambda: commits.append(session.clock.now()))
        await session.finished()
    gains = [(at, gain) for at, gain, _ in session.trace.gains]
    played = [dataclasses.replace(one, silent=_silent_from(one, gains)) for one in mouth.__dict__["_played"]]
    return _judged(heard, origin, prompts, commits, played)


def _graph(
    owner: NodeSpec,
    around: Mapping[str, Node],
    types: tuple[type[Frame], ...],
    outputs: tuple[type[Frame], ...],
    *,
    held: bool,
) -> Graph:
    made = {name: NodeSpec(name, name, type(node), {}, "fail", owner.place) for name, node in around.items()}

    def edge(source: str, target: str, *kinds: type[Frame], hold: bool = False, feedback: bool = False) -> Edge:
        overflow = "fail" if feedback else "block"
        return Edge(source, target, kinds, 1024, 0, overflow, hold=hold, feedback=feedback, place=owner.place)  # type: ignore[arg-type]

    return Graph(
        name="replay",
        description="",
        path=owner.place,
        nodes={"ears": made["ears"], owner.name: owner, "services": made["services"], "mouth": made["mouth"]},
        edges=(
            edge("ears", owner.name, *types),
            edge(owner.name, "services", *outputs),
            edge("services", "mouth", _Prepared, hold=held),
            edge("mouth", owner.name, Heard, feedback=True),
        ),
        services={},
        budget={},
        owner=owner.name,
        order=("ears", owner.name, "services", "mouth"),
    )


# -- what stands around the owner ---------------------------------------------------------------------------------------


@frame
class _Prepared(Plan):
    """The first sound of an answer."""


@functools.cache
def _ears(types: tuple[type[Frame], ...]) -> type[Node]:
    """A source of what was heard."""

    class Ears(Node):
        async def run(self) -> AsyncIterator[Frame]:
            now = self.ctx.clock.now
            for arrival, fact in self.__dict__["_given"]:
                wait = arrival - now()
                if wait > 0:
                    await asyncio.sleep(wait / SECOND)
                yield fact

    union: Any = functools.reduce(operator.or_, types)
    Ears.run.__annotations__["return"] = AsyncIterator[union]
    return Ears


@functools.cache
def _services(types: tuple[type[Frame], ...]) -> type[Node]:
    """All that makes a sound of a prompt."""

    class Services(Node):
        async def process(self, frame: Frame) -> AsyncIterator[_Prepared]:
            if not frame.is_plan:
                return  # what it says to have things ready
            await asyncio.sleep(self.__dict__["_prepared_s"])
            yield _Prepared()

    Services.process.__annotations__["frame"] = functools.reduce(operator.or_, types)
    return Services


class _Script:
    """How long an answer that begins at some time sounds, and what it says."""

    def __init__(self, heard: Evidence, origin: int, after: Delays) -> None:
        self.after_s = after.after / SECOND
        self.playout = after.playout
        shift = origin - ORIGIN_NS
        self._starts = [one.start + shift for one in heard.said]
        self._said = heard.said
        self._end = heard.end + shift

    def of(self, at: int) -> tuple[int, str]:
        """(when it is over, text)."""
        following = bisect.bisect_right(self._starts, at)
        text = self._said[following].asked if following < len(self._said) else ""
        last = following
        while last < len(self._said) and self._said[last].over_answer:
            last += 1
        if last == following:
            return at + ANSWER_NS, text or ANSWER
        end = self._starts[last] if last < len(self._starts) else self._end
        return max(end - PAUSE_BEFORE_NEXT_NS, at + ANSWER_NS), text or ANSWER


@dataclasses.dataclass(slots=True)
class _Played:
    """An answer that was audible."""

    attempt: int
    begin: int
    end: int
    cut: bool
    silent: int = 0
    """Where it was cut: since when it had been silent, if it was paused before it was stopped for good."""


class _Mouth(Node):
    """Plays answers: silent ones, at the pace of real ones."""

    effects = True

    async def open(self) -> None:
        self._queue: list[_Prepared] = []
        self._woken = asyncio.Event()
        self._over = False
        self.__dict__["_played"] = []
        self.ctx.turn.on_advance(self._woken.set)

    async def drain(self) -> None:
        self._over = True
        self._woken.set()

    def process(self, frame: _Prepared) -> None:
        self._queue.append(frame)
        self._woken.set()

    async def run(self) -> AsyncIterator[Heard]:
        script: _Script = self.__dict__["_plan"]
        while True:
            self._woken.clear()
            if not self._queue:
                if self._over:
                    return
                await self._woken.wait()
                continue
            prepared = self._queue.pop(0)
            if await self._wait_to_begin(prepared, script):
                async for heard in self._play(prepared, script):
                    yield heard
            else:
                yield Heard(final=True, cut=True, cause=prepared)

    async def _wait_to_begin(self, prepared: _Prepared, script: _Script) -> bool:
        """False: it was withdrawn before it was heard."""
        turn = self.ctx.turn
        if script.after_s:
            await asyncio.sleep(script.after_s)
        while turn.gain == 0.0 and turn.number == prepared.turn and not self._over:  # noqa: ASYNC110 - nobody is told of a gain
            await asyncio.sleep(POLL_S)
        return turn.number == prepared.turn

    async def _play(self, prepared: _Prepared, script: _Script) -> AsyncIterator[Heard]:
        turn, now = self.ctx.turn, self.ctx.clock.now
        begin = now() + script.playout
        until, text = script.of(begin)
        yield Heard("", 0, begin, begin, cause=prepared)
        while (left := until - script.playout - now()) > 0 and turn.number == prepared.turn and not self._over:
            self._woken.clear()
            try:
                async with asyncio.timeout(left / SECOND):
                    await self._woken.wait()
            except TimeoutError:
                break
        end = now() + script.playout
        cut = turn.number != prepared.turn
        self.__dict__["_played"].append(_Played(prepared.turn, begin, end, cut))
        words = text.split()
        share = min(1.0, (end - begin) / max(until - begin, 1))
        said = text if not cut else " ".join(words[: round(len(words) * share)])
        yield Heard(said, (end - begin) // MS, begin, end, final=True, cut=cut, cause=prepared)


def _silent_from(played: _Played, gains: Sequence[tuple[int, float]]) -> int:
    silent = 0
    for at, gain in gains:
        if played.begin <= at <= played.end:
            silent = (silent or at) if gain == 0.0 else 0
    return silent or played.end


# -- judging ------------------------------------------------------------------------------------------------------------


def _judged(
    heard: Evidence, origin: int, prompts: Sequence[int], commits: Sequence[int], played: Sequence[_Played]
) -> list[Outcome]:
    shift = ORIGIN_NS - origin
    prompts = [at + shift for at in prompts]
    commits = [at + shift for at in commits]
    answers = [
        dataclasses.replace(one, begin=one.begin + shift, end=one.end + shift, silent=one.silent + shift)
        for one in played
    ]
    return [_outcome(heard, index, prompts, commits, answers) for index in range(len(heard.said))]


def _outcome(
    heard: Evidence, index: int, prompts: Sequence[int], commits: Sequence[int], answers: Sequence[_Played]
) -> Outcome:
    said, until = heard.said[index], heard.until(index)
    mine = [at for at in commits if said.start <= at < until]
    sounding = next((one for one in answers if one.begin <= said.start < one.end), None)
    stopped = sounding is not None and sounding.cut and sounding.end < until  # by this one, not by what came after it
    audible = [one for one in answers if said.start <= one.begin < until and one is not sounding]
    after = next((one.begin for one in audible if one.begin >= said.end), None)
    decided = max((at for at in mine if after is not None and at <= after), default=None)
    # An answer that began too early and was never stopped: the user was cut off, and then needs no other.
    early = any(one.begin < said.end and one.end > said.end and not one.cut for one in audible)
    return Outcome(
        conversation=heard.name,
        voice=heard.voice,
        index=index,
        kind=said.kind,
        answered=said.answered,
        over_answer=said.over_answer,
        pauses=len(said.pauses),
        cuts=_cuts(said, [at for at in mine if at < said.end]),
        cut_heard=any(one.begin < said.end for one in audible),
        commits=tuple((at - said.end) / MS for at in mine),
        decided=(decided - said.end) / MS if said.answered and decided is not None else None,
        latency=(after - said.end) / MS if said.answered and after is not None else None,
        missed=said.answered and after is None and not early,
        ended=None if sounding is None or not said.over_answer else stopped,
        stopped=(sounding.silent - said.start) / MS if sounding is not None and stopped and said.over_answer else None,
        needless=not said.answered and bool(audible),
        prompts=sum(said.start <= at < until for at in prompts),
    )


def _cuts(said: Said, early: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """Each pause at most once. A commit a little behind a pause was decided in it."""
    found: dict[int, float] = {}
    for at in early:
        pause = max((number for number, (start, _) in enumerate(said.pauses) if start <= at), default=-1)
        begin = said.pauses[pause][0] if pause >= 0 else said.start
        found.setdefault(pause, (at - begin) / MS)
    return tuple(found.items())


__all__ = ["Delays", "NodeFailed", "Outcome", "WrongSettings", "delays", "owner_with", "replay"]
