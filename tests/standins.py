"""Node classes with the ports of the real ones, for tests of what a graph file may say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import ClassVar, Literal

from flowgraph import MS, Duration, Field, Frame, Node, ServiceName
from nodes.vocabulary import (
    Audio,
    End,
    EndOfTurn,
    Failure,
    Heard,
    Pace,
    Played,
    Prefix,
    Prompt,
    Sentence,
    Sound,
    Speech,
    SpeechStarted,
    Token,
    ToolResult,
    Transcript,
    Voice,
)


class Mic(Node):
    live: ClassVar[bool] = True
    device: str = "default"

    async def run(self) -> AsyncIterator[Audio]:
        return
        yield


class Vad(Node):
    threshold: float = Field(0.5, ge=0, le=1, description="Above it, somebody speaks.")
    min_speech: Duration = Field(64 * MS, ge=10 * MS)
    runtime: Literal["onnx", "torch"] = "onnx"

    def process(self, frame: Audio) -> Iterator[SpeechStarted | Voice]:
        yield SpeechStarted()


class WsStt(Node):
    server: ClassVar[str] = "nodes.servers.stt"
    service: ServiceName = "stt"
    language: str = "en"

    async def process(self, frame: Audio | Voice) -> AsyncIterator[Transcript]:
        yield Transcript("")


class CloudStt(Node):
    """Uses a service and brings no server of its own."""

    service: ServiceName = "stt"

    async def process(self, frame: Audio) -> AsyncIterator[Transcript]:
        yield Transcript("")


class Dialogue(Node):
    owns_turn: ClassVar[bool] = True
    needs: ClassVar[tuple[type[Frame], ...]] = (Transcript,)
    end: Literal["fixed", "adaptive"] = "fixed"
    end_silence: Duration = Field(400 * MS, ge=0)
    speculate_after: Literal["off"] | Duration = "off"
    speculate_on: Literal["silence", "partial"] = "silence"
    barge_in: Literal["off", "headphones", "on"] = "off"

    def speculates(self) -> bool:
        return self.speculate_after != "off"

    def problems(self) -> Iterator[str]:
        if self.speculate_after != "off" and self.speculate_after > self.end_silence:
            yield "speculate_after is longer than end_silence"

    def process(
        self, frame: SpeechStarted | Voice | Transcript | EndOfTurn | Heard | ToolResult | Failure
    ) -> Iterator[Prefix | Prompt]:
        yield Prompt(())


class LlmStream(Node):
    server: ClassVar[str] = "nodes.servers.llm"
    service: ServiceName = "llm"
    model: str

    async def process(self, frame: Prefix | Prompt) -> AsyncIterator[Token | End]:
        yield Token("")


class SentenceSplit(Node):
    first: Literal["clause", "sentence"] = "clause"

    def process(self, frame: Token | Pace | End) -> Iterator[Sentence | End]:
        yield Sentence("")


class KokoroTts(Node):
    server: ClassVar[str] = "nodes.servers.tts"
    service: ServiceName = "tts"
    voice: str = "af_heart"
    speed: float = Field(1.0, gt=0, lt=4)

    async def process(self, frame: Sentence | End) -> AsyncIterator[Speech | Pace | End]:
        yield End()


class Speaker(Node):
    effects: ClassVar[bool] = True
    device: str = "default"

    async def process(self, frame: Speech | End) -> None:
        pass

    async def run(self) -> AsyncIterator[Heard | Played]:
        return
        yield


class Echo(Node):
    def process(self, frame: Audio) -> Iterator[Speech]:
        yield Speech(frame.samples, frame.rate_hz)


class Gain(Node):
    factor: float = Field(1.0, ge=0)

    def process(self, frame: Sound) -> Iterator[Sound]:
        yield frame


class Printer(Node):
    fields: list[str] = Field([], description="What it shows.")

    def process(self, frame: Frame) -> None:
        pass


class WavReader(Node):
    path: str

    async def run(self) -> AsyncIterator[Audio]:
        return
        yield


class Shop(Node):
    """A tool: it acts on what the LLM says."""

    effects: ClassVar[bool] = True
    url: str = "http://shop"

    async def process(self, frame: Token) -> AsyncIterator[ToolResult]:
        yield ToolResult("shop", "sold")


class Canceller(Node):
    async def process(self, frame: Audio | Played) -> AsyncIterator[Audio]:
        return
        yield


class Shout(Node):
    """Takes no End: what it stands between loses it."""

    def process(self, frame: Sentence) -> Iterator[Sentence]:
        yield frame


class Chime(Node):
    """Makes a Plan from a Fact, which no owner planned."""

    def process(self, frame: SpeechStarted) -> Iterator[Speech]:
        return
        yield


TYPES: dict[str, type[Node]] = {
    "mic": Mic,
    "vad": Vad,
    "ws_stt": WsStt,
    "cloud_stt": CloudStt,
    "dialogue": Dialogue,
    "llm_stream": LlmStream,
    "sentence_split": SentenceSplit,
    "kokoro_tts": KokoroTts,
    "speaker": Speaker,
    "echo": Echo,
    "gain": Gain,
    "printer": Printer,
    "wav_reader": WavReader,
    "shop": Shop,
    "canceller": Canceller,
    "shout": Shout,
    "chime": Chime,
}
