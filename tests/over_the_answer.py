"""Everything that is said over an answer in the recorded conversations, over a long answer, on virtual time: real nodes but for the recogniser.

The recogniser tells what it is given: what the embedded one really made of it (`over_the_answer.txt`), or what was really said.
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
from flowgraph.units import MS
from nodes.servers import llm, scripted
from nodes.sound.conversation import RATE_HZ, Conversation, RecordedUtterance, load_conversation
from nodes.vocabulary import Played, Utterance, Voice

TURNS = Path(__file__).parents[1] / "graphs/conversations/turns"
HEARD = Path(__file__).with_suffix(".txt")
STORY = (TURNS.parent / "demo/6-story.wav").resolve()
STT_MS = 60
"""From Finalize to its answer."""
AFTER_MS = 4000
"""So long an answer sounds before something is said over it."""
HEARS_DBFS = -50.0
KINDS = ("backchannel", "cough", "interruption")


# -- a recogniser that is told what it hears -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Understood:
    """Of one utterance."""

    voiced_ms: int
    """So much of it is voiced."""
    said: tuple[tuple[int, str, bool], ...]
    """(milliseconds after its first voiced sample, text, is it final)."""


def as_recorded(name: str) -> dict[str, list[tuple[tuple[int, str, bool], ...]]]:
    """By kind, in order: what the embedded recogniser said of a conversation."""
    block = next(one for one in HEARD.read_text().split("\n\n") if one.splitlines()[0] == name)
    found: dict[str, list[tuple[tuple[int, str, bool], ...]]] = {}
    for line in block.splitlines()[1:]:
        kind, _, rest = line.strip().partition(":")
        items = [one.strip().partition(" ") for one in rest.split("|") if one.strip()]
        said = tuple((int(ms), text.lstrip("="), text.startswith("=")) for ms, _, text in items)
        found.setdefault(kind, []).append(said)
    return found


def as_said(utterance: RecordedUtterance) -> tuple[tuple[int, str, bool], ...]:
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
                    "channel": {"alternatives": [{"transcript": text, "words": []}]},
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
        self.ms = 0
        self.told_ms = 0

    def feed(self, data: bytes) -> list[str]:
        """The partial transcripts that are due."""
        samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        for voiced in scripted._voiced(samples, RATE_HZ):
            if voiced:
                if self._index < 0 or self._voiced_ms >= 0.95 * self._script[self._index].voiced_ms:
                    if self._index + 1 < len(self._script) and self._quiet_ms > 600:
                        self._index += 1
                        self._voiced_ms, self._begin_ms, self._next = 0, self.ms, 0
                self._voiced_ms += 10
                self._quiet_ms = 0
            else:
                self._quiet_ms += 10
            self.ms += 10
        due = []
        while (one := self._peek()) and not one[2] and self.ms >= self._begin_ms + one[0]:
            due.append(one[1])
            self._next += 1
        return due[-1:]

    _quiet_ms = 10_000

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
    """What became of one utterance over an answer. Milliseconds from its first voiced sample."""

    kind: str
    text: str
    ended: float | None
    """When the answer was over."""
    ducked: float | None
    silent: float | None
    """Since when it was silent, where it was ended."""
    resumed: float | None
    """When it sounded again as before, where it was not."""


@dataclasses.dataclass
class Talk:
    """A conversation that is over."""

    over: list[Over]
    played: npt.NDArray[np.float32]
    """What was heard, block by block: shape (n, samples of a block)."""
    gains: list[float]
    """Of those blocks: the gain as it was set when the block was due."""
    false_ducks: int
    """How often the gain went down while nobody had spoken."""
    asked: list[str]
    frames: list[Any]


def conversation_of(path: Path, folder: Path, kinds: Sequence[str]) -> Path:
    """Again and again a long story is asked for, and what a conversation has of these kinds is said over it, one over each."""
    data = yaml.safe_load(path.read_text())
    story = {"audio": str(STORY), "kind": "story", "text": "Tell me your longest story.", "speech": [1600, 27864]}
    lines: list[dict[str, Any]] = []
    for one in data["utterances"]:
        if one["kind"] in kinds and "barge_in" in one:
            lines.append({**story, "barge_in": f"{2 * AFTER_MS}ms"} if lines else {**story, "pause": "500ms"})
            lines.append({**one, "audio": str(path.parent / one["audio"]), "barge_in": f"{AFTER_MS}ms"})
    made = folder / f"{path.stem}.yaml"
    made.write_text(yaml.safe_dump({**data, "utterances": lines}, sort_keys=False))
    return made


def script_of(conversation: Conversation, heard: dict[str, list[tuple[tuple[int, str, bool], ...]]] | None) -> list[Understood]:
    found = []
    left = {kind: list(said) for kind, said in (heard or {}).items()}
    for one, line in zip(conversation.utterances, scripted.lines_of(conversation), strict=True):
        said = left[one.kind].pop(0) if heard is not None and one.kind in left else as_said(one)
        found.append(Understood(line.voiced_ms, said))
    return found


def talk(
    name: str, folder: Path, *settings: str, kinds: Sequence[str] = KINDS, mistaken: bool = True, again: bool = False
) -> Talk:
    """`name`: such as `fit/slt-loud`. `mistaken`: with what the embedded recogniser made of it."""
    path = conversation_of(TURNS / f"{name}.yaml", folder, kinds)
    conversation = load_conversation(path)
    heard = as_recorded(Path(name).name + " again" * again) if mistaken else None
    voice = scripted.Voice(first_byte_s=0.05)
    apps = {
        "stt": recogniser(script_of(conversation, heard)),
        "llm": llm.app(first_token_ms=50, token_ms=5),
        "tts": voice.app,
    }
    given = [f"mic.device=caller:{path}", "speaker.device=null", "dialogue.barge_in=headphones", *settings]
    session = Session(Graph.load("graphs/optimized.yaml", settings=given, environ={}), services=services_of(apps))
    blocks: list[Played] = []
    utterances: list[Utterance] = []
    frames: list[Any] = []
    session.watch(Played, blocks.append)
    session.watch(Utterance, utterances.append)
    session.watch(Voice, frames.append)

    async def main() -> None:
        async with session, asyncio.timeout(1000):
            await session.finished()

    run_virtual(main(), limit_s=2000, real_limit_s=300)
    return _judged(session, conversation, blocks, utterances, frames)


def _judged(session: Session, conversation: Conversation, blocks: list[Played], utterances: list[Utterance], frames: list[Any]) -> Talk:
    gains = [(at, gain) for at, gain, _ in session.trace.gains]
    advances = [at for at, number, _ in session.trace.advances]
    over = []
    explained = []
    for one, recorded in zip(utterances, conversation.utterances, strict=True):
        if recorded.kind == "story":
            explained.append((one.start_at, one.end_at + 1500 * MS))
            continue
        until = one.end_at + 1500 * MS

        def ms(at: int | None, one: Utterance = one) -> float | None:
            return None if at is None else (at - one.start_at) / MS

        ended = next((at for at in advances if one.start_at <= at < until), None)
        mine = [(at, gain) for at, gain in gains if one.start_at <= at < (until if ended is None else ended)]
        explained.append((one.start_at, until))
        silent = 0
        for at, gain in mine:
            silent = (silent or at) if gain == 0.0 else 0
        over.append(
            Over(
                recorded.kind,
                recorded.text,
                ms(ended),
                ms(next((at for at, gain in mine if gain < 1), ended)),
                ms(silent or ended) if ended is not None else None,
                ms(next((at for at, gain in reversed(mine) if gain == 1.0), None)),
            )
        )
    false = sum(gain < 1 and not any(a <= at < b for a, b in explained) for at, gain in gains)
    asked = [text for role, text in session.node("dialogue")._history.messages if role == "user"]  # type: ignore[attr-defined]
    size = max((len(one.samples) for one in blocks), default=240)
    played = np.stack([one.samples for one in blocks if len(one.samples) == size])
    return Talk(over, played, [], false, asked, frames)
