"""The one HTTP client: pooled, traced, warm, and clear about what is wrong.

1. A service has one pool of connections, kept for 90 s. No request ends by a time limit of ours: an answer is a stream.
2. One connection more than is in use stays open, so that no turn waits for a handshake. It is made again in the background as soon as a
   request has taken it or a cancelled answer has cost one; `rewarm` makes sure of it once more, at speech onset. It is parked by
   connecting and stopping there: no byte is sent, so any server will do. A request that finds none left waits for the one that is
   being made, which has less to go than one of its own.
3. What happens to connections goes to `log(service, event, at_ns, request)`, called in the task that makes the request: `dns_start`,
   `dns_end`, `connect_start`, `connect_end`, `reused`, `request_sent`, `response_start`, `closed` (it can't be used again);
   in the background `warm_start`, `warm_end`. `request` is a number that the events of one request share: several are on their way
   at once.
4. Failures are ServiceErrors that name the service, its address and what to do. Keys and passwords are in none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import itertools
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextvars import ContextVar
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from yarl import URL

from flowgraph.errors import FlowError, ServiceError
from flowgraph.masking import Mask, basic

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

    from flowgraph.specs import ServiceSpec

KEEP_ALIVE_S = 90.0
CONNECT_S = 5.0
DNS_S = 300
DEAD_S = 10
"""A connection whose other end has gone without a word (a laptop slept, a router forgot) is found out within so many seconds."""
SECRET_QUERY = re.compile(r"key|secret|pass|token|auth|sig", re.IGNORECASE)
"""Names of values in a URL's query that let somebody in."""
TRIES = 3
"""Of a request that finds its pooled connections closed by the server in the very moment of being used."""

Log = Callable[[str, str, int, int], None]
Query = Mapping[str, Any]

_parking: ContextVar[bool] = ContextVar("parking", default=False)


class _ParkedError(Exception):
    """The connection stands and is back in the pool: there is no request to make."""


class _Flight(SimpleNamespace):
    """One request on its way, as its trace sees it: its `number`, when it was `sent_at`, and the request's `retry`.

    `retry` is None for a WebSocket, and where there is no request at all but a connection to be parked.
    """

    _numbers = itertools.count(1)

    def __init__(self, *, trace_request_ctx: _Retry | None) -> None:
        super().__init__(number=next(self._numbers), sent_at=0, retry=trace_request_ctx)


@dataclasses.dataclass(slots=True)
class _Retry:
    """What decides whether a request that broke is made again."""

    reused: bool = False
    """It went out on a kept connection, which the server may have closed by then."""


