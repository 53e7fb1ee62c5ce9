"""Ask a language model, and pass its answer on word by word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from flowgraph import SECOND, Duration, Field, Node, ServiceName
from nodes.clients.chat import ChatReply
from nodes.clients.posting import Posted
from nodes.vocabulary import End, Prompt, Token


class LlmStream(Node):
    """Streams the answer of an OpenAI-compatible LLM server (Ollama, llama.cpp, vLLM, LM Studio, OpenRouter, …)."""

    server = "nodes.servers.llm"
    typical_ms = 200.0

    service: ServiceName = Field("llm", description="The LLM server, from `services`.")
    model: str = Field("demo", description="The model's name on that server.")
    temperature: float | None = Field(None, ge=0, le=2, description="Without it, the server's default.")
    max_tokens: int = Field(0, ge=0, description="Bound of an answer, in tokens, beside the prompt's own; 0 = none.")
    extra: dict[str, Any] = Field(
        {}, description="More fields of the request, such as `chat_template_kwargs`; null takes one away."
    )
    first_token_timeout: Duration = Field(
        30 * SECOND, gt=0, description="The answer must begin within this; loading a model is slow."
    )
    stall_timeout: Duration = Field(
        10 * SECOND, gt=0, description="So long the server may be silent in the middle of an answer."
    )
    strip_thinking: bool = Field(True, description="Leave out what stands between <think> and </think>.")

    async def open(self) -> None:
        self._told_of_tools = False

    async def process(self, frame: Prompt) -> AsyncIterator[Token | End]:
        if frame.say:
            yield Token(frame.say)
            yield End()
            return
        question = Posted(
            self.ctx.http(self.service),
            "/v1/chat/completions",
            self._body(frame),
            first_ns=self.first_token_timeout,
            stall_ns=self.stall_timeout,
        )
        async with question as answer:
            if answer.status >= 400:
                raise await answer.refusal(wanted=self.model)
            reply = ChatReply(streamed=answer.content_type != "application/json", strip_thinking=self.strip_thinking)
            while not reply.over and (portion := await answer.read()):
                for text in reply.feed(portion):
                    yield Token(text)
                answer.begun = reply.begun
            for text in reply.end():
                yield Token(text)
            if reply.called_tools:
                self._tell_of_tools()
            yield End(reply.reason)

    def _tell_of_tools(self) -> None:
        if not self._told_of_tools:
            self._told_of_tools = True
            self.ctx.say(f"{self.ctx.name}: the model wants to call a tool; here it can only speak")

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        bounds = [bound for bound in (prompt.max_tokens, self.max_tokens) if bound]
        body = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in prompt.messages],
            "stream": True,
            "temperature": self.temperature,
            "max_tokens": min(bounds, default=None),
            **self.extra,
        }
        return {name: value for name, value in body.items() if value is not None}
