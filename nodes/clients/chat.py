"""Follow one answer of an OpenAI-compatible `/v1/chat/completions`, from its bytes to the text to say.

Servers differ: `choices` may be empty or missing, `content` null or a list of parts, an error an object or a string in the middle of
the stream, the last event missing; one that can't stream sends a single JSON object. Reasoning and tool calls are not for speaking.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from flowgraph.errors import ServiceError
from nodes.clients.problems import error_in, shortened
from nodes.clients.sse import EventReader
from nodes.text.thinking import ThoughtFilter

Reason = Literal["done", "length"]
_LOG = "see the LLM server's log"
_WRONG_SERVICE = "is the URL that of an LLM service?"
THINK_LESS = (
    "switch its thinking off: extra: {reasoning_effort: none} (Ollama), "
    "extra: {chat_template_kwargs: {enable_thinking: false}} (vLLM, llama.cpp, SGLang)"
)
"""What to do about a model that thinks before it speaks. (Ollama lets every model think that can, unless it is told not to:
docs.ollama.com/capabilities/thinking; the others read their model's template.)"""


class ChatReply:
    """The state of one answer. Takes bytes in any portions, gives pieces of text. Raises ServiceError."""

    def __init__(self, *, streamed: bool = True, strip_thinking: bool = True) -> None:
        """`streamed`: server-sent events; else one JSON object."""
        self.begun = False
        """The model has made something: text, a thought, an end. (Some servers send the role long before.)"""
        self.over = False
        """Nothing more will come."""
        self.called_tools = False
        self.thought_first = False
        """There were thoughts before the first word."""
        self._streams = False
        """An event has come."""
        self._reasoned = self._spoke = False
        self._finish = ""
        self._events = EventReader() if streamed else None
        self._whole = b""
        self._thoughts = ThoughtFilter() if strip_thinking else None

    @property
    def reason(self) -> Reason:
        """Why the answer ended."""
        return "length" if self._finish == "length" else "done"

    @property
    def _thought(self) -> bool:
        return self._reasoned or (self._thoughts is not None and self._thoughts.thought)

    @property
    def thought_aloud(self) -> bool:
        """Have thoughts been taken for the answer? They had an end, but no beginning."""
        return self._thoughts is not None and self._thoughts.unopened

    def feed(self, portion: bytes) -> list[str]:
        """The text that these bytes complete."""
        if self._events is None:
            self._whole += portion
            return []
        return self._said(self._events.feed(portion))

    def end(self) -> list[str]:
        """The bytes have ended: the text that is left. Raises ServiceError if the answer hadn't ended, or was nothing but thoughts."""
        texts = self._said(
            [self._whole.decode("utf-8", errors="replace")] if self._events is None else self._events.end()
        )
        if not self._streams:
            raise ServiceError("the answer is no stream of events", hint=_WRONG_SERVICE)
        if not (self.over or self._finish):
            raise ServiceError("the answer was cut off: its stream ended without an end", hint=_LOG)
        if self._thoughts and (rest := self._thoughts.end()):
            texts.append(rest)
            self._speaks(rest)
        if self._thought and not (self._spoke or self.called_tools):
            bound = ", up to the bound of its tokens" if self.reason == "length" else ""
            raise ServiceError(f"the model has thought{bound}, and said nothing", hint=THINK_LESS)
        return texts

    def _said(self, events: list[str]) -> list[str]:
        said = []
        for event in events:
            text = self._event(event)
            if words := self._thoughts.feed(text) if self._thoughts else text:
                said.append(words)
                self._speaks(words)
        return said

    def _speaks(self, words: str) -> None:
        if not self._spoke and words.strip():
            self._spoke, self.thought_first = True, self._thought

    def _event(self, event: str) -> str:
        self._streams = True
        self.over |= event.startswith("[DONE]")
        if self.over:
            return ""
        try:
            value = json.loads(event)
        except (ValueError, RecursionError):
            raise ServiceError(f"the answer isn't JSON: {shortened(event, 80)}", hint=_WRONG_SERVICE) from None
        if problem := error_in(value):
            raise ServiceError(f"the service failed: {shortened(problem)}", hint=_LOG)
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list):
            return ""
        return "".join(
            self._choice(choice) for choice in choices if isinstance(choice, dict) and not choice.get("index")
        )

    def _choice(self, choice: dict[str, Any]) -> str:
        delta = choice.get("delta") or choice.get("message") or {}
        finish = choice.get("finish_reason") or ""
        if finish == "error":
            raise ServiceError("the service failed in the middle of the answer", hint=_LOG)
        self._finish = finish or self._finish
        self.called_tools |= bool(delta.get("tool_calls")) or finish == "tool_calls"
        thought = _content(delta.get("reasoning")) or _content(delta.get("reasoning_content"))
        text = _content(delta.get("content")) or _content(delta.get("refusal"))
        self._reasoned |= bool(thought)
        self.begun |= bool(thought or text or finish or self.called_tools)
        return text


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(
            part.get("text") or "" for part in content if isinstance(part, dict) and part.get("type") == "text"
        )
    return content if isinstance(content, str) else ""
