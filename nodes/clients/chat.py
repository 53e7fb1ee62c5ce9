"""Follow one answer of an OpenAI-compatible `/v1/chat/completions`, event by event.

Servers differ: `choices` may be empty or missing, `content` null or a list of parts, an error an object or a string in the middle of
the stream, the last event missing. Reasoning and tool calls are not for speaking.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from flowgraph.errors import ServiceError
from nodes.clients.problems import error_in, shortened

Reason = Literal["done", "length"]


class ChatReply:
    """The state of one answer."""

    def __init__(self) -> None:
        self.finish = ""
        """The server's `finish_reason`; "" until it comes."""
        self.called_tools = False
        self._over = False

    @property
    def reason(self) -> Reason:
        """Why the answer ended."""
        return "length" if self.finish == "length" else "done"

    def feed(self, event: str) -> str:
        """The text that an event brings, often "". Raises ServiceError: the server's own, or what isn't the protocol."""
        if event.startswith("[DONE]"):
            self._over = True
        if self._over:
            return ""
        return self._follow(_decoded(event))

    def whole(self, body: str) -> str:
        """The text of an answer that came in one piece, from a server that doesn't stream. Raises ServiceError."""
        text = self._follow(_decoded(body))
        self._over = True
        return text

    def end(self) -> None:
        """The stream has ended. Raises ServiceError if the answer hadn't."""
        if not (self._over or self.finish):
            raise ServiceError("the answer was cut off: its stream ended without an end", hint="see the LLM server's log")

    def _follow(self, value: Any) -> str:
        if problem := error_in(value):
            raise ServiceError(f"the service failed: {shortened(problem)}", hint="see the LLM server's log")
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list):
            return ""
        return "".join(self._choice(choice) for choice in choices if isinstance(choice, dict) and not choice.get("index"))

    def _choice(self, choice: dict[str, Any]) -> str:
        delta = choice.get("delta") or choice.get("message") or {}
        finish = choice.get("finish_reason") or ""
        if finish == "error":
            raise ServiceError("the service failed in the middle of the answer", hint="see the LLM server's log")
        self.finish = finish or self.finish
        self.called_tools |= bool(delta.get("tool_calls")) or finish == "tool_calls"
        return _content(delta.get("content")) or _content(delta.get("refusal"))


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict) and part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ServiceError(
            f"the service answers with something that isn't JSON: {shortened(text, 80)}", hint="is the URL that of an LLM service?"
        ) from None
