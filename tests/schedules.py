"""Random conversations on virtual time: facts injected at the dialogue, a scripted answerer, the real speaker; and what must hold of them.

A schedule is what a user does: speaks, pauses, says "mhm" or coughs, at any time, over whatever is played; transcripts and answers take as
long as they like. `held` runs one, `check` says what of it is wrong.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from typing import Literal, TypeVar

import numpy as np
from hypothesis import strategies as st

from flowgraph.frame import Frame
from flowgraph.node import Node
from flowgraph.session import Session
from flowgraph.testing import _edge, graph_of, run_virtual
from flowgraph.units import MS
from nodes.dialogue import REGRET_NS, Dialogue
from nodes.speaker import Speaker
from nodes.vocabulary import End, Heard, Prompt, Speech, SpeechStarted, Transcript, Voice

T = TypeVar("T", bound=Frame)

WINDOW_MS = 32
ONSET_WINDOWS = 2
FINALIZE_MS = 96
END_MS = 8_000
"""At the end everybody is silent for so long, …"""
REST_MS = 1_000
"""… or until for so long nothing has been under way any more."""
BLOCK_MS = 10


@dataclasses.dataclass(frozen=True)
class Speaks:
    """One stretch of speech, and the silence behind it."""

    what: Literal["words", "backchannel", "noise"]
    windows: int
    """Length, in windows of 32 ms."""
    silence: int
    """Windows of silence behind it."""
    stt_ms: int
    """From the request to the final transcript."""
    partial: bool
    """A partial transcript comes while it is spoken."""


SPEECH = st.builds(
    Speaks,
    what=st.sampled_from(["words", "words", "words", "backchannel", "noise"]),
    windows=st.integers(3, 40),
    silence=st.one_of(st.integers(1, 12), st.integers(12, 90)),
    stt_ms=st.one_of(st.integers(5, 120), st.integers(120, 900)),
    partial=st.booleans(),
)
SCHEDULE = st.lists(SPEECH, min_size=1, max_size=7)
OPTIONS = st.fixed_dictionaries(
    {
        "end": st.sampled_from(["fixed", "adaptive"]),
        "speculate_after": st.sampled_from(["off", 64 * MS, 96 * MS]),
        "speculate_on": st.sampled_from(["silence", "partial"]),
        "max_attempts": st.sampled_from([0, 1, 2]),
        "duck": st.sampled_from([0.0, 0.25]),
        "min_words": st.sampled_from([1, 3]),
        "barge_in": st.sampled_from(["headphones", "headphones", "off"]),
    }
)


class User(Node):
    """A VAD and an STT in one, driven by a schedule."""

    async def run(self) -> AsyncIterator[SpeechStarted | Voice | Transcript]:
        now = self.ctx.clock.now
        silence_ms, since, said, stt_ms = 10_000, 0, list[str](), 0
        due: list[tuple[int, Transcript]] = []
        begun: list[int] = self.__dict__.setdefault("begun", [])
        for count, one in enumerate([*self.__dict__["schedule"], None]):
            words = [] if one is None else self._words(one, count)
            spoken = 0 if one is None else one.windows
            total = END_MS // WINDOW_MS if one is None else one.windows + one.silence
            begun.append(now())
            rest_ms = 0
            for window in range(total):
                rest_ms = 0 if one or due or _under_way(self.__dict__["dialogue"]) else rest_ms + WINDOW_MS
                if rest_ms > REST_MS:
                    return
                speaking = window < spoken
                if speaking and window == ONSET_WINDOWS:
                    yield SpeechStarted(at=now() - ONSET_WINDOWS * WINDOW_MS * MS)
                await asyncio.sleep(WINDOW_MS / 1000)
                if speaking:
                    if not since:
                        since = now() - WINDOW_MS * MS
                    silence_ms = 0
                else:
                    silence_ms += WINDOW_MS
                if one is not None and speaking and window == spoken - 1:
                    said += words
                    stt_ms = one.stt_ms
                if (
                    one is not None
                    and one.partial
                    and speaking
                    and window > ONSET_WINDOWS
                    and window == spoken * 2 // 3
                    and words
                ):
                    yield Transcript(" ".join([*said, *words[: len(words) // 2 + 1]]), start_at=since, end_at=now())
                yield Voice(0.9 if speaking else 0.1, silence_ms, speaking and window >= ONSET_WINDOWS, at=now())
                if since and not speaking and silence_ms >= FINALIZE_MS:
                    transcript = Transcript(" ".join(said), final=True, start_at=since, end_at=now() - silence_ms * MS)
                    due.append((now() + stt_ms * MS, transcript))
                    since, said = 0, []
                for entry in [entry for entry in due if now() >= entry[0]]:
                    due.remove(entry)
                    yield entry[1]

    @staticmethod
    def _words(one: Speaks, count: int) -> list[str]:
        if one.what == "noise":
            return []
        if one.what == "backchannel":
            return ["mhm"]
        return [f"w{count}x{index}" for index in range(max(1, one.windows // 10))]


def _under_way(dialogue: Dialogue) -> bool:
    return dialogue._open_turn or dialogue._attempt is not None


class Answerer(Node):
    """LLM and TTS in one: after a while, chunks of sound with a word each, at whatever speed."""

    seed: int = 0
    delays_s: tuple[float, ...] = (0.02, 0.1, 0.4, 1.5)

    async def process(self, frame: Prompt) -> AsyncIterator[Speech | End]:
        rng = random.Random(f"{self.seed} {frame.turn}")
        await asyncio.sleep(rng.choice(self.delays_s))
        for index in range(rng.choice([1, 3, 6, 12])):
            text = f"{' ' if index else ''}a{frame.turn}x{index}"
            yield Speech(
                np.full(24 * rng.randrange(40, 300), 0.2, np.float32), 24_000, text=text, part=index, last=True
            )
            await asyncio.sleep(rng.choice([0.0, 0.0, 0.05, 0.3]))
        yield End()


@dataclasses.dataclass
class Held:
    """A conversation that was held."""

    session: Session
    frames: list[Frame]
    dialogue: Dialogue

    def of(self, kind: type[T]) -> list[T]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


def held(schedule: list[Speaks], options: dict[str, object], seed: int, **answerer: object) -> Held:
    """`answerer`: options of who answers."""
    dialogue = Dialogue(**options)  # type: ignore[arg-type]
    nodes: dict[str, Node] = {
        "user": User(), "dialogue": dialogue, "answerer": Answerer(seed=seed, **answerer), "speaker": Speaker(device="null"),
    }  # fmt: skip
    nodes["user"].__dict__.update(schedule=schedule, dialogue=dialogue)
    classes = {name: type(node) for name, node in nodes.items()}
    graph = graph_of(
        nodes,
        ("user", "dialogue"),
        ("dialogue", "answerer"),
        _edge(classes, "answerer", "speaker", hold=True),
        _edge(classes, "speaker", "dialogue", feedback=True, overflow="fail"),
    )
    frames: list[Frame] = []

    async def main() -> Session:
        session = Session(graph, nodes=nodes)
        for kind in (Prompt, Heard):
            session.watch(kind, frames.append)
        async with session, asyncio.timeout(600):
            await session.finished()
        return session

    return Held(run_virtual(main()), frames, dialogue)


def check(talk: Held, schedule: list[Speaks]) -> None:
    """Raises AssertionError with what doesn't hold."""
    problems = [*wrong(talk), *_lost(talk, schedule)]
    assert not problems, "; ".join(problems)


