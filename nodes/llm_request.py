"""Ask a language model, and wait for its whole answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from flowgraph import SECOND, Duration, Field, Node, ServiceName
from nodes.clients.chat import ChatReply
from nodes.vocabulary import End, Prompt, Token


class LlmRequest(Node):
    """Waits for the whole answer of an OpenAI-compatible LLM server: `/v1/chat/completions` without streaming."""

    server = "nodes.servers.llm"

    service: ServiceName = Field("llm", description="The LLM server, from `services`.")
    model: str = Field("demo", description="The model's name on that server.")
    temperature: float | None = Field(None, ge=0, le=2, description="Without it, the server's default.")
    max_tokens: int = Field(0, ge=0, description="Bound of an answer, in tokens, beside the prompt's own; 0 = none.")
    extra: dict[str, Any] = Field({}, description="More fields of the request; null takes one away.")
    strip_thinking: bool = Field(True, description="Leave out what stands between <think> and </think>.")
    persistent: bool = Field(
        False, description="Use one connection again and again; else each request makes a new one."
    )
    timeout: Duration = Field(60 * SECOND, gt=0, description="So long the server may be silent: all of its thinking.")

    def patience_ns(self) -> int:
        return self.timeout

    async def process(self, frame: Prompt) -> AsyncIterator[Token | End]:
        if frame.say:
            yield Token(frame.say)
            yield End()
            return
        from nodes.clients.whole import posted

        request = posted(
            self.ctx.http(self.service),
            "/v1/chat/completions",
            persistent=self.persistent,
            limit_s=self.timeout / SECOND,
            who=f"the LLM service '{self.service}'",
            wanted=self.model,
            json=self._body(frame),
        )
        reply = ChatReply(streamed=False, strip_thinking=self.strip_thinking)
        async with request as answer:
            text = "".join([*reply.feed(await answer.whole()), *reply.end()])
        if text:
            yield Token(text)
        yield End(reply.reason)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        bounds = [bound for bound in (prompt.max_tokens, self.max_tokens) if bound]
        body = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in prompt.messages],
            "stream": False,
            "temperature": self.temperature,
            "max_tokens": min(bounds, default=None),
            **self.extra,
        }
        return {name: value for name, value in body.items() if value is not None}
