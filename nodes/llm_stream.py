"""Ask a language model, and pass its answer on word by word.

What a prompt begins with is read ahead: a server keeps what it has read (its prefix cache), and a prompt that begins with the same
bytes costs only its end. So both requests are written by the same lines, and differ only behind the messages that they share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from flowgraph import SECOND, Duration, Field, Node, ServiceName
from nodes.clients.chat import THINK_LESS, ChatReply
from nodes.clients.posting import Posted
from nodes.clients.warming import LOAD_S, Warm, Warmth
from nodes.vocabulary import End, Message, Prefix, Prompt, Token

STAND_IN: Message = ("user", "Hi")
"""Asked where the question isn't known yet: models refuse to answer nobody, and servers an empty text."""


class LlmStream(Node):
    """Streams the answer of an OpenAI-compatible LLM server (Ollama, llama.cpp, vLLM, LM Studio, OpenRouter, …)."""

    server = "nodes.servers.llm"
    needs = (Prompt,)
    typical_ms = 200.0

    service: ServiceName = Field("llm", description="The LLM server, from `services`.")
    model: str = Field("demo", description="The model's name on that server.")
    temperature: float | None = Field(None, ge=0, le=2, description="Without it, the server's default.")
    max_tokens: int = Field(0, ge=0, description="Bound of an answer, in tokens, beside the prompt's own; 0 = none.")
    extra: dict[str, Any] = Field(
        {},
        description="More fields of the request, such as `reasoning_effort: none`, with which a model on Ollama answers without thinking; "
        "null takes one away.",
    )
    first_token_timeout: Duration = Field(
        30 * SECOND, gt=0, description="The answer must begin within this; loading a model is slow."
    )
    stall_timeout: Duration = Field(
        10 * SECOND, gt=0, description="So long the server may be silent in the middle of an answer."
    )
    strip_thinking: bool = Field(True, description="Leave out what stands between <think> and </think>.")
    warm: Warm = Field(
        "auto",
        description="Let the server read ahead what the prompt begins with, while the user speaks; that makes a token each time. `auto`: "
        "where it is in the local network, or says that it is a server of one's own; a hosted API would bill it.",
    )

    def patience_ns(self) -> int:
        return max(self.first_token_timeout, self.stall_timeout)

    async def open(self) -> None:
        self._told: set[str] = set()
        self._warmth = Warmth(self.ctx.http(self.service), self.warm, note=self.ctx.note, say=self.ctx.say, loads=True)

    async def close(self) -> None:
        if (warmth := getattr(self, "_warmth", None)) is not None:
            await warmth.close()

    async def process(self, frame: Prefix | Prompt) -> AsyncIterator[Token | End]:
        if isinstance(frame, Prefix):
            self._warmth.begin(lambda: self._read_ahead(frame.messages))
            return
        if frame.say:
            yield Token(frame.say)
            yield End()
            return
        self._warmth.stop()
        asked_at = self.ctx.clock.now()
        bounds = [bound for bound in (frame.max_tokens, self.max_tokens) if bound]
        async with self._asked(frame.messages, bound=min(bounds, default=None)) as answer:
            self._warmth.loaded = True
            if answer.status >= 400:
                raise await answer.refusal(wanted=self.model)
            reply = ChatReply(streamed=answer.content_type != "application/json", strip_thinking=self.strip_thinking)
            while not reply.over and (portion := await answer.read()):
                for text in reply.feed(portion):
                    if reply.thought_first:
                        waited_s = (self.ctx.clock.now() - asked_at) / SECOND
                        self._tell(
                            f"the model thinks before it speaks, {waited_s:.1f} s this time; {THINK_LESS}", "thinks"
                        )
                    yield Token(text)
                answer.begun = reply.begun
            for text in reply.end():
                yield Token(text)
            if reply.called_tools:
                self._tell("the model wants to call a tool; here it can only speak", "tools")
            if reply.thought_aloud:
                self._tell(
                    "what the model thinks was read aloud: it marks the end (</think>), but not the beginning; "
                    f"let the server part it from the answer (vLLM: --reasoning-parser), or {THINK_LESS}",
                    "aloud",
                )
            yield End(reply.reason)

    async def _read_ahead(self, messages: tuple[Message, ...]) -> None:
        """Raises ServiceError. One token is the least that every server takes: vLLM refuses 0, to Ollama it means no bound."""
        unasked = () if messages and messages[-1][0] == "user" else (STAND_IN,)
        async with self._asked((*messages, *unasked), bound=1, first_ns=LOAD_S * SECOND) as answer:
            if answer.status >= 400:
                raise await answer.refusal(wanted=self.model)
            while await answer.read():
                pass

    def _asked(self, messages: tuple[Message, ...], *, bound: int | None, first_ns: int = 0) -> Posted:
        return Posted(
            self.ctx.http(self.service),
            "/v1/chat/completions",
            self._body(messages, bound),
            first_ns=first_ns or self.first_token_timeout,
            stall_ns=self.stall_timeout,
        )

    def _tell(self, text: str, what: str) -> None:
        """Tell the user of something, once."""
        if what not in self._told:
            self._told.add(what)
            self.ctx.say(f"{self.ctx.name}: {text}")

    def _body(self, messages: tuple[Message, ...], bound: int | None) -> dict[str, Any]:
        """`bound`: of the answer, in tokens. What changes from turn to turn stands last, and the time of day nowhere."""
        body = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in messages],
            "stream": True,
            "temperature": self.temperature,
            "max_tokens": bound,
            **self.extra,
        }
        return {name: value for name, value in body.items() if value is not None}