def wrong(talk: Held) -> list[str]:
    """What doesn't hold, whoever spoke."""
    return [*_answers(talk), *_stale(talk), *_history(talk)]


def _audible(talk: Held) -> list[Heard]:
    """The last that is heard of each answer that was audible."""
    last = {heard.turn: heard for heard in talk.of(Heard) if heard.first_audible_at}
    return [last[turn] for turn in sorted(last)]


def _known(talk: Held) -> list[Heard]:
    """Without those that were over before the owner could know that they sound: cut in the device block that they begin with."""
    advances = {attempt: at for at, attempt, _ in talk.session.trace.advances}

    def unknown(answer: Heard) -> bool:
        over_at = advances.get(answer.turn + 1)
        short = answer.played_until - answer.first_audible_at <= BLOCK_MS * MS
        return answer.cut and short and over_at is not None and over_at <= answer.first_audible_at

    return [answer for answer in _audible(talk) if not unknown(answer)]


def _answers(talk: Held) -> Iterator[str]:
    """Never two answers to one turn; never an answer that wasn't committed; every answer comes to an end."""
    prompts = {prompt.turn: prompt for prompt in talk.of(Prompt)}
    commits = talk.session.trace.commits
    for before, after in itertools.pairwise(_known(talk)):
        if prompts[after.turn].at <= prompts[before.turn].at:
            yield f"attempts {before.turn} and {after.turn} answer the same speech, and both were heard"
        if after.first_audible_at < before.played_until:
            yield f"attempt {after.turn} was heard before {before.turn} was over"
    for answer in _audible(talk):
        if answer.turn not in commits or commits[answer.turn][0] > answer.first_audible_at + BLOCK_MS * MS:
            yield f"attempt {answer.turn} was heard without its commit"
        if not answer.final:
            yield f"attempt {answer.turn} has no end"


