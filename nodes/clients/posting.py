"""One POST whose answer is streamed: two time limits, errors in a user's words, and the connection closed when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from flowgraph.errors import ServiceError
from flowgraph.units import SECOND
from nodes.clients.problems import named, refusal

if TYPE_CHECKING:
    from flowgraph.services import HttpService

LARGEST_ERROR = 64 << 10
"""Bytes of an error's body that are read."""
SETTLE_S = 0.1
"""So long an answer that said all it had to say may take to end, so that its connection can be used again."""


class Posted:
    """`async with Posted(…) as answer: while portion := await answer.read(): …`. Raises ServiceError.

    Leaving it by an exception (a cancel too) closes the connection: that is how a server learns that it may stop.
    """

    def __init__(self, service: HttpService, path: str, body: dict[str, Any], *, first_ns: int, stall_ns: int) -> None:
        """`first_ns`: the time until what `begun` means. `stall_ns`: between two portions after that."""
        self.begun = False
        """Set by the caller when what it waits for has come: from now on only a standstill is an error."""
        self.who = service.who
        """As messages name it."""
        self._service = service
        self._exchange = service.post(path, json=body)
        self._first_s = first_ns / SECOND
        self._stall_s = stall_ns / SECOND

    async def __aenter__(self) -> Self:
        self._first_by = asyncio.get_running_loop().time() + self._first_s
        try:
            async with asyncio.timeout_at(self._first_by):
                self._response = await self._exchange.__aenter__()
        except TimeoutError:
            raise self._late() from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._settle()
            elif isinstance(error, ServiceError):
                named(error, self.who)
        finally:
            await self._exchange.__aexit__(kind, error, traceback)

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        """Without its parameters, in small letters."""
        return self._response.content_type.lower()

    def header(self, name: str) -> str:
        """A header's value; "" if it isn't there."""
        return self._response.headers.get(name, "")

    async def read(self) -> bytes:
        """The bytes that have arrived, or the next ones; b"" at the end. What else it raises, leaving the block explains."""
        until = asyncio.get_running_loop().time() + self._stall_s if self.begun else self._first_by
        try:
            async with asyncio.timeout_at(until):
                portion = await self._response.content.readany()
        except TimeoutError:
            raise self._late() from None
        self._service.hear()
        return portion

    async def refusal(self, *, wanted: str = "") -> ServiceError:
        """The error that this answer means: its status is 400 or above, or it is no answer. `wanted`: see `problems.refusal`."""
        body = b""
        with contextlib.suppress(ServiceError, OSError):  # the status alone says enough
            while len(body) < LARGEST_ERROR and (portion := await self.read()):
                body += portion
        return refusal(self.who, self.status, body, key_hint=self._service.key_hint, wanted=wanted)

    async def _settle(self) -> None:
        self.begun, self._stall_s = True, min(self._stall_s, SETTLE_S)
        with contextlib.suppress(ServiceError):
            while await self.read():
                pass

    def _late(self) -> ServiceError:
        if self.begun:
            return ServiceError(
                f"{self.who} has sent nothing for {self._stall_s:g} s in the middle of its answer", hint="see its log"
            )
        return ServiceError(
            f"{self.who} doesn't answer within {self._first_s:g} s", hint="is it loading its model, or overloaded?"
        )
