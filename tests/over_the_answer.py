"""What is said over an answer in the recorded conversations, said over a long one, on virtual time: all nodes are real.

The recogniser is told what to understand: what the embedded one really made of it (`over_the_answer.txt`), or what was really said.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from aiohttp import WSMsgType, web

from flowgraph.graph import Graph
from flowgraph.session import Session
from flowgraph.testing import run_virtual, services_of
from flowgraph.units import MS, SECOND
from nodes.servers import llm, scripted
from nodes.sound.conversation import RATE_HZ, Conversation, RecordedUtterance, load_conversation
from nodes.vocabulary import Played, Utterance

TURNS = Path(__file__).parents[1] / "graphs/conversations/turns"
NAMES = sorted(str(path.relative_to(TURNS).with_suffix("")) for path in TURNS.glob("*/*.yaml"))
HEARD = Path(__file__).with_suffix(".txt")
STORY = {
    "audio": str((TURNS.parent / "demo/6-story.wav").resolve()),
    "kind": "story",
    "text": "Tell me your longest story.",
    "speech": [1600, 27864],
}
STT_MS = 60
"""From Finalize to its answer."""
AFTER_MS = 4000
"""So long an answer sounds before something is said over it, or something else."""
KINDS = ("backchannel", "cough", "interruption")

Transcripts = tuple[tuple[int, str, bool], ...]
"""Milliseconds after the first voiced sample, text, is it final."""


# -- a recogniser that is told what it hears -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Understood:
    """Of one utterance."""

    voiced_ms: int
    """So much of it is voiced."""
    said: Transcripts


def as_misheard(name: str) -> dict[str, list[Transcripts]]:
    """By kind, in order: what the embedded recogniser made of a conversation."""
    block = next(one for one in HEARD.read_text().split("\n\n") if one.splitlines()[0] == name)
    found: dict[str, list[Transcripts]] = {}
    for line in block.splitlines()[1:]:
        kind, _, rest = line.strip().partition(":")
        items = [one.strip().partition(" ") for one in rest.split("|") if one.strip()]
        said = tuple((int(ms), text.lstrip("="), text.startswith("=")) for ms, _, text in items)
        found.setdefault(kind, []).append(said)
    return found


def as_said(utterance: RecordedUtterance) -> Transcripts:
    """What a recogniser that makes no mistake says: word by word, and a final one at each pause."""
    rate, begin = RATE_HZ // 1000, utterance.speech_start
    spans, last = [], begin
    for first, end in (*utterance.hesitations, (utterance.speech_end, 0)):
        spans.append(((last - begin) // rate, (first - begin) // rate))
        last = end
    total = sum(end - first for first, end in spans)
    words, told, spoken, found = utterance.text.split(), 0, 0, list[tuple[int, str, bool]]()
    for first, end in spans:
        spoken += end - first
        until = round(len(words) * spoken / total)
        for number in range(told + 1, until + 1):
            at = first + (end - first) * (number - told) // (until - told)
            found.append((at, " ".join(words[told:number]), False))
        found.append((end, " ".join(words[told:until]), True))
        told = until
    return tuple(found)


def recogniser(script: Sequence[Understood]) -> web.Application:
    """Deepgram's live protocol."""

    async def listen(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        stream = _Stream(script)

        async def tell(text: str, **flags: bool) -> None:
            await socket.send_json(
                {
                    "type": "Results", "start": stream.told_ms / 1000, "duration": (stream.ms - stream.told_ms) / 1000,
                    "is_final": False, "from_finalize": False, **flags,
                    "channel": {"alternatives": [{"transcript": text, "words": stream.words(text)}]},
                }
            )  # fmt: skip

        async for message in socket:
            if message.type is WSMsgType.BINARY:
                for text in stream.feed(message.data):
                    await tell(text)
            elif message.type is WSMsgType.TEXT:
                match json.loads(message.data)["type"]:
                    case "Finalize":
                        text, end_ms = stream.final(), stream.ms
                        await asyncio.sleep(STT_MS / 1000)
                        await tell(text, is_final=True, from_finalize=True)
                        stream.told_ms = end_ms
                    case "CloseStream":
                        await socket.send_json({"type": "Metadata"})
                        await socket.close()
        return socket

    application = web.Application()
    application.router.add_get("/v1/listen", listen)
    return application


class _Stream:
    """How far into the script the sound is."""

    def __init__(self, script: Sequence[Understood]) -> None:
        self._script = script
        self._index = -1
        self._voiced_ms = 0
        self._begin_ms = 0
        self._next = 0
        self._quiet_ms = scripted.NEW_UTTERANCE_MS + 1
        self.ms = 0
        self.told_ms = 0

    def feed(self, data: bytes) -> list[str]:
        """The partial transcripts that are due."""
        samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        for voiced in scripted._voiced(samples, RATE_HZ):
            if voiced:
                if (
                    self._quiet_ms > scripted.NEW_UTTERANCE_MS
                    and self._heard_all()
                    and self._index + 1 < len(self._script)
                ):
                    self._index += 1
                    self._voiced_ms, self._begin_ms, self._next = 0, self.ms, 0
                self._voiced_ms += scripted.WINDOW_MS
                self._quiet_ms = 0
            else:
                self._quiet_ms += scripted.WINDOW_MS
            self.ms += scripted.WINDOW_MS
        due = []
        while (one := self._peek()) and not one[2] and self.ms >= self._begin_ms + one[0]:
            due.append(one[1])
            self._next += 1
        return due[-1:]

    def words(self, text: str) -> list[dict[str, Any]]:
        """Evenly spread over what was heard of the utterance since the last final transcript."""
        said, begin_ms = text.split(), max(self._begin_ms, self.told_ms)
        step_ms = (self.ms - begin_ms) / max(len(said), 1)
        return [
            {"word": word, "start": (begin_ms + step_ms * n) / 1000, "end": (begin_ms + step_ms * (n + 1)) / 1000}
            for n, word in enumerate(said)
        ]

    def _heard_all(self) -> bool:
        """A pause within an utterance may be as long as one behind it."""
        return self._index < 0 or self._voiced_ms >= scripted.WHOLE * self._script[self._index].voiced_ms

    def final(self) -> str:
        """What there was since the last final one."""
        text = ""
        while (one := self._peek()) and self.ms + 200 >= self._begin_ms + one[0]:
            self._next += 1
            text = one[1]
            if one[2]:
                return text
        return text

    def _peek(self) -> tuple[int, str, bool] | None:
        said = self._script[self._index].said if self._index >= 0 else ()
        return said[self._next] if self._next < len(said) else None


# -- the conversation ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Over:
    """What became of an answer, of which something was said. Milliseconds from its first voiced sample."""

    kind: str
    text: str
    ended: float | None
    """When the answer was over, if it was ended."""
    ducked: float | None
    silent: float | None
    """Since when it was silent, where it was ended."""
    resumed: float | None
    """When it sounded as before, where it was not."""


@dataclasses.dataclass
class Talk:
    """A conversation that is over."""

    over: list[Over]
    ducks: int
    """How often an answer was ducked while nobody spoke over it."""
    asked: list[str]
    played: npt.NDArray[np.float32]
    """What was heard, device block by device block: shape (n, samples of a block)."""


def said_over(path: Path, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """A long story is asked for, and what a conversation has of these kinds is said over it; behind an interruption over another one."""
    lines: list[dict[str, Any]] = [{**STORY, "pause": "500ms"}]
    at, ended = AFTER_MS, False
    for one in yaml.safe_load(path.read_text())["utterances"]:
        if "barge_in" not in one or one["kind"] not in kinds:
            continue
        if ended:
            lines.append({**STORY, "barge_in": f"{AFTER_MS}ms"})
            at = AFTER_MS
        lines.append({**one, "audio": str(path.parent / one["audio"]), "barge_in": f"{at}ms"})
        at, ended = at + AFTER_MS, one["kind"] == "interruption"
    return lines


def script_of(conversation: Conversation, heard: dict[str, list[Transcripts]]) -> list[Understood]:
    """`heard`: by kind, instead of what is said."""
    lines = scripted.lines_of(conversation)
    left = {kind: list(said) for kind, said in heard.items()}
    return [
        Understood(line.voiced_ms, left[one.kind].pop(0) if left.get(one.kind) else as_said(one))
        for one, line in zip(conversation.utterances, lines, strict=True)
    ]


def talk(
    name: str,
    folder: Path,
    *settings: str,
    kinds: Sequence[str] = KINDS,
    misheard: str = "",
    graph: str = "graphs/optimized.yaml",
) -> Talk:
    """`name`: such as `fit/slt-loud`. `misheard`: as what the embedded recogniser made of it."""
    source = TURNS / f"{name}.yaml"
    path = folder / source.name
    said = said_over(source, kinds)
    path.write_text(yaml.safe_dump({**yaml.safe_load(source.read_text()), "utterances": said}))
    conversation = load_conversation(path)
    apps = {
        "stt": recogniser(script_of(conversation, as_misheard(misheard) if misheard else {})),
        "llm": llm.app(first_token_ms=50, token_ms=5),
        "tts": scripted.Voice(first_byte_s=0.05).app,
    }
    given = [f"mic.device=caller:{path}", "speaker.device=null", "dialogue.barge_in=headphones", *settings]
    session = Session(Graph.load(graph, settings=given, environ={}), services=services_of(apps))
    blocks: list[Played] = []
    utterances: list[Utterance] = []
    session.watch(Played, blocks.append)
    session.watch(Utterance, utterances.append)

    async def main() -> None:
        async with session, asyncio.timeout(1000):
            await session.finished()

    run_virtual(main(), limit_s=2000, real_limit_s=300)
    over, ducks = _judged(session, conversation, utterances)
    messages = session.node("dialogue").__dict__["_history"].messages
    asked = [text for role, text in messages if role == "user"]
    size = max(len(one.samples) for one in blocks)
    return Talk(over, ducks, asked, np.stack([one.samples for one in blocks if len(one.samples) == size]))


def _judged(session: Session, conversation: Conversation, utterances: Sequence[Utterance]) -> tuple[list[Over], int]:
    gains = [(at, gain) for at, gain, _ in session.trace.gains]
    advances = [at for at, _, _ in session.trace.advances]
    over, spans = [], []
    for one, recorded in zip(utterances, conversation.utterances, strict=True):
        until = one.end_at + 3 * SECOND // 2
        spans.append((one.start_at, until))
        if recorded.kind != "story":
            ended = next((at for at in advances if one.start_at <= at < until), None)
            mine = [(at, gain) for at, gain in gains if one.start_at <= at < (ended or until)]
            over.append(_became(recorded, one.start_at, ended, mine))
    return over, sum(gain < 1 and not any(a <= at < b for a, b in spans) for at, gain in gains)


def _became(recorded: RecordedUtterance, start: int, ended: int | None, gains: Sequence[tuple[int, float]]) -> Over:
    def ms(at: int | None) -> float | None:
        return None if at is None else (at - start) / MS

    loud = max((index for index, (_, gain) in enumerate(gains) if gain), default=-1)
    silent = gains[loud + 1][0] if loud + 1 < len(gains) else ended
    return Over(
        recorded.kind,
        recorded.text,
        ms(ended),
        ms(next((at for at, gain in gains if gain < 1), None)),
        ms(silent) if ended is not None else None,
        ms(gains[-1][0]) if ended is None and gains and gains[-1][1] == 1.0 else None,
    )
