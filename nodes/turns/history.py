"""What the model is told of the conversation: what was asked, and what was heard, no more.

The messages only grow at their end, so that a server finds the beginning of each prompt in its cache. Where they would grow past their
bound, a quarter goes at once, at the start of a question: the beginning changes rarely.
"""

from __future__ import annotations

from typing import Literal

from flowgraph.frame import Heard

Role = Literal["system", "user", "assistant", "tool"]
Message = tuple[Role, str]


class History:
    """The messages so far."""

    def __init__(self, system: str, *, most: int) -> None:
        """`most`: so many messages are kept, beside the system prompt."""
        self.messages: list[Message] = []
        self._system: Message = ("system", system)
        self._most = most
        self._answering = -1

    @property
    def prefix(self) -> tuple[Message, ...]:
        """What every prompt of the next turn begins with."""
        return (self._system, *self.messages)

    @property
    def last_answer(self) -> str:
        """What the assistant said last, as it was heard."""
        return next((text for role, text in reversed(self.messages) if role == "assistant"), "")

    def asked(self, attempt: int, said: str) -> None:
        """An answer to `said` begins to be heard."""
        if said:
            self.messages.append(("user", said))
        self._answering = attempt
        self.messages.append(("assistant", ""))
        if len(self.messages) > self._most:
            del self.messages[: self._most // 4]
            while self.messages[0][0] != "user" and len(self.messages) > 2:
                del self.messages[0]

    def correct(self, said: str) -> None:
        """The user's last words are known better than when they were answered."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index][0] == "user":
                self.messages[index] = ("user", said)
                return

    def heard(self, heard: Heard) -> None:
        """`Heard` is cumulative: the latest one of an attempt replaces what it said before."""
        if heard.turn != self._answering or (heard.reason == "error" and not heard.text):
            return  # a player that failed can't tell any more what it had played
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index][0] == "assistant":
                self.messages[index] = ("assistant", heard.text)
                return

    def tool(self, name: str, text: str) -> None:
        """A tool said something."""
        self.messages.append(("tool", f"{name}: {text}"))
