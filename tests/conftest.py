"""For all tests: frames are really frozen, and what is random can be repeated."""

from __future__ import annotations

import secrets

import hypothesis
import hypothesis.core
import pytest

from flowgraph.frame import enforce_frozen

enforce_frozen()

hypothesis.settings.register_profile("flowgraph", deadline=None, print_blob=True)
hypothesis.settings.load_profile("flowgraph")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-seed", default=None) is None:
        hypothesis.core.global_force_seed = secrets.randbelow(1_000_000)


def pytest_report_header() -> str:
    return f"random inputs: repeat this run with --hypothesis-seed={hypothesis.core.global_force_seed}"