class ParkingConnector(aiohttp.BaseConnector):
    """A pool that can be given a connection without a request."""

    making: asyncio.Task[None] | None = None
    """What makes the spare connection, while it does."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> aiohttp.connector.Connection:
        """As usual; for `HttpService.warm`, put the connection into the pool and raise _ParkedError."""
        if not _parking.get():
            if (making := self.making) is not None and not self._conns.get(req.connection_key):
                for trace in traces:
                    await trace.send_connection_create_start()
                await asyncio.wait([making])
                for trace in traces:
                    await trace.send_connection_create_end()
            return self._watched(await super().connect(req, traces, timeout))
        self._watched(await super().connect(req, traces, timeout)).release()
        raise _ParkedError

    def _watched(self, connection: aiohttp.connector.Connection) -> aiohttp.connector.Connection:
        if connection.transport is not None:
            _keep_watch(connection.transport)
        return connection


class TcpConnector(ParkingConnector, aiohttp.TCPConnector):
    """The real network."""


class Network(Protocol):
    """What services are reached through: TCP, or in tests `flowgraph.wire`."""

    async def open(self) -> None:
        """Called before the first request."""

    def address(self, url: str) -> str:
        """Where the client is to believe that the service at `url` is."""
        ...

    def connector(self) -> ParkingConnector:
        """A pool of connections for one service."""
        ...

    async def close(self) -> None:
        """Called after the last one, also where `open` failed."""


class Tcp:
    """The real network."""

    async def open(self) -> None:
        """Nothing to do."""

    def address(self, url: str) -> str:
        """Where it is."""
        return url

    def connector(self) -> ParkingConnector:
        """TCP and TLS; names are looked up once in five minutes."""
        return TcpConnector(keepalive_timeout=KEEP_ALIVE_S, limit=0, ttl_dns_cache=DNS_S)

    async def close(self) -> None:
        """Nothing to do."""


class HttpService:
    """The client of one service: `ctx.http(name)`. Made and closed by `Services`."""

    def __init__(
        self,
        spec: ServiceSpec,
        url: str | Callable[[], Awaitable[str]],
        *,
        connector: ParkingConnector,
        now: Callable[[], int],
        log: Log,
        death: Callable[[], Awaitable[ServiceError | None]] | None = None,
    ) -> None:
        """`url`: or what waits until a server of ours has one. `death`: why our own server isn't there any more; None while it is.

        Raises ServiceError for an url that is none.
        """
        self.name = spec.name
        self._place = spec.place
        self.key_hint = spec.key_hint or "set its key"
        """What to do where it doesn't take the key."""
        self._now = now
        self._log = log
        self._death = death
        self._key = spec.key.strip()
        self.heard_at = 0
        """When something of an answer last came; 0 = never. Told by `hear`."""
        self._answered = False
        """It has answered something, so it is an HTTP server."""
        self._authorization = ""
        self._mask = Mask([self._key])
        self._base: URL | None = None
        """As http or https."""
        self._scheme = ""
        """As the graph has it."""
        self._coming: Callable[[], Awaitable[str]] | None = None
        if isinstance(url, str):
            self.move(url)
        else:
            self._coming = url
        self._connector = connector
        self.session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
            # Compressing a stream of small pieces would hold them back.
            headers={"Accept-Encoding": "identity", "User-Agent": "flowgraph"},
            trace_configs=[self.tracing()],
        )
        """For what the methods here don't cover. Traced and pooled like them; give it `url()` and `headers`."""

    def __repr__(self) -> str:
        return f"HttpService({self.name!r}, {self.address!r})"

    # -- where and as whom ---------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """The base URL as it may be shown: without user, password and query. `embedded` for a server of ours that isn't `there` yet."""
        return (
            "embedded" if self._base is None else str(self._base.with_query(None).with_scheme(self._scheme)).rstrip("/")
        )

    @property
    def who(self) -> str:
        """As messages name it."""
        return f"service '{self.name}' ({self.address})"

    @property
    def host(self) -> str:
        """Its name or number, as the URL has it; "" before it is `there`."""
        return "" if self._base is None else self._base.host or ""

    @property
    def key(self) -> str:
        """The service's key; "" = none. For protocols that don't take a bearer token. Never show it."""
        return self._key

    @property
    def headers(self) -> dict[str, str]:
        """`Authorization`, where the service has a key."""
        return {"Authorization": self._authorization} if self._authorization else {}

    async def there(self) -> None:
        """Wait for a server of ours that is still starting; every request does. Raises ServiceError where it can't start."""
        while (coming := self._coming) is not None:
            url = await coming()
            if self._coming is coming:  # or it has died, and another one is starting
                self.move(url)

    def moves(self, coming: Callable[[], Awaitable[str]]) -> None:
        """A server of ours is starting again: requests wait until `coming` says where it is."""
        self._coming = coming

    def move(self, url: str) -> None:
        """It is there. Raises ServiceError for what is no URL."""
        base = _parsed(url)
        if base is None:
            message = f"{self._place}: the url of service '{self.name}' is none"
            raise ServiceError(message, hint="write it as http://HOST:PORT")
        self._scheme = URL(url).scheme
        user, password = base.user or "", base.password or ""
        login = basic(user, password) if user else ""
        self._authorization = f"Bearer {self._key}" if self._key else f"Basic {login}" if login else ""
        self._base = base.with_user(None).with_fragment(None)
        self._coming = None
        asked = (value for name, value in base.query.items() if SECRET_QUERY.search(name))
        self._mask = Mask([self._key, login, password or user, base.raw_password or "", *asked])

    def masked(self, text: str) -> str:
        """What the service says, without its key and password, should it repeat them."""
        return self._mask(text)

    def url(self, path: str, **query: Any) -> str:
        """The URL of a path, such as `/v1/models`, once the service is `there`.

        A base URL that ends with the path's first parts (`…/v1`) doesn't repeat them.
        Query values may be text, numbers, booleans (`true`), or lists (repeated); None is left out.
        """
        return str(self._url(path, query))

    def ws_url(self, path: str, **query: Any) -> str:
        """The same for a WebSocket: ws:// or wss://."""
        url = self._url(path, query)
        return str(url.with_scheme("wss" if url.scheme == "https" else "ws"))

    def _url(self, path: str, query: Query) -> URL:
        assert self._base is not None, "wait until it is `there`"
        base = [part for part in self._base.path.split("/") if part]
        wanted = [part for part in path.split("/") if part]
        overlap = next((n for n in range(len(base), 0, -1) if base[-n:] == wanted[:n]), 0)
        url = self._base.with_path("/" + "/".join([*base, *wanted[overlap:]]))
        pairs = [(name, text) for name, value in query.items() for text in _texts(value)]
        return url.with_query([*self._base.query.items(), *pairs])

    # -- requests ------------------------------------------------------------------------------------------------------

    def get(self, path: str, *, query: Query | None = None, **options: Any) -> Exchange:
        """`async with service.get("/v1/models") as response:`; see `request`."""
        return self.request("GET", path, query=query, **options)

    def post(self, path: str, *, query: Query | None = None, **options: Any) -> Exchange:
        """`async with service.post("/v1/audio/speech", json={…}) as response:`; see `request`."""
        return self.request("POST", path, query=query, **options)

    def hear(self) -> None:
        """Something of an answer has come: it is being worked on, though nothing of it may be to be heard or seen yet."""
        self.heard_at = self._now()

    def request(self, method: str, path: str, *, query: Query | None = None, **options: Any) -> Exchange:
        """A request with the service's key; `options` are aiohttp's (`json`, `data`, `headers`). Any status is returned.

        `async with` closes the response, which cancels an answer that isn't read to its end, and turns connection errors
        inside the block into ServiceError. `await` only does so until the headers are there, and leaves closing to you.
        Once connected there is no time limit: use `asyncio.timeout`.
        """
        return Exchange(self, method, path, query or {}, options)

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, *, query: Query | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """`async with service.websocket("/v1/listen", query={…}) as socket:`; `options` as aiohttp's `ws_connect`.

        Errors as with `request`; an upgrade that is refused, or takes longer than CONNECT_S, is a ServiceError too.
        """
        await self.there()
        options["headers"] = {**self.headers, **(options.get("headers") or {})}
        options.setdefault("timeout", aiohttp.ClientWSTimeout(ws_close=1.0))
        async with self.explained():
            opening = self.session.ws_connect(self.ws_url(path, **(query or {})), **options)
            try:
                socket = await asyncio.wait_for(opening, CONNECT_S)
            except TimeoutError:
                raise aiohttp.ConnectionTimeoutError from None
            try:
                yield socket
            finally:
                await socket.close()

    @contextlib.asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Inside, what aiohttp raises becomes a ServiceError, and errors quote no secret: for those who use `session` itself."""
        try:
            yield
        except aiohttp.ClientError as error:
            raise await self._explanation(error) from None
        except FlowError as error:
            error.reword(self.masked)
            raise

    # -- warm ----------------------------------------------------------------------------------------------------------

    async def warm(self) -> None:
        """Have a connection that nobody uses. Sends nothing. Raises ServiceError where nothing answers."""
        await self.there()
        assert self._base is not None
        parking = _parking.set(True)
        try:
            async with self.explained(), self.session.head(self._base):
                pass
        except _ParkedError:
            pass
        finally:
            _parking.reset(parking)

    def rewarm(self) -> None:
        """The same in the background, at speech onset for instance. A failure is left for the next request to tell."""
        if self._connector.making is None and not self.session.closed:
            making = asyncio.get_running_loop().create_task(self._warm_quietly(), name=f"warm {self.name}")
            self._connector.making = making

    async def _warm_quietly(self) -> None:
        try:
            await self.warm()
        except ServiceError:
            pass
        finally:
            self._connector.making = None

    async def close(self) -> None:
        """Close all connections."""
        if (making := self._connector.making) is not None:
            making.cancel()
            await asyncio.wait([making])
        await self.session.close()

    # -- what happens to connections -------------------------------------------------------------------------------------

    def tracing(self, *, pooled: bool = True) -> aiohttp.TraceConfig:
        """What tells `log` of the requests of a ClientSession. `pooled`: it is `session`, whose connections are kept warm; of any other
        session's only that they are being made is told.
        """
        trace = aiohttp.TraceConfig(trace_config_ctx_factory=_Flight)

        def tell(event: str, *, parked: str = "") -> Callable[..., Awaitable[None]]:
            async def hook(_: object, flight: SimpleNamespace, __: object) -> None:
                if name := parked if _parking.get() else event:
                    self._tell(name, flight)

            return hook

        trace.on_dns_resolvehost_start.append(tell("dns_start"))
        trace.on_dns_resolvehost_end.append(tell("dns_end"))
        trace.on_connection_create_start.append(tell("connect_start", parked="warm_start"))
        trace.on_connection_create_end.append(tell("connect_end", parked="warm_end"))
        if not pooled:
            return trace
        trace.on_connection_reuseconn.append(tell("reused"))
        trace.on_connection_reuseconn.append(self._reused)
        trace.on_request_headers_sent.append(self._sent)
        trace.on_request_chunk_sent.append(self._sent)
        trace.on_request_end.append(self._responds)
        trace.on_request_exception.append(self._failed)
        return trace

    def _tell(self, event: str, flight: SimpleNamespace, at: int = 0) -> None:
        self._log(self.name, event, at or self._now(), flight.number)

    async def _reused(self, _: object, flight: SimpleNamespace, __: object) -> None:
        if flight.retry is not None:
            flight.retry.reused = True
            self.rewarm()  # an attempt that is withdrawn before its first byte leaves the next one no time

    async def _sent(self, _: object, flight: SimpleNamespace, __: object) -> None:
        flight.sent_at = self._now()  # the last piece's time counts: told when the answer begins

    async def _responds(self, _: object, flight: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        self._answered = True
        self._tell_sent(flight)
        self._tell("response_start", flight)
        connection = params.response.connection
        if connection is not None:
            connection.add_callback(lambda: self._released(connection, flight))
        if params.response.status != 101:  # a WebSocket stays: it leaves nothing to follow soon
            self.rewarm()

    async def _failed(self, _: object, flight: SimpleNamespace, __: object) -> None:
        self._tell_sent(flight)

    def _tell_sent(self, flight: SimpleNamespace) -> None:
        if flight.sent_at:
            self._tell("request_sent", flight, flight.sent_at)

    def _released(self, connection: aiohttp.connector.Connection, flight: SimpleNamespace) -> None:
        protocol = connection.protocol
        if protocol is None or protocol.should_close or not protocol.is_connected():
            self._tell("closed", flight)
            self.rewarm()

    # -- what is wrong ---------------------------------------------------------------------------------------------------

    async def _explanation(self, error: aiohttp.ClientError) -> ServiceError:
        died = await self._death() if self._death is not None else None
        if died is not None:
            return died
        who = self.who
        where = f"the url of '{self.name}' ({self._place})"
        match error:
            case aiohttp.ClientConnectorCertificateError():
                reason = getattr(error.certificate_error, "verify_message", "") or "it is not valid"
                hint = "use the host name that it is made for, or let the system trust who signed it"
                return ServiceError(f"{who} shows a TLS certificate that isn't accepted: {reason}", hint=hint)
            case aiohttp.ClientSSLError():
                return ServiceError(f"{who} doesn't speak TLS", hint=f"should {where} begin with http://?")
            case aiohttp.ClientConnectorDNSError() | aiohttp.ClientConnectorError(os_error=socket.gaierror()):
                hint = f"correct {where}, or check the network"
                return ServiceError(f"{who} can't be found: no host is known as '{error.host}'", hint=hint)
            case aiohttp.ClientConnectorError(os_error=OSError(errno=errno.ECONNREFUSED)):
                return ServiceError(f"{who} refuses the connection", hint=f"start it, or correct {where}")
            case aiohttp.ClientConnectorError(os_error=reason):
                why = os.strerror(reason.errno) if reason.errno else "no connection"
                return ServiceError(f"{who} can't be reached: {why}", hint=f"check the network and {where}")
            case aiohttp.ConnectionTimeoutError():
                hint = f"is it running, a firewall between, {where} right?"
                return ServiceError(f"{who} doesn't answer within {CONNECT_S:.0f} s", hint=hint)
            case aiohttp.WSServerHandshakeError(status=status) if status != 101:
                hint = self.key_hint if status in (401, 403) else f"is {where} that of a server for this protocol?"
                return ServiceError(f"{who} refuses the WebSocket with status {status}", hint=hint)
            case aiohttp.ClientPayloadError():
                return ServiceError(f"{who} closed the connection in the middle of its answer", hint="see its log")
            case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientConnectionError():
                hint = "see its log" if self._answered else f"is {where} right, http:// or https:// too? see its log"
                return ServiceError(f"{who} closed the connection", hint=hint)
            case _:
                hint = f"is {where} that of an HTTP server?"
                return ServiceError(f"{who} doesn't answer as HTTP has it ({type(error).__name__})", hint=hint)


class Exchange:
    """One request, to be awaited or entered."""

    def __init__(self, service: HttpService, method: str, path: str, query: Query, options: dict[str, Any]) -> None:
        self._service = service
        self._method = method
        self._path = path
        self._query = query
        self._options = options

    def __await__(self) -> Generator[Any, None, aiohttp.ClientResponse]:
        return self._open().__await__()

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._response = await self._open()
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._response.release()  # where the answer isn't at its end, this closes the connection, and the server stops
        if isinstance(error, aiohttp.ClientError):
            raise await self._service._explanation(error) from None
        if isinstance(error, FlowError):
            error.reword(self._service.masked)

    async def _open(self) -> aiohttp.ClientResponse:
        # A server may close an idle connection in the very moment of our using it. aiohttp tries again by itself for a GET;
        # what we POST (a question, a text to speak) may be asked twice as well, as long as it can be sent twice.
        tries = TRIES if isinstance(self._options.get("data", b""), bytes | str) else 1
        service = self._service
        await service.there()
        url = service.url(self._path, **self._query)
        options = {**self._options, "headers": {**service.headers, **(self._options.get("headers") or {})}}
        async with service.explained():
            while True:
                tries -= 1
                retry = _Retry()
                try:
                    return await service.session.request(self._method, url, trace_request_ctx=retry, **options)
                except aiohttp.ClientConnectorError:
                    raise
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    if not (retry.reused and tries):
                        raise


def _parsed(url: str) -> URL | None:
    """As http or https; None for what is no URL."""
    try:
        base = URL(url)
        base = base.with_scheme({"ws": "http", "wss": "https"}.get(base.scheme, base.scheme))
    except ValueError:
        return None
    return base if base.scheme in ("http", "https") and base.host else None


def _texts(value: Any) -> Iterator[str]:
    """A query value as the texts that stand in the URL."""
    match value:
        case None:
            return
        case bool():
            yield "true" if value else "false"
        case list() | tuple():
            for item in value:
                yield from _texts(item)
        case _:
            yield str(value)


def _keep_watch(transport: asyncio.BaseTransport) -> None:
    """Let the system find out that the other end is gone: idle (it asks), or with something unacknowledged on its way."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": DEAD_S * 1000}
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):  # not everywhere
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
