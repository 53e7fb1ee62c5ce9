"""Requests as a program makes them that asks and waits.

Without `persistent`, a request has a connection of its own, as `requests.post(…)` has it: name, TCP and TLS are paid for each time,
and nothing is kept warm beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from flowgraph.errors import ServiceError
from nodes.clients.problems import named, refusal

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

    from flowgraph.services import HttpService


class Answer:
    """A response that is no refusal."""

    def __init__(self, response: aiohttp.ClientResponse, *, who: str, limit_s: float, hear: Callable[[], None]) -> None:
        """`limit_s`: how long the service may send nothing. `hear`: called when it has sent something."""
        self._hear = hear
        hear()
        self.content_type = response.content_type.lower()
        self._response = response
        self._who = who
        self._limit_s = limit_s

    async def read(self) -> bytes:
        """The next bytes; b"" at the end. Raises ServiceError."""
        async with _patience(self._limit_s, self._who):
            portion = await self._response.content.readany()
        self._hear()
        return portion

    async def whole(self) -> bytes:
        """All that is left. Raises ServiceError."""
        portions: list[bytes] = []
        while portion := await self.read():
            portions.append(portion)
        return b"".join(portions)


@asynccontextmanager
async def posted(
    service: HttpService, path: str, *, persistent: bool, limit_s: float, who: str, wanted: str = "", **content: Any
) -> AsyncIterator[Answer]:
    """POST `content` (aiohttp's `json` or `data`). Raises ServiceError, also for a status of 400 or above.

    `limit_s`: how long the service may send nothing. `who`: the service, as messages name it. `wanted`: see `problems.refusal`.
    """
    async with AsyncExitStack() as stack:
        request = service.post(path, **content) if persistent else _posted_alone(service, path, content)
        async with _patience(limit_s, who):
            response = await stack.enter_async_context(request)
        answer = Answer(response, who=who, limit_s=limit_s, hear=service.hear)
        if response.status >= 400:
            raise refusal(who, response.status, await answer.whole(), key_hint=service.key_hint, wanted=wanted)
        try:
            yield answer
        except ServiceError as error:
            raise named(error, who) from None


@asynccontextmanager
async def _patience(limit_s: float, who: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        hint = "is it loading its model, or overloaded? `timeout` says how long to wait"
        raise ServiceError(f"{who} has sent nothing for {limit_s:g} s", hint=hint) from None


@asynccontextmanager
async def _posted_alone(
    service: HttpService, path: str, content: dict[str, Any]
) -> AsyncIterator[aiohttp.ClientResponse]:
    await service.there()
    pool = service.session
    assert pool.connector is not None
    async with (
        service.explained(),
        aiohttp.ClientSession(
            connector=_Alone(pool.connector),
            headers=pool.headers,
            timeout=pool.timeout,
            trace_configs=[service.tracing(pooled=False)],
        ) as session,
        session.post(service.url(path), headers=service.headers, **content) as response,
    ):
        yield response


class _Alone(aiohttp.BaseConnector):
    """Connects to where another connector does, and keeps nothing."""

    def __init__(self, network: aiohttp.BaseConnector) -> None:
        super().__init__(force_close=True)
        self._network = network

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> ResponseHandler:
        return await self._network._create_connection(req, traces, timeout)
