"""For all tests: frames are really frozen, what is random can be repeated, and what takes real time says so."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import Any

import hypothesis
import pytest

from flowgraph import session
from flowgraph.clock import Clock, VirtualLoop, clock_of
from flowgraph.frame import enforce_frozen

enforce_frozen()

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


# -- real time -------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A sound card that is starved for some milliseconds loses sound."""
    for item in items:
        if item.get_closest_marker("sound") or "card" in getattr(item, "fixturenames", ()):
            item.add_marker("sound")
            item.add_marker("alone")


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A session on the real clock may not share the machine with what keeps it busy."""
    marked = any(item.get_closest_marker(name) for name in ("realtime", "alone"))

    def watched(loop: asyncio.AbstractEventLoop) -> Clock:
        if not marked and not isinstance(loop, VirtualLoop):
            pytest.fail(f"{item.nodeid} runs a session in real time: mark it @pytest.mark.realtime")
        return clock_of(loop)

    session.clock_of = watched
