"""Have a server do beforehand what it does slowly the first time: load a model or a voice, read the beginning of a prompt.

1. It costs a request. So `auto` warms servers of one's own only: in the local network, or known by what they say of themselves. A hosted
   API bills it, and rarely gains by it.
2. It is in nobody's way: a real request stops it first. What a server has read by then it keeps. Only one that hasn't answered at all
   yet is left alone: where a client hangs up while the model is being loaded, Ollama gives up, and begins anew with the next
   ("client connection closed before llama-server finished loading, aborting load").
3. It never fails: what goes wrong is a note in the trace. If it is still wrong when it matters, the real request says so. Only what a
   server says that is there (a key is missing, the model unknown, it is no such server) is told the user right then: before he speaks is
   the best time to know.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

from flowgraph.errors import ServiceError

if TYPE_CHECKING:
    from flowgraph.services import HttpService

Warm = Literal["auto", "on", "off"]
LOAD_S = 300
"""So long loading a model may take."""
OWNERS = frozenset({"llamacpp", "vllm", "sglang", "library", "organization_owner", "tabbyAPI", "koboldcpp", "kokoro"})
"""`owned_by` in `/v1/models` of llama.cpp, vLLM, SGLang, Ollama, LM Studio, TabbyAPI, KoboldCpp, Kokoro-FastAPI."""
LOCAL_NAMES = (".local", ".localhost", ".internal", ".lan", ".home.arpa")
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What may be otherwise in a moment."""
_ASKED_S = 10


class Warmth:
    """The warm-ups of one service, one at a time."""

    def __init__(
        self,
        service: HttpService,
        wish: Warm,
        *,
        note: Callable[[str], None],
        say: Callable[[str], None],
        loads: bool = False,
    ) -> None:
        """`note`, `say`: the node's, for what went wrong. `loads`: the server may load its model for the first request."""
        self.loaded = not loads
        """The server has answered something: its model is there."""
        self._service = service
        self._note = note
        self._say = say
        self._told = ""
        self._wished: bool | None = {"on": True, "off": False}.get(wish)
        self._next: Callable[[], Awaitable[None]] | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, request: Callable[[], Awaitable[None]]) -> asyncio.Task[None] | None:
        """Make a request in the background, instead of what is still being warmed. None where nothing is to be warmed."""
        if self._wished is False:
            return None
        self.stop()
        self._next = request
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work(), name=f"warm up {self._service.name}")
        return self._task

    def stop(self) -> None:
        """A real request is coming."""
        self._next = None
        if self._task is not None and self.loaded:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Nothing is left on its way."""
        self.loaded, task = True, self._task
        self.stop()
        if task is not None:
            await asyncio.wait([task])

    async def _work(self) -> None:
        try:
            if self._wished is None:
                self._wished = await self._is_ones_own()
            while self._wished and (request := self._next) is not None:
                self._next = None
                async with asyncio.timeout(LOAD_S):
                    await request()
                self.loaded = True
        except TimeoutError:
            self._note(f"warming up '{self._service.name}' took more than {LOAD_S} s and was left")
        except ServiceError as error:
            self.loaded = True
            self._note(f"warming up: {error.message}")
            if error.status and error.status not in PASSING and error.message != self._told:
                self._told = error.message
                self._say(str(error))

    async def _is_ones_own(self) -> bool:
        await self._service.there()
        return is_near(self._service.host) or await self._names_itself()

    async def _names_itself(self) -> bool:
        async with asyncio.timeout(_ASKED_S), self._service.get("/v1/models") as response:
            try:
                listed: Any = await response.json(content_type=None)
            except ValueError:
                return False
        models = listed.get("data") if isinstance(listed, dict) else None
        return isinstance(models, list) and bool(models) and all(_owner(model) in OWNERS for model in models)


def is_near(host: str) -> bool:
    """Is it this machine, or one in the local network (or a private one, such as a VPN)?"""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.lower().endswith(LOCAL_NAMES)


def _owner(model: object) -> object:
    return model.get("owned_by") if isinstance(model, dict) else None
