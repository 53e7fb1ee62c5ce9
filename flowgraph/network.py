"""Network conditions: a TCP relay in front of a service, so that distance costs on one machine what it costs in the world.

1. Every byte waits half a round trip, plus jitter, in its direction; order is kept (a late segment delays those behind it).
2. A new connection pays its handshake, one round trip; a connection that is kept doesn't. With `tls` a real handshake runs through
   the delay, with a certificate made for the run.
3. Bandwidth is bounded: bytes leave one after the other, and a sender that is too fast is slowed down by back-pressure.
4. `loss` is what a lost segment costs, not a lost segment: with that chance each segment stalls its connection for one
   retransmission timeout (200 ms, Linux's minimum: RTO_MIN in net/tcp.h).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from aiohttp.abc import ResolveResult
from yarl import URL

from flowgraph.errors import FlowError
from flowgraph.http import KEEP_ALIVE_S, TcpConnector
from flowgraph.units import MS, SECOND, format_duration, parse_duration

RETRANSMISSION_NS = 200 * MS
SEGMENT_BYTES = 1448
"""Payload of an Ethernet-sized TCP segment with timestamps."""
SYN_BYTES = 60
READ_BYTES = 1 << 16
MOST_IN_FLIGHT = 1 << 18
"""Bytes that a direction may hold before the relay stops reading."""


class NetworkError(FlowError):
    """The network conditions can't be understood, or can't be made."""

    exit_code = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Conditions:
    """What lies between the client and a service."""

    rtt_ns: int = 0
    jitter_ns: int = 0
    """Each segment is late by up to this much more, evenly."""
    loss: float = 0.0
    """Chance of a stall, per segment."""
    bytes_per_s: int = 0
    """In each direction; 0 = no bound."""
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Conditions:
        """Conditions of `rtt=80ms,jitter=10ms,loss=1%,bandwidth=20Mbit,tls`, or a profile's name. Raises NetworkError."""
        name, _, rest = text.partition(",")
        found = PROFILES.get(name.strip())
        values: dict[str, object] = dataclasses.asdict(found) if found is not None else {}
        for part in (rest if found is not None else text).split(","):
            key, _, value = (piece.strip() for piece in part.partition("="))
            try:
                match key:
                    case "rtt" | "jitter":
                        values[f"{key}_ns"] = parse_duration(value)
                    case "loss":
                        values["loss"] = _share(value)
                    case "bandwidth":
                        values["bytes_per_s"] = _bandwidth(value)
                    case "tls" if not value:
                        values["tls"] = True
                    case "" if found is not None:
                        pass
                    case _:
                        raise NetworkError(
                            f"network '{text}': '{part.strip()}' is neither a profile nor a condition",
                            hint=f"profiles: {', '.join(PROFILES)}; conditions: rtt=80ms,jitter=10ms,loss=1%,bandwidth=20Mbit,tls",
                        )
            except ValueError as error:
                raise NetworkError(
                    f"network '{text}': {key}: {error}", hint="such as rtt=80ms,jitter=10ms,loss=1%"
                ) from None
        return cls(**values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        parts = [f"rtt={format_duration(self.rtt_ns)}"]
        parts += [f"jitter={format_duration(self.jitter_ns)}"] if self.jitter_ns else []
        parts += [f"loss={self.loss:.3%}".replace(".000%", "%")] if self.loss else []
        parts += [f"bandwidth={self.bytes_per_s * 8 / 1e6:g}Mbit"] if self.bytes_per_s else []
        parts += ["tls"] if self.tls else []
        return ",".join(parts)


PROFILES = {
    "none": Conditions(),
    "lan": Conditions(rtt_ns=1 * MS, bytes_per_s=12_500_000),
    "home-to-cloud": Conditions(rtt_ns=40 * MS, jitter_ns=5 * MS, bytes_per_s=2_500_000, tls=True),
    "runpod": Conditions(rtt_ns=80 * MS, jitter_ns=10 * MS, bytes_per_s=2_500_000, tls=True),
}
"""A box in the next room; a data centre on one's own continent; a rented GPU behind its provider's HTTPS proxy."""


def _share(value: str) -> float:
    share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    if not 0 <= share < 1:
        raise ValueError("expected a share between 0 and 1, such as 1%")
    return share


def _bandwidth(value: str) -> int:
    units = {"kbit": 125, "mbit": 125_000, "gbit": 125_000_000}
    for unit, size in units.items():
        if value.lower().endswith(unit) and 0 < (count := float(value[: -len(unit)])) < float("inf"):
            return max(round(count * size), 1)
    raise ValueError(f"expected a bandwidth with its unit ({', '.join(units)}), such as 20Mbit")


class Line:
    """One direction of one connection: says when bytes arrive that are sent now."""

    __slots__ = ("_arrived", "_conditions", "_free_at", "_random")

    def __init__(self, conditions: Conditions, rng: random.Random, *, first_wait_ns: int = 0) -> None:
        """`first_wait_ns`: nothing arrives earlier than this after the line was opened, plus the way (a handshake)."""
        self._conditions = conditions
        self._random = rng
        self._free_at = first_wait_ns
        self._arrived = 0

    def arrival(self, now_ns: int, size: int) -> int:
        """When `size` bytes sent at `now_ns` (since the line was opened) have all arrived."""
        conditions = self._conditions
        sent = max(now_ns, self._free_at)
        if conditions.bytes_per_s:
            sent += size * SECOND // conditions.bytes_per_s
        self._free_at = sent
        arrived = sent + conditions.rtt_ns // 2
        if conditions.jitter_ns:
            arrived += self._random.randrange(conditions.jitter_ns + 1)
        if conditions.loss:
            segments = -(-size // SEGMENT_BYTES)
            if self._random.random() > (1 - conditions.loss) ** segments:
                arrived += RETRANSMISSION_NS
        self._arrived = max(self._arrived, arrived)
        return self._arrived


class Authority:
    """Signs certificates for this run. Only its own clients trust it."""

    def __init__(self) -> None:
        """Raises NetworkError."""
        try:
            import trustme
        except ImportError:
            raise NetworkError("tls needs a certificate, and trustme makes it", hint="pip install trustme") from None
        self._authority = trustme.CA()
        self.client = ssl.create_default_context()
        """What clients use; they trust everybody whom the system trusts, too."""
        self._authority.configure_trust(self.client)

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server of these names or addresses uses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        return context


class Relay:
    """Listens on a free loopback port and passes connections on to a service, under conditions."""

    def __init__(
        self,
        host: str,
        port: int,
        conditions: Conditions,
        *,
        seed: int = 0,
        tls_to: ssl.SSLContext | None = None,
        waits: bool = True,
    ) -> None:
        """`tls_to`: terminate TLS behind the delay with this context, and go on in the clear.

        `waits`: the first bytes of a connection wait for its handshake, as they do behind a SYN; else who connects does.
        """
        self.port = 0
        """Where it listens, once it is open."""
        self._target = (host, port)
        self._conditions = conditions
        self._waits = waits
        self._random = random.Random(seed)  # noqa: S311 - delays, not secrets
        self._tls = tls_to
        self._server: asyncio.Server | None = None
        self._terminator: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        if self._tls is not None:
            self._terminator = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._tls)
        self._server = await asyncio.start_server(self._delay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in (self._server, self._terminator):
            if server is not None:
                server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _delay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target
        if self._terminator is not None:
            host, port = self._terminator.sockets[0].getsockname()[:2]
        await self._join(reader, writer, host, port, self._conditions)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._join(reader, writer, *self._target, None)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: str,
        port: int,
        conditions: Conditions | None,
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            there, back = await asyncio.open_connection(host, port)
        except OSError:
            # The service refuses: a reset is the nearest that a listener can still say.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        up = down = None
        if conditions is not None:
            up = Line(conditions, self._random, first_wait_ns=conditions.rtt_ns if self._waits else 0)
            down = Line(conditions, self._random)
        try:
            await asyncio.gather(_carry(reader, back, up), _carry(there, writer, down))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, back):
                with contextlib.suppress(Exception):
                    end.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line | None) -> None:
    """One direction, to the end of the stream (which travels as slowly as its bytes)."""
    if line is None:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        return
    loop = asyncio.get_running_loop()
    opened = loop.time()
    flying: deque[tuple[float, bytes]] = deque()
    news, room = asyncio.Event(), asyncio.Event()
    in_flight = 0

    async def land() -> None:
        nonlocal in_flight
        while True:
            while not flying:
                news.clear()
                await news.wait()
            at, data = flying.popleft()
            # asyncio's timers may come a millisecond late: what arrived meanwhile goes along at its own time, not later.
            if (wait := at - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            in_flight -= len(data)
            room.set()

    landing = asyncio.ensure_future(land())
    try:
        while True:
            while in_flight > MOST_IN_FLIGHT:
                room.clear()
                await room.wait()
            data = await reader.read(READ_BYTES)
            now_ns = round((loop.time() - opened) * SECOND)
            flying.append((opened + line.arrival(now_ns, len(data)) / SECOND, data))
            in_flight += len(data)
            news.set()
            if not data:
                break
        await landing
    finally:
        landing.cancel()


class Distant:
    """A `flowgraph.http.Network` in which every service lies behind a relay.

    The client waits for a connection's handshake where it connects, so that what the handshake costs is told as connecting.
    """

    def __init__(self, conditions: Conditions, *, seed: int = 0) -> None:
        """Raises NetworkError."""
        self._conditions = conditions
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - delays, not secrets
        self._relays: dict[tuple[str, int], asyncio.Task[Relay]] = {}
        self._secured: set[tuple[str, int]] = set()
        self._authority = Authority() if conditions.tls else None

    async def open(self) -> None:
        """Nothing to do: a relay starts with the first connection to its service."""

    def address(self, url: str) -> str:
        """Where the client is to believe that the service is: with `tls`, a plain one has moved to https."""
        base = URL(url)
        if self._authority is None or base.scheme not in ("http", "ws"):
            return url
        self._secured.add((base.host or "", base.port or 80))
        return str(base.with_scheme("https").with_port(base.port or 80))

    def connector(self) -> TcpConnector:
        """A pool whose connections lead through the relays."""
        context = self._authority.client if self._authority is not None else True
        return _DistantConnector(self._way_to, keepalive_timeout=KEEP_ALIVE_S, limit=0, ssl=context)

    async def close(self) -> None:
        """Stop the relays."""
        relays, self._relays = self._relays, {}
        for task in relays.values():
            task.cancel()  # one that is still looking for its service
        if relays:
            await asyncio.wait(relays.values())
        for task in relays.values():
            if not task.cancelled() and task.exception() is None:
                await task.result().__aexit__(None, None, None)

    async def _way_to(self, host: str, port: int) -> int:
        """The port of the service's relay, after the time of a handshake with the service. The relay starts at its first use.

        Raises OSError where the service can't be reached.
        """
        task = self._relays.get((host, port))
        if task is None or (task.done() and task.exception() is not None):
            task = self._relays[host, port] = asyncio.ensure_future(self._relay(host, port, len(self._relays)))
        there, back = Line(self._conditions, self._random), Line(self._conditions, self._random)
        await asyncio.sleep((there.arrival(0, SYN_BYTES) + back.arrival(0, SYN_BYTES)) / SECOND)
        return (await asyncio.shield(task)).port

    async def _relay(self, host: str, port: int, number: int) -> Relay:
        """Raises OSError where there is no service: behind a relay that would look like one that hangs up."""
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        authority = self._authority if (host, port) in self._secured else None
        terminates = authority.server(host) if authority is not None else None
        relay = Relay(host, port, self._conditions, seed=self._seed + number, tls_to=terminates, waits=False)
        return await relay.__aenter__()


class _DistantConnector(TcpConnector):
    """Resolves every name to its relay; certificates are still those of the name."""

    def __init__(self, way_to: Callable[[str, int], Awaitable[int]], **options: Any) -> None:
        super().__init__(**options)
        self._way_to = way_to

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        try:
            way = await self._way_to(host, port)
        except socket.gaierror:
            raise
        except OSError:
            return await super()._resolve_host(host, port, traces)  # who connects there will be told what is wrong
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=way,
                family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST,
            )
        ]  # fmt: skip