def _stale(talk: Held) -> Iterator[str]:
    """After an advance nothing of an earlier attempt sounds for longer than a block and a fade."""
    advances = {attempt: at for at, attempt, _ in talk.session.trace.advances}
    for answer in _audible(talk):
        until = advances.get(answer.turn + 1)
        if until is not None and answer.played_until > until + 2 * BLOCK_MS * MS:
            yield f"attempt {answer.turn} sounded {(answer.played_until - until) / MS:.0f} ms after it was over"


def _lost(talk: Held, schedule: list[Speaks]) -> Iterator[str]:
    """Each thing that was said is in the history once, in order; or it was said where nobody was to listen."""
    words = [f"w{i}x0" for i, one in enumerate(schedule) if one.what == "words"]
    asked = " ".join(text for role, text in talk.dialogue._history.messages if role == "user").split()
    first = [word for word in asked if word.endswith("x0")]
    if first != sorted(set(first), key=words.index):
        yield f"the history holds {first}"
    if talk.dialogue.barge_in != "off":
        doubtful = {f"w{i}x0" for i, one in enumerate(schedule) if _doubtful(talk, i, one)}
        if [word for word in words if word in first or word not in doubtful] != first:
            yield f"said: {words}, answered: {first}, might be let go: {sorted(doubtful)}"
    if any(word == "mhm" for word in asked) and not any(one.what == "backchannel" for one in schedule):
        yield "an mhm that nobody said"


def _doubtful(talk: Held, index: int, one: Speaks) -> bool:
    """Too little to end an answer that has sounded for a while: such words are let go where no more come."""
    dialogue, begun = talk.dialogue, talk.session.node("user").__dict__["begun"][index]
    if len(User._words(one, index)) >= dialogue.min_words or one.windows * WINDOW_MS * MS >= dialogue.confirm_after:
        return False
    return any(answer.first_audible_at + REGRET_NS <= begun <= answer.played_until for answer in _audible(talk))


def _history(talk: Held) -> Iterator[str]:
    """The history holds what was heard, no more and no less."""
    told = [text for role, text in talk.dialogue._history.messages if role == "assistant"]
    heard = [answer.text for answer in _known(talk)]
    if told != heard:
        yield f"heard: {heard}, remembered: {told}"
