"""Talk to a server's application over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

Client = TestClient[web.Request, web.Application]


def call(app: Callable[[], web.Application], do: Callable[[Client], Awaitable[Any]]) -> Any:
    """Start the application, do something with a client of it, stop."""

    async def main() -> Any:
        async with TestClient(TestServer(app(), handler_cancellation=True)) as client, asyncio.timeout(40):
            return await do(client)

    return asyncio.run(main())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; each question takes a round trip to the server, so this is not busy waiting."""
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0)
