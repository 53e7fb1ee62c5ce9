"""A network inside the process, for virtual time: host names are applications, connections are socketpairs.

aiohttp's client and server run over it unchanged, so what is tested is the real protocol; only TCP is missing. What happens to
connections is for the test to say: what a handshake costs (`handshake_s`), who refuses (`refusing`), when one breaks (`cut`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from flowgraph.http import KEEP_ALIVE_S, ParkingConnector
from flowgraph.services import Services
from flowgraph.specs import ServiceSpec

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace


def wired_services(applications: Mapping[str, web.Application], *, key: str = "", wire: Wire | None = None) -> Services:
    """The services of a session, each an application behind the name that the nodes use."""
    specs = [ServiceSpec(name, f"http://{name}", key, "", {}, "test") for name in applications]
    return Services(specs, network=wire or Wire(applications))


class Wire:
    """The network: pass it to `Services`."""

    def __init__(self, applications: Mapping[str, web.Application], *, handshake_s: float = 0.0) -> None:
        self._runners = {
            host.lower(): web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
            for host, app in applications.items()
        }
        self._transports: dict[str, list[asyncio.Transport]] = {host: [] for host in self._runners}
        self.handshake_s = handshake_s
        """What a new connection costs, in seconds of the loop's time."""
        self.refusing: set[str] = set()
        """Hosts where nobody listens at present."""
        self.handshakes: Counter[str] = Counter()
        """How many connections were made, by host."""

    async def open(self) -> None:
        """Start the applications."""
        for runner in self._runners.values():
            await runner.setup()

    def address(self, url: str) -> str:
        """Where it is."""
        return url

    def connector(self) -> ParkingConnector:
        """A pool of connections that are socketpairs."""
        return _WireConnector(self)

    def cut(self, host: str) -> int:
        """Break every connection to a host, as a killed server does; returns how many there were."""
        transports = self._transports[host.lower()]
        open_ones = [transport for transport in transports if not transport.is_closing()]
        transports.clear()
        for transport in open_ones:
            transport.abort()
        return len(open_ones)

    async def close(self) -> None:
        """Stop the applications and every connection."""
        for host, runner in self._runners.items():
            self.cut(host)
            await runner.cleanup()

    async def reach(self, host: str) -> socket.socket:
        """The client's end of a new connection. Raises OSError as the real network would."""
        host = host.lower()
        if host not in self._runners:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.handshakes[host] += 1
        await asyncio.sleep(self.handshake_s)
        server = self._runners[host].server
        if host in self.refusing or server is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(server, sock=there)
        except BaseException:  # cancelled: whoever wanted it is gone
            here.close()
            there.close()
            raise
        self._transports[host].append(transport)
        return here


class _WireConnector(ParkingConnector):
    def __init__(self, wire: Wire) -> None:
        super().__init__(keepalive_timeout=KEEP_ALIVE_S, limit=0)
        self._wire = wire

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],  # noqa: ARG002  # aiohttp's signature
        timeout: aiohttp.ClientTimeout,  # noqa: ARG002, ASYNC109
    ) -> ResponseHandler:
        try:
            end = await self._wire.reach(req.url.host or "")
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        try:
            _, protocol = await self._loop.create_connection(self._factory, sock=end)
        except BaseException:
            end.close()
            raise
        return protocol
