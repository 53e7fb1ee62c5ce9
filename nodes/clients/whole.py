"""Requests as a program makes them that knows no streaming: asked, and waited for.

`persistent: false` is one connection for one request, as `requests.post(…)` makes it: name, TCP and TLS are paid for each time. Nothing is
kept warm beside it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from nodes.clients.problems import refusal

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

    from flowgraph.services import HttpService


def posted(
    service: HttpService, path: str, *, persistent: bool, stall_s: float, **content: Any
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    """The response, whatever its status. Raises ServiceError.

    `content` as aiohttp's `json` or `data`. `stall_s`: how long the service may send nothing.
    """
    if persistent:
        return service.post(path, stall_s=stall_s, **content)
    return _posted_alone(service, path, stall_s, content)


async def answered(
    service: HttpService, path: str, *, persistent: bool, stall_s: float, who: str, wanted: str = "", **content: Any
) -> tuple[bytes, str]:
    """The whole body and its content type. Raises ServiceError, also for a status of 400 or above.

    `who`: the service, as messages name it. `wanted`: see `problems.refusal`.
    """
    async with posted(service, path, persistent=persistent, stall_s=stall_s, **content) as response:
        body = await response.read()
    if response.status >= 400:
        raise refusal(who, response.status, body, wanted=wanted, key=service.key)
    return body, response.content_type.lower()


@asynccontextmanager
async def _posted_alone(
    service: HttpService, path: str, stall_s: float, content: dict[str, Any]
) -> AsyncIterator[aiohttp.ClientResponse]:
    pool = service.session
    assert pool.connector is not None
    async with (
        service.explained(),
        aiohttp.ClientSession(
            connector=_Alone(pool.connector),
            headers=pool.headers,
            timeout=aiohttp.ClientTimeout(total=None, connect=pool.timeout.connect, sock_read=stall_s),
            trace_configs=[_connecting(pool.trace_configs)],
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


def _connecting(traced: list[aiohttp.TraceConfig]) -> aiohttp.TraceConfig:
    """What the service tells of its connections being made, without what keeps them warm."""
    trace = aiohttp.TraceConfig()
    for one in traced:
        trace.on_dns_resolvehost_start.extend(one.on_dns_resolvehost_start)
        trace.on_dns_resolvehost_end.extend(one.on_dns_resolvehost_end)
        trace.on_connection_create_start.extend(one.on_connection_create_start)
        trace.on_connection_create_end.extend(one.on_connection_create_end)
    return trace
