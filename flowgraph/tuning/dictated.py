"""Evidence in no real time, with words from the annotation: what the policies are worth where the recogniser errs not.

1. The graph's own ears hear the recorded user on virtual time. Only the recogniser behind them is another: it knows the words and when each is
   over, and tells them by the real protocol, so long after it is asked as is stated (`nodes/servers/scripted.py`).
2. Work takes no virtual time. An end-of-turn model's score therefore comes so long after the sound that it judges as is stated; when the
   user speaks on before, it doesn't (rule 5 of `nodes/smart_turn.py`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from flowgraph.clock import run_virtual
from flowgraph.specs import services_used
from flowgraph.tuning.evidence import SILENCE_NS, CantTune, Evidence, front_end, hear, seconds_of
from flowgraph.units import SECOND

if TYPE_CHECKING:
    from aiohttp import web

    from flowgraph.graph import Graph
    from flowgraph.services import Services

RECOGNISER = "nodes.servers.stt"
"""The embedded server of the services that can be replaced."""
REAL_LIMIT_S = 1800.0


@dataclasses.dataclass(frozen=True, slots=True)
class Dictated:
    """How late what is heard comes. Nanoseconds."""

    words: int
    """A final transcript behind the request for it; a word's place in the partial ones behind its end."""
    scores: int
    """A score behind the sound that it judges."""


def check(graph: Graph, conversations: Sequence[Any]) -> None:
    """Can this graph's ears be told the words? Raises CantTune."""
    ears = front_end(graph)
    recognisers = 0
    for name, spec in ears.nodes.items():
        used = services_used({name: spec})
        if not used:
            continue
        streams = getattr(spec.cls, "server", "") == RECOGNISER and "send" in spec.cls.model_fields
        if not streams or spec.options.get("send", "always") != "always":
            raise CantTune(
                f"{spec.place}: '{name}' ({spec.type}) can't be told the words",
                hint="only a recogniser that is sent all sound can, `ws_stt` with `send: always`; leave out --stt to listen in real time",
            )
        recognisers += 1
    if not recognisers:
        raise CantTune(f"{graph.path}: there is no recogniser that could be told the words", hint="leave out --stt")
    for one in conversations:
        # Utterances with neither a text nor an answer are noise: coughs.
        mute = next((said for said in one.utterances if not said.text and said.expects == "answer"), None)
        if mute is not None:
            raise CantTune(
                f"{one.name}: what is said in {mute.audio.name} isn't annotated",
                hint="add its `text`, or leave out --stt to listen in real time",
            )


def hear_dictated(graph: Graph, conversation: Any, late: Dictated) -> Evidence:
    """One recorded user, on virtual time. Raises what ended the session."""
    seconds = seconds_of(conversation)
    return run_virtual(_hear(graph, conversation, late), limit_s=seconds + 600, real_limit_s=REAL_LIMIT_S)


async def _hear(graph: Graph, conversation: Any, late: Dictated) -> Evidence:
    monologue = import_module("nodes.sound.monologue")  # by name: the engine doesn't import nodes
    dictation = import_module("nodes.servers.scripted").dictation
    _, spoken = monologue.spoken_one_by_one(conversation, SILENCE_NS)
    words = [word for one in spoken for word in one.words]
    names = front_end(graph).services
    services = _wired({name: dictation(words, delay_s=late.words / SECOND) for name in names})
    return _with_late_scores(await hear(graph, conversation, services=services), late.scores)


def _wired(applications: Mapping[str, web.Application]) -> Services:
    from flowgraph.wire import wired_services

    return wired_services(applications)


def _with_late_scores(heard: Evidence, late: int) -> Evidence:
    """By rule 2."""
    names = [kind.name for kind in heard.kinds]
    speech = [arrival for arrival, fields in heard.of_type("Voice") if fields["speaking"]]
    facts = []
    for arrival, kind, values in heard.facts:
        moved = arrival
        if names[kind] == "EndOfTurn":
            moved = values[heard.kinds[kind].fields.index("at")] + late
            if any(arrival <= at <= moved for at in speech):
                continue
        facts.append((moved, kind, values))
    return dataclasses.replace(heard, facts=tuple(sorted(facts, key=lambda fact: fact[0])))


def hear_all_dictated(
    graph: Graph,
    conversations: Sequence[Any],
    late: Dictated,
    *,
    processes: int,
    done: Callable[[int, Evidence], None] = lambda _index, _heard: None,
) -> list[Evidence]:
    """Several recorded users, spread over processes. Raises what ended the first session that failed."""
    found: list[Evidence | None] = [None] * len(conversations)
    hear_one = functools.partial(hear_dictated, graph, late=late)
    # Not forked: this process may have threads and sockets of its own.
    with ProcessPoolExecutor(min(processes, len(conversations)), get_context("spawn")) as pool:
        work = {pool.submit(hear_one, one): index for index, one in enumerate(conversations)}
        try:
            for future in as_completed(work):
                index = work[future]
                found[index] = heard = future.result()
                done(index, heard)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [heard for heard in found if heard is not None]


__all__ = ["Dictated", "check", "hear_all_dictated", "hear_dictated"]
