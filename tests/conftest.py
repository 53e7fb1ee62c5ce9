"""For all tests: frames are really frozen, what is random can be repeated, and what takes real time says so."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import secrets
import signal
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from flowgraph import session
from flowgraph.clock import Clock, VirtualLoop, clock_of
from flowgraph.frame import enforce_frozen
from nodes import vad
from tests.__main__ import WRITTEN
from tests.remembering import remembering

enforce_frozen()
vad._load_onnx = remembering(vad._load_onnx)

for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)  # of somebody's terminal: readline leaves them to every child process

hypothesis.settings.register_profile("flowgraph", deadline=None, print_blob=True)
hypothesis.settings.load_profile("flowgraph")


@pytest.hookimpl(tryfirst=True)  # Hypothesis reads the option in the same hook
def pytest_configure(config: pytest.Config) -> None:
    if config.option.hypothesis_seed is None:
        given = getattr(config, "workerinput", {}).get("hypothesis_seed")
        config.option.hypothesis_seed = given or str(secrets.randbelow(1_000_000))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker process of pytest-xdist is about to start."""
    node.workerinput["hypothesis_seed"] = node.config.option.hypothesis_seed


def pytest_report_header(config: pytest.Config) -> str:
    return f"random inputs: repeat this run with --hypothesis-seed={config.option.hypothesis_seed}"


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """What is ignored here (by nohup, or in a background job) would be ignored in each child process; a handler isn't inherited."""
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


# -- real time -------------------------------------------------------------------------------------------------------------

LONG_S = 300
"""A test that may take so long begins first."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is said in marks, and in which order. (A sound card that is starved for some milliseconds loses sound.)"""
    for item in items:
        if item.get_closest_marker("sound") or "card" in getattr(item, "fixturenames", ()):
            item.add_marker("sound")
            item.add_marker("alone")
        for mark, written in WRITTEN.items():
            if item.get_closest_marker(mark) and not re.search(written, _text(item.path)):
                raise pytest.UsageError(
                    f"{item.nodeid} is {mark}, and its file doesn't say so: tests/__main__.py would leave it out"
                )
    items.sort(key=_is_long, reverse=True)


def _is_long(item: pytest.Item) -> bool:
    """What keeps a processor busy for long begins first, so that in the end none waits for another."""
    limit = item.get_closest_marker("timeout")
    waits = item.get_closest_marker("realtime") or item.get_closest_marker("alone")
    return limit is not None and limit.args[0] >= LONG_S and not waits


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A session on the real clock may not share the machine with what keeps it busy."""
    marked = any(item.get_closest_marker(name) for name in ("realtime", "alone"))

    def watched(loop: asyncio.AbstractEventLoop) -> Clock:
        if not marked and not isinstance(loop, VirtualLoop):
            pytest.fail(f"{item.nodeid} runs a session in real time: mark it @pytest.mark.realtime")
        return clock_of(loop)

    session.clock_of = watched
